"""Engines and transactions for SQLite and MySQL/MariaDB. What a transaction contains is decided by the services.

`session_scope` writes, `read_scope` only reads. On SQLite a writing transaction takes the write lock at its begin, so
that it never fails halfway because somebody else wrote; writers of one process take turns for it in the order in which
they came, since SQLite lets those who wait try at random. On MySQL rows are locked as they are read ``FOR UPDATE``.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from functools import lru_cache, partial
from threading import Lock
from typing import Any

from sqlalchemy import Engine, ExceptionContext, create_engine, event, make_url
from sqlalchemy.exc import InterfaceError, OperationalError
from sqlalchemy.exc import TimeoutError as PoolTimeout
from sqlmodel import Session

from core.errors import DatabaseUnavailable

READ_ONLY = "hemaseal_read_only"
_BUSY_TIMEOUT_S = 15
_HAS_TURN = "hemaseal_has_turn"
_WRITABLE = ("0", "OFF")
"""What ``read_only`` says of a server that takes writes: a number, from MariaDB 12 on a word."""
_REFUSES_WORK = (1047, 1290, 1836)
"""Errors of a server that lives and is none to go on with: outside of its cluster (Galera), or read-only."""
_UNAVAILABLE = (OperationalError, InterfaceError, PoolTimeout)


class ReadingSession(Session):
    """The session of `read_scope`: what it was told once it may go by to its end, which is soon."""


def make_engine(url: str) -> Engine:
    """Return an engine for `url` (``sqlite:///…`` or ``mysql+pymysql://…``); nothing is connected yet.

    SQLite runs in WAL mode with foreign keys on and waits up to 15 s for a writer. MySQL uses utf8mb4, READ COMMITTED
    and asks a pooled connection before it is used whether its server lives and takes writes; when it does not, or
    refuses to work, all are made anew, wherever the address leads by then. What rows hold is left out of error
    messages, which reach logs.
    """
    parsed = make_url(url)
    if parsed.get_backend_name() == "sqlite":
        engine = create_engine(
            parsed, hide_parameters=True, connect_args={"timeout": _BUSY_TIMEOUT_S, "check_same_thread": False}
        )
        event.listen(engine, "connect", _configure_sqlite)
        turns = Lock()
        event.listen(engine, "begin", partial(_begin_sqlite, turns))
        for end in ("commit", "rollback"):
            event.listen(engine, end, partial(_end_turn, turns))
        return engine
    parsed = parsed.update_query_dict({"charset": "utf8mb4"})
    engine = create_engine(
        parsed,
        hide_parameters=True,
        pool_pre_ping=True,
        pool_recycle=1800,
        pool_size=10,
        max_overflow=20,
        isolation_level="READ COMMITTED",
        connect_args={"connect_timeout": 5, "read_timeout": 60, "write_timeout": 60},
    )
    engine.dialect.do_ping = _takes_writes  # type: ignore[method-assign, assignment]
    event.listen(engine, "handle_error", _leave_server)
    return engine


def _takes_writes(connection: Any) -> bool:
    """Whether a connection's server lives and takes writes; one that was replaced often goes on as a replica."""
    try:
        with connection.cursor() as cursor:
            cursor.execute("SELECT @@global.read_only")
            return str(cursor.fetchone()[0]) in _WRITABLE
    except connection.Error:
        return False


def _leave_server(context: ExceptionContext) -> None:
    """Have all connections made anew, wherever the address leads by then, after a server has refused to work."""
    if next(iter(context.original_exception.args), None) in _REFUSES_WORK:
        context.is_disconnect = True


def _configure_sqlite(connection: Any, _record: Any) -> None:
    connection.isolation_level = None  # transactions are begun by `_begin_sqlite`, not by the driver
    cursor = connection.cursor()
    for pragma in ("journal_mode=WAL", "synchronous=FULL", "foreign_keys=ON"):
        cursor.execute(f"PRAGMA {pragma}")
    cursor.close()


def _begin_sqlite(turns: Lock, connection: Any) -> None:
    if connection.get_execution_options().get(READ_ONLY, False):
        connection.exec_driver_sql("BEGIN")
        return
    if not turns.acquire(timeout=_BUSY_TIMEOUT_S):
        raise PoolTimeout("another writer of this process holds the database")
    connection.info[_HAS_TURN] = True
    try:
        connection.exec_driver_sql("BEGIN IMMEDIATE")
    except BaseException:
        _end_turn(turns, connection)
        raise


def _end_turn(turns: Lock, connection: Any) -> None:
    """Let the next writer go on; it waits in SQLite for the few milliseconds until this one has committed."""
    if connection.info.pop(_HAS_TURN, False):
        turns.release()


@contextmanager
def session_scope(engine: Engine) -> Iterator[Session]:
    """Run one writing transaction: committed at the end of the block, rolled back on any exception.

    Objects stay readable after the commit.

    Raises:
        DatabaseUnavailable: the database did not answer, or another transaction held what was needed for too long;
            nothing was written.
    """
    try:
        with Session(engine, expire_on_commit=False) as session:
            yield session
            session.commit()
    except _UNAVAILABLE as error:
        raise DatabaseUnavailable from error


@contextmanager
def read_scope(engine: Engine) -> Iterator[Session]:
    """Run one reading transaction; always rolled back, and it refuses to write.

    Raises:
        DatabaseUnavailable: the database did not answer.
    """
    try:
        with ReadingSession(_for_reading(engine), expire_on_commit=False) as session:
            yield session
            session.flush()
    except _UNAVAILABLE as error:
        raise DatabaseUnavailable from error


@lru_cache(maxsize=8)
def _for_reading(engine: Engine) -> Engine:
    return engine.execution_options(**{READ_ONLY: True})


def _refuse_flush(*_arguments: Any) -> None:
    raise RuntimeError("a reading transaction was asked to write; use session_scope")


event.listen(ReadingSession, "before_flush", _refuse_flush)
