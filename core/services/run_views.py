"""What people see of federated runs: list, live detail, a hospital's own figures beside the global ones.

A node's own figures are opened while the authority or the node's own hospital looks at them (`run_memory`).
"""

import socket
from collections.abc import Collection
from dataclasses import dataclass, field, replace
from datetime import datetime

from sqlmodel import Session, col, select

from core.errors import NotFound
from core.learning.orders import AggregationMode, slug_of
from core.learning.run_choices import PrivacyOptions
from core.learning.run_events import EventKind, FailureCode
from core.learning.run_figures import TASKS, WAITING, RoundFigures, totals_of
from core.services import worker_process
from core.services.app import Actor, App
from core.services.authorise import Action, Relation, authorise
from core.services.dataset_store import open_name
from core.services.run_memory import RunMemory, open_figures, training_figure, validation_figures
from core.services.run_plans import choices_of
from core.services.run_steps import done_at, step_title
from core.studies import STUDIES_BY_CODE
from db.engine import read_scope
from db.models import Dataset, Hospital, Role, Run, RunEvent, RunMember
from db.models.federation import LeaveReason, Provenance, RunStatus, RunWish

__all__ = [
    "TASKS",
    "WAITING",
    "EventView",
    "FailureCode",
    "MemberView",
    "RoundFigures",
    "RunDetail",
    "RunMemory",
    "RunView",
    "event_view",
    "list_runs",
    "origins",
    "run_detail",
    "view_of_run",
]

EVENTS_SHOWN = 200


@dataclass(frozen=True)
class MemberView:
    """A hospital in a run.

    Attributes:
        hospital_id: id of the hospital.
        hospital: its name.
        slug: its short name.
        dataset: name of the data set it trains on.
        images: images of the training part.
        drop_requested: its node was made to drop out.
        left_at: since when it sits out by its own decision; None while it takes part.
        left_reason: why, for the authority and the hospital itself.
        provenance: where the images come from; None where the viewer may not know.
    """

    hospital_id: str
    hospital: str
    slug: str
    dataset: str
    images: int
    drop_requested: bool
    provenance: Provenance | None = None
    left_at: datetime | None = None
    left_reason: LeaveReason | None = None


@dataclass(frozen=True)
class RunView:
    """A run in a list.

    Attributes:
        id: id of the run.
        study: title of the study.
        mode: how updates travel.
        status: its state.
        wish: what the authority asked of it last.
        rounds: how many were ordered.
        rounds_done: how many are finished.
        attempts: how many attempts were begun.
        reason: why it failed, or "".
        created_at: when it was ordered.
        started_at: when a worker first took it.
        finished_at: when it ended.
    """

    id: str
    study: str
    mode: AggregationMode
    status: RunStatus
    wish: RunWish
    rounds: int
    rounds_done: int
    attempts: int
    reason: str
    created_at: datetime
    started_at: datetime | None
    finished_at: datetime | None


@dataclass(frozen=True)
class EventView:
    """An event in plain words."""

    at: datetime
    round: int
    party: str
    text: str


@dataclass(frozen=True)
class RunDetail:
    """A run with everything that its page draws.

    Attributes:
        run: its row.
        members: its hospitals.
        rounds: figures of each round that has begun, 0 first.
        own: round -> slug -> own validation figures, as far as the viewer may see them.
        training_loss: round -> slug -> mean loss of the last local epoch, likewise; none of private trainings.
        epsilon: round -> slug -> what the data set has spent of privacy, likewise.
        privacy: differential privacy that was ordered, or None.
        choices: what was ordered beside the defaults, a few words each.
        totals: seconds by task and bytes over all rounds.
        events: the newest first.
        worker_alive: whether a worker lives on this host, or one on another host holds the run.
    """

    run: RunView
    members: list[MemberView]
    rounds: list[RoundFigures]
    own: dict[int, dict[str, dict[str, float]]] = field(default_factory=dict)
    training_loss: dict[int, dict[str, float]] = field(default_factory=dict)
    epsilon: dict[int, dict[str, float]] = field(default_factory=dict)
    privacy: PrivacyOptions | None = None
    choices: list[str] = field(default_factory=list)
    totals: dict[str, float] = field(default_factory=dict)
    events: list[EventView] = field(default_factory=list)
    worker_alive: bool = False


