"""Times that doctors offer. A slot is live while its `live_key` is set; withdrawing clears it. Booking is elsewhere.

A slot has as many places as its `capacity`; each appointment's `live_key` names the place that it takes.
"""

from collections.abc import Collection, Iterable, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import TypeVar

from sqlalchemy.exc import IntegrityError
from sqlalchemy.orm import aliased
from sqlmodel import Session, col, func, select
from sqlmodel.sql.expression import SelectOfScalar

from core.errors import AppointmentRefused, NotFound
from core.services import audit
from core.services.app import Actor, App
from core.services.authorise import Action, Relation, authorise
from core.services.case_access import care_hospital, case_for
from core.services.context import display_name
from db.engine import session_scope
from db.models import Absence, Appointment, Availability, Slot, User
from db.types import new_id

MAX_AHEAD = timedelta(days=366)
MAX_LISTED = 200
MAX_OWN = 1000

Row = TypeVar("Row", Slot, Availability, Absence)


@dataclass(frozen=True, kw_only=True)
class SlotView:
    """A time that is offered.

    Attributes:
        id: the slot.
        doctor_id: who offers it.
        doctor: how the doctor is addressed.
        starts_at: UTC.
        ends_at: UTC.
        patient: how the patients who booked it are addressed; "" while it is free or when that is not the reader's.
        case_id: the case it was booked for first, None while it is free.
        capacity: how many patients can book it.
        booked: how many have.
    """

    id: str
    doctor_id: str
    doctor: str
    starts_at: datetime
    ends_at: datetime
    patient: str = ""
    case_id: str | None = None
    capacity: int = 1
    booked: int = 0


@dataclass(frozen=True)
class Offered:
    """How many times were offered, and how many left out because the doctor offers something then already."""

    made: int
    left_out: int


def slot_key(doctor_id: str, starts_at: datetime) -> str:
    """Return the live key of a slot: one doctor offers one slot at a time."""
    return f"{doctor_id}:{starts_at:%Y%m%dT%H%M}"


def offer(app: App, actor: Actor, times: Sequence[tuple[datetime, datetime]]) -> Offered:
    """Offer times (start and end, aware); those that overlap one's own live slots are left out.

    Raises:
        AppointmentRefused: nothing to offer, a time in the past, beyond a year, or one that ends before it starts.
        NotAuthorised: not a doctor.
    """
    now = app.clock.now()
    if not times or any(not (now < start < end <= now + MAX_AHEAD) for start, end in times):
        raise AppointmentRefused("offer times between now and a year from now")
    try:
        with session_scope(app.engine) as session:
            authorise(app, session, actor, Action.OFFER_SLOT, Relation.SELF, object_id=actor.user_id)
            made = add_slots(session, actor.user_id, times)
            details = {"made": made, "left_out": len(times) - made}
            audit.append(app, session, actor, "slot.offer", object_id=actor.user_id, details=details)
    except IntegrityError as error:  # the same doctor in two windows
        raise AppointmentRefused("these times were being offered from another window; look at your list") from error
    return Offered(made, len(times) - made)


def place_key(slot_id: str, place: int) -> str:
    """Return the live key of an appointment in a place of a slot, from 0: nobody else can have it."""
    return f"{slot_id}:{place}" if place else slot_id


def booked_places(session: Session, slot_id: str, *, except_for: str = "") -> set[str]:
    """Return the live keys of a slot's appointments, one left out; the slot's row is locked by the caller."""
    live = Appointment.slot_id == slot_id, col(Appointment.live_key).is_not(None), Appointment.id != except_for
    return {key for key in session.exec(select(Appointment.live_key).where(*live)).all() if key is not None}


def add_slots(
    session: Session,
    doctor_id: str,
    times: Iterable[tuple[datetime, datetime]],
    *,
    capacity: int = 1,
    availability_id: str | None = None,
) -> int:
    """Add the times that do not overlap the doctor's live slots, inside the caller's transaction; return how many.

    The doctor's row stays locked until the commit, so that offers from two windows see each other.
    """
    wanted = sorted(times)
    if not wanted:
        return 0
    session.get(User, doctor_id, with_for_update=True)
    near = select(Slot.starts_at, Slot.ends_at).where(
        Slot.doctor_id == doctor_id,
        col(Slot.live_key).is_not(None),
        col(Slot.ends_at) > wanted[0][0],
        col(Slot.starts_at) < max(end for _, end in wanted),
    )
    taken = list(session.exec(near).all())
    made = 0
    for start, end in wanted:
        if any(start < other_end and other_start < end for other_start, other_end in taken):
            continue
        session.add(
            Slot(
                id=new_id(),
                doctor_id=doctor_id,
                starts_at=start,
                ends_at=end,
                live_key=slot_key(doctor_id, start),
                capacity=capacity,
                availability_id=availability_id,
            )
        )
        taken.append((start, end))
        made += 1
    session.flush()
    return made


def withdraw(app: App, actor: Actor, slot_id: str) -> None:
    """Take back a free slot; one that is taken back already stays so.

    Raises:
        AppointmentRefused: it is booked; cancel the appointment first.
        NotFound: there is no such slot.
        NotAuthorised: it is another doctor's.
    """
    with session_scope(app.engine) as session:
        slot = own_row(app, session, actor, Slot, slot_id, action=Action.WITHDRAW_SLOT)
        if booked_places(session, slot.id):
            raise AppointmentRefused("this time is booked; cancel the appointment first")
        slot.live_key = None
        audit.append(app, session, actor, "slot.withdraw", object_id=slot.id)


