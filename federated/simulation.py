"""A whole federated run in one process, for the command ``simulate``.

Every party is an object of its own with throw-away keys; the messages are those of a real run.
"""

import secrets
import tempfile
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from core.clock import Clock, SystemClock
from core.diagnosis.bundle import ServingModel
from core.diagnosis.checkpoint_file import open_model
from core.diagnosis.exports import check_exports, encode_exports
from core.errors import RunRefused
from core.imaging.datasets import DatasetArrays, Part
from core.learning.group_key import seal_group_key
from core.learning.orders import (
    AGGREGATION,
    AUTHORITY,
    COORDINATOR,
    Member,
    RunOptions,
    check_validation,
    sign_order,
    training_party,
)
from core.learning.own_figures import open_own_figures, own_context
from core.learning.run_figures import RoundFigures, RunEntry, figures_of
from core.studies import Study
from federated.aggregation.enclave import AggregationEnclave
from federated.board import Board, MemoryBoard
from federated.coordinator import Coordinator
from federated.learner import KerasLearner, Learner
from federated.ledger import MemoryLedger
from federated.messages import Step
from federated.node import TrainingNode
from federated.notary import Notary
from federated.shares import SimulationOptions
from federated.store import Ending, Event, MemoryRunStore
from federated.throwaway import ThrowAwayKeys
from federated.timing import Stopwatch
from federated.transport.base import Transport
from federated.transport.inprocess import InProcessHost, Lines
from security.certificates import Trust
from security.identity import Identity

OnProgress = Callable[[str, int, int], None]
Cloud = Callable[[Transport, Notary], Transport]
"""Puts itself between the coordinator and the parties, with the coordinator's own keys: what a cloud could be."""


def _nothing(*_what: object) -> None:
    pass


def _honest(transport: Transport, _notary: Notary) -> Transport:
    return transport


@dataclass(frozen=True, kw_only=True)
class Simulated:
    """What came out.

    Attributes:
        model: the serving model, in clear, as the simulation's authority opened it.
        rounds: figures of each round, 0 first.
        own: round -> hospital's party -> its own validation figures (a simulation may show them).
        epsilon: round -> hospital's party -> what its data set has spent of privacy; empty without.
        wall_s: duration of the run.
        run: its id.
    """

    model: ServingModel
    rounds: list[RoundFigures]
    own: dict[int, dict[str, dict[str, float]]]
    epsilon: dict[int, dict[str, float]]
    wall_s: float
    run: str


