"""The nodes' processes of a measured round, and the transport to them, which keeps time."""

import gc
import multiprocessing
import time
from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import wraps
from multiprocessing.connection import Connection, wait
from typing import Any

from core.learning.run_events import EventKind
from federated.aggregation.local import LocalWork
from federated.answering import Answering
from federated.messages import Step
from federated.store import Event
from federated.transport.base import Delivery


@dataclass
class Phase:
    """One step's times in seconds: of each party, and the coordinator's own; and the bytes that each party sent."""

    parties: dict[str, float] = field(default_factory=dict)
    sent: dict[str, int] = field(default_factory=dict)
    coordinator_s: float = 0.0


class Machines:
    """The transport to the nodes' processes; it knows how long each answer took.

    Attributes:
        phases: (round, step) -> times.
        sent: party -> bytes that it sent in the measured round, less the sealed checkpoint ...
        checkpoint: ... which is counted here.
    """

    def __init__(self, lines: Sequence[Connection], of: Mapping[str, int], *, measured: int) -> None:
        self._measured = measured
        self._lines = lines
        self._of = of
        self._mark = time.perf_counter()
        self.phases: dict[tuple[int, str], Phase] = defaultdict(Phase)
        self.sent: dict[str, int] = defaultdict(int)
        self.checkpoint: dict[str, int] = defaultdict(int)
        self._seconds: dict[str, float] = {}
        self._place = (0, "")

    def note(self, event: Event) -> None:
        """Learn from the run's events which step the last answer belongs to."""
        if event.kind in {EventKind.ANSWERED, EventKind.FAILED}:
            self._place = event.round, event.payload["step"]
            phase = self.phases[self._place]
            phase.parties[event.party] = self._seconds.pop(event.party, 0.0)
            phase.sent[event.party] = event.payload.get("bytes_in", 0)
            if event.round == self._measured:
                sent = self.checkpoint if self._place[1] == Step.SEAL else self.sent
                sent[event.party] += event.payload.get("bytes_in", 0)

    def exchange(self, letters: Iterable[tuple[str, bytes]], *, deadline_s: float = 0.0) -> Iterator[Delivery]:  # noqa: ARG002
        """See `Transport.exchange`; a process has one letter at a time."""
        waited = 0.0
        busy: set[int] = set()
        for party, letter in letters:
            number = self._of[party]
            begun = time.perf_counter()
            found = self._answers(busy, until=number)
            self._lines[number].send((party, len(letter)))
            self._lines[number].send_bytes(letter)
            busy.add(number)
            waited += time.perf_counter() - begun
            yield from found
            del letter
        while busy:
            begun = time.perf_counter()
            found = self._answers(busy, until=None)
            waited += time.perf_counter() - begun
            yield from found
        now = time.perf_counter()
        self.phases[self._place].coordinator_s += now - self._mark - waited
        self._mark = now

    def _answers(self, busy: set[int], until: int | None) -> list[Delivery]:
        """Wait until a process (`until`, or any) is free; return what the processes have answered."""
        found: list[Delivery] = []
        while busy and (until in busy or (until is None and not found)):
            ready = wait([self._lines[number] for number in busy])
            for number in [number for number in busy if self._lines[number] in ready]:
                line = self._lines[number]
                party, seconds = line.recv()
                found.append(Delivery(party=party, data=line.recv_bytes()))
                self._seconds[party] = seconds
                busy.discard(number)
        return found


class _LocalWork:
    """Counts the seconds that this process spends on nodes' local work, which no figure is to hold."""

    def __init__(self) -> None:
        self.seconds = 0.0
        for name in ("train", "evaluate"):
            setattr(LocalWork, name, self._counted(getattr(LocalWork, name)))

    def _counted(self, work: Callable[..., Any]) -> Callable[..., Any]:
        @wraps(work)
        def counted(*args: Any) -> Any:
            begun = time.perf_counter()
            try:
                return work(*args)
            finally:
                self.seconds += time.perf_counter() - begun

        return counted


def _serve(line: Connection, parties: dict[str, Answering]) -> None:
    """Answer letters until the line ends."""
    local = _LocalWork()
    gc.freeze()
    gc.disable()  # it would walk the objects of all nodes of this process in the time of one of them
    while True:
        try:
            party, _ = line.recv()
            letter = line.recv_bytes()
        except EOFError:
            return
        before = local.seconds
        begun = time.perf_counter()
        answer = parties[party].answer(letter)
        seconds = time.perf_counter() - begun - (local.seconds - before)
        line.send((party, seconds))
        line.send_bytes(answer)


class Processes:
    """Starts the nodes' processes and ends them. A context manager."""

    def __init__(self, parties: dict[str, Answering], count: int, *, measured: int) -> None:
        self._workers: list[Any] = []
        self._lines: list[Connection] = []
        of = {party: number % count for number, party in enumerate(parties)}
        context = multiprocessing.get_context("fork")  # the parties are handed over as they are; none can be pickled
        for number in range(count):
            here, there = context.Pipe()
            own = {party: answering for party, answering in parties.items() if of[party] == number}
            worker = context.Process(target=_serve, args=(there, own), daemon=True)
            worker.start()
            there.close()
            self._workers.append(worker)
            self._lines.append(here)
        self._machines = Machines(self._lines, of, measured=measured)

    def __enter__(self) -> Machines:
        """Return the transport."""
        return self._machines

    def __exit__(self, *_exc: object) -> None:
        """End the processes."""
        for worker in self._workers:
            worker.terminate()
            worker.join()
