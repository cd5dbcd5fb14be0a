"""The transport port: letters out, deliveries back. A missing answer is a delivery with a code, never an exception."""

from collections.abc import Iterator, Mapping
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

    def exchange(self, letters: Mapping[str, bytes]) -> Iterator[Delivery]:
        """Send each party its letter and yield one delivery for each, as they come.

        Raises:
            TransportClosed: the transport is gone, so nothing will come.
        """
        ...


class TransportClosed(Exception):
    """The other end of the transport has ended."""
