"""Column types and id makers shared by the tables."""

import secrets
from datetime import UTC, datetime
from enum import StrEnum
from typing import Any

from sqlalchemy import DateTime, Enum, LargeBinary
from sqlalchemy.dialects import mysql
from sqlalchemy.types import TypeDecorator


class UtcDateTime(TypeDecorator[datetime]):
    """Aware UTC datetime with microseconds, stored naive; refuses naive values on the way in."""

    impl = DateTime
    cache_ok = True

    def load_dialect_impl(self, dialect: Any) -> Any:
        """MySQL drops fractions unless asked for them."""
        if dialect.name in {"mysql", "mariadb"}:
            return dialect.type_descriptor(mysql.DATETIME(fsp=6))
        return dialect.type_descriptor(DateTime())

    def process_bind_param(self, value: datetime | None, dialect: Any) -> datetime | None:  # noqa: ARG002
        """Convert to naive UTC."""
        if value is None:
            return None
        if value.tzinfo is None:
            raise ValueError("naive datetime given where an aware one is required")
        return value.astimezone(UTC).replace(tzinfo=None)

    def process_result_value(self, value: datetime | None, dialect: Any) -> datetime | None:  # noqa: ARG002
        """Mark the stored value as UTC."""
        return None if value is None else value.replace(tzinfo=UTC)


def blob_column_type(length: int = 2**24 - 1) -> Any:
    """Return a binary type that holds `length` bytes on MySQL too (where plain BLOB ends at 64 KiB)."""
    large = mysql.LONGBLOB() if length > 2**24 - 1 else mysql.MEDIUMBLOB()
    return LargeBinary().with_variant(large, "mysql", "mariadb")


def enum_type(names: type[StrEnum], length: int) -> Any:
    """Return a VARCHAR that stores the value of a member (never its Python name) and reads it back as a member.

    Not a native ENUM: a later revision can then add a member without rewriting the table. A value that is not a
    member is refused on the way in (``LookupError`` inside SQLAlchemy's ``StatementError``).
    """
    return Enum(
        names,
        native_enum=False,
        create_constraint=False,
        validate_strings=True,
        length=length,
        values_callable=lambda members: [member.value for member in members],
    )


def new_id() -> str:
    """Return 128 random bits as 32 hex digits."""
    return secrets.token_hex(16)
