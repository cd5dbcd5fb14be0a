"""Booking, changing and cancelling appointments, by the patient or by a doctor for the patient, and calendar files.

An appointment keeps its id through every change, so that calendars replace what they have. Of two people who book the
last place of a slot at the same moment exactly one gets it: the slot's row is locked, and `live_key` is unique in the
database. Locks are taken in this order: appointment, doctor, slot, patient, audit head.
"""

from collections.abc import Collection
from dataclasses import dataclass
from datetime import datetime

from sqlalchemy.exc import IntegrityError
from sqlmodel import Session, col, select

from core.errors import AppointmentRefused, NotFound, SlotTaken
from core.services import audit
from core.services.app import Actor, App
from core.services.authorise import Action, Relation, authorise
from core.services.availability import let_go
from core.services.calendar_file import CalendarEntry, write_calendar
from core.services.case_access import care_hospital, case_for
from core.services.context import display_name
from core.services.genuine import is_genuine
from core.services.mail_outbox import MailKind, note_mail, tell_doctor
from core.services.slots import booked_places, engagement, place_key
from db.engine import session_scope
from db.models import Appointment, AppointmentStatus, Hospital, Role, Slot, User
from db.types import new_id

__all__ = [
    "AppointmentStatus",
    "AppointmentView",
    "appointments",
    "appointments_of",
    "book",
    "calendar",
    "cancel",
    "of_case",
    "reschedule",
]

MAX_LISTED = 200


@dataclass(frozen=True, kw_only=True)
class AppointmentView:
    """An appointment as its patient and its doctor see it; times are UTC.

    Attributes:
        id: the appointment; the calendar's UID.
        status: booked or cancelled.
        sequence: number of changes.
        starts_at: begin.
        ends_at: end.
        doctor: how the doctor is addressed.
        patient: how the patient is addressed.
        hospital: the doctor's hospital.
        city: where it is.
        case_id: what it is about.
        booked_by_patient: whether the patient booked it (else a doctor did).
        is_over: whether it has begun.
    """

    id: str
    status: AppointmentStatus
    sequence: int
    starts_at: datetime
    ends_at: datetime
    doctor: str
    patient: str
    hospital: str
    city: str
    case_id: str | None
    booked_by_patient: bool
    is_over: bool


def book(app: App, actor: Actor, *, case_id: str, slot_id: str) -> AppointmentView:
    """Book a slot for the patient of a case.

    Raises:
        SlotTaken: somebody else has it, or the doctor has withdrawn it.
        AppointmentRefused: the time has passed, or the patient has another appointment then.
        NotFound: no such case or slot, or the slot is not of a doctor of the case's hospital.
        NotAuthorised: neither the patient nor a doctor of the case's hospital.
    """
    try:
        with session_scope(app.engine) as session:
            case = case_for(app, session, actor, case_id, Action.BOOK_APPOINTMENT)
            slot = _bookable(app, session, slot_id, hospital_id=care_hospital(case))
            place = _free_place(session, slot)
            _refuse_overlap(session, case.patient_id, slot)
            row = Appointment(
                id=new_id(),
                slot_id=slot.id,
                live_key=place,
                patient_id=case.patient_id,
                case_id=case.id,
                booked_by=actor.user_id,
                created_at=app.clock.now(),
            )
            session.add(row)
            session.flush()
            note_mail(app, session, row.patient_id, MailKind.APPOINTMENT_BOOKED, appointment=row)
            _tell(app, session, {slot.doctor_id}, actor)
            audit.append(app, session, actor, "appointment.book", object_id=row.id)
            return _view(app, session, row, slot)
    except IntegrityError as error:
        raise SlotTaken from error


def reschedule(app: App, actor: Actor, appointment_id: str, *, slot_id: str) -> AppointmentView:
    """Move a booked appointment to another slot of the same hospital; the old one is free, if it is offered still.

    Raises:
        SlotTaken: somebody else has the new slot.
        AppointmentRefused: it is cancelled or over, or the new time does not fit.
        NotFound: no such appointment or slot.
        NotAuthorised: it is not this person's.
    """
    try:
        with session_scope(app.engine) as session:
            row, old, hospital_id = _owned(app, session, actor, appointment_id, Action.CHANGE_APPOINTMENT)
            _refuse_finished(app, row, old)
            _lock_slots(session, old.id, slot_id)
            slot = _bookable(app, session, slot_id, hospital_id=hospital_id)
            place = _free_place(session, slot, except_for=row.id)
            _refuse_overlap(session, row.patient_id, slot, except_for=row.id)
            row.slot_id, row.live_key = slot.id, place
            row.sequence += 1
            session.flush()
            let_go(app, session, old)
            note_mail(app, session, row.patient_id, MailKind.APPOINTMENT_MOVED, appointment=row)
            _tell(app, session, {old.doctor_id, slot.doctor_id}, actor)
            audit.append(app, session, actor, "appointment.change", object_id=row.id)
            return _view(app, session, row, slot)
    except IntegrityError as error:
        raise SlotTaken from error


