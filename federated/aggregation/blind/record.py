"""The record that is published with a blind sum: what opens the uploads, so that anybody can add them again."""

from typing import Literal

from pydantic import Field

from core.learning.run_events import FailureCode
from federated.aggregation.blind.statements import Label, Sha256
from federated.failures import Refused
from federated.messages import ATTEMPT, Header, Kind, Wire
from security.encoding import decode, encode

MAX_RECORD_BYTES = 256 * 2**20
"""A record of 1,000 members has some 10 MB."""


class Record(Wire):
    """What the coordinator holds of a sum when it signs it, but for the uploads and the sum itself.

    All of it may be public. The protocol takes the coordinator itself for curious, so what it is shown opens nothing:
    adverts, dealings (commitments), agreements and sum are statements that members showed each other through it; seeds
    and mask keys are what members revealed for this one sum, after they agreed who survived, and of nobody both. They
    take a survivor's own mask and those of members that dropped out off its upload. On what remains lie the masks that
    it shares with other survivors, and on it and on the sum the group mask, whose key the coordinator never had. So
    readers learn neither an update nor the sum; members that read it together are as well informed as if the cloud
    helped them, and the protocol holds against that up to the colluders that `graph.Plan` states.

    Attributes:
        version: of this format.
        study: code of the study.
        run: id of the run.
        round: from 1.
        attempt: id of the attempt.
        label: which sum (`Label`).
        order: the run's order as the authority signed it; the circle and its thresholds follow from it.
        survivors: party -> SHA-256 of its upload.
        adverts: party -> signed `Advert`.
        dealings: party -> signed `Dealing`.
        agreements: survivor -> signed `Agreement`.
        seeds: survivor -> its own-mask seed.
        mask_keys: party that dropped out after it had dealt -> the scalar of its mask key.
        sum: the coordinator's signed `Sum`.
    """

    version: Literal[3] = 3
    study: str
    run: str
    round: int = Field(ge=1)
    attempt: str = Field(pattern=ATTEMPT)
    label: str
    order: bytes
    survivors: dict[str, Sha256]
    adverts: dict[str, bytes]
    dealings: dict[str, bytes]
    agreements: dict[str, bytes]
    seeds: dict[str, bytes]
    mask_keys: dict[str, bytes]
    sum: bytes

    def header(self) -> Header:
        """Return the place that every statement of the sum is bound to; neither sender nor recipient is part of it."""
        return Header(
            run=self.run,
            round=self.round,
            attempt=self.attempt,
            step=self.label,
            kind=Kind.REQUEST.value,
            sender="",
            recipient="",
        )

    def to_bytes(self) -> bytes:
        """Return the record as canonical CBOR."""
        return encode(self.model_dump())

    @classmethod
    def from_bytes(cls, data: bytes) -> "Record":
        """Read what `to_bytes` wrote.

        Raises:
            Refused: with `MESSAGE`, it is no record.
        """
        try:
            record = cls.parse(decode(data))
            Label(record.label)
        except ValueError:
            raise Refused(FailureCode.MESSAGE) from None
        return record
