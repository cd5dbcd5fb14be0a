"""Accounts, sessions and consents. Personal fields are sealed by the application before they arrive here."""

from datetime import datetime
from enum import StrEnum

from sqlalchemy import Column
from sqlmodel import Field, SQLModel

from db.types import UtcDateTime, blob_column_type, enum_type, new_id


class Role(StrEnum):
    """The four roles."""

    PATIENT = "patient"
    DOCTOR = "doctor"
    HOSPITAL = "hospital"
    AUTHORITY = "authority"


class ConsentPurpose(StrEnum):
    """What a patient can agree to in advance; `REFERRAL` could be until text 2026-2, now each request is agreed to."""

    DIAGNOSIS = "diagnosis"
    FALLBACK_HOSPITAL = "fallback_hospital"
    REFERRAL = "referral"
    EMAIL = "email"


class User(SQLModel, table=True):
    """One account. `profile` is the sealed JSON of display name, e-mail address and city.

    `mac`, here and in other tables, is the app's over the fields that say who this is (`core.services.genuine`).
    """

    __tablename__ = "user_account"

    id: str = Field(default_factory=new_id, primary_key=True, max_length=32)
    username: str = Field(max_length=64, unique=True, index=True)
    role: Role = Field(sa_type=enum_type(Role, 16), index=True)
    password_hash: str = Field(max_length=128)
    profile: bytes = Field(sa_column=Column(blob_column_type(), nullable=False))
    hospital_id: str | None = Field(default=None, foreign_key="hospital.id", max_length=32, index=True)
    is_demo: bool = False
    is_active: bool = True
    second_factor: bool = False
    created_at: datetime = Field(sa_type=UtcDateTime)
    mac: str = Field(default="", max_length=64)


class SecondFactor(SQLModel, table=True):
    """The secret that an account shares with an authenticator, sealed; it counts once a code has confirmed it.

    `last_step` is the time step of the last code that counted: no code of that step or before it counts again.
    """

    __tablename__ = "second_factor"

    user_id: str = Field(primary_key=True, foreign_key="user_account.id", max_length=32)
    secret: bytes = Field(sa_column=Column(blob_column_type(), nullable=False))
    last_step: int = 0
    confirmed_at: datetime | None = Field(default=None, sa_type=UtcDateTime)
    mac: str = Field(default="", max_length=64)


class RecoveryCode(SQLModel, table=True):
    """A code that stands in once for the authenticator, as a keyed hash; the row is deleted when it is used."""

    __tablename__ = "recovery_code"

    code_hash: str = Field(primary_key=True, max_length=64)
    user_id: str = Field(foreign_key="user_account.id", max_length=32, index=True)
    mac: str = Field(default="", max_length=64)


class RateLimit(SQLModel, table=True):
    """How far ahead of the clock somebody's allowance is spent; `subject_mac` is a keyed hash of limit and subject."""

    __tablename__ = "rate_limit"

    subject_mac: str = Field(primary_key=True, max_length=64)
    spent_until: datetime = Field(sa_type=UtcDateTime, index=True)


class SignInFailures(SQLModel, table=True):
    """Failures in a row for one name, whether an account of that name exists or not (so that neither can be told).

    `name_mac` is a keyed hash: people type passwords into the wrong field.
    """

    __tablename__ = "sign_in_failures"

    name_mac: str = Field(primary_key=True, max_length=64)
    failures: int
    last_at: datetime = Field(sa_type=UtcDateTime, index=True)
    locked_until: datetime | None = Field(default=None, sa_type=UtcDateTime)


class LoginCode(SQLModel, table=True):
    """One-time code between the password check and the route that sets the cookie; stored as a keyed hash."""

    __tablename__ = "login_code"

    code_hash: str = Field(primary_key=True, max_length=64)
    user_id: str = Field(foreign_key="user_account.id", max_length=32)
    expires_at: datetime = Field(sa_type=UtcDateTime)
    used_at: datetime | None = Field(default=None, sa_type=UtcDateTime)
    mac: str = Field(default="", max_length=64)


class UserSession(SQLModel, table=True):
    """One signed-in browser; the cookie's token is stored as a keyed hash only.

    `stepped_up_until` is how long a code of the second factor, entered in this browser, still counts.
    """

    __tablename__ = "user_session"

    token_hash: str = Field(primary_key=True, max_length=64)
    user_id: str = Field(foreign_key="user_account.id", max_length=32, index=True)
    created_at: datetime = Field(sa_type=UtcDateTime)
    expires_at: datetime = Field(sa_type=UtcDateTime)
    revoked_at: datetime | None = Field(default=None, sa_type=UtcDateTime)
    stepped_up_until: datetime | None = Field(default=None, sa_type=UtcDateTime)
    mac: str = Field(default="", max_length=64)


class SeenMark(SQLModel, table=True):
    """Up to when a person has seen what is new of one kind (`core.services.notices`)."""

    __tablename__ = "seen_mark"

    user_id: str = Field(primary_key=True, foreign_key="user_account.id", max_length=32)
    kind: str = Field(primary_key=True, max_length=32)
    seen_at: datetime = Field(sa_type=UtcDateTime)


class Consent(SQLModel, table=True):
    """One consent of one patient for one purpose; withdrawal is a date, never a deletion."""

    id: str = Field(default_factory=new_id, primary_key=True, max_length=32)
    user_id: str = Field(foreign_key="user_account.id", max_length=32, index=True)
    purpose: ConsentPurpose = Field(sa_type=enum_type(ConsentPurpose, 32))
    text_version: str = Field(max_length=16)
    given_at: datetime = Field(sa_type=UtcDateTime)
    withdrawn_at: datetime | None = Field(default=None, sa_type=UtcDateTime)
