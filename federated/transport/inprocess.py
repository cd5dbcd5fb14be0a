"""All parties in one process, still strangers: the coordinator's end holds two queues of bytes and nothing else.

`InProcessHost` stands for the hospitals' machines and the network. Its thread takes letters in the order in which they
were sent and has the addressed party answer, one at a time, since all nodes of a process share one trainer and its
cores. No reference leads from the coordinator's end to the host, to a party, or to a party's keys.
"""

import logging
import math
import queue
import threading
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import Self

from core.learning.run_events import FailureCode
from federated.answering import Answering
from federated.failures import code_of
from federated.transport.base import Delivery, TransportClosed

log = logging.getLogger(__name__)

_POLL_S = 1.0
_IN_FLIGHT = 16
"""Letters that wait for an answer at most, so that thousands of members need no more memory than a few."""


@dataclass(frozen=True)
class _Lines:
    """The two queues between the ends, and whether the host's end is gone."""

    letters: "queue.SimpleQueue[tuple[int, str, bytes] | None]" = field(default_factory=queue.SimpleQueue)
    deliveries: "queue.SimpleQueue[tuple[int, Delivery]]" = field(default_factory=queue.SimpleQueue)
    closed: threading.Event = field(default_factory=threading.Event)


class InProcessTransport:
    """The coordinator's end."""

    def __init__(self, lines: _Lines) -> None:
        self._lines = lines
        self._ticket = 0

    def exchange(self, letters: Iterable[tuple[str, bytes]], *, deadline_s: float = 0.0) -> Iterator[Delivery]:
        """See `Transport.exchange`."""
        self._ticket += 1
        ends = time.monotonic() + deadline_s if deadline_s else math.inf
        missing: set[str] = set()
        for party, data in letters:
            if len(missing) >= _IN_FLIGHT:
                yield from self._next(missing, ends)
            missing.add(party)
            self._lines.letters.put((self._ticket, party, data))
        while missing:
            yield from self._next(missing, ends)

    def _next(self, missing: set[str], ends: float) -> Iterator[Delivery]:
        """Wait for one delivery of this exchange, or for its end; strike out of `missing` whom it is from."""
        while True:
            left = ends - time.monotonic()
            if left <= 0:
                late, self._ticket = sorted(missing), self._ticket + 1
                missing.clear()
                yield from (Delivery(party=party, failure=FailureCode.LATE) for party in late)
                return
            try:
                ticket, delivery = self._lines.deliveries.get(timeout=min(_POLL_S, left))
            except queue.Empty:
                if self._lines.closed.is_set():
                    raise TransportClosed("the parties' end of the transport has ended") from None
                continue
            if ticket == self._ticket:  # an answer to an exchange that was given up is nobody's
                missing.discard(delivery.party)
                yield delivery
                return


class InProcessHost:
    """The parties' end: one thread that lets each party answer its letters. A context manager."""

    def __init__(self, parties: Sequence[Answering], *, is_down: Callable[[str], bool] = lambda _party: False) -> None:
        """Prepare the host; `with` starts it.

        Args:
            parties: who lives here.
            is_down: whether a party's machine is off (drop-outs are made this way); asked before and after an answer.
        """
        self._parties = {party.party: party for party in parties}
        self._is_down = is_down
        self._lines = _Lines()
        self._leaving = threading.Event()
        self._thread = threading.Thread(target=self._serve, name="federated-parties", daemon=True)

    @property
    def transport(self) -> InProcessTransport:
        """A new coordinator's end."""
        return InProcessTransport(self._lines)

    def __enter__(self) -> Self:
        """Start the thread."""
        self._thread.start()
        return self

    def __exit__(self, *_exc: object) -> None:
        """End the thread after the answer in hand; letters that wait stay unread."""
        self._leaving.set()
        self._lines.letters.put(None)
        self._thread.join()

    def _serve(self) -> None:
        try:
            while (letter := self._lines.letters.get()) is not None and not self._leaving.is_set():
                ticket, party, data = letter
                self._lines.deliveries.put((ticket, self._deliver(party, data)))
        finally:
            self._lines.closed.set()

    def _deliver(self, party: str, data: bytes) -> Delivery:
        if party not in self._parties or self._is_down(party):
            return Delivery(party=party, failure=FailureCode.DROPPED_OUT)
        try:
            answer = self._parties[party].answer(data)
        except Exception as error:  # a party that fails is a delivery, whatever failed
            code = code_of(error)
            log.info("%s does not answer: %s", party, code, exc_info=code is FailureCode.CRASHED)
            return Delivery(party=party, failure=code)
        if self._is_down(party):
            return Delivery(party=party, failure=FailureCode.DROPPED_OUT)
        return Delivery(party=party, data=answer)