def cancel(app: App, actor: Actor, appointment_id: str) -> AppointmentView:
    """Cancel a booked appointment; the slot is free again, if the doctor offers it still.

    Raises:
        AppointmentRefused: it is cancelled already, or over.
        NotFound: no such appointment.
        NotAuthorised: it is not this person's.
    """
    with session_scope(app.engine) as session:
        row, slot, _ = _owned(app, session, actor, appointment_id, Action.CANCEL_APPOINTMENT)
        _refuse_finished(app, row, slot)
        _lock_slots(session, slot.id)
        row.live_key = None
        row.status = AppointmentStatus.CANCELLED
        row.sequence += 1
        row.cancelled_at, row.cancelled_by = app.clock.now(), actor.user_id
        session.flush()
        let_go(app, session, slot)
        note_mail(app, session, row.patient_id, MailKind.APPOINTMENT_CANCELLED, appointment=row)
        _tell(app, session, {slot.doctor_id}, actor)
        audit.append(app, session, actor, "appointment.cancel", object_id=row.id)
        return _view(app, session, row, slot)


def _tell(app: App, session: Session, doctor_ids: Collection[str], actor: Actor) -> None:
    """Note e-mails to the doctors of an appointment, but not to who did it."""
    for doctor_id in sorted(doctor_ids):
        if doctor_id != actor.user_id:
            tell_doctor(app, session, doctor_id, MailKind.SCHEDULE_CHANGED)


def appointments(app: App, actor: Actor) -> list[AppointmentView]:
    """Return a patient's own appointments, or those with a doctor, the newest first.

    Raises:
        NotAuthorised: neither a patient nor a doctor.
    """
    with session_scope(app.engine) as session:
        authorise(app, session, actor, Action.READ_APPOINTMENT, Relation.SELF, object_id=actor.user_id)
        mine = Appointment.patient_id == actor.user_id
        if actor.role is not Role.PATIENT:
            mine = Slot.doctor_id == actor.user_id
        rows = session.exec(
            select(Appointment, Slot)
            .join(Slot, col(Slot.id) == col(Appointment.slot_id))
            .where(mine)
            .order_by(col(Slot.starts_at).desc())
            .limit(MAX_LISTED)
        ).all()
        audit.append(
            app, session, actor, "appointment.list", object_id=actor.user_id, details={"appointments": len(rows)}
        )
        return [_view(app, session, row, slot) for row, slot in rows]


def appointments_of(app: App, session: Session, case_id: str) -> list[AppointmentView]:
    """Return the appointments about a case, the earliest first. The caller has authorised and audits the reading."""
    rows = session.exec(
        select(Appointment, Slot)
        .join(Slot, col(Slot.id) == col(Appointment.slot_id))
        .where(Appointment.case_id == case_id)
        .order_by(col(Slot.starts_at))
    ).all()
    return [_view(app, session, row, slot) for row, slot in rows]


def of_case(app: App, actor: Actor, case_id: str) -> list[AppointmentView]:
    """Return the appointments to come that were booked for a case, the next first.

    Raises:
        NotFound: there is no such case.
        NotAuthorised: neither the patient nor a doctor of the case's hospital.
    """
    with session_scope(app.engine) as session:
        case = case_for(app, session, actor, case_id, Action.READ_APPOINTMENT)
        rows = session.exec(
            select(Appointment, Slot)
            .join(Slot, col(Slot.id) == col(Appointment.slot_id))
            .where(
                Appointment.case_id == case.id,
                col(Appointment.live_key).is_not(None),
                col(Slot.starts_at) > app.clock.now(),
            )
            .order_by(col(Slot.starts_at))
        ).all()
        audit.append(app, session, actor, "appointment.read", object_id=case.id, details={"appointments": len(rows)})
        return [_view(app, session, row, slot) for row, slot in rows]


