"""All parties in one process, still strangers: the coordinator's end holds two queues of bytes and nothing else.

`InProcessHost` stands for the hospitals' machines and the network. Its thread takes letters in the order in which they
were sent and has the addressed party answer, one at a time, since all nodes of a process share one trainer and its
cores. No reference leads from the coordinator's end to the host, to a party, or to a party's keys.

When an exchange ends before all have answered (its deadline passed, or the coordinator gave up), the host passes over
its letters, and `Lines.given_up` tells the party that is at work for it to stop.
"""

import logging
import queue
import threading
import time
from collections.abc import Callable, Generator, Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import Self

from core.learning.run_choices import MAX_DEADLINE_S
from core.learning.run_events import FailureCode
from federated.answering import Answering
from federated.failures import code_of
from federated.transport.base import Delivery, TransportClosed

log = logging.getLogger(__name__)

_POLL_S = 0.2
_IN_FLIGHT = 16
"""Letters that wait for an answer at most, so that thousands of members need no more memory than a few."""


@dataclass
class Lines:
    """What lies between the ends: two queues of bytes, which exchange is under way, and which one a party works for.

    Attributes:
        letters: (exchange, party, bytes) to the parties; None ends the host.
        deliveries: (exchange, delivery) to the coordinator.
        closed: set when the parties' end is gone.
        leaving: set when the parties' end shall go.
        begun: exchanges so far; the last one's number.
        under_way: number of the exchange that waits for answers, 0 for none.
        in_hand: number of the exchange of the letter that is being answered, 0 for none.
        now: tells deadlines the time, in seconds.
    """

    letters: "queue.SimpleQueue[tuple[int, str, bytes] | None]" = field(default_factory=queue.SimpleQueue)
    deliveries: "queue.SimpleQueue[tuple[int, Delivery]]" = field(default_factory=queue.SimpleQueue)
    closed: threading.Event = field(default_factory=threading.Event)
    leaving: threading.Event = field(default_factory=threading.Event)
    begun: int = 0
    under_way: int = 0
    in_hand: int = 0
    now: Callable[[], float] = time.monotonic

    def given_up(self) -> bool:
        """Whether nobody waits any more for the answer that a party is working on."""
        return self.leaving.is_set() or self.in_hand != self.under_way


class InProcessTransport:
    """The coordinator's end."""

    def __init__(self, lines: Lines) -> None:
        self._lines = lines

    def exchange(self, letters: Iterable[tuple[str, bytes]], *, deadline_s: float = 0.0) -> Iterator[Delivery]:
        """See `Transport.exchange`. Letters that are not sent yet when the deadline passes count as late too."""
        lines = self._lines
        number = lines.begun = lines.under_way = lines.begun + 1
        ends = lines.now() + (deadline_s or MAX_DEADLINE_S)
        unsent, missing = iter(letters), set[str]()
        try:
            for party, data in unsent:
                missing.add(party)
                lines.letters.put((number, party, data))
                if len(missing) >= _IN_FLIGHT and not (yield from self._one(number, missing, ends)):
                    break
            while missing and (yield from self._one(number, missing, ends)):
                pass
        finally:
            lines.under_way = 0
        for party in sorted(missing | {party for party, _ in unsent}):
            yield Delivery(party=party, failure=FailureCode.LATE)

    def _one(self, number: int, missing: set[str], ends: float) -> Generator[Delivery, None, bool]:
        """Yield one delivery of the exchange and strike its party out of `missing`; False if the deadline was first.

        What lies in the queue when the deadline has passed came in time: the coordinator was busy.
        """
        while True:
            left = ends - self._lines.now()
            try:
                found, delivery = self._lines.deliveries.get(timeout=min(max(left, 0), _POLL_S))
            except queue.Empty:
                if self._lines.closed.is_set():
                    raise TransportClosed("the parties' end of the transport has ended") from None
                if left <= 0:
                    return False
                continue
            if found == number and delivery.party in missing:  # an answer to an ended exchange is nobody's
                missing.discard(delivery.party)
                yield delivery
                return True


class InProcessHost:
    """The parties' end: one thread that lets each party answer its letters. A context manager."""

    def __init__(
        self,
        parties: Sequence[Answering],
        *,
        is_down: Callable[[str], bool] = lambda _party: False,
        lines: Lines | None = None,
    ) -> None:
        """Prepare the host; `with` starts it.

        Args:
            parties: who lives here.
            is_down: whether a party's machine is off (drop-outs are made this way); asked before and after an answer.
            lines: new ones, of which the parties may know `given_up`.
        """
        self._parties = {party.party: party for party in parties}
        self._is_down = is_down
        self._lines = lines or Lines()
        self._thread = threading.Thread(target=self._serve, name="federated-parties", daemon=True)

    @property
    def transport(self) -> InProcessTransport:
        """A new coordinator's end; one exchange at a time can be under way."""
        return InProcessTransport(self._lines)

    def __enter__(self) -> Self:
        """Start the thread."""
        self._thread.start()
        return self

    def __exit__(self, *_exc: object) -> None:
        """End the thread after the answer in hand; letters that wait stay unread."""
        self._lines.leaving.set()
        self._lines.letters.put(None)
        self._thread.join()

    def _serve(self) -> None:
        lines = self._lines
        try:
            while (letter := lines.letters.get()) is not None and not lines.leaving.is_set():
                lines.in_hand, party, data = letter
                if not lines.given_up():
                    lines.deliveries.put((lines.in_hand, self._deliver(party, data)))
        finally:
            lines.closed.set()

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
