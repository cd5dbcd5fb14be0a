"""The cloud, played by a test: carries every letter of a blind run to the real nodes, and may change what it likes.

Hooks see a request before its node does, or a reply before the coordinator does, as what it says; whatever they return
is signed again with the key of the party that they speak for.
"""

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from core.learning.orders import COORDINATOR, AggregationMode
from core.learning.run_choices import RoundRules
from core.learning.run_events import EventKind, FailureCode
from core.learning.weights import Weights
from core.studies import LEUKEMIA
from federated.aggregation.blind import messages as blind
from federated.aggregation.blind.circle import Circle, circle_of
from federated.aggregation.blind.statements import Label, Statement
from federated.board import Board, MemoryBoard
from federated.checkpoints import open_state
from federated.coordinator import Coordinator
from federated.messages import (
    NO_BRIEFING,
    Attachment,
    Briefing,
    ExportReply,
    ExportRequest,
    Header,
    Kind,
    Message,
    Reply,
    Request,
    Step,
    Wire,
    pack,
    unpack,
)
from federated.notary import Notary
from federated.store import MemoryRunStore
from federated.timing import Stopwatch
from federated.transport.base import Delivery
from security.encoding import decode
from security.signing import claims_of
from tests.federation import RUN, Federation

FIVE = ("east", "north", "south", "upper", "west")
UPDATE_STEPS = (
    Step.ADVERTISE,
    Step.DEAL,
    Step.UPLOAD,
    Step.AGREE,
    Step.UNMASK,
    Step.REVEAL,
    Step.HASH,
    Step.APPLY,
)
FIGURES_STEPS = (
    Step.FIGURES_ADVERTISE,
    Step.FIGURES_DEAL,
    Step.FIGURES_UPLOAD,
    Step.FIGURES_AGREE,
    Step.FIGURES_UNMASK,
    Step.FIGURES_REVEAL,
    Step.FIGURES_HASH,
    Step.FIGURES_TALLY,
)
_SUM: tuple[tuple[type[Request], type[Reply]], ...] = (
    (blind.AdvertiseRequest, blind.AdvertiseReply),
    (blind.DealRequest, blind.DealReply),
    (blind.UploadRequest, blind.UploadReply),
    (blind.AgreeRequest, blind.AgreeReply),
    (blind.UnmaskRequest, blind.UnmaskReply),
    (blind.RevealRequest, blind.RevealReply),
    (blind.HashRequest, blind.HashReply),
    (blind.ApplyRequest, blind.ApplyReply),
)
KINDS: dict[str, tuple[type[Request], type[Reply]]] = {
    **dict(zip(UPDATE_STEPS, _SUM, strict=True)),
    **dict(zip(FIGURES_STEPS, _SUM, strict=True)),
    Step.FIGURES_TALLY: (blind.ApplyRequest, blind.LineageReply),
    Step.BEGIN: (blind.BeginRequest, blind.LineageReply),
    Step.SEAL: (blind.SealRequest, blind.SealReply),
    Step.OPEN: (blind.OpenRequest, blind.OpenReply),
    Step.EXPORT: (ExportRequest, ExportReply),
}

Hook = Callable[[str, Any, bytes], "tuple[Wire, bytes] | None"]
"""Party, request or reply, attachment -> what goes on instead; None for silence."""


@dataclass
class Carried:
    """A letter as its party got it, and the answer as the party gave it."""

    party: str
    header: Header
    letter: bytes
    answer: bytes = b""


