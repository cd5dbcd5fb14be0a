"""Failures as data: how one party's refusal or absence becomes a code that travels, and what ends a round or a run."""

from collections.abc import Mapping

from core.errors import CheckpointRefused, DatasetRefused, RunRefused
from core.learning.run_events import FailureCode, Wish
from security.errors import CertificateRefused, SealBroken, SignatureBroken

_CODES: tuple[tuple[type[Exception], FailureCode], ...] = (
    (CertificateRefused, FailureCode.MEMBER_REFUSED),
    (SignatureBroken, FailureCode.SIGNATURE),
    (SealBroken, FailureCode.SEAL),
    (DatasetRefused, FailureCode.SEAL),
    (CheckpointRefused, FailureCode.CHECKPOINT),
    (RunRefused, FailureCode.ORDER),
)


class Refused(Exception):
    """A party does not do what it was asked; travels as a `Refusal` message.

    Attributes:
        code: why.
        refused: members whose contributions the refusing party did not accept, with the reason of each.
    """

    def __init__(self, code: FailureCode, refused: Mapping[str, FailureCode] | None = None) -> None:
        super().__init__(code.text)
        self.code = code
        self.refused = dict(refused or {})


class RoundFailed(Exception):
    """A round cannot be finished; the message is the reason that people read.

    Attributes:
        waits: for hospitals that have left: another try would find them gone too, and the run need not be over.
    """

    def __init__(self, reason: str, *, waits: bool = False) -> None:
        super().__init__(reason)
        self.waits = waits


class Interrupted(Exception):
    """The authority's wish ends the run for now; the attempt in hand is abandoned."""

    def __init__(self, wish: Wish) -> None:
        super().__init__(wish.value)
        self.wish = wish


def code_of(error: Exception) -> FailureCode:
    """Return the code under which an error travels; anything unforeseen is `CRASHED`."""
    if isinstance(error, Refused):
        return error.code
    return next((code for kind, code in _CODES if isinstance(error, kind)), FailureCode.CRASHED)