def list_runs(app: App, actor: Actor) -> list[RunView]:
    """Return runs, the newest first; a hospital sees those that it takes part in.

    Raises:
        NotAuthorised: the role may not see runs.
    """
    with read_scope(app.engine) as session:
        authorise(app, session, actor, Action.READ_RUN, Relation.ANY)
        statement = select(Run).order_by(col(Run.created_at).desc())
        if actor.role is Role.HOSPITAL:
            statement = statement.join(RunMember, col(RunMember.run_id) == col(Run.id)).where(
                RunMember.hospital_id == actor.hospital_id
            )
        return [view_of_run(row) for row in session.exec(statement).all()]


def origins(app: App, actor: Actor, run_id: str, *, parties: Collection[str]) -> dict[str, Provenance]:
    """Return, by name, the hospitals of a run whose nodes are among `parties`, with where their images come from.

    Raises:
        NotAuthorised: only the authority may know it of all.
    """
    with read_scope(app.engine) as session:
        authorise(app, session, actor, Action.CONTROL_RUN, Relation.ANY, object_id=run_id)
        members = _members(app, session, run_id)
    taking_part = {slug_of(party) for party in parties}
    return {one.hospital: one.provenance for one in members if one.slug in taking_part and one.provenance is not None}


def run_detail(
    app: App, actor: Actor, run_id: str, *, memory: RunMemory | None = None, with_own: bool = True
) -> RunDetail:
    """Return a run with its rounds and events.

    Args:
        app: the application.
        actor: who looks; the authority sees every node's own figures, a hospital its own.
        run_id: id of the run.
        memory: what the page has read of this run before, as this actor; it is brought up to date.
        with_own: whether nodes' own figures are wanted at all; opening them takes a millisecond each.

    Raises:
        NotAuthorised: the role may not see runs.
        NotFound: no such run, or the hospital does not take part in it.
    """
    memory = RunMemory() if memory is None else memory
    with read_scope(app.engine) as session:
        authorise(app, session, actor, Action.READ_RUN, Relation.ANY, object_id=run_id)
        run = session.get(Run, run_id)
        members = _members(app, session, run_id)
        mine = next((member.slug for member in members if member.hospital_id == actor.hospital_id), None)
        if actor.role is not Role.AUTHORITY:  # what data another hospital has is that hospital's matter
            members = [
                one if one.slug == mine else replace(one, dataset="", images=0, provenance=None, left_reason=None)
                for one in members
            ]
        if run is None or (actor.role is Role.HOSPITAL and mine is None):
            raise NotFound
        of_run = select(RunEvent).where(RunEvent.run_id == run_id)
        rows = session.exec(of_run.where(RunEvent.round_number > memory.last).order_by(col(RunEvent.id))).all()
        told = of_run.where(RunEvent.kind != EventKind.PROGRESS.value)
        newest = session.exec(told.order_by(col(RunEvent.id).desc()).limit(EVENTS_SHOWN)).all()
        visible = [
            row
            for row in rows
            if with_own and row.sealed is not None and (actor.role is Role.AUTHORITY or slug_of(row.party) == mine)
        ]
        if unseen := memory.unseen(visible):
            if actor.role is not Role.AUTHORITY:
                authorise(app, session, actor, Action.READ_NODE, Relation.OWN_HOSPITAL)
            trust, at = app.trust(session), app.clock.now()
            for row in unseen:
                memory.keep(row, open_figures(row, study=run.study_code, reader=app.identity, trust=trust, at=at))
    rounds, readings = memory.take(rows, visible)
    return RunDetail(
        run=view_of_run(run),
        members=members,
        rounds=rounds,
        own=validation_figures(readings),
        training_loss=training_figure(readings, "loss"),
        epsilon=training_figure(readings, "epsilon"),
        privacy=_privacy(run),
        choices=choices_of(run.options),
        totals=totals_of(rounds),
        events=[event_view(row) for row in newest],
        worker_alive=worker_process.is_running(app.settings) or _is_held_elsewhere(run, app.clock.now()),
    )


