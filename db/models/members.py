"""Hospitals and the public side of the authority: certificates and revocation lists. No private key is ever here."""

from datetime import datetime

from sqlalchemy import Column, Double, Text
from sqlmodel import Field, SQLModel

from db.types import UtcDateTime, blob_column_type, new_id


class Hospital(SQLModel, table=True):
    """A member hospital: a training node and a serving enclave."""

    id: str = Field(default_factory=new_id, primary_key=True, max_length=32)
    slug: str = Field(max_length=32, unique=True)
    name: str = Field(max_length=128)
    city: str = Field(max_length=64)
    latitude: float = Field(sa_type=Double)
    longitude: float = Field(sa_type=Double)
    is_active: bool = True


class CertificateRecord(SQLModel, table=True):
    """A certificate that the authority issued (PEM), to a party and for one key use."""

    __tablename__ = "certificate"

    serial: str = Field(primary_key=True, max_length=40)
    party: str = Field(max_length=64, index=True)
    key_use: str = Field(max_length=8)
    pem: str = Field(sa_column=Column(Text, nullable=False))
    not_after: datetime = Field(sa_type=UtcDateTime)
    issued_at: datetime = Field(sa_type=UtcDateTime)
    revoked_at: datetime | None = Field(default=None, sa_type=UtcDateTime)
    revocation_reason: str | None = Field(default=None, max_length=64)


class ApprovalList(SQLModel, table=True):
    """A list of the enclaves' approved measurements, signed by the authority; the highest number is in force."""

    __tablename__ = "approval_list"

    number: int = Field(primary_key=True, sa_column_kwargs={"autoincrement": False})
    statement: bytes = Field(sa_column=Column(blob_column_type(), nullable=False))
    issued_at: datetime = Field(sa_type=UtcDateTime)


class RevocationList(SQLModel, table=True):
    """A signed X.509 revocation list; the highest number is in force."""

    __tablename__ = "revocation_list"

    number: int = Field(primary_key=True, sa_column_kwargs={"autoincrement": False})
    der: bytes = Field(sa_column=Column(blob_column_type(), nullable=False))
    issued_at: datetime = Field(sa_type=UtcDateTime)
