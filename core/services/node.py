"""A hospital's own node as its administrator sees it: certificates, and its figures beside the global ones."""

from dataclasses import dataclass
from datetime import datetime

from sqlmodel import col, select

from core.learning.orders import serving_party, training_party
from core.services import audit
from core.services.app import Actor, App
from core.services.authorise import Action
from core.services.members import CertificateView
from core.services.own_hospital import own_hospital
from core.services.run_steps import step_title
from core.services.run_views import RunMemory, RunView, list_runs, run_detail
from db.engine import read_scope, session_scope
from db.models import CertificateRecord, Hospital

__all__ = ["NodeView", "RunComparison", "certificates", "comparison", "last_runs", "node"]


@dataclass(frozen=True)
class NodeView:
    """The node's hospital.

    Attributes:
        hospital: its name.
        slug: its short name.
        training: name of the training party.
        serving: name of the serving party.
    """

    hospital: str
    slug: str
    training: str
    serving: str


@dataclass(frozen=True)
class RunComparison:
    """Own against global validation figures of one run.

    Attributes:
        run: the run.
        rounds: round -> (own figures, global figures); own ones are empty where the node did not take part.
        left_out: (round, title of the step, why) where the node was left out.
        seconds: own seconds by task over all rounds.
    """

    run: RunView
    rounds: dict[int, tuple[dict[str, float], dict[str, float]]]
    left_out: list[tuple[int, str, str]]
    seconds: dict[str, float]


def node(app: App, actor: Actor) -> NodeView:
    """Return the actor's own node.

    Raises:
        NotAuthorised: the actor does not administer a hospital.
    """
    row = _own_hospital(app, actor)
    return NodeView(row.name, row.slug, training_party(row.slug), serving_party(row.slug))


def certificates(app: App, actor: Actor) -> list[CertificateView]:
    """Return the certificates of the actor's own hospital, by party and use, the newest first.

    Raises:
        NotAuthorised: the actor does not administer a hospital.
    """
    row = _own_hospital(app, actor)
    now = app.clock.now()
    with read_scope(app.engine) as session:
        order = col(CertificateRecord.party), col(CertificateRecord.key_use), col(CertificateRecord.issued_at).desc()
        parties = [training_party(row.slug), serving_party(row.slug)]
        records = session.exec(
            select(CertificateRecord).where(col(CertificateRecord.party).in_(parties)).order_by(*order)
        ).all()
    return [
        CertificateView(
            serial=record.serial,
            party=record.party,
            key_use=record.key_use,
            issued_at=record.issued_at,
            not_after=record.not_after,
            revoked_at=record.revoked_at,
            reason=record.revocation_reason or "",
            state=_state(record, now),
        )
        for record in records
    ]


def comparison(app: App, actor: Actor, run_id: str, *, memory: RunMemory | None = None) -> RunComparison:
    """Return the node's own figures of a run beside the global ones.

    Args:
        app: the application.
        actor: the hospital's administrator.
        run_id: a run of `core.services.run_views.list_runs`.
        memory: what the page has read of this run before; it is brought up to date.

    Raises:
        NotAuthorised: the actor does not administer a hospital.
        NotFound: the hospital does not take part in this run.
    """
    hospital = _own_hospital(app, actor)
    party = training_party(hospital.slug)
    memory = RunMemory() if memory is None else memory
    before = memory.count
    detail = run_detail(app, actor, run_id, memory=memory)
    if memory.count > before:  # a figure was opened for the first time in this session
        with session_scope(app.engine) as session:
            audit.append(app, session, actor, "node.read-figures", object_id=run_id)
    own_seconds = [one.by_party.get(party, {}) for one in detail.rounds]
    return RunComparison(
        run=detail.run,
        rounds={
            one.round: (detail.own.get(one.round, {}).get(hospital.slug, {}), one.metrics)
            for one in detail.rounds
            if one.finished and one.round > 0
        },
        left_out=[
            (one.round, step_title(fault.step), fault.code.text)
            for one in detail.rounds
            for fault in one.failures
            if fault.party == party
        ],
        seconds={
            task: sum(seconds.get(task, 0.0) for seconds in own_seconds)
            for task in ("training_s", "evaluation_s", "cryptography_s", "other_s")
        },
    )


def last_runs(app: App, actor: Actor, limit: int = 20) -> list[RunView]:
    """Return the newest runs that the node takes part in.

    Raises:
        NotAuthorised: the actor does not administer a hospital.
    """
    _own_hospital(app, actor)
    return list_runs(app, actor)[:limit]


def _own_hospital(app: App, actor: Actor) -> Hospital:
    with read_scope(app.engine) as session:
        return own_hospital(app, session, actor, Action.READ_NODE)


def _state(record: CertificateRecord, now: datetime) -> str:
    if record.revoked_at is not None:
        return "revoked"
    return "expired" if record.not_after < now else "valid"
