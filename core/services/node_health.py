"""How a hospital's node is now: what waits for it, whether its enclave and the worker live, its last contribution."""

import time
from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum

from sqlalchemy import func
from sqlmodel import Session, col, select, text

from core.diagnosis.measurement import measure
from core.diagnosis.remote import EnclaveState, ReplicaView, state_of
from core.errors import HemaSealError
from core.learning.orders import serving_party, training_party
from core.learning.run_events import EventKind
from core.services import approvals, worker_process
from core.services.app import Actor, App
from core.services.authorise import Action
from core.services.own_hospital import own_hospital
from core.services.reach import out_of_reach
from core.services.run_memory import TRAINED
from db.engine import read_scope
from db.models import Case, CaseStatus, RunEvent

__all__ = ["Contribution", "EnclaveState", "NodeHealth", "Queue", "ReplicaView", "WorkerState", "health"]

MOST_CHECKED = 100
"""So many waiting cases, the oldest, are checked for whether anybody can still answer them."""


class WorkerState(StrEnum):
    """What the worker that plays runs is doing."""

    LIVES = "lives"
    NONE = "none"
    ELSEWHERE = "elsewhere"
    OVER_FLOWER = "over-flower"


@dataclass(frozen=True)
class Queue:
    """Cases that wait: how many, and since when the oldest does."""

    cases: int
    oldest: datetime | None


@dataclass(frozen=True)
class Contribution:
    """The last update that the node sent: when, in which run and round."""

    at: datetime
    run_id: str
    round: int


@dataclass(frozen=True)
class NodeHealth:
    """A node's queue and health.

    Attributes:
        unanswered: cases sent to the hospital that no enclave has answered.
        lost: of the oldest of them, how many nobody can answer any more: the patient must send the picture again.
        unreviewed: answered cases that wait for a doctor of the hospital.
        enclave: state of its enclave.
        models: how many models the enclave holds.
        memory_mib: its largest memory so far.
        replicas: where it is on other machines, each of them; the three above are then of the first that answers.
        worker: whether a worker lives that plays runs.
        contribution: the last update that the node sent, or None.
        database: kind of the database.
        database_ms: how long its answer to the smallest question took.
    """

    unanswered: Queue
    lost: int
    unreviewed: Queue
    enclave: EnclaveState
    models: int
    memory_mib: float
    replicas: tuple[ReplicaView, ...]
    worker: WorkerState
    contribution: Contribution | None
    database: str
    database_ms: float


def health(app: App, actor: Actor) -> NodeHealth:
    """Return how the actor's own node is; nothing is started by looking.

    Raises:
        NotAuthorised: the actor does not administer a hospital.
        DatabaseUnavailable: the database did not answer.
    """
    with read_scope(app.engine) as session:
        hospital = own_hospital(app, session, actor, Action.READ_NODE)
        started = time.perf_counter()
        session.exec(text("SELECT 1"))  # type: ignore[call-overload]  # a text has no place in SQLModel's signature
        took = (time.perf_counter() - started) * 1e3
        waits = col(Case.hospital_id) == hospital.id, col(Case.status) == CaseStatus.WAITING
        care = func.coalesce(Case.answered_by_hospital_id, Case.hospital_id) == hospital.id
        oldest = session.exec(select(Case).where(*waits).order_by(col(Case.created_at)).limit(MOST_CHECKED)).all()
        unanswered = _queue(session, *waits)
        unreviewed = _queue(session, care, col(Case.status) == CaseStatus.ANSWERED)
        lost = len(out_of_reach(app, session, oldest))
        contribution = _contribution(session, training_party(hospital.slug))
    state, models, memory, replicas = _enclave(app, serving_party(hospital.slug))
    return NodeHealth(
        unanswered=unanswered,
        lost=lost,
        unreviewed=unreviewed,
        enclave=state,
        models=models,
        memory_mib=memory,
        replicas=replicas,
        worker=_worker(app),
        contribution=contribution,
        database=app.engine.dialect.name,
        database_ms=took,
    )


def _queue(session: Session, *which: object) -> Queue:
    cases, oldest = session.exec(select(func.count(), func.min(Case.created_at)).where(*which)).one()  # type: ignore[arg-type]
    return Queue(int(cases), oldest)


def _contribution(session: Session, party: str) -> Contribution | None:
    rows = session.exec(
        select(RunEvent)
        .where(RunEvent.party == party, RunEvent.kind == EventKind.ANSWERED.value, col(RunEvent.sealed).is_not(None))
        .order_by(col(RunEvent.id).desc())
        .limit(10)
    ).all()
    newest = next((row for row in rows if row.payload.get("step") in TRAINED), None)
    return None if newest is None else Contribution(newest.at, newest.run_id, newest.round_number)


def _enclave(app: App, party: str) -> tuple[EnclaveState, int, float, tuple[ReplicaView, ...]]:
    """Return the state of a hospital's enclave, how many models it holds, its memory, and its replicas elsewhere."""
    try:
        with read_scope(app.engine) as session:
            trust, approved = app.trust(session), approvals.in_force(app, session)
        replicas = app.supervisor.replicas(party, identity=app.identity, trust=trust, approvals=approved)
        if replicas:
            best = next((one for one in replicas if one.state is EnclaveState.ANSWERS), replicas[0])
            return best.state, best.models, best.memory_mib, replicas
        if approved.find(measure().sha256) is None:
            return EnclaveState.NOT_APPROVED, 0, 0.0, ()
        said = app.supervisor.hello(party, identity=app.identity, trust=trust, approvals=approved)
    except HemaSealError as error:
        return state_of(error), 0, 0.0, ()
    if said is None:
        return EnclaveState.ASLEEP, 0, 0.0, ()
    return EnclaveState.ANSWERS, len(said.models), said.rss_mb, ()


def _worker(app: App) -> WorkerState:
    if app.settings.flower_socket is not None:
        return WorkerState.OVER_FLOWER
    if not app.settings.start_worker:
        return WorkerState.ELSEWHERE
    return WorkerState.LIVES if worker_process.is_running(app.settings) else WorkerState.NONE