def _is_held_elsewhere(run: Run, now: datetime) -> bool:
    """Tell whether a worker of another host has the run, by its lease; a dead one of this host may have a lease too."""
    held = run.worker is not None and run.lease_until is not None and run.lease_until > now
    return held and not str(run.worker).startswith(f"{socket.gethostname()[:24]}/")


def _privacy(run: Run) -> PrivacyOptions | None:
    """Return the privacy that the row repeats of the order; rows from before there was any lack the field."""
    values = run.options.get("privacy")
    return PrivacyOptions(**values) if isinstance(values, dict) else None


def _members(app: App, session: Session, run_id: str) -> list[MemberView]:
    rows = session.exec(
        select(RunMember, Hospital, Dataset)
        .join(Hospital, col(Hospital.id) == col(RunMember.hospital_id))
        .join(Dataset, col(Dataset.id) == col(RunMember.dataset_id))
        .where(RunMember.run_id == run_id)
        .order_by(col(Hospital.slug))
    ).all()
    return [
        MemberView(
            hospital_id=hospital.id,
            hospital=hospital.name,
            slug=hospital.slug,
            dataset=open_name(app, dataset),
            images=sum(dataset.class_counts.get("training", [])),
            provenance=dataset.provenance,
            drop_requested=member.drop_requested,
            left_at=member.left_at,
            left_reason=member.left_reason,
        )
        for member, hospital, dataset in rows
    ]


def view_of_run(row: Run) -> RunView:
    """Return a run as a list shows it."""
    study = STUDIES_BY_CODE.get(row.study_code)
    return RunView(
        id=row.id,
        study=study.title if study else row.study_code,
        mode=AggregationMode(row.mode),
        status=row.status,
        wish=row.wish,
        rounds=row.rounds,
        rounds_done=row.rounds_done,
        attempts=row.attempts,
        reason=row.reason or "",
        created_at=row.created_at,
        started_at=row.started_at,
        finished_at=row.finished_at,
    )


def event_view(row: RunEvent) -> EventView:
    """Return an event of a run in plain words."""
    kind = EventKind(row.kind)
    text = _TEXTS[kind]
    if kind is EventKind.ANSWERED:
        text = done_at(str(row.payload.get("step")))
    elif kind is EventKind.FAILED and row.payload["code"] == FailureCode.STOPPED:
        text = "stopped, as it was asked to"
    elif kind is EventKind.FAILED:
        at = step_title(str(row.payload.get("step")))
        text = f"left out at “{at}”: {FailureCode(str(row.payload['code'])).text}"
    elif kind in {EventKind.RUN_FAILED, EventKind.RUN_PAUSED} and row.payload.get("reason"):
        text = f"{text}: {row.payload['reason']}"
    return EventView(at=row.at, round=row.round_number, party=row.party, text=text)


_TEXTS = {
    EventKind.RUN_STARTED: "the run started",
    EventKind.RUN_RESUMED: "the run goes on after the last finished round",
    EventKind.ROUND_STARTED: "a new attempt of the round began",
    EventKind.PROGRESS: "trains",
    EventKind.ANSWERED: "answered",
    EventKind.FAILED: "left out",
    EventKind.ATTEMPT_ABANDONED: "the attempt was abandoned; nothing of it is used again",
    EventKind.ROUND_FINISHED: "the round is finished and stored",
    EventKind.EXPORT_STARTED: "a node prepares the serving model",
    EventKind.RUN_FINISHED: "the run is finished; its model is a candidate",
    EventKind.RUN_PAUSED: "the run is paused",
    EventKind.RUN_ABORTED: "the run was aborted",
    EventKind.RUN_FAILED: "the run failed",
}
