"""The protocol's messages: what each step asks and answers, and the signed bytes in which they travel.

A message on the wire is canonical CBOR ``[version, header, briefing, envelope]`` behind its length, then an attachment
for what is too large to encode twice. The header names run, round, attempt, step, sender and recipient; the envelope is
``[body, SHA-256 of the attachment]`` signed by the sender with exactly those bound in, so a message moved to
another round, attempt or party does not verify. The briefing holds what the authority itself has signed or sealed: the
run's order, the newest revocation list (heard before anything is checked), the group key for the members, and
certificates of possible recipients.
"""

import hashlib
from dataclasses import dataclass
from enum import StrEnum
from typing import Any, ClassVar, Literal, Self, TypeVar

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from core.learning.run_events import FailureCode
from federated.failures import Refused
from federated.notary import Notary
from federated.timing import Task
from security.context import Context, Purpose
from security.encoding import Reader, decode, encode, framed

VERSION = 4
EVERYBODY = "*"
"""Recipient of a request that is the same for all whom it is sent to, and so is signed once."""
MAX_MESSAGE_BYTES = 256 * 2**20
ATTEMPT = "^[0-9A-Za-z-]{1,64}$"
"""What an attempt's id looks like: parties write it into their ledgers, where it must stay one word of one line."""
_FIELDS = 4
_BODY_FIELDS = 2


class Step(StrEnum):
    """Steps of a run that somebody is asked to do. Modes choose from them; each has one request and one reply."""

    INITIALISE = "initialise"
    ADOPT = "adopt"
    TRAIN = "train"
    AVERAGE = "average"
    EVALUATE = "evaluate"
    SUMMARISE = "summarise"
    EXPORT = "export"
    BEGIN = "begin"
    ADVERTISE = "advertise"
    DEAL = "deal"
    UPLOAD = "upload"
    AGREE = "agree"
    UNMASK = "unmask"
    REVEAL = "reveal"
    HASH = "hash"
    APPLY = "apply"
    FIGURES_ADVERTISE = "figures-advertise"
    FIGURES_DEAL = "figures-deal"
    FIGURES_UPLOAD = "figures-upload"
    FIGURES_AGREE = "figures-agree"
    FIGURES_UNMASK = "figures-unmask"
    FIGURES_REVEAL = "figures-reveal"
    FIGURES_HASH = "figures-hash"
    FIGURES_TALLY = "figures-tally"
    SEAL = "seal"
    OPEN = "open"


PROVED_LATER = frozenset({Step.REVEAL, Step.FIGURES_REVEAL})
"""Steps whose attachment, a sum, the receiver holds while a point is drawn and then proves by its hash there.

Its SHA-256 would prove less, and so is not computed again (docs/blind.md, "Whose word a node takes").
"""


class Kind(StrEnum):
    """What a message is."""

    REQUEST = "request"
    REPLY = "reply"
    REFUSAL = "refusal"


class Wire(BaseModel):
    """Base of everything that is decoded from bytes: exact types, no unknown fields, immutable."""

    model_config: ClassVar[ConfigDict] = ConfigDict(frozen=True, strict=True, extra="forbid")

    @classmethod
    def parse(cls, value: Any) -> Self:
        """Check decoded CBOR.

        Raises:
            Refused: with `FailureCode.MESSAGE`, it is not one of these.
        """
        try:
            return cls.model_validate(value)
        except ValidationError:
            raise Refused(FailureCode.MESSAGE) from None


class Header(Wire):
    """Which conversation a message belongs to. `kind` is the value of a `Kind`, `step` that of a `Step`."""

    run: str
    round: int = Field(ge=0)
    attempt: str = Field(pattern=ATTEMPT)
    step: str
    kind: str
    sender: str
    recipient: str

    def context(self, study: str) -> Context:
        """What the message's signature is bound to."""
        return Context(
            purpose=Purpose.FEDERATED_MESSAGE,
            study=study,
            sender=self.sender,
            object_id=f"{self.step}/{self.kind}/{self.recipient}",
            run=self.run,
            round=self.round,
            attempt=self.attempt,
        )

    def answered(self, kind: Kind, party: str) -> "Header":
        """The header of the answer of `party` to this request."""
        return self.model_copy(update={"kind": kind.value, "sender": party, "recipient": self.sender})


class Model(Wire):
    """A sealed global model: weights sealed for nodes, aggregation and authority, with their signed lineage."""

    run: str
    round: int = Field(ge=0)
    sealed: bytes
    weights_sha256: str
    lineage: bytes


class Briefing(Wire):
    """What the authority states to the parties of a run, and the cloud passes on with each request.

    Order, revocation list (DER), the group key sealed for the members, sealing certificates (DER).
    """

    order: bytes = b""
    crl: bytes = b""
    group: bytes = b""
    certificates: list[bytes] = []


class PrivacyStatement(Wire):
    """What a member states of its privacy after a training: epsilon over all private trainings of its data set."""

    epsilon: float = Field(ge=0, allow_inf_nan=False)
    delta: float = Field(gt=0, lt=1)
    unit: Literal["patient", "image"]
    noise_multiplier: float = Field(gt=0, allow_inf_nan=False)


class Request(Wire):
    """Base of what is asked."""


class Reply(Wire):
    """What every reply carries: seconds by task, and contributions that the sender refused (party -> code)."""

    seconds: dict[str, float] = {}
    refused: dict[str, str] = {}


class Refusal(Reply):
    """Instead of a reply: why not."""

    code: str


