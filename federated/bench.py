"""What one round costs: ``python -m federated bench``. Real parties and messages, vectors instead of training.

What is measured: round 2 of a run, from its first message to the sealed checkpoint, with keys, orders and certificates
as in a real run; round 1 warms up. Every node is an object with its own keys; nodes live in processes of their own, so
that the coordinator's memory is the coordinator's. Ledgers are in memory, and so are the published uploads of a round
of up to 32 Mi parameters over all nodes; those of a larger one are written to files and read back. Definitions:

- seconds are by the clock; with one process a node and the coordinator never work at the same time. A busy machine
  makes them longer. No party uses more than one thread where `OMP_NUM_THREADS=1`.
- time of a node in a step: from the letter's bytes to the answer's, less its local work (`federated.aggregation.local`:
  training, here handing out a vector, evaluating, and sealing its own figures for its hospital): no training is in any
  figure.
- time of the coordinator in a step: making letters and reading, checking, publishing and adding answers, less moving
  bytes through the pipes, which stand for the network.
- `total_s`: the aggregation of the update, all nodes and the coordinator summed over its steps, from the first to the
  one that applies the sum (`STEPS[Label.UPDATE]`; all steps in `plain` and `sealed`). `critical_s`: over these steps,
  the slowest node and then the coordinator, as if every hospital had its own machine and the network took no time.
- `figures_s`: in `blind`, the second sum, of the validation figures, all parties; `seal_s`: sealing and opening the new
  checkpoint. `round_s`: everything. `wall_s`: of the whole round here, with as many node processes as `--processes`
  says.
- `bytes_per_parameter`: bytes that one node sends for both sums (the largest of the nodes), by parameters; beside it
  one node sends the new checkpoint, sealed (`checkpoint_bytes_per_parameter`).
- `coordinator_peak_mb`: peak resident memory of the process that holds the coordinator.
"""

import gc
import multiprocessing
import resource
import secrets
import tempfile
import time
from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import astuple, dataclass, field
from functools import cached_property, wraps
from multiprocessing.connection import Connection, wait
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from core.clock import SystemClock
from core.imaging.datasets import DatasetArrays, Part
from core.learning.group_key import seal_group_key
from core.learning.metric_sums import Vector, sums_of
from core.learning.orders import (
    AGGREGATION,
    AUTHORITY,
    COORDINATOR,
    AggregationMode,
    Member,
    RunOptions,
    sign_order,
    training_party,
)
from core.learning.run_events import EventKind
from core.learning.training import Progress, ShouldStop, TrainingOptions, TrainingReport
from core.learning.weights import Weights
from core.studies import LEUKEMIA
from federated.aggregation.base import GlobalModel
from federated.aggregation.blind.statements import Label
from federated.aggregation.blind.steps import STEPS
from federated.aggregation.enclave import AggregationEnclave
from federated.aggregation.local import LocalWork
from federated.answering import Answering
from federated.board import FileBoard, MemoryBoard
from federated.coordinator import Coordinator
from federated.ledger import MemoryLedger
from federated.memory import keep_large_buffers
from federated.messages import Step
from federated.node import TrainingNode
from federated.notary import Notary
from federated.store import Event, MemoryRunStore
from federated.throwaway import ThrowAwayKeys
from federated.timing import Stopwatch
from federated.transport.base import Delivery

DEVIATION = 0.02
"""Standard deviation of the made-up weight changes."""
MEASURED = 2
"""The round that is measured."""
IN_MEMORY = 32 * 2**20
_FIGURES = frozenset(step.value for step in astuple(STEPS[Label.FIGURES]))
_SEALING = frozenset({Step.SEAL.value, Step.OPEN.value})
_BESIDE = _FIGURES | _SEALING
_TENSORS = 8
_CELLS = 8
_MEGABYTE = 2**20


