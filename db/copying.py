"""Copying every row of one database into another, of whichever kind: a backup, its restoration, a move to MySQL."""

from collections.abc import Callable

from sqlalchemy import Connection, Engine, LargeBinary, Table, select
from sqlalchemy.exc import InterfaceError, OperationalError
from sqlmodel import SQLModel

import db.models  # noqa: F401  (which fills the list of tables)
from core.errors import DatabaseUnavailable, SettingsError
from db.engine import READ_ONLY
from db.migrate import current, head, references_unchecked

_ROWS, _LARGE_ROWS = 500, 8
"""Rows that are in memory at once: of those with bytes few, since each may hold a mebibyte."""
Tell = Callable[[str, int], None]


def copy_rows(source: Engine, target: Engine, *, tell: Tell = lambda _table, _rows: None) -> dict[str, int]:
    """Copy all rows as they are at one moment; returns how many there were, by table.

    Args:
        source: at the newest revision; others may go on writing to it.
        target: at the newest revision and without a row; on an error it stays so.
        tell: told of each table and its rows when it has been copied.

    Raises:
        DatabaseUnavailable: one of them did not answer.
        SettingsError: one is not at the newest revision, or the target holds rows.
    """
    isolated = {READ_ONLY: True} if source.dialect.name == "sqlite" else {"isolation_level": "REPEATABLE READ"}
    try:
        with source.connect().execution_options(**isolated) as reading, target.connect() as writing:
            if {_revision(reading), _revision(writing)} != {head()}:
                raise SettingsError("the database is of another version; run: python -m core setup")
            with references_unchecked(writing), writing.begin():
                if any(writing.execute(select(table).limit(1)).first() for table in SQLModel.metadata.sorted_tables):
                    raise SettingsError("the database is not empty")
                copied = {}
                for table in SQLModel.metadata.sorted_tables:
                    copied[table.name] = _copy(table, reading, writing)
                    tell(table.name, copied[table.name])
            return copied
    except (OperationalError, InterfaceError) as error:
        raise DatabaseUnavailable from error


def _revision(connection: Connection) -> str | None:
    found = current(connection)
    connection.rollback()
    return found


def _copy(table: Table, reading: Connection, writing: Connection) -> int:
    large = any(isinstance(column.type, LargeBinary) for column in table.columns)
    rows = reading.execution_options(yield_per=_LARGE_ROWS if large else _ROWS).execute(select(table))
    count = 0
    for part in rows.mappings().partitions():
        writing.execute(table.insert(), [dict(row) for row in part])
        count += len(part)
    return count
