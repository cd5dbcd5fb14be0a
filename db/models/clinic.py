"""Cases, reviews, messages, slots and appointments. Everything a person wrote or was told is sealed."""

from datetime import datetime
from enum import StrEnum

from sqlalchemy import JSON, Column, Index
from sqlmodel import Field, SQLModel

from db.types import UtcDateTime, blob_column_type, enum_type, new_id


class CaseStatus(StrEnum):
    """States of a case."""

    WAITING = "waiting"
    ANSWERED = "answered"
    REVIEWED = "reviewed"


class AppointmentStatus(StrEnum):
    """States of an appointment."""

    BOOKED = "booked"
    CANCELLED = "cancelled"


class ReferralStatus(StrEnum):
    """States of a request to refer a case to another hospital."""

    ASKED = "asked"
    ACCEPTED = "accepted"
    DECLINED = "declined"
    TAKEN_BACK = "taken_back"  # by the doctor, or because the case has gone elsewhere meanwhile
    BROUGHT_BACK = "brought_back"  # the patient withdrew the consent after it was used


class Case(SQLModel, table=True):
    """What a patient sent at one time, and what became of it; its pictures are `CaseImage`.

    `summary` is the sealed JSON that lists are drawn from (urgency, label, probability); `routing` tells the reason
    for the choice of hospital in numbers and codes; `mac` is the app's over who may see the case.
    """

    __tablename__ = "clinical_case"
    __table_args__ = (
        Index("ix_clinical_case_hospital", "hospital_id", "status", "created_at"),
        Index("ix_clinical_case_answered_by", "answered_by_hospital_id", "status", "created_at"),
        Index("ix_clinical_case_patient", "patient_id", "created_at"),
        Index("ix_clinical_case_created_at", "created_at"),
        Index("ix_clinical_case_answered_at", "answered_at"),
    )

    id: str = Field(default_factory=new_id, primary_key=True, max_length=32)
    patient_id: str = Field(foreign_key="user_account.id", max_length=32)
    study_code: str = Field(max_length=8)
    status: CaseStatus = Field(default=CaseStatus.WAITING, sa_type=enum_type(CaseStatus, 16), index=True)
    hospital_id: str = Field(foreign_key="hospital.id", max_length=32)
    fallback_hospital_id: str | None = Field(default=None, foreign_key="hospital.id", max_length=32)
    answered_by_hospital_id: str | None = Field(default=None, foreign_key="hospital.id", max_length=32)
    routing: dict[str, object] = Field(sa_column=Column(JSON, nullable=False))
    checkpoint_id: str | None = Field(default=None, foreign_key="checkpoint.id", max_length=32)
    summary: bytes | None = Field(default=None, sa_column=Column(blob_column_type(), nullable=True))
    created_at: datetime = Field(sa_type=UtcDateTime)
    answered_at: datetime | None = Field(default=None, sa_type=UtcDateTime)
    mac: str = Field(default="", max_length=64)


class CaseImage(SQLModel, table=True):
    """One picture of a case and, once it is answered, the enclave's result for it; a sealed object each."""

    __tablename__ = "case_image"

    case_id: str = Field(foreign_key="clinical_case.id", primary_key=True, max_length=32)
    number: int = Field(primary_key=True, sa_column_kwargs={"autoincrement": False})
    image_blob_id: str = Field(foreign_key="blob.id", max_length=32)
    result_blob_id: str | None = Field(default=None, foreign_key="blob.id", max_length=32)


class CaseReview(SQLModel, table=True):
    """A doctor's signed decision. `body` is sealed; `signature` is over the canonical review."""

    __tablename__ = "case_review"

    id: str = Field(default_factory=new_id, primary_key=True, max_length=32)
    case_id: str = Field(foreign_key="clinical_case.id", max_length=32, index=True)
    doctor_id: str = Field(foreign_key="user_account.id", max_length=32)
    live_key: str | None = Field(default=None, max_length=32, unique=True)
    body: bytes = Field(sa_column=Column(blob_column_type(), nullable=False))
    signature: bytes = Field(sa_column=Column(blob_column_type(), nullable=False))
    signed_at: datetime = Field(sa_type=UtcDateTime)


