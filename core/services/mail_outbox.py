"""Noting that somebody is to be told of something by e-mail, in the transaction in which it happens.

Nothing is sent here: pages wait for no mail server (`mail_sender` does). Without the person's consent, or where the
installation sends no e-mails, nothing is noted. A doctor's e-mail waits a little, so that a busy hour is one e-mail of
each kind and not twenty.
"""

from collections.abc import Collection
from datetime import timedelta

from sqlmodel import Session, col, select

from core.services.app import App
from core.services.consents import ConsentPurpose, has_consent
from db.models import Appointment, MailKind, MailOutbox, Role, User

__all__ = ["GATHERING", "MailKind", "note_mail", "tell_doctor", "tell_doctors"]

GATHERING = timedelta(minutes=5)
"""How long a doctor's e-mail waits for more of its kind."""


def note_mail(
    app: App, session: Session, patient_id: str, kind: MailKind, *, appointment: Appointment | None = None
) -> None:
    """Note an e-mail to a patient, to be sent when the caller's transaction has ended.

    Args:
        app: the application.
        session: the caller's transaction.
        patient_id: to whom.
        kind: what it tells.
        appointment: what it is about, in its new state; its calendar file goes with the e-mail.
    """
    if _may_write_to(app, session, patient_id):
        _note(app, session, patient_id, kind, appointment=appointment)


def tell_doctors(app: App, session: Session, hospital_id: str, kind: MailKind, *, but: Collection[str] = ()) -> None:
    """Note an e-mail to each doctor of a hospital whose account is open.

    Args:
        app: the application.
        session: the caller's transaction.
        hospital_id: whose doctors.
        kind: what it tells.
        but: ids of doctors who know already.
    """
    if not app.settings.mail_host:
        return
    here = User.role == Role.DOCTOR, User.hospital_id == hospital_id, col(User.is_active)
    for doctor_id in session.exec(select(User.id).where(*here).order_by(User.id)).all():
        if doctor_id not in but:
            tell_doctor(app, session, doctor_id, kind)


def tell_doctor(app: App, session: Session, doctor_id: str, kind: MailKind) -> None:
    """Note an e-mail to one doctor, unless one of this kind waits for them already."""
    waits = select(MailOutbox.id).where(MailOutbox.user_id == doctor_id, MailOutbox.kind == kind)
    if _may_write_to(app, session, doctor_id) and session.exec(waits).first() is None:
        _note(app, session, doctor_id, kind, wait=GATHERING)


def _may_write_to(app: App, session: Session, user_id: str) -> bool:
    return bool(app.settings.mail_host) and has_consent(session, user_id, ConsentPurpose.EMAIL)


def _note(
    app: App,
    session: Session,
    user_id: str,
    kind: MailKind,
    *,
    appointment: Appointment | None = None,
    wait: timedelta = timedelta(0),
) -> None:
    now = app.clock.now()
    session.add(
        MailOutbox(
            user_id=user_id,
            kind=kind,
            appointment_id=appointment.id if appointment else None,
            sequence=appointment.sequence if appointment else 0,
            created_at=now,
            due_at=now + wait,
        )
    )
