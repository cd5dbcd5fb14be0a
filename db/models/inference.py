"""Encrypted heads of models, and the queries that their keys have read."""

from datetime import datetime

from sqlmodel import Field, SQLModel

from db.types import UtcDateTime


class EncryptedHeadRecord(SQLModel, table=True):
    """The encrypted head of a checkpoint, signed by the authority, and how many queries were spent on it for ever."""

    __tablename__ = "encrypted_head"

    checkpoint_id: str = Field(foreign_key="checkpoint.id", primary_key=True, max_length=32)
    blob_id: str = Field(foreign_key="blob.id", max_length=32)
    spent: int = 0
    created_at: datetime = Field(sa_type=UtcDateTime)


class HeadQuery(SQLModel, table=True):
    """A query that counts: it is never read again. Nothing here says what it was about."""

    __tablename__ = "head_query"

    checkpoint_id: str = Field(foreign_key="encrypted_head.checkpoint_id", primary_key=True, max_length=32)
    query_id: str = Field(primary_key=True, max_length=32)
