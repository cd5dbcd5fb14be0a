"""Bring a database to the newest schema revision. A new one: ``python -m db.migrate "what changes"``, then edit it.

Concurrent callers are safe: on MySQL a named lock is held; on SQLite the set-up's lock file and the write lock do it.
"""

import sys
from collections.abc import Iterator
from contextlib import contextmanager, nullcontext
from pathlib import Path
from typing import Any

from alembic import command
from alembic.config import Config
from alembic.migration import MigrationContext
from alembic.script import ScriptDirectory
from sqlalchemy import Connection, Engine, text
from sqlalchemy.exc import DBAPIError, InterfaceError, OperationalError, SQLAlchemyError

from core.errors import DatabaseUnavailable, SettingsError
from db.engine import make_engine

_MIGRATIONS = Path(__file__).resolve().parent / "migrations"
_LOCK = "hemaseal_migrate"
_UNKNOWN_DATABASE = 1049


def _config() -> Config:
    config = Config()
    config.set_main_option("script_location", str(_MIGRATIONS))
    return config


def head() -> str:
    """Return the id of the newest revision in the source."""
    revision = ScriptDirectory.from_config(_config()).get_current_head()
    if revision is None:
        raise RuntimeError("no schema revision found")
    return revision


def current(connection: Connection) -> str | None:
    """Return the revision that the database is at; None for an empty database."""
    return MigrationContext.configure(connection).get_current_revision()


def is_missing(error: SQLAlchemyError) -> bool:
    """Tell whether an error says that there is no database (or none of ours), not that it does not answer now."""
    cause = error.orig if isinstance(error, DBAPIError) else None
    if isinstance(error, OperationalError | InterfaceError):
        return _is_unknown(cause) or getattr(cause, "sqlite_errorname", "") == "SQLITE_CANTOPEN"
    return True


def upgrade(engine: Engine) -> bool:
    """Bring the database to the newest revision; returns whether anything had to be done.

    Raises:
        DatabaseUnavailable: the database did not answer.
        SettingsError: the MySQL schema that the URL names does not exist.
    """
    try:
        with engine.connect() as connection:
            if engine.dialect.name == "sqlite":
                return _upgrade(connection)
            connection.execute(text("SELECT GET_LOCK(:name, 120)"), {"name": _LOCK})
            connection.commit()
            try:
                return _upgrade(connection)
            finally:
                connection.execute(text("SELECT RELEASE_LOCK(:name)"), {"name": _LOCK})
                connection.commit()
    except (OperationalError, InterfaceError) as error:
        if _is_unknown(error.orig):
            name = engine.url.database
            raise SettingsError(f"CREATE DATABASE {name} CHARACTER SET utf8mb4 first") from error
        raise DatabaseUnavailable from error


def _is_unknown(cause: BaseException | None) -> bool:
    return cause is not None and cause.args[:1] == (_UNKNOWN_DATABASE,)


def _upgrade(connection: Connection) -> bool:
    done = current(connection) == head()
    connection.rollback()
    if done:
        return False
    config = _config()
    config.attributes["connection"] = connection
    with references_unchecked(connection) if connection.dialect.name == "sqlite" else nullcontext():
        command.upgrade(config, "head")
        connection.commit()
    return True


@contextmanager
def references_unchecked(connection: Connection) -> Iterator[None]:
    """Let rows refer to others that come later, and SQLite put a changed table in the place of one that is referred to.

    On SQLite all references are checked at the end. It can be switched only outside of a transaction (SQLite, "Making
    Other Kinds Of Table Schema Changes").
    """
    driver: Any = connection.connection.driver_connection
    if connection.dialect.name != "sqlite":
        driver.query("SET SESSION foreign_key_checks = 0")
        try:
            yield
        finally:
            driver.query("SET SESSION foreign_key_checks = 1")
        return
    driver.execute("PRAGMA foreign_keys=OFF")
    try:
        yield
        if driver.execute("PRAGMA foreign_key_check").fetchone() is not None:
            raise RuntimeError("a revision left references to nothing")
    finally:
        driver.execute("PRAGMA foreign_keys=ON")


def _new_revision(message: str) -> None:
    """Write the difference between the revisions and the models as a new revision file."""
    engine = make_engine("sqlite://")
    with engine.connect() as connection:
        config = _config()
        config.attributes["connection"] = connection
        command.upgrade(config, "head")
        command.revision(config, message, autogenerate=True)


if __name__ == "__main__":
    _new_revision(sys.argv[1])
