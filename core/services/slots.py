"""Times that doctors offer. A slot is live while its `live_key` is set; withdrawing clears it. Booking is elsewhere."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta

from sqlalchemy import exists
from sqlalchemy.exc import IntegrityError
from sqlmodel import Session, col, select

from core.errors import AppointmentRefused, NotFound
from core.services import audit
from core.services.app import Actor, App
from core.services.authorise import Action, Relation, authorise
from core.services.case_access import care_hospital, case_for
from core.services.context import display_name
from db.engine import session_scope
from db.models import Appointment, Slot, User
from db.types import new_id

MAX_AHEAD = timedelta(days=366)
MAX_LISTED = 200


@dataclass(frozen=True, kw_only=True)
class SlotView:
    """A time that is offered.

    Attributes:
        id: the slot.
        doctor_id: who offers it.
        doctor: how the doctor is addressed.
        starts_at: UTC.
        ends_at: UTC.
        patient: how the patient who booked it is addressed; "" while it is free or when that is not the reader's.
        case_id: the case it was booked for, None while it is free.
    """

    id: str
    doctor_id: str
    doctor: str
    starts_at: datetime
    ends_at: datetime
    patient: str = ""
    case_id: str | None = None


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


def add_slots(session: Session, doctor_id: str, times: Iterable[tuple[datetime, datetime]]) -> int:
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
            Slot(id=new_id(), doctor_id=doctor_id, starts_at=start, ends_at=end, live_key=slot_key(doctor_id, start))
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
        slot = session.get(Slot, slot_id, with_for_update=True)
        if slot is None:
            raise NotFound
        relation = Relation.SELF if slot.doctor_id == actor.user_id else Relation.ANY
        authorise(app, session, actor, Action.WITHDRAW_SLOT, relation, object_id=slot.id)
        if session.exec(select(Appointment.id).where(Appointment.live_key == slot.id)).first() is not None:
            raise AppointmentRefused("this time is booked; cancel the appointment first")
        slot.live_key = None
        audit.append(app, session, actor, "slot.withdraw", object_id=slot.id)


def own_slots(app: App, actor: Actor) -> list[SlotView]:
    """Return a doctor's own live slots from now on, free and booked, the next first.

    Raises:
        NotAuthorised: not a doctor.
    """
    with session_scope(app.engine) as session:
        authorise(app, session, actor, Action.READ_SLOTS, Relation.SELF, object_id=actor.user_id)
        rows = session.exec(
            select(Slot, Appointment)
            .join(Appointment, col(Appointment.live_key) == col(Slot.id), isouter=True)
            .where(
                Slot.doctor_id == actor.user_id, col(Slot.live_key).is_not(None), col(Slot.ends_at) > app.clock.now()
            )
            .order_by(col(Slot.starts_at))
            .limit(MAX_LISTED)
        ).all()
        booked = [appointment for _, appointment in rows if appointment is not None]
        names = {who: display_name(app, session, who) for who in {appointment.patient_id for appointment in booked}}
        me = display_name(app, session, actor.user_id)
        details = {"slots": len(rows), "booked": len(booked)}
        audit.append(app, session, actor, "slot.list", object_id=actor.user_id, details=details)
        return [
            SlotView(
                id=slot.id,
                doctor_id=slot.doctor_id,
                doctor=me,
                starts_at=slot.starts_at,
                ends_at=slot.ends_at,
                patient=names[appointment.patient_id] if appointment else "",
                case_id=appointment.case_id if appointment else None,
            )
            for slot, appointment in rows
        ]


def free_slots(app: App, actor: Actor, case_id: str, *, limit: int = MAX_LISTED) -> list[SlotView]:
    """Return the free times of the doctors of the case's hospital, the next first.

    Raises:
        NotFound: there is no such case.
        NotAuthorised: the case is not this person's.
    """
    with session_scope(app.engine) as session:
        case = case_for(app, session, actor, case_id, Action.BOOK_APPOINTMENT)
        rows = session.exec(
            select(Slot)
            .join(User, col(User.id) == col(Slot.doctor_id))
            .where(
                User.hospital_id == care_hospital(case),
                col(User.is_active),
                col(Slot.live_key).is_not(None),
                col(Slot.starts_at) > app.clock.now(),
                ~exists().where(col(Appointment.live_key) == col(Slot.id)),
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
