"""The coordinator's end of the Flower transport: letters go to the `serverapp` through its local socket."""

import logging
import time
from collections.abc import Iterable, Iterator
from pathlib import Path

from core.learning.run_choices import MAX_DEADLINE_S
from core.learning.run_events import FailureCode
from federated.transport.base import Delivery, TransportClosed
from federated.transport.flower.lines import END, Line, LineEnded, Parcel

log = logging.getLogger(__name__)


class FlowerTransport:
    """A `federated.transport.base.Transport`; one connection for each exchange."""

    def __init__(self, path: Path) -> None:
        """Reach the server app.

        Args:
            path: of the socket at which it waits for letters.
        """
        self._path = path

    def is_open(self) -> bool:
        """Whether the server app listens."""
        try:
            with Line.to(self._path):
                return True
        except LineEnded:
            return False

    def exchange(self, letters: Iterable[tuple[str, bytes]], *, deadline_s: float = 0.0) -> Iterator[Delivery]:
        """See `Transport.exchange`. All letters are under way at once."""
        limit = deadline_s or MAX_DEADLINE_S
        until = time.monotonic() + limit
        unsent, missing = iter(letters), set[str]()
        try:
            with Line.to(self._path) as line:
                line.send_seconds(limit)
                for party, data in unsent:
                    missing.add(party)
                    line.send(Parcel(party=party, data=data), until=until)
                line.send(END)
                while missing:
                    parcel = line.receive(until=until)
                    if parcel.party in missing:
                        missing.discard(parcel.party)
                        yield _delivery(parcel)
        except TimeoutError:
            late = sorted(missing | {party for party, _ in unsent})
            yield from (Delivery(party=party, failure=FailureCode.LATE) for party in late)
        except LineEnded as error:
            raise TransportClosed(f"Flower's server app does not answer: {error}") from error


def _delivery(parcel: Parcel) -> Delivery:
    if not parcel.failure:
        return Delivery(party=parcel.party, data=parcel.data)
    known = parcel.failure in set(FailureCode)
    return Delivery(party=parcel.party, failure=FailureCode(parcel.failure) if known else FailureCode.DROPPED_OUT)
