"""Booking, changing and cancelling appointments, by the patient or by a doctor for the patient, and calendar files.

An appointment keeps its id through every change, so that calendars replace what they have. Of two people who book one
slot at the same moment exactly one gets it: the slot's row is locked, and `live_key` is unique in the database. Locks
are taken in this order: appointment, slot, patient, audit head.
"""

from dataclasses import dataclass
from datetime import datetime

from sqlalchemy.exc import IntegrityError
from sqlmodel import Session, col, select

from core.errors import AppointmentRefused, NotFound, SlotTaken
from core.services import audit
from core.services.app import Actor, App
from core.services.authorise import Action, Relation, authorise
from core.services.calendar_file import CalendarEntry, write_calendar
from core.services.case_access import care_hospital, case_for
from core.services.context import display_name
from core.services.genuine import is_genuine
from db.engine import session_scope
from db.models import Appointment, AppointmentStatus, Hospital, Role, Slot, User
from db.types import new_id

__all__ = ["AppointmentStatus", "AppointmentView", "appointments", "book", "calendar", "cancel", "reschedule"]

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
            _refuse_overlap(session, case.patient_id, slot)
            row = Appointment(
                id=new_id(),
                slot_id=slot.id,
                live_key=slot.id,
                patient_id=case.patient_id,
                case_id=case.id,
                booked_by=actor.user_id,
                created_at=app.clock.now(),
            )
            session.add(row)
            session.flush()
            audit.append(app, session, actor, "appointment.book", object_id=row.id)
            return _view(app, session, row, slot)
    except IntegrityError as error:
        raise SlotTaken from error


def reschedule(app: App, actor: Actor, appointment_id: str, *, slot_id: str) -> AppointmentView:
    """Move a booked appointment to another slot of the same hospital; the old slot is free again.

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
            slot = _bookable(app, session, slot_id, hospital_id=hospital_id)
            _refuse_overlap(session, row.patient_id, slot, except_for=row.id)
            row.slot_id = row.live_key = slot.id
            row.sequence += 1
            session.flush()
            audit.append(app, session, actor, "appointment.change", object_id=row.id)
            return _view(app, session, row, slot)
    except IntegrityError as error:
        raise SlotTaken from error


def cancel(app: App, actor: Actor, appointment_id: str) -> AppointmentView:
    """Cancel a booked appointment; the slot is free again.

    Raises:
        AppointmentRefused: it is cancelled already, or over.
        NotFound: no such appointment.
        NotAuthorised: it is not this person's.
    """
    with session_scope(app.engine) as session:
        row, slot, _ = _owned(app, session, actor, appointment_id, Action.CANCEL_APPOINTMENT)
        _refuse_finished(app, row, slot)
        row.live_key = None
        row.status = AppointmentStatus.CANCELLED
        row.sequence += 1
        row.cancelled_at = app.clock.now()
        session.flush()
        audit.append(app, session, actor, "appointment.cancel", object_id=row.id)
        return _view(app, session, row, slot)


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


def calendar(app: App, actor: Actor, appointment_id: str) -> bytes:
    """Return the calendar file of an appointment in its present state.

    Raises:
        NotFound: no such appointment.
        NotAuthorised: it is not this person's.
    """
    with session_scope(app.engine) as session:
        row, slot, _ = _owned(app, session, actor, appointment_id, Action.READ_APPOINTMENT)
        view = _view(app, session, row, slot)
        audit.append(app, session, actor, "appointment.calendar", object_id=row.id)
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


def _refuse_overlap(session: Session, patient_id: str, slot: Slot, *, except_for: str = "") -> None:
    """Refuse a second appointment at a time; the patient's row stays locked, so that two bookings see each other."""
    session.get(User, patient_id, with_for_update=True)
    other = (
        select(Appointment.id)
        .join(Slot, col(Slot.id) == col(Appointment.slot_id))
        .where(
            Appointment.patient_id == patient_id,
            col(Appointment.live_key).is_not(None),
            col(Appointment.live_key) != slot.id,
            Appointment.id != except_for,
            col(Slot.starts_at) < slot.ends_at,
            col(Slot.ends_at) > slot.starts_at,
        )
    )
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