class BenchLearner:
    """Hands out a made-up update instead of training; counts the seconds that this takes."""

    def __init__(self, parameters: int, node: int) -> None:
        self._parameters = parameters
        self._node = node
        self._images = int(np.random.default_rng([node, 1]).integers(50, 400))

    @cached_property
    def _delta(self) -> Weights:
        """Made when it is asked for, in the node's process."""
        rng = np.random.default_rng(self._node)
        sizes = [len(piece) for piece in np.array_split(np.empty(self._parameters, np.uint8), _TENSORS)]
        return {f"layer-{i}": rng.normal(0, DEVIATION, size).astype(np.float32) for i, size in enumerate(sizes)}

    def update(self) -> tuple[Weights, int]:
        """Return the change of each tensor that this node hands out, and its number of images."""
        return self._delta, self._images

    def initial(self, seed: int) -> Weights:
        """See `Learner.initial`."""
        rng = np.random.default_rng(seed)
        return {name: rng.normal(0, 0.1, delta.shape).astype(np.float32) for name, delta in self._delta.items()}

    def fit(
        self,
        weights: Weights,
        images: NDArray[np.uint8],  # noqa: ARG002 - there is nothing to train on
        labels: NDArray[np.int64],  # noqa: ARG002
        options: TrainingOptions,  # noqa: ARG002
        *,
        should_stop: ShouldStop,  # noqa: ARG002
        progress: Progress,  # noqa: ARG002
    ) -> tuple[Weights, TrainingReport]:
        """See `Learner.fit`."""
        new = {name: array + self._delta[name] for name, array in weights.items()}
        return new, TrainingReport(images=self._images, steps=1, loss=0.0, stopped=False)

    def fit_privately(self, *_what: Any, **_how: Any) -> tuple[Weights, TrainingReport]:
        """See `Learner.fit_privately`; a measured round's order asks for no privacy."""
        raise NotImplementedError

    def evaluate(self, weights: Weights, images: NDArray[np.uint8], labels: NDArray[np.int64]) -> Vector:  # noqa: ARG002
        """See `Learner.evaluate`."""
        return sums_of(np.linspace(-1, 1, 2 * len(labels)).reshape(-1, 2), labels, LEUKEMIA)

    def export(self, weights: Weights) -> bytes:
        """See `Learner.export`; a measured round has none."""
        raise NotImplementedError


@dataclass
class Phase:
    """One step's times in seconds: of each party, and the coordinator's own."""

    parties: dict[str, float] = field(default_factory=dict)
    coordinator_s: float = 0.0


class _Finished(Exception):
    """The measured round is over."""


class _Store(MemoryRunStore):
    """Ends the run when the measured round is stored."""

    def finish_round(self, attempt: str, model: GlobalModel, event: Event) -> None:
        """See `RunStore.finish_round`."""
        super().finish_round(attempt, model, event)
        if model.round == MEASURED:
            raise _Finished


class _Machines:
    """The nodes' processes, and the transport to them; it knows how long each answer took."""

    def __init__(self, lines: Sequence[Connection], of: dict[str, int]) -> None:
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
            self.phases[self._place].parties[event.party] = self._seconds.pop(event.party, 0.0)
            if event.round == MEASURED:
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


def bench(*, nodes: int, parameters: int, mode: AggregationMode, processes: int) -> dict[str, Any]:
    """Play one round and return its figures (see the top of this module)."""
    keep_large_buffers()
    clock, run = SystemClock(), secrets.token_hex(16)
    options = RunOptions(
        study=LEUKEMIA.code,
        mode=mode,
        rounds=MEASURED,
        members=tuple(
            Member(party=training_party(f"h{number}"), dataset="bench", images=400, validation=_CELLS)
            for number in range(nodes)
        ),
    )
    with tempfile.TemporaryDirectory(prefix="hemaseal-bench-") as folder:
        keys = ThrowAwayKeys(Path(folder), clock=clock)
        authority = keys.enrol(AUTHORITY)

        def notary(party: str) -> Notary:
            return Notary(keys.enrol(party), keys.trust(), study=LEUKEMIA.code, clock=clock, watch=Stopwatch())

        data = _data()
        learners = {party: BenchLearner(parameters, number) for number, party in enumerate(options.parties)}
        parties: dict[str, Answering] = {
            party: TrainingNode(
                notary=notary(party),
                ledger=MemoryLedger(),
                learner=learner,
                dataset="bench",
                data=data,
                clinical=False,
            )
            for party, learner in learners.items()
        }
        parties[AGGREGATION] = AggregationEnclave(notary=notary(AGGREGATION), ledger=MemoryLedger())
        coordinator = notary(COORDINATOR)
        members = [keys.certificate(party) for party in options.parties]
        order = sign_order(options, run=run, signer=authority)
        group = seal_group_key(run, study=LEUKEMIA.code, signer=authority, members=members)
        in_memory = nodes * parameters <= IN_MEMORY
        with _Processes(parties, processes) as machines:
            parties.clear()
            store = _Store(clock=clock, listener=machines.note)
            play = Coordinator(
                notary=coordinator,
                run=run,
                order=order,
                transport=machines,
                store=store,
                directory=keys.board,
                group=group,
                boards=lambda attempt, name: MemoryBoard() if in_memory else FileBoard(Path(folder) / attempt / name),
            )
            try:
                ending = play.play()
            except _Finished:
                ending = None
        if ending is not None:
            raise RuntimeError(f"the round failed: {store.reason}")
    return _figures(machines, store, nodes=nodes, parameters=parameters, mode=mode, processes=processes)


