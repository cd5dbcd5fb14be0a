"""Which key of the vault is whose. The keys themselves are never in the database (`security.vault`)."""

from datetime import datetime

from sqlmodel import Field, SQLModel

from db.types import UtcDateTime


class PatientKey(SQLModel, table=True):
    """The name of a patient's key; everything of the patient is wrapped under it as soon as this row is there.

    `erasing_at` is when the patient asked for erasure, `erased_at` when nothing was left to erase.
    """

    __tablename__ = "patient_key"

    user_id: str = Field(foreign_key="user_account.id", primary_key=True, max_length=32)
    name: str = Field(max_length=32, unique=True)
    created_at: datetime = Field(sa_type=UtcDateTime)
    erasing_at: datetime | None = Field(default=None, sa_type=UtcDateTime)
    erased_at: datetime | None = Field(default=None, sa_type=UtcDateTime)