def simulate(
    data: Mapping[str, DatasetArrays],
    study: Study,
    options: SimulationOptions,
    *,
    learner: Learner | None = None,
    clock: Clock | None = None,
    on_event: Callable[[Event], None] = _nothing,
    on_progress: OnProgress = _nothing,
    cloud: Cloud = _honest,
    boards: Callable[[str, str], Board] = lambda _attempt, _name: MemoryBoard(),
) -> Simulated:
    """Play a run over hospitals in this process.

    Args:
        data: hospital -> its data set.
        study: what is asked of the images.
        options: see `SimulationOptions`.
        learner: what the nodes train with; the study's network by default.
        clock: tells the time.
        on_event: told of each event of the run.
        on_progress: told of each training step: (party, done, total).
        cloud: what carries the messages; by default nothing that looks at them.
        boards: see `Coordinator`.

    Raises:
        RunRefused: the run failed; the text says why.
    """
    clock = clock or SystemClock()
    learner = learner or KerasLearner(study.architecture, study)
    run = secrets.token_hex(16)
    with tempfile.TemporaryDirectory(prefix="hemaseal-simulation-") as folder:
        keys = ThrowAwayKeys(Path(folder), clock=clock)
        authority = keys.enrol(AUTHORITY)

        def notary(identity: Identity) -> Notary:
            return Notary(identity, keys.trust(), study=study.code, clock=clock, watch=Stopwatch())

        lines = Lines()
        nodes = [
            TrainingNode(
                notary=notary(keys.enrol(training_party(hospital))),
                ledger=MemoryLedger(),
                learner=learner,
                dataset=hospital,
                data=arrays,
                clinical=options.clinical,
                should_stop=lines.given_up,
                progress=_bound(on_progress, training_party(hospital)),
            )
            for hospital, arrays in data.items()
        ]
        enclave = AggregationEnclave(notary=notary(keys.enrol(AGGREGATION)), ledger=MemoryLedger())
        coordinator_identity = keys.enrol(COORDINATOR)
        store = MemoryRunStore(clock=clock, listener=on_event)
        readers = [keys.certificate(training_party(hospital)) for hospital in data]
        ordered = order_options(data, study, options).naming(keys.board.signing.values())
        coordinators = notary(coordinator_identity)
        begun = time.perf_counter()
        with InProcessHost([*nodes, enclave], lines=lines) as host:
            coordinator = Coordinator(
                notary=coordinators,
                run=run,
                order=sign_order(ordered, run=run, signer=authority),
                group=seal_group_key(run, study=study.code, signer=authority, members=readers),
                transport=cloud(host.transport, coordinators),
                store=store,
                directory=keys.board,
                boards=boards,
            )
            ending = coordinator.play()
        wall = time.perf_counter() - begun
        if ending is not Ending.FINISHED or store.served is None:
            raise RunRefused(store.reason)
        model = open_model(
            store.served.sealed,
            recipient=authority,
            trust=keys.trust(),
            study=study.name,
            run=run,
            sender=store.served.exporter,
            at=clock.now(),
        )
        statements, members = encode_exports(dict(store.served.statements)), model.manifest.members
        check_exports(model, statements, members=members, trust=keys.trust(), at=clock.now())
        events = [event for _, event in store.events]
        own, epsilon = _own_figures(events, authority=authority, trust=keys.trust(), study=study, run=run, clock=clock)
    rounds = figures_of(RunEntry(event.kind, event.round, event.party, event.payload) for event in events)
    return Simulated(model=model, rounds=rounds, own=own, epsilon=epsilon, wall_s=wall, run=run)


def order_options(data: Mapping[str, DatasetArrays], study: Study, options: SimulationOptions) -> RunOptions:
    """Return the order of a run over hospitals, each with one data set named after it.

    Raises:
        RunRefused: the hospitals together have no validation images of a class.
    """
    check_validation(study, [arrays.class_counts(study)[Part.VALIDATION] for arrays in data.values()])
    return RunOptions(
        study=study.code,
        architecture=study.architecture,
        mode=options.mode,
        rounds=options.rounds,
        members=tuple(
            Member(
                party=training_party(hospital),
                dataset=hospital,
                images=len(arrays.part(Part.TRAINING)),
                validation=len(arrays.part(Part.VALIDATION)),
            )
            for hospital, arrays in data.items()
        ),
        minimum_members=options.minimum_members,
        training=options.training,
        round_rules=options.round_rules,
        privacy=options.privacy,
        combining=options.combining,
        server=options.server,
        seed=options.seed,
        draw=str(options.seed),
    )


def _own_figures(
    events: Sequence[Event], *, authority: Identity, trust: Trust, study: Study, run: str, clock: Clock
) -> tuple[dict[int, dict[str, dict[str, float]]], dict[int, dict[str, float]]]:
    """Open what the nodes sealed for the authority: validation figures, and epsilon where there is one."""
    own: dict[int, dict[str, dict[str, float]]] = {}
    epsilon: dict[int, dict[str, float]] = {}
    for event in events:
        if event.sealed is not None:
            context = own_context(
                study=study.code,
                party=event.party,
                run=run,
                round_number=event.round,
                attempt=event.payload["attempt"],
                step=event.payload["step"],
            )
            figures = open_own_figures(event.sealed, reader=authority, trust=trust, context=context, at=clock.now())
            if event.payload["step"] in {Step.EVALUATE, Step.FIGURES_UPLOAD}:
                own.setdefault(event.round, {})[event.party] = figures
            elif "epsilon" in figures:
                epsilon.setdefault(event.round, {})[event.party] = figures["epsilon"]
    return own, epsilon


def _bound(on_progress: OnProgress, party: str) -> Callable[[int, int], None]:
    return lambda done, total: on_progress(party, done, total)