@dataclass
class Cloud:
    """Plays runs of a federation in mode `blind`.

    Attributes:
        federation: the parties.
        asking: step -> hook on its requests.
        answering: step -> hook on its replies.
        carried: everything that went through the cloud's hands.
        runs: run -> its order and group key.
        boards: makes the board of a sum from attempt and name.
    """

    federation: Federation
    asking: dict[str, Hook] = field(default_factory=dict)
    answering: dict[str, Hook] = field(default_factory=dict)
    carried: list[Carried] = field(default_factory=list)
    runs: dict[str, tuple[bytes, bytes]] = field(default_factory=dict)
    boards: Callable[[str, str], Board] = lambda _attempt, _name: MemoryBoard()

    def __post_init__(self) -> None:
        """Keep what was revoked at the beginning."""
        self.trust = self.federation.keys.trust()

    def play(self, run: str = RUN) -> str:
        """Play the run and return how it ended."""
        federation, authority = self.federation, self.authority(run)
        coordinator = Coordinator(
            notary=federation.notary(COORDINATOR),
            run=run,
            order=authority.order,
            transport=self,
            store=federation.store,
            directory=federation.keys.board,
            group=authority.group,
            boards=self.boards,
        )
        return coordinator.play().value

    def authority(self, run: str = RUN) -> Briefing:
        """What the authority states to the parties of a run: order and group key are made once."""
        federation = self.federation
        if run not in self.runs:
            self.runs[run] = federation.order(run), federation.group(run)
        order, group = self.runs[run]
        board = federation.keys.board
        return Briefing(order=order, crl=board.crl(), group=group, certificates=board.certificates())

    def exchange(self, letters: Iterable[tuple[str, bytes]], *, deadline_s: float = 0.0) -> Iterator[Delivery]:  # noqa: ARG002
        """See `Transport.exchange`; everybody answers at once."""
        for party, letter in letters:
            data = self._carry(party, letter)
            yield Delivery(party=party, data=data, failure=None if data else FailureCode.DROPPED_OUT)

    def _carry(self, party: str, letter: bytes) -> bytes | None:
        message = self.unpacked(letter, party)
        header = message.header.model_copy(update={"recipient": party})  # what is the same for all is addressed to all
        if header.step in self.asking:
            changed = self.asking[header.step](party, message.parse(KINDS[header.step][0]), bytes(message.attachment))
            if changed is None:
                return None
            letter = self.letter(header, *changed, briefing=message.briefing)
        one = Carried(party, header, letter)
        self.carried.append(one)
        one.answer = self.node(party).answer(letter)
        answer = self._read(one.answer)
        if header.step not in self.answering or answer.header.kind != Kind.REPLY:
            return one.answer
        spoken = self.answering[header.step](party, answer.parse(KINDS[header.step][1]), bytes(answer.attachment))
        if spoken is None:
            return None
        return pack(answer.header, spoken[0], notary=self.federation.notary(party), attachment=Attachment.of(spoken[1]))

    def letter(self, header: Header, body: Wire, attachment: bytes = b"", *, briefing: Briefing = NO_BRIEFING) -> bytes:
        """A request signed by the coordinator."""
        notary = self.federation.notary(COORDINATOR)
        return pack(header, body, notary=notary, briefing=briefing, attachment=Attachment.of(attachment))

    def header(self, party: str, step: str, **changes: Any) -> Header:
        """The header of a request to a party in the attempt that was carried last."""
        last = self.carried[-1].header
        return last.model_copy(update={"recipient": party, "step": str(step), **changes})

    def send(self, header: Header, body: Wire, attachment: bytes = b"", **briefing: Any) -> Message:
        """Send a hand-made request, with the authority's own statements, and return the verified answer."""
        stated = self.authority(header.run).model_copy(update=briefing)
        letter = self.letter(header, body, attachment, briefing=stated)
        one = Carried(header.recipient, header, letter)
        self.carried.append(one)
        one.answer = self.node(header.recipient).answer(letter)
        return self._read(one.answer)

    def code(self, header: Header, body: Wire, attachment: bytes = b"", **briefing: Any) -> str:
        """Send a hand-made request; return the code of the refusal, or "" for a reply."""
        message = self.send(header, body, attachment, **briefing)
        return str(message.body["code"]) if message.header.kind == Kind.REFUSAL else ""

    def node(self, party: str) -> Any:
        """A party's node."""
        return self.federation.nodes[party.partition(".")[0]]

    def requests(self, step: str) -> dict[str, Any]:
        """Party -> the last request of a step."""
        found = {one.party: one for one in self.carried if one.header.step == step}
        return {party: self.unpacked(one.letter, party).parse(KINDS[step][0]) for party, one in found.items()}

    def replies(self, step: str) -> dict[str, Any]:
        """Party -> the last proper reply to a step."""
        found: dict[str, Any] = {}
        for one in self.carried:
            if one.header.step == step and one.answer:
                answer = self._read(one.answer)
                if answer.header.kind == Kind.REPLY:
                    found[one.party] = answer.parse(KINDS[step][1])
        return found

    def attachments(self, step: str) -> dict[str, bytes]:
        """Party -> what came behind the last proper reply to a step."""
        found: dict[str, bytes] = {}
        for one in self.carried:
            if one.header.step == step and one.answer:
                answer = self._read(one.answer)
                if answer.header.kind == Kind.REPLY:
                    found[one.party] = bytes(answer.attachment)
        return found

    def refusals(self, step: str) -> dict[str, str]:
        """Party -> code of its last refusal of a step."""
        found: dict[str, str] = {}
        for one in self.carried:
            if one.header.step == step and one.answer:
                answer = self._read(one.answer)
                if answer.header.kind == Kind.REFUSAL:
                    found[one.party] = answer.body["code"]
        return found

    def failures(self, step: str) -> dict[str, str]:
        """Party -> code of its last failure at a step, as the coordinator recorded it."""
        return {
            event.party: event.payload["code"]
            for _, event in self.federation.store.events
            if event.kind is EventKind.FAILED and event.payload["step"] == step
        }

    def sign(self, statement: Statement, party: str, header: Header, label: Label = Label.UPDATE) -> bytes:
        """A statement in a party's name, signed with its key."""
        return statement.sign(self.federation.notary(party), header, label)

    def circle(self, round_number: int = 1) -> Circle:
        """The circle of a round."""
        return circle_of(self.federation.options, order=self.authority().order, round_number=round_number)

    def weights(self, round_number: int, reader: str = "") -> Weights:
        """The weights of a finished round, opened by a member."""
        model = self.federation.store.models[round_number].wire
        notary = self.federation.notary(reader or self.federation.options.parties[-1])
        return open_state(notary, model, run=model.run, round_number=round_number)[0].weights

    def _read(self, answer: bytes) -> Message:
        """An answer, whatever has been revoked since the run began."""
        federation = self.federation
        identity = federation.identities[COORDINATOR]
        notary = Notary(identity, self.trust, study=LEUKEMIA.code, clock=federation.clock, watch=Stopwatch())
        return unpack(answer, notary=notary)

    def unpacked(self, data: bytes, recipient: str) -> Message:
        """A request as its recipient reads it."""
        return unpack(data, notary=self.federation.notary(recipient))


def read(kind: type[Statement], envelope: bytes) -> Any:
    """What a statement says, unverified."""
    return kind.parse(decode(claims_of(envelope)[1]))


def words_of(data: bytes, *, word: int = 32) -> NDArray[Any]:
    """A vector's words."""
    return np.frombuffer(data, f"<u{word // 8}").copy()


def fresh(federation: Federation, rules: RoundRules | None = None) -> Cloud:
    """A cloud for a new run of the same parties, whose nodes and store remember nothing."""
    federation.mode = AggregationMode.BLIND
    federation.store = MemoryRunStore(clock=federation.clock)
    federation.options = replace(federation.options, round_rules=rules or RoundRules())
    federation.nodes = {slug: federation.node(slug) for slug in federation.slugs}
    return Cloud(federation)
