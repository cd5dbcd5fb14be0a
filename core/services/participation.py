"""A hospital's own say in federated runs: those that count on it, leaving one, and coming back.

A hospital takes part in what the authority ordered until it leaves. Leaving begins with the next attempt of a round:
the one in hand is finished, since other hospitals' masks hang on it. The node itself answers no later attempt, whoever
asks (`federated.node`), and the coordinator does not ask (`federated.coordinator`); what the others then need to go on
is as when a node drops out, except that a run which is left by too many waits instead of failing.
"""

from dataclasses import dataclass
from datetime import datetime

from sqlmodel import Session, col, select

from core.errors import NotFound, RecordDamaged, RunRefused
from core.services import audit
from core.services.app import Actor, App
from core.services.authorise import Action
from core.services.dataset_store import open_name
from core.services.own_hospital import own_hospital
from core.services.run_orders import signed_order
from core.services.run_plans import RoundPlan, round_plan
from core.services.run_views import RunView, view_of_run
from db.engine import read_scope, session_scope
from db.models import Dataset, LeaveReason, Run, RunMember, RunStatus

__all__ = ["REASONS", "LeaveReason", "Participation", "leave", "open_runs", "return_to"]

OPEN = (RunStatus.QUEUED, RunStatus.RUNNING, RunStatus.PAUSED, RunStatus.FAILED)
"""States of runs that may still play a round: a failed one can be resumed."""

REASONS: dict[LeaveReason, str] = {
    LeaveReason.MAINTENANCE: "our machine or network is needed or not available",
    LeaveReason.DATA: "our data set must be checked or corrected",
    LeaveReason.PRIVACY: "it would cost more privacy than we agree to",
    LeaveReason.TERMS: "our own rules or board do not allow this run",
    LeaveReason.OTHER: "another reason, which we tell the authority ourselves",
}
"""Each reason in words, as the end of “We leave because …”."""


@dataclass(frozen=True)
class Participation:
    """A run that counts on the hospital.

    Attributes:
        run: the run.
        dataset: name of the hospital's data set in it.
        plan: how many hospitals each round asks and needs; None where the stored order is not the authority's.
        here: hospitals of the run that have not left.
        left_at: since when this hospital sits out; None while it takes part.
        left_reason: why.
    """

    run: RunView
    dataset: str
    plan: RoundPlan | None
    here: int
    left_at: datetime | None
    left_reason: LeaveReason | None

    @property
    def goes_on_without_us(self) -> bool:
        """Whether the other hospitals that have not left are enough for a round."""
        return self.plan is not None and self.here - (self.left_at is None) >= self.plan.needed


def open_runs(app: App, actor: Actor) -> list[Participation]:
    """Return the runs that are planned or under way and count on the actor's hospital, the newest first.

    Raises:
        NotAuthorised: the actor does not administer a hospital.
    """
    with read_scope(app.engine) as session:
        hospital = own_hospital(app, session, actor, Action.READ_NODE)
        rows = session.exec(
            select(Run, RunMember, Dataset)
            .join(RunMember, col(RunMember.run_id) == col(Run.id))
            .join(Dataset, col(Dataset.id) == col(RunMember.dataset_id))
            .where(RunMember.hospital_id == hospital.id, col(Run.status).in_(OPEN))
            .order_by(col(Run.created_at).desc())
        ).all()
        here = {run.id: _here(session, run.id) for run, _, _ in rows}
        plans = {run.id: _plan(app, session, run) for run, _, _ in rows}
    return [
        Participation(
            run=view_of_run(run),
            dataset=open_name(app, dataset),
            plan=plans[run.id],
            here=here[run.id],
            left_at=member.left_at,
            left_reason=member.left_reason,
        )
        for run, member, dataset in rows
    ]


def leave(app: App, actor: Actor, run_id: str, reason: LeaveReason) -> None:
    """Let the actor's hospital sit out of a run from its next attempt of a round on.

    Raises:
        NotAuthorised: the actor does not administer a hospital.
        NotFound: the hospital does not take part in this run.
        RunRefused: the run is at its end, or the hospital has left it already.
    """
    with session_scope(app.engine) as session:
        member = _member(app, session, actor, run_id, Action.LEAVE_RUN)
        if member.left_at is not None:
            raise RunRefused("this hospital has left the run already")
        member.left_at, member.left_reason = app.clock.now(), LeaveReason(reason)
        _keep(app, session, actor, member, "run.leave", reason=member.left_reason.value)


def return_to(app: App, actor: Actor, run_id: str) -> None:
    """Let the actor's hospital take part again, from the next attempt of a round on.

    Raises:
        NotAuthorised: the actor does not administer a hospital.
        NotFound: the hospital does not take part in this run.
        RunRefused: the run is at its end, or the hospital has not left it.
    """
    with session_scope(app.engine) as session:
        member = _member(app, session, actor, run_id, Action.RETURN_TO_RUN)
        if member.left_at is None:
            raise RunRefused("this hospital takes part in the run")
        member.left_at = member.left_reason = None
        _keep(app, session, actor, member, "run.return")


def _member(app: App, session: Session, actor: Actor, run_id: str, action: Action) -> RunMember:
    hospital = own_hospital(app, session, actor, action, object_id=run_id)
    run = session.get(Run, run_id, with_for_update=True)
    member = session.get(RunMember, (run_id, hospital.id))
    if run is None or member is None:
        raise NotFound
    if run.status not in OPEN:
        raise RunRefused(f"the run is {run.status.value}")
    return member


def _keep(app: App, session: Session, actor: Actor, member: RunMember, action: str, **details: str) -> None:
    session.add(member)
    session.flush()
    audit.append(
        app, session, actor, action, object_id=member.run_id, details={**details, "dataset": member.dataset_id}
    )


def _here(session: Session, run_id: str) -> int:
    return len(
        session.exec(select(RunMember).where(RunMember.run_id == run_id, col(RunMember.left_at).is_(None))).all()
    )


def _plan(app: App, session: Session, run: Run) -> RoundPlan | None:
    try:
        order = signed_order(app, session, run)
    except RecordDamaged:
        return None
    return round_plan(
        order.mode,
        members=len(order.members),
        minimum=order.minimum_members,
        participation=order.round_rules.participation,
    )
