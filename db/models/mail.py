"""E-mails that wait to be sent: to whom and about what kind of news, never an address and never a text."""

from datetime import datetime
from enum import StrEnum

from sqlmodel import Field, SQLModel

from db.types import UtcDateTime, enum_type, new_id


class MailKind(StrEnum):
    """What an e-mail tells a patient, and in the last four a doctor."""

    RESULT_READY = "result_ready"
    DOCTOR_SIGNED = "doctor_signed"
    MESSAGE_RECEIVED = "message_received"
    APPOINTMENT_BOOKED = "appointment_booked"
    APPOINTMENT_MOVED = "appointment_moved"
    APPOINTMENT_CANCELLED = "appointment_cancelled"
    NEW_CASE = "new_case"
    SECOND_READING_ASKED = "second_reading_asked"
    PATIENT_WROTE = "patient_wrote"
    SCHEDULE_CHANGED = "schedule_changed"


class MailOutbox(SQLModel, table=True):
    """An e-mail to be sent; the row is deleted when a mail server has taken it.

    `due_at` is when it may be tried, or tried again; who tries moves it on first, so that nobody else tries meanwhile.
    `sequence` is the state of the appointment that it tells of: one that a later e-mail overtakes is not sent.
    """

    __tablename__ = "mail_outbox"

    id: str = Field(default_factory=new_id, primary_key=True, max_length=32)
    user_id: str = Field(foreign_key="user_account.id", max_length=32, index=True)
    kind: MailKind = Field(sa_type=enum_type(MailKind, 32))
    appointment_id: str | None = Field(default=None, foreign_key="appointment.id", max_length=32)
    sequence: int = 0
    created_at: datetime = Field(sa_type=UtcDateTime)
    due_at: datetime = Field(sa_type=UtcDateTime, index=True)
    attempts: int = 0