def calendar(app: App, actor: Actor, appointment_id: str) -> bytes:
    """Return the calendar file of an appointment in its present state.

    Raises:
        NotFound: no such appointment.
        NotAuthorised: it is not this person's.
    """
    with session_scope(app.engine) as session:
        row, _, _ = _owned(app, session, actor, appointment_id, Action.READ_APPOINTMENT)
        audit.append(app, session, actor, "appointment.calendar", object_id=row.id)
        return calendar_of(app, session, row)


def calendar_of(app: App, session: Session, row: Appointment) -> bytes:
    """Return the calendar file of an appointment in its present state, for a reader whom the caller has authorised."""
    view = _view(app, session, row, session.get_one(Slot, row.slot_id))
    return write_calendar(
        CalendarEntry(
            uid=view.id,
            sequence=view.sequence,
            starts_at=view.starts_at,
            ends_at=view.ends_at,
            hospital=view.hospital,
            city=view.city,
            cancelled=view.status is AppointmentStatus.CANCELLED,
            stamp=app.clock.now(),
        )
    )


def _lock_slots(session: Session, *ids: str) -> None:
    """Lock slots until the commit, always in one order: a plan that changes meanwhile comes before or after."""
    for slot_id in sorted(set(ids)):
        session.get(Slot, slot_id, with_for_update=True, populate_existing=True)


def _bookable(app: App, session: Session, slot_id: str, *, hospital_id: str) -> Slot:
    """Return the locked, live, future slot of an active doctor of this hospital."""
    slot = session.get(Slot, slot_id, with_for_update=True)
    doctor = session.get(User, slot.doctor_id) if slot else None
    if slot is None or doctor is None or not is_genuine(app, doctor) or doctor.hospital_id != hospital_id:
        raise NotFound
    if slot.live_key is None or not doctor.is_active:
        raise SlotTaken
    if slot.starts_at <= app.clock.now():
        raise AppointmentRefused("that time has passed")
    return slot


def _free_place(session: Session, slot: Slot, *, except_for: str = "") -> str:
    """Return the live key of the first free place of a locked slot.

    Raises:
        SlotTaken: it is full.
    """
    taken = booked_places(session, slot.id, except_for=except_for)
    if len(taken) >= slot.capacity:
        raise SlotTaken
    return next(key for key in (place_key(slot.id, n) for n in range(len(taken) + 1)) if key not in taken)


def _refuse_overlap(session: Session, patient_id: str, slot: Slot, *, except_for: str = "") -> None:
    """Refuse a second appointment at a time; the patient's row stays locked, so that two bookings see each other."""
    session.get(User, patient_id, with_for_update=True)
    other = engagement(patient_id, slot.starts_at, slot.ends_at, except_for=except_for)
    if session.exec(other).first() is not None:
        raise AppointmentRefused("there is another appointment at that time")


def _refuse_finished(app: App, row: Appointment, slot: Slot) -> None:
    if row.status is AppointmentStatus.CANCELLED:
        raise AppointmentRefused("it is cancelled already")
    if slot.starts_at <= app.clock.now():
        raise AppointmentRefused("it has begun or is over")


def _owned(
    app: App, session: Session, actor: Actor, appointment_id: str, action: Action
) -> tuple[Appointment, Slot, str]:
    """Return the locked appointment, its slot and the doctor's hospital, if this person may do `action` to it."""
    row = session.get(Appointment, appointment_id, with_for_update=True)
    if row is None:
        raise NotFound
    slot = session.get_one(Slot, row.slot_id)
    doctor = session.get_one(User, slot.doctor_id)
    hospital_id = (doctor.hospital_id or "") if is_genuine(app, doctor) else ""
    relation = Relation.ANY
    if actor.user_id in {row.patient_id, slot.doctor_id}:
        relation = Relation.SELF
    elif actor.role is Role.DOCTOR and actor.hospital_id == hospital_id:
        relation = Relation.OWN_HOSPITAL
    authorise(app, session, actor, action, relation, object_id=row.id)
    return row, slot, hospital_id


def _view(app: App, session: Session, row: Appointment, slot: Slot) -> AppointmentView:
    doctor = session.get_one(User, slot.doctor_id)
    hospital = session.get(Hospital, doctor.hospital_id or "")
    return AppointmentView(
        id=row.id,
        status=row.status,
        sequence=row.sequence,
        starts_at=slot.starts_at,
        ends_at=slot.ends_at,
        doctor=display_name(app, session, doctor.id),
        patient=display_name(app, session, row.patient_id),
        hospital=hospital.name if hospital else "",
        city=hospital.city if hospital else "",
        case_id=row.case_id,
        booked_by_patient=row.booked_by == row.patient_id,
        is_over=slot.starts_at <= app.clock.now(),
    )
