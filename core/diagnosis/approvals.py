"""Which enclaves may answer: the authority's signed, numbered list of the measurements that it has approved.

As with a revocation list the newest number is in force, and whoever has seen it believes no older one. What is not on
the list is not approved. It travels with each request, so that an enclave that is honest refuses to work without it;
clients hold it against the measurement that each reply states.
"""

from collections.abc import Collection
from dataclasses import dataclass, field, replace
from datetime import datetime
from typing import ClassVar, Self

from core.diagnosis.codec import TRAVELS, Codec
from core.diagnosis.measurement import Measurement
from core.errors import MeasurementRefused
from security.certificates import Trust
from security.context import Context, Purpose
from security.errors import SecurityError
from security.identity import Identity
from security.signing import sign, verify

AUTHORITY = "authority"
_CONTEXT = Context(purpose=Purpose.MEASUREMENT, study="", sender=AUTHORITY, object_id="enclaves")


@dataclass(frozen=True, kw_only=True)
class Approval:
    """A measurement that was approved.

    Attributes:
        number: number of the list on which it stood first; results name it.
        code_sha256: what was approved, as in `Measurement` ...
        libraries: ... and the libraries with it.
        at: when, UTC.
    """

    number: int
    code_sha256: str
    libraries: tuple[str, ...]
    at: datetime

    __pydantic_config__: ClassVar = TRAVELS

    @property
    def measurement(self) -> Measurement:
        """What was approved."""
        return Measurement(self.code_sha256, self.libraries)


@dataclass(frozen=True, kw_only=True)
class _List:
    number: int
    approved: tuple[Approval, ...]
    withdrawn: tuple[str, ...]

    __pydantic_config__: ClassVar = TRAVELS


_LISTS = Codec(_List)


@dataclass(frozen=True, kw_only=True)
class Approvals:
    """The list, verified.

    Attributes:
        number: counts the lists.
        approved: what may answer.
        withdrawn: measurements (hex) that the authority took off by an act of its own.
        envelope: the list as it was signed.
    """

    number: int = 0
    approved: tuple[Approval, ...] = ()
    withdrawn: tuple[str, ...] = ()
    envelope: bytes = field(default=b"", repr=False)

    @classmethod
    def read(cls, envelope: bytes, *, trust: Trust, at: datetime) -> Self:
        """Return what the authority signed.

        Raises:
            MeasurementRefused: the authority did not sign it, or its certificate does not hold.
        """
        try:
            stated = _LISTS.decode(verify(envelope, trust=trust, context=_CONTEXT, party=AUTHORITY, at=at))
        except (SecurityError, ValueError) as error:
            raise MeasurementRefused("the list of approved measurements is not the authority's") from error
        return cls(number=stated.number, approved=stated.approved, withdrawn=stated.withdrawn, envelope=envelope)

    def find(self, measurement: str) -> Approval | None:
        """Return the approval of a measurement (hex), or None."""
        return next((one for one in self.approved if one.measurement.sha256 == measurement), None)

    def require(self, measurement: str) -> Approval:
        """Return the approval of a measurement (hex).

        Raises:
            MeasurementRefused: it was not approved, or the approval was withdrawn.
        """
        found = self.find(measurement)
        if found is None:
            was = "was withdrawn" if measurement in self.withdrawn else "is not approved"
            raise MeasurementRefused(f"measurement {measurement[:16]} {was}")
        return found

    def approving(self, measurement: Measurement, *, number: int, at: datetime, superseded: bool = False) -> Self:
        """Return the next list (number `number`) with one measurement more; `superseded` takes off all others."""
        kept = () if superseded else tuple(one for one in self.approved if one.measurement != measurement)
        added = Approval(number=number, code_sha256=measurement.code_sha256, libraries=measurement.libraries, at=at)
        left = tuple(one for one in self.withdrawn if one != measurement.sha256)
        return replace(self, number=number, approved=(*kept, added), withdrawn=left, envelope=b"")

    def withdrawing(self, measurements: Collection[str], *, number: int) -> Self:
        """Return the next list (number `number`) without these measurements (hex), which it names as withdrawn."""
        kept = tuple(one for one in self.approved if one.measurement.sha256 not in measurements)
        gone = tuple(dict.fromkeys((*self.withdrawn, *sorted(measurements))))
        return replace(self, number=number, approved=kept, withdrawn=gone, envelope=b"")

    def signed(self, authority: Identity) -> Self:
        """Return the list with the authority's signature."""
        payload = _LISTS.encode(_List(number=self.number, approved=self.approved, withdrawn=self.withdrawn))
        return replace(self, envelope=sign(payload, signer=authority, context=_CONTEXT))