def own_row(app: App, session: Session, actor: Actor, kind: type[Row], key: str, *, action: Action) -> Row:
    """Return a row of a doctor's own plan, locked until the commit, if this person may do `action` to it.

    Raises:
        NotFound: there is no such row.
        NotAuthorised: it is another doctor's.
    """
    row = session.get(kind, key, with_for_update=True)
    if row is None:
        raise NotFound
    relation = Relation.SELF if row.doctor_id == actor.user_id else Relation.ANY
    authorise(app, session, actor, action, relation, object_id=key)
    return row


def own_slots(app: App, actor: Actor) -> list[SlotView]:
    """Return a doctor's own live slots from now on, free and booked, the next first.

    Raises:
        NotAuthorised: not a doctor.
    """
    with session_scope(app.engine) as session:
        authorise(app, session, actor, Action.READ_SLOTS, Relation.SELF, object_id=actor.user_id)
        mine = Slot.doctor_id == actor.user_id, col(Slot.live_key).is_not(None), col(Slot.ends_at) > app.clock.now()
        slots = session.exec(select(Slot).where(*mine).order_by(col(Slot.starts_at)).limit(MAX_OWN)).all()
        booked = _live_appointments(session, slots)
        people = {row.patient_id for rows in booked.values() for row in rows}
        names = {who: display_name(app, session, who) for who in people}
        me = display_name(app, session, actor.user_id)
        details = {"slots": len(slots), "booked": sum(map(len, booked.values()))}
        audit.append(app, session, actor, "slot.list", object_id=actor.user_id, details=details)
        return [
            SlotView(
                id=slot.id,
                doctor_id=slot.doctor_id,
                doctor=me,
                starts_at=slot.starts_at,
                ends_at=slot.ends_at,
                patient=", ".join(names[row.patient_id] for row in booked[slot.id]),
                case_id=booked[slot.id][0].case_id if booked[slot.id] else None,
                capacity=slot.capacity,
                booked=len(booked[slot.id]),
            )
            for slot in slots
        ]


def engagement(patient_id: str, starts_at: datetime, ends_at: datetime, *, except_for: str = "") -> SelectOfScalar[str]:
    """Return the query for a patient's appointments, one left out, that overlap a time (or the columns of one)."""
    theirs = aliased(Slot)
    return (
        select(Appointment.id)
        .join(theirs, col(theirs.id) == col(Appointment.slot_id))
        .where(
            Appointment.patient_id == patient_id,
            col(Appointment.live_key).is_not(None),
            Appointment.id != except_for,
            col(theirs.starts_at) < ends_at,
            col(theirs.ends_at) > starts_at,
        )
    )


def _live_appointments(session: Session, slots: Collection[Slot]) -> dict[str, list[Appointment]]:
    """Return the appointments of each slot, those booked first in front."""
    found: dict[str, list[Appointment]] = {slot.id: [] for slot in slots}
    live = col(Appointment.live_key).is_not(None), col(Appointment.slot_id).in_(found)
    for row in session.exec(select(Appointment).where(*live).order_by(col(Appointment.created_at))).all():
        found[row.slot_id].append(row)
    return found


def free_slots(
    app: App,
    actor: Actor,
    case_id: str,
    *,
    moving: str = "",
    not_before: datetime | None = None,
    limit: int = MAX_LISTED,
) -> list[SlotView]:
    """Return the free times of the case's hospital at which the patient has nothing else, the next first.

    Args:
        app: the application.
        actor: the patient, or a doctor of the case's hospital.
        case_id: the case.
        moving: the appointment that is to be moved: its time is no engagement of the patient's then.
        not_before: no earlier times than this; None for all from now on.
        limit: at most so many.

    Raises:
        NotFound: there is no such case.
        NotAuthorised: the case is not this person's.
    """
    with session_scope(app.engine) as session:
        case = case_for(app, session, actor, case_id, Action.BOOK_APPOINTMENT)
        taken = select(func.count()).where(Appointment.slot_id == Slot.id, col(Appointment.live_key).is_not(None))
        rows = session.exec(
            select(Slot)
            .join(User, col(User.id) == col(Slot.doctor_id))
            .where(
                User.hospital_id == care_hospital(case),
                col(User.is_active),
                col(Slot.live_key).is_not(None),
                col(Slot.starts_at) > app.clock.now(),
                col(Slot.starts_at) >= (not_before or app.clock.now()),
                taken.scalar_subquery() < col(Slot.capacity),
                ~engagement(case.patient_id, Slot.starts_at, Slot.ends_at, except_for=moving).exists(),
            )
            .order_by(col(Slot.starts_at), col(Slot.id))
            .limit(limit)
        ).all()
        names = {who: display_name(app, session, who) for who in {slot.doctor_id for slot in rows}}
    return [
        SlotView(
            id=slot.id,
            doctor_id=slot.doctor_id,
            doctor=names[slot.doctor_id],
            starts_at=slot.starts_at,
            ends_at=slot.ends_at,
        )
        for slot in rows
    ]
