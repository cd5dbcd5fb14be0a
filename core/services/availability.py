"""A doctor's own plan: weekly times, from which slots are made eight weeks ahead, and days on which there are none.

Making slots is repeated at will: what was made once, or taken back by hand, is not made again. Only free slots are ever
withdrawn; what is booked stays and is told.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import date, datetime, timedelta

from sqlalchemy.exc import IntegrityError
from sqlmodel import Session, col, select

from core.errors import AppointmentRefused
from core.services import audit
from core.services.app import Actor, App
from core.services.authorise import Action, Relation, authorise
from core.services.slots import add_slots, booked_places, own_row
from core.services.weekly_pattern import WeeklyPattern, check_years, days_of, zone_of
from db.engine import read_scope, session_scope
from db.models import Absence, Availability, Slot, User
from db.types import new_id

__all__ = ["AbsenceView", "PatternView", "Plan", "Withdrawn", "add_absence", "add_pattern", "end_pattern", "plan"]

HORIZON = timedelta(weeks=8)
MAX_PATTERNS = 50
MAX_ABSENCES = 100
LONGEST_ABSENCE = timedelta(days=366)
ZONES_APART = timedelta(days=2)  # a day may end so long after it has ended elsewhere


@dataclass(frozen=True)
class PatternView:
    """A weekly pattern in force."""

    id: str
    pattern: WeeklyPattern


@dataclass(frozen=True)
class AbsenceView:
    """Days without slots, both included, in a place's own calendar."""

    id: str
    first_day: date
    last_day: date
    zone: str


@dataclass(frozen=True)
class Plan:
    """A doctor's weekly patterns in force and coming absences."""

    patterns: list[PatternView]
    absences: list[AbsenceView]


@dataclass(frozen=True)
class Withdrawn:
    """How many free slots were taken back, and in how many slots appointments stand that stay."""

    free: int
    booked: int


def plan(app: App, actor: Actor) -> Plan:
    """Return one's own plan; no patient is in it.

    Raises:
        NotAuthorised: not a doctor.
    """
    with read_scope(app.engine) as session:
        authorise(app, session, actor, Action.READ_SLOTS, Relation.SELF, object_id=actor.user_id)
        patterns = [PatternView(row.id, _pattern(row)) for row in _in_force(session, actor.user_id)]
        absences = [
            AbsenceView(row.id, row.first_day, row.last_day, row.zone) for row in _absences(app, session, actor.user_id)
        ]
    return Plan(patterns, absences)


def add_pattern(app: App, actor: Actor, pattern: WeeklyPattern) -> int:
    """Add weekly times and make their slots of the next weeks; return how many.

    Raises:
        AppointmentRefused: it makes no sense, or there are too many patterns.
        NotAuthorised: not a doctor.
    """
    pattern.check()
    with session_scope(app.engine) as session:
        authorise(app, session, actor, Action.OFFER_SLOT, Relation.SELF, object_id=actor.user_id)
        _lock(session, actor)
        if len(_in_force(session, actor.user_id)) >= MAX_PATTERNS:
            raise AppointmentRefused(f"at most {MAX_PATTERNS} weekly times; end one first")
        row = Availability(id=new_id(), doctor_id=actor.user_id, **vars(pattern))
        session.add(row)
        session.flush()
        made = _make(app, session, actor.user_id)
        audit.append(
            app, session, actor, "slot.plan", object_id=actor.user_id, details={"pattern": row.id, "made": made}
        )
    return made


def top_up(app: App, actor: Actor) -> int:
    """Make the slots of one's patterns that have come within reach since; return how many.

    Raises:
        NotAuthorised: not a doctor.
    """
    try:
        with session_scope(app.engine) as session:
            authorise(app, session, actor, Action.OFFER_SLOT, Relation.SELF, object_id=actor.user_id)
            _lock(session, actor)
            made = _make(app, session, actor.user_id)
            if made:
                audit.append(app, session, actor, "slot.offer", object_id=actor.user_id, details={"made": made})
    except IntegrityError as error:
        raise AppointmentRefused("these times were being offered from another window; look at your list") from error
    return made


def end_pattern(app: App, actor: Actor, pattern_id: str) -> Withdrawn:
    """End weekly times: their free slots are taken back; ending once more changes nothing.

    Raises:
        NotFound: there is no such pattern.
        NotAuthorised: it is another doctor's.
    """
    with session_scope(app.engine) as session:
        row = own_row(app, session, actor, Availability, pattern_id, action=Action.WITHDRAW_SLOT)
        row.ended_at = row.ended_at or app.clock.now()
        _lock(session, actor)
        slots = select(Slot).where(Slot.availability_id == row.id, col(Slot.starts_at) > app.clock.now())
        done = _withdraw_free(session, session.exec(slots.with_for_update()).all())
        _note(app, session, actor, "slot.plan-end", done)
    return done


