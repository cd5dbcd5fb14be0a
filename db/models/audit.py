"""The append-only audit log: entries, and one head row that every append locks."""

from sqlalchemy import JSON, Column
from sqlmodel import Field, SQLModel

from db.types import blob_column_type


class AuditEntry(SQLModel, table=True):
    """One entry; `entry` is the canonical JSON that is hashed, byte for byte.

    `actor`, `action` and `object` repeat what stands in it, so that entries are found; whoever verifies compares them.
    """

    __tablename__ = "audit_entry"

    number: int = Field(primary_key=True, sa_column_kwargs={"autoincrement": False})
    entry: bytes = Field(sa_column=Column(blob_column_type(), nullable=False))
    chain_hash: str = Field(max_length=64)
    actor: str = Field(max_length=64, index=True)
    action: str = Field(max_length=64, index=True)
    object: str = Field(max_length=64, index=True)


class AuditHead(SQLModel, table=True):
    """The signed tree head after the last entry (one row, id 1). `frontier` lists subtree hashes, hex, left first."""

    __tablename__ = "audit_head"

    id: int = Field(default=1, primary_key=True)
    size: int = 0
    chain_hash: str = Field(max_length=64)
    root: str = Field(max_length=64)
    frontier: list[str] = Field(sa_column=Column(JSON, nullable=False))
    signer: str = Field(default="", max_length=64)
    signature: bytes = Field(sa_column=Column(blob_column_type(), nullable=False))
