"""The transport port: letters out, deliveries back. A missing answer is a delivery with a code, never an exception."""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Protocol

from core.learning.run_events import FailureCode


@dataclass(frozen=True, kw_only=True)
class Delivery:
    """What came back from one party.

    Attributes:
        party: from whom.
        data: the answer, unverified; None if there is none.
        failure: why there is none.
    """

    party: str
    data: bytes | None = None
    failure: FailureCode | None = None


class Transport(Protocol):
    """Carries bytes between the coordinator and the parties; knows nothing of what they mean."""

    def exchange(self, letters: Iterable[tuple[str, bytes]], *, deadline_s: float = 0.0) -> Iterator[Delivery]:
        """Send each party its letter and yield one delivery for each, as they come.

        Letters are drawn one by one and deliveries should be read as they come, so that neither end needs to hold all
        of them. What arrives after the exchange has ended is nobody's.

        Args:
            letters: party and bytes, each party once.
            deadline_s: after so many seconds, parties that have not answered are delivered as `LATE`; 0 for a day.

        Raises:
            TransportClosed: the transport is gone, so nothing will come.
        """
        ...


class TransportClosed(Exception):
    """The other end of the transport has ended."""
