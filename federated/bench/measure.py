"""What one round costs: ``python -m federated bench``. Real parties and messages, vectors instead of training.

What is measured: round 3 of a run, from its first message to the sealed checkpoint, with keys, orders and certificates
as in a real run; the rounds before warm up, and leave files to be overwritten as a worker's do (`federated.board`).
Every node is an object with its own keys; nodes live in processes of their own, so that the coordinator's memory is the
coordinator's. Ledgers are in memory, and so are the published uploads of a round of up to 32 Mi parameters over all
nodes; those of a larger one are written to files and read back. Definitions:

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

import resource
import secrets
import tempfile
from collections.abc import Iterable, Mapping
from dataclasses import astuple
from pathlib import Path
from typing import Any

import numpy as np

from core.clock import SystemClock
from core.imaging.datasets import DatasetArrays, Part
from core.learning.group_key import seal_group_key
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
from core.studies import LEUKEMIA
from federated.aggregation.base import GlobalModel
from federated.aggregation.blind.statements import Label
from federated.aggregation.blind.steps import STEPS
from federated.aggregation.enclave import AggregationEnclave
from federated.answering import Answering
from federated.bench.learner import BenchLearner
from federated.bench.machines import Machines, Processes
from federated.board import MemoryBoard, file_board
from federated.coordinator import Coordinator
from federated.ledger import MemoryLedger
from federated.memory import keep_large_buffers
from federated.messages import Step
from federated.node import TrainingNode
from federated.notary import Notary
from federated.store import Event, MemoryRunStore
from federated.throwaway import ThrowAwayKeys
from federated.timing import Stopwatch

MEASURED = 3
"""The round that is measured."""
IN_MEMORY = 32 * 2**20
"""Up to so many parameters over all nodes, published uploads stay in memory."""
_FIGURES = frozenset(step.value for step in astuple(STEPS[Label.FIGURES]))
_SEALING = frozenset({Step.SEAL.value, Step.OPEN.value})
_BESIDE = _FIGURES | _SEALING
_CELLS = 8
_MEGABYTE = 2**20


class _Finished(Exception):
    """The measured round is over."""


class _Store(MemoryRunStore):
    """Ends the run when the measured round is stored; a worker's rounds lie in the database, not in its memory."""

    last = ""

    def finish_round(self, attempt: str, model: GlobalModel, event: Event) -> None:
        """See `RunStore.finish_round`."""
        super().finish_round(attempt, model, event)
        self.last = attempt
        del self.models[:-1]
        if model.round == MEASURED:
            raise _Finished
        self.events.clear()


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
        order = sign_order(options.naming(keys.board.signing.values()), run=run, signer=authority)
        group = seal_group_key(run, study=LEUKEMIA.code, signer=authority, members=members)
        in_memory, published = nodes * parameters <= IN_MEMORY, Path(folder) / "published"
        with Processes(parties, processes, measured=MEASURED) as machines:
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
                boards=lambda attempt, name: (
                    MemoryBoard() if in_memory else file_board(published, attempt, name, last=store.last)
                ),
            )
            try:
                ending = play.play()
            except _Finished:
                ending = None
        if ending is not None:
            raise RuntimeError(f"the round failed: {store.reason}")
    return _figures(machines, store, nodes=nodes, parameters=parameters, mode=mode, processes=processes)


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
    machines: Machines, store: MemoryRunStore, *, nodes: int, parameters: int, mode: AggregationMode, processes: int
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
            "most_sent": max(phase.sent.values(), default=0),
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
