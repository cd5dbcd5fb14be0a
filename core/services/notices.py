"""What is new for a person since they looked last: numbers for the bell in the frame, and the mark that says seen.

Only numbers leave this module, so reading them is no read of patient data; each kind is one COUNT.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum

from sqlalchemy import ColumnElement, and_, or_
from sqlalchemy.exc import IntegrityError
from sqlmodel import Session, col, exists, func, select
from sqlmodel.sql.expression import SelectOfScalar

from core.services import audit
from core.services.app import Actor, App
from core.services.authorise import Action, Relation, authorise
from core.services.hospital_cases import is_of
from core.services.messages import unread_total
from db.engine import read_scope, session_scope
from db.models import (
    Appointment,
    AppointmentStatus,
    Case,
    CaseReview,
    CaseStatus,
    Role,
    SecondReading,
    SeenMark,
    Slot,
    User,
)

__all__ = ["Notice", "NoticeKind", "mark_seen", "notices"]


class NoticeKind(StrEnum):
    """What somebody is told of."""

    NEW_CASES = "new_cases"
    SECOND_READINGS = "second_readings"
    READINGS_DIFFER = "readings_differ"
    REVIEWED = "reviewed"
    BOOKED = "booked"
    CANCELLED = "cancelled"
    MESSAGES = "messages"


@dataclass(frozen=True)
class Notice:
    """How many things of a kind are new; messages are new until they are read, others until they are marked as seen."""

    kind: NoticeKind
    count: int


_KINDS: Mapping[Role, tuple[NoticeKind, ...]] = {
    Role.DOCTOR: (
        NoticeKind.NEW_CASES,
        NoticeKind.SECOND_READINGS,
        NoticeKind.READINGS_DIFFER,
        NoticeKind.BOOKED,
        NoticeKind.CANCELLED,
        NoticeKind.MESSAGES,
    ),
    Role.PATIENT: (NoticeKind.REVIEWED, NoticeKind.BOOKED, NoticeKind.CANCELLED, NoticeKind.MESSAGES),
}


def notices(app: App, actor: Actor) -> list[Notice]:
    """Return what is new for a person, by kind; kinds of which nothing is new are left out.

    Raises:
        NotAuthorised: the role has none.
    """
    with read_scope(app.engine) as session:
        authorise(app, session, actor, Action.READ_NOTICES, Relation.SELF, object_id=actor.user_id)
        marks = session.exec(select(SeenMark.kind, SeenMark.seen_at).where(SeenMark.user_id == actor.user_id)).all()
        seen, since = dict(marks), session.get_one(User, actor.user_id).created_at
        found = [Notice(kind, _count(session, actor, kind, seen.get(kind, since))) for kind in _KINDS[actor.role]]
    return [notice for notice in found if notice.count]


def mark_seen(app: App, actor: Actor, kind: NoticeKind) -> None:
    """Mark what there is of a kind as seen; messages are marked by reading them.

    Raises:
        NotAuthorised: the role has none.
    """
    try:
        with session_scope(app.engine) as session:
            authorise(app, session, actor, Action.MARK_NOTICES, Relation.SELF, object_id=actor.user_id)
            row = session.get(SeenMark, (actor.user_id, kind.value), with_for_update=True)
            if row is None:
                session.add(SeenMark(user_id=actor.user_id, kind=kind.value, seen_at=app.clock.now()))
            else:
                row.seen_at = app.clock.now()
            audit.append(app, session, actor, "notice.mark", object_id=actor.user_id, details={"kind": kind.value})
    except IntegrityError:  # another window of the same person has just marked it
        return


def _count(session: Session, actor: Actor, kind: NoticeKind, since: datetime) -> int:
    if kind is NoticeKind.MESSAGES:
        return unread_total(session, actor)
    return session.exec(_WANTED[kind](actor, since)).one()


def _new_cases(actor: Actor, since: datetime) -> SelectOfScalar[int]:
    """Return the count of cases that were answered since, or sent since and not answered."""
    answered = col(Case.answered_at) > since
    sent = and_(col(Case.status) == CaseStatus.WAITING, col(Case.created_at) > since)
    return select(func.count()).select_from(Case).where(or_(answered, sent), is_of(actor.hospital_id))


def _second(actor: Actor, *of_review: ColumnElement[bool]) -> SelectOfScalar[int]:
    """Return the count of outstanding second readings at the hospital, each with the review in force it is about."""
    case = exists().where(col(Case.id) == col(SecondReading.live_key), is_of(actor.hospital_id))
    review = exists().where(col(CaseReview.live_key) == col(SecondReading.live_key), *of_review)
    return select(func.count()).select_from(SecondReading).where(case, review)


def _second_readings(actor: Actor, since: datetime) -> SelectOfScalar[int]:
    by_others = _second(actor, col(CaseReview.doctor_id) != actor.user_id)
    return by_others.where(col(SecondReading.signed_at).is_(None), col(SecondReading.asked_at) > since)


def _readings_differ(actor: Actor, since: datetime) -> SelectOfScalar[int]:
    by_others = col(SecondReading.reader_id) != actor.user_id
    return _second(actor).where(by_others, col(SecondReading.signed_at) > since)


def _reviewed(actor: Actor, since: datetime) -> SelectOfScalar[int]:
    signed = select(func.count()).select_from(CaseReview).join(Case, col(Case.id) == col(CaseReview.case_id))
    return signed.where(Case.patient_id == actor.user_id, col(CaseReview.signed_at) > since)


def _appointments(actor: Actor) -> SelectOfScalar[int]:
    mine = Appointment.patient_id if actor.role is Role.PATIENT else Slot.doctor_id
    joined = select(func.count()).select_from(Appointment).join(Slot, col(Slot.id) == col(Appointment.slot_id))
    return joined.where(mine == actor.user_id)


def _booked(actor: Actor, since: datetime) -> SelectOfScalar[int]:
    by_others = col(Appointment.live_key).is_not(None), Appointment.booked_by != actor.user_id
    return _appointments(actor).where(*by_others, col(Appointment.created_at) > since)


def _cancelled(actor: Actor, since: datetime) -> SelectOfScalar[int]:
    by_others = func.coalesce(Appointment.cancelled_by, "") != actor.user_id
    cancelled = Appointment.status == AppointmentStatus.CANCELLED
    return _appointments(actor).where(cancelled, by_others, col(Appointment.cancelled_at) > since)


_WANTED: Mapping[NoticeKind, Callable[[Actor, datetime], SelectOfScalar[int]]] = {
    NoticeKind.NEW_CASES: _new_cases,
    NoticeKind.SECOND_READINGS: _second_readings,
    NoticeKind.READINGS_DIFFER: _readings_differ,
    NoticeKind.REVIEWED: _reviewed,
    NoticeKind.BOOKED: _booked,
    NoticeKind.CANCELLED: _cancelled,
}