class InitialiseRequest(Request):
    """Asks a node for new weights, drawn from the order's seed."""


class InitialiseReply(Reply):
    """New weights, protected on their way to the aggregation."""

    weights: bytes


class AdoptRequest(Request):
    """Asks the aggregation to begin the run's line: with the weights that members drew, or from a finished model."""

    proposals: dict[str, bytes] = {}
    parent: Model | None = None


class AdoptReply(Reply):
    """The run's model of round 0."""

    model: Model


class TrainRequest(Request):
    """Asks a node to train from a global model."""

    model: Model


class TrainReply(Reply):
    """The update, protected on its way to the aggregation; the node's own figures, sealed (`own_figures`)."""

    update: bytes
    own: bytes


class AverageRequest(Request):
    """Asks the aggregation to average updates (party -> protected update) of a global model."""

    model: Model
    updates: dict[str, bytes]


class AverageReply(Reply):
    """The new weights, sealed for nodes, aggregation and authority; whose updates are in them."""

    sealed: bytes
    weights_sha256: str
    members: list[str]


class EvaluateRequest(Request):
    """Asks a node for the metric sums of new weights on its validation part."""

    sealed: bytes
    weights_sha256: str


class EvaluateReply(Reply):
    """Metric sums, protected on their way to the aggregation; the node's own figures as in `TrainReply`."""

    figures: bytes
    own: bytes


class SummariseRequest(Request):
    """Asks the aggregation to add metric sums (party -> protected sums) and to sign the lineage."""

    figures: dict[str, bytes]


class SummariseReply(Reply):
    """Global figures of the round and the signed lineage that states them."""

    metrics: dict[str, float]
    lineage: bytes


class ExportRequest(Request):
    """Asks a node for the serving model of the last global model."""

    model: Model


class ExportReply(Reply):
    """The serving model, sealed for the authority; its hash, and the node's signed word for it (`exports`)."""

    serving: bytes
    sha256: str
    statement: bytes


W = TypeVar("W", bound=Wire)


class Message(BaseModel):
    """A verified message: its header, its briefing, its body, still as bytes, and its attachment with its signed hash.

    The attachment has that hash, but for requests of a step in `PROVED_LATER`, where its receiver must prove it.
    """

    model_config: ClassVar[ConfigDict] = ConfigDict(frozen=True, arbitrary_types_allowed=True)

    header: Header
    briefing: Briefing
    body: Any
    attachment: memoryview
    attachment_sha256: bytes

    def parse(self, kind: type[W]) -> W:
        """Return the body as a `kind`.

        Raises:
            Refused: with `FailureCode.MESSAGE`, it is something else.
        """
        return kind.parse(self.body)


NO_BRIEFING = Briefing()


@dataclass(frozen=True)
class Attachment:
    """Bytes that travel behind a message, and their SHA-256, computed once however often they are sent."""

    data: bytes | memoryview = b""
    sha256: bytes = hashlib.sha256(b"").digest()

    @classmethod
    def of(cls, data: bytes | memoryview) -> Self:
        """Return `data` with its hash."""
        return cls(data, hashlib.sha256(data).digest())


NO_ATTACHMENT = Attachment()


def pack(
    header: Header,
    body: Wire,
    *,
    notary: Notary,
    briefing: Briefing = NO_BRIEFING,
    attachment: Attachment = NO_ATTACHMENT,
) -> bytes:
    """Return a message signed by `notary`, which must be the header's sender."""
    envelope = notary.sign(encode([body.model_dump(), attachment.sha256]), header.context(notary.study))
    return framed(encode([VERSION, header.model_dump(), briefing.model_dump(), envelope])) + attachment.data


def unpack(data: bytes, *, notary: Notary) -> Message:
    """Read and verify a message for `notary`'s party.

    Raises:
        Refused: with `FailureCode.MESSAGE`, not a message, too large, or for somebody else.
        SignatureBroken: changed on its way, or not signed by the sender whom the header names.
        CertificateRefused: the sender's certificate does not hold, or the revocation list is not the authority's.
    """
    if len(data) > MAX_MESSAGE_BYTES:
        raise Refused(FailureCode.MESSAGE)
    reader = Reader(data)
    try:
        parts = decode(reader.field(limit=MAX_MESSAGE_BYTES))
    except ValueError:
        raise Refused(FailureCode.MESSAGE) from None
    if not isinstance(parts, list) or len(parts) != _FIELDS or parts[0] != VERSION:
        raise Refused(FailureCode.MESSAGE)
    header, briefing, envelope = Header.parse(parts[1]), Briefing.parse(parts[2]), parts[3]
    if not isinstance(envelope, bytes) or header.recipient not in {notary.party, EVERYBODY}:
        raise Refused(FailureCode.MESSAGE)
    notary.hear(briefing.crl)
    try:
        context = header.context(notary.study)
        signed = decode(notary.verify(envelope, context))
    except ValueError:
        raise Refused(FailureCode.MESSAGE) from None
    if not isinstance(signed, list) or len(signed) != _BODY_FIELDS or not isinstance(signed[1], bytes):
        raise Refused(FailureCode.MESSAGE)
    body, sha256 = signed
    attachment = reader.rest()
    if header.kind != Kind.REQUEST or header.step not in PROVED_LATER:
        with notary.watch.measuring(Task.CRYPTOGRAPHY):
            if hashlib.sha256(attachment).digest() != sha256:
                raise Refused(FailureCode.MESSAGE)
    return Message(header=header, briefing=briefing, body=body, attachment=attachment, attachment_sha256=sha256)