def add_absence(app: App, actor: Actor, *, first_day: date, last_day: date, zone: str) -> Withdrawn:
    """Be away on some days: their free slots are taken back, and none are made while the absence stands.

    Raises:
        AppointmentRefused: the days make no sense, or there are too many absences.
        NotAuthorised: not a doctor.
    """
    zone_of(zone)
    check_years(first_day, last_day)
    if not first_day <= last_day <= first_day + LONGEST_ABSENCE:
        raise AppointmentRefused("the last day must not lie before the first, nor a year after it")
    begin, end = days_of(first_day, last_day, zone)
    if end <= app.clock.now():
        raise AppointmentRefused("these days are over")
    with session_scope(app.engine) as session:
        authorise(app, session, actor, Action.OFFER_SLOT, Relation.SELF, object_id=actor.user_id)
        _lock(session, actor)
        if len(_absences(app, session, actor.user_id)) >= MAX_ABSENCES:
            raise AppointmentRefused(f"at most {MAX_ABSENCES} absences; remove one first")
        session.add(Absence(id=new_id(), doctor_id=actor.user_id, first_day=first_day, last_day=last_day, zone=zone))
        slots = select(Slot).where(
            Slot.doctor_id == actor.user_id,
            col(Slot.starts_at) < end,
            col(Slot.ends_at) > max(begin, app.clock.now()),
        )
        done = _withdraw_free(session, session.exec(slots.with_for_update()).all(), again=True)
        _note(app, session, actor, "slot.absence", done)
    return done


def remove_absence(app: App, actor: Actor, absence_id: str) -> int:
    """Not be away after all: the slots of weekly times on those days are made again; return how many.

    Raises:
        NotFound: there is no such absence.
        NotAuthorised: it is another doctor's.
    """
    with session_scope(app.engine) as session:
        row = own_row(app, session, actor, Absence, absence_id, action=Action.OFFER_SLOT)
        _lock(session, actor)
        session.delete(row)
        session.flush()
        made = _make(app, session, actor.user_id)
        audit.append(app, session, actor, "slot.absence-end", object_id=actor.user_id, details={"made": made})
    return made


def let_go(app: App, session: Session, slot: Slot) -> None:
    """Take back what an appointment has just left of a locked slot, if the doctor offers nothing then any more."""
    ended = slot.availability_id and session.get_one(Availability, slot.availability_id).ended_at
    if ended or _overlaps(slot.starts_at, slot.ends_at, _away(app, session, slot.doctor_id)):
        _withdraw_free(session, [slot], again=not ended)


def _make(app: App, session: Session, doctor_id: str) -> int:
    """Make the slots within reach that were never made, and open closed places again; the doctor's row is locked."""
    now = app.clock.now()
    away = _away(app, session, doctor_id)
    made = 0
    for row in _in_force(session, doctor_id):
        today = now.astimezone(zone_of(row.zone)).date()
        coming = Slot.availability_id == row.id, col(Slot.starts_at) > now
        before = set(session.exec(select(Slot.starts_at).where(*coming)).all())
        times = [
            (start, end)
            for start, end in _pattern(row).slots(today, today + HORIZON)
            if start > now and start not in before and not _overlaps(start, end, away)
        ]
        made += add_slots(session, doctor_id, times, capacity=row.capacity, availability_id=row.id)
        closed = select(Slot).where(*coming, col(Slot.live_key).is_not(None), col(Slot.capacity) < row.capacity)
        for slot in session.exec(closed.with_for_update()).all():  # but for appointments an absence had taken it back
            if not _overlaps(slot.starts_at, slot.ends_at, away):
                slot.capacity = row.capacity
    session.flush()
    return made


def _away(app: App, session: Session, doctor_id: str) -> list[tuple[datetime, datetime]]:
    return [days_of(row.first_day, row.last_day, row.zone) for row in _absences(app, session, doctor_id)]


def _overlaps(start: datetime, end: datetime, away: Sequence[tuple[datetime, datetime]]) -> bool:
    return any(start < until and since < end for since, until in away)


def _withdraw_free(session: Session, slots: Sequence[Slot], *, again: bool = False) -> Withdrawn:
    """Take back locked slots without appointments; of the others only the places that are left.

    `again` lets slots of weekly times be made once more when the reason is gone.
    """
    live = [slot for slot in slots if slot.live_key is not None]
    booked = {slot.id: len(booked_places(session, slot.id)) for slot in live}
    for slot in live:
        if booked[slot.id]:
            slot.capacity = booked[slot.id]
        else:
            slot.live_key = None
            slot.availability_id = None if again else slot.availability_id
    session.flush()
    taken = sum(not count for count in booked.values())
    return Withdrawn(taken, len(live) - taken)


def _note(app: App, session: Session, actor: Actor, act: str, done: Withdrawn) -> None:
    details: audit.Details = {"withdrawn": done.free, "booked": done.booked}
    audit.append(app, session, actor, act, object_id=actor.user_id, details=details)


def _lock(session: Session, actor: Actor) -> None:
    """Keep the doctor's other windows from changing the plan until the commit."""
    session.get(User, actor.user_id, with_for_update=True)


def _in_force(session: Session, doctor_id: str) -> Sequence[Availability]:
    mine = Availability.doctor_id == doctor_id, col(Availability.ended_at).is_(None)
    order = Availability.weekday, Availability.start_minute, Availability.id
    return session.exec(select(Availability).where(*mine).order_by(*order)).all()  # type: ignore[arg-type]


def _absences(app: App, session: Session, doctor_id: str) -> list[Absence]:
    """Return the absences that are not over, the next first."""
    now = app.clock.now()
    recent = Absence.doctor_id == doctor_id, col(Absence.last_day) >= (now - ZONES_APART).date()
    rows = session.exec(select(Absence).where(*recent).order_by(col(Absence.first_day))).all()
    return [row for row in rows if days_of(row.first_day, row.last_day, row.zone)[1] > now]


def _pattern(row: Availability) -> WeeklyPattern:
    return WeeklyPattern(
        weekday=row.weekday,
        start_minute=row.start_minute,
        end_minute=row.end_minute,
        minutes=row.minutes,
        capacity=row.capacity,
        zone=row.zone,
        first_day=row.first_day,
        last_day=row.last_day,
    )
