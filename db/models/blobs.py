"""Sealed objects in 1 MiB rows (facts: PyMySQL doubles bytes, default servers refuse packets over 16 MiB)."""

from datetime import datetime

from sqlalchemy import Column
from sqlmodel import Field, SQLModel

from db.types import UtcDateTime, blob_column_type, new_id


class Blob(SQLModel, table=True):
    """One sealed object."""

    id: str = Field(default_factory=new_id, primary_key=True, max_length=32)
    kind: str = Field(max_length=16)
    size: int
    sha256: str = Field(max_length=64)
    created_at: datetime = Field(sa_type=UtcDateTime)


class BlobPart(SQLModel, table=True):
    """One part of a sealed object, at most 1 MiB."""

    __tablename__ = "blob_part"

    blob_id: str = Field(foreign_key="blob.id", primary_key=True, max_length=32)
    number: int = Field(primary_key=True, sa_column_kwargs={"autoincrement": False})
    data: bytes = Field(sa_column=Column(blob_column_type(), nullable=False))