class SecondReading(SQLModel, table=True):
    """Another doctor's reading of a reviewed case, asked for (by nobody: by the study) and, later, signed.

    `live_key` is the case's id while it waits to be read or contradicts the review in force, and NULL after. `body` is
    sealed; `signature` is over the canonical reading.
    """

    __tablename__ = "second_reading"

    id: str = Field(default_factory=new_id, primary_key=True, max_length=32)
    case_id: str = Field(foreign_key="clinical_case.id", max_length=32, index=True)
    asked_by: str | None = Field(default=None, foreign_key="user_account.id", max_length=32)
    asked_at: datetime = Field(sa_type=UtcDateTime)
    live_key: str | None = Field(default=None, max_length=32, unique=True)
    reader_id: str | None = Field(default=None, foreign_key="user_account.id", max_length=32)
    body: bytes | None = Field(default=None, sa_column=Column(blob_column_type(), nullable=True))
    signature: bytes | None = Field(default=None, sa_column=Column(blob_column_type(), nullable=True))
    signed_at: datetime | None = Field(default=None, sa_type=UtcDateTime)


class CaseMessage(SQLModel, table=True):
    """A message between a patient and the doctors of a case; the text is sealed."""

    __tablename__ = "case_message"

    id: str = Field(default_factory=new_id, primary_key=True, max_length=32)
    case_id: str = Field(foreign_key="clinical_case.id", max_length=32, index=True)
    sender_id: str = Field(foreign_key="user_account.id", max_length=32)
    body: bytes = Field(sa_column=Column(blob_column_type(), nullable=False))
    sent_at: datetime = Field(sa_type=UtcDateTime, index=True)
    read_at: datetime | None = Field(default=None, sa_type=UtcDateTime, index=True)


class CaseReferral(SQLModel, table=True):
    """A doctor's request to refer a case, with the patient's answer: a consent for this case and this hospital alone.

    `body` is sealed and says what was asked for, and why; `live_key` is the case while it is not answered, so that a
    case has one open request; `seen_at` is when the hospital that asked saw the answer; `mac` is the app's.
    """

    __tablename__ = "case_referral"

    id: str = Field(default_factory=new_id, primary_key=True, max_length=32)
    case_id: str = Field(foreign_key="clinical_case.id", max_length=32, index=True)
    doctor_id: str = Field(foreign_key="user_account.id", max_length=32)
    from_hospital_id: str = Field(foreign_key="hospital.id", max_length=32, index=True)
    to_hospital_id: str = Field(foreign_key="hospital.id", max_length=32, index=True)
    status: ReferralStatus = Field(default=ReferralStatus.ASKED, sa_type=enum_type(ReferralStatus, 16))
    live_key: str | None = Field(default=None, max_length=32, unique=True)
    body: bytes = Field(sa_column=Column(blob_column_type(), nullable=False))
    text_version: str = Field(max_length=16)
    asked_at: datetime = Field(sa_type=UtcDateTime)
    answered_at: datetime | None = Field(default=None, sa_type=UtcDateTime)
    ended_at: datetime | None = Field(default=None, sa_type=UtcDateTime)
    seen_at: datetime | None = Field(default=None, sa_type=UtcDateTime)
    mac: str = Field(default="", max_length=64)


class Slot(SQLModel, table=True):
    """A time that a doctor offers, to as many patients as `capacity` says.

    `availability_id` names the weekly times that it was made from: what was made once is not made again.
    """

    id: str = Field(default_factory=new_id, primary_key=True, max_length=32)
    doctor_id: str = Field(foreign_key="user_account.id", max_length=32, index=True)
    starts_at: datetime = Field(sa_type=UtcDateTime, index=True)
    ends_at: datetime = Field(sa_type=UtcDateTime)
    live_key: str | None = Field(default=None, max_length=64, unique=True)
    capacity: int = Field(default=1, sa_column_kwargs={"server_default": "1"})
    availability_id: str | None = Field(default=None, max_length=32, index=True)


class Appointment(SQLModel, table=True):
    """A booking. `live_key` names a place of the slot while booked, NULL after; being unique, it forbids doubles."""

    id: str = Field(default_factory=new_id, primary_key=True, max_length=32)
    slot_id: str = Field(foreign_key="slot.id", max_length=32, index=True)
    live_key: str | None = Field(default=None, max_length=64, unique=True)
    patient_id: str = Field(foreign_key="user_account.id", max_length=32, index=True)
    case_id: str | None = Field(default=None, foreign_key="clinical_case.id", max_length=32)
    booked_by: str = Field(foreign_key="user_account.id", max_length=32)
    status: AppointmentStatus = Field(default=AppointmentStatus.BOOKED, sa_type=enum_type(AppointmentStatus, 16))
    sequence: int = 0
    created_at: datetime = Field(sa_type=UtcDateTime)
    cancelled_at: datetime | None = Field(default=None, sa_type=UtcDateTime)
    cancelled_by: str | None = Field(default=None, max_length=32)
