"""A doctor's plan: weekly times from which slots are made, and days on which there are none."""

from datetime import date, datetime

from sqlmodel import Field, SQLModel

from db.types import UtcDateTime, new_id


class Availability(SQLModel, table=True):
    """Times of every week in a place's own clock; `ended_at` is set when the doctor ends them."""

    id: str = Field(default_factory=new_id, primary_key=True, max_length=32)
    doctor_id: str = Field(foreign_key="user_account.id", max_length=32, index=True)
    weekday: int
    start_minute: int
    end_minute: int
    minutes: int
    capacity: int
    zone: str = Field(max_length=64)
    first_day: date
    last_day: date | None = None
    ended_at: datetime | None = Field(default=None, sa_type=UtcDateTime)


class Absence(SQLModel, table=True):
    """Days on which a doctor offers nothing, both included, in a place's own calendar."""

    id: str = Field(default_factory=new_id, primary_key=True, max_length=32)
    doctor_id: str = Field(foreign_key="user_account.id", max_length=32, index=True)
    first_day: date
    last_day: date
    zone: str = Field(max_length=64)