class _Processes:
    """Starts the nodes' processes and ends them. A context manager."""

    def __init__(self, parties: dict[str, Answering], count: int) -> None:
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
        self._machines = _Machines(self._lines, of)

    def __enter__(self) -> _Machines:
        """Return the transport."""
        return self._machines

    def __exit__(self, *_exc: object) -> None:
        """End the processes."""
        for worker in self._workers:
            worker.terminate()
            worker.join()


def _data() -> DatasetArrays:
    """A few images that nobody looks at."""
    count = _CELLS * len(Part)
    side = LEUKEMIA.input_size
    return DatasetArrays(
        images=np.zeros((count, side, side, 3), np.uint8),
        labels=np.tile(np.array([0, 1], np.int64), count // 2),
        patients=tuple(f"p{number // _CELLS}" for number in range(count)),
        parts=np.repeat(np.arange(len(Part)), _CELLS).astype(np.uint8),
    )


def _figures(
    machines: _Machines, store: MemoryRunStore, *, nodes: int, parameters: int, mode: AggregationMode, processes: int
) -> dict[str, Any]:
    phases = {step: phase for (number, step), phase in machines.phases.items() if number == MEASURED}
    started = next(
        at for at, event in store.events if event.kind is EventKind.ROUND_STARTED and event.round == MEASURED
    )
    finished = next(
        at for at, event in store.events if event.kind is EventKind.ROUND_FINISHED and event.round == MEASURED
    )
    rows = {
        step: {
            "nodes_s": sum(phase.parties.values()),
            "slowest_s": max(phase.parties.values(), default=0.0),
            "coordinator_s": phase.coordinator_s,
        }
        for step, phase in phases.items()
    }
    return {
        "mode": mode.value,
        "nodes": nodes,
        "parameters": parameters,
        "processes": processes,
        "total_s": _seconds(row for step, row in rows.items() if step not in _BESIDE),
        "critical_s": sum(row["slowest_s"] + row["coordinator_s"] for step, row in rows.items() if step not in _BESIDE),
        "figures_s": _seconds(row for step, row in rows.items() if step in _FIGURES),
        "seal_s": _seconds(row for step, row in rows.items() if step in _SEALING),
        "round_s": _seconds(rows.values()),
        "wall_s": (finished - started).total_seconds(),
        "node_s": sum(row["nodes_s"] for row in rows.values()) / nodes,
        "coordinator_s": sum(row["coordinator_s"] for row in rows.values()),
        "bytes_per_parameter": max(sent for party, sent in machines.sent.items() if party != AGGREGATION) / parameters,
        "checkpoint_bytes_per_parameter": sum(machines.checkpoint.values()) / parameters,
        "coordinator_peak_mb": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024 / _MEGABYTE,
        "phases": rows,
    }


def _seconds(rows: Iterable[Mapping[str, float]]) -> float:
    return sum(row["nodes_s"] + row["coordinator_s"] for row in rows)
