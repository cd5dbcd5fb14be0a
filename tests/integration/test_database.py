"""Engines, transactions, sealed objects and schema revisions, on both engines."""

import hashlib
import sqlite3
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from functools import partial
from pathlib import Path
from typing import Any
from unittest.mock import MagicMock

import pytest
from alembic.autogenerate import compare_metadata
from alembic.migration import MigrationContext
from sqlalchemy import Connection, Engine, text, update
from sqlalchemy.exc import IntegrityError, StatementError
from sqlmodel import Session, SQLModel, col, select

from core.clock import FixedClock
from core.errors import CheckpointRefused, DatabaseUnavailable, NotFound
from db import migrate
from db.blobs import PART_BYTES, delete_blob, get_blob, put_blob
from db.engine import make_engine, read_scope, session_scope
from db.models import BlobPart, Hospital, Role, User


def _user(clock: FixedClock, **changes: object) -> User:
    user = User(username="somebody", role=Role.DOCTOR, password_hash="x", profile=b"", created_at=clock.now())
    for name, value in changes.items():
        setattr(user, name, value)
    return user


def test_the_revisions_build_exactly_the_tables_of_the_models(engine: Engine) -> None:
    with engine.connect() as connection:
        context = MigrationContext.configure(connection, opts={"compare_type": True})
        assert compare_metadata(context, SQLModel.metadata) == []


def test_upgrading_twice_does_nothing_the_second_time(engine: Engine) -> None:
    assert migrate.upgrade(engine) is False
    with engine.connect() as connection:
        assert migrate.current(connection) == migrate.head()


def test_a_role_is_stored_by_its_value_and_comes_back_as_a_member(engine: Engine, clock: FixedClock) -> None:
    with session_scope(engine) as session:
        session.add(_user(clock))
    with read_scope(engine) as session:
        assert session.connection().execute(text("SELECT role FROM user_account")).scalar_one() == "doctor"
        assert session.exec(select(User)).one().role is Role.DOCTOR


def test_a_role_that_does_not_exist_is_refused(engine: Engine, clock: FixedClock) -> None:
    with pytest.raises(StatementError), session_scope(engine) as session:
        session.add(_user(clock, role="emperor"))


def test_times_come_back_aware_and_with_microseconds(engine: Engine, clock: FixedClock) -> None:
    clock.at = clock.at.replace(microsecond=123456)
    with session_scope(engine) as session:
        session.add(_user(clock))
    with read_scope(engine) as session:
        assert session.exec(select(User)).one().created_at == clock.at


def test_names_are_compared_by_case_on_both_engines(engine: Engine, clock: FixedClock) -> None:
    with session_scope(engine) as session:
        session.add(_user(clock, username="Anna"))
        session.add(_user(clock, username="anna"))
    with read_scope(engine) as session:
        assert len(session.exec(select(User).where(User.username == "anna")).all()) == 1


def test_what_a_row_holds_is_not_in_the_message_of_an_error(engine: Engine, clock: FixedClock) -> None:
    with pytest.raises(IntegrityError) as caught, session_scope(engine) as session:
        session.add(_user(clock, hospital_id="nowhere", password_hash="a hash nobody may read"))
    assert "INSERT INTO user_account" in str(caught.value)
    assert "nobody may read" not in str(caught.value)


def test_a_reference_to_nothing_is_refused(engine: Engine, clock: FixedClock) -> None:
    with pytest.raises(IntegrityError), session_scope(engine) as session:
        session.add(_user(clock, hospital_id="nowhere"))


def test_coordinates_keep_their_precision(engine: Engine) -> None:
    with session_scope(engine) as session:
        session.add(Hospital(slug="x", name="X", city="X", latitude=59.913868912, longitude=-10.752245413))
    with read_scope(engine) as session:
        hospital = session.exec(select(Hospital)).one()
        assert (hospital.latitude, hospital.longitude) == (59.913868912, -10.752245413)


@pytest.mark.parametrize("size", [0, 1, PART_BYTES - 1, PART_BYTES, PART_BYTES + 1, 3 * PART_BYTES + 7])
def test_a_sealed_object_comes_back_byte_for_byte(engine: Engine, clock: FixedClock, size: int) -> None:
    data = hashlib.shake_256(str(size).encode()).digest(size)
    with session_scope(engine) as session:
        blob_id = put_blob(session, data, "image", clock).id
    with read_scope(engine) as session:
        assert get_blob(session, blob_id) == data


def test_a_changed_part_is_noticed(engine: Engine, clock: FixedClock) -> None:
    with session_scope(engine) as session:
        blob_id = put_blob(session, b"a" * (PART_BYTES + 5), "weights", clock).id
    with session_scope(engine) as session:
        session.connection().execute(update(BlobPart).where(col(BlobPart.number) == 1).values(data=b"bbbbb"))
    with pytest.raises(CheckpointRefused), read_scope(engine) as session:
        get_blob(session, blob_id)


def test_a_deleted_object_is_not_found(engine: Engine, clock: FixedClock) -> None:
    with session_scope(engine) as session:
        blob_id = put_blob(session, b"abc", "image", clock).id
    with session_scope(engine) as session:
        delete_blob(session, blob_id)
        delete_blob(session, blob_id)
    with pytest.raises(NotFound), read_scope(engine) as session:
        get_blob(session, blob_id)


def test_an_exception_in_the_block_leaves_nothing_behind(engine: Engine, clock: FixedClock) -> None:
    def store_and_fail() -> None:
        with session_scope(engine) as session:
            put_blob(session, b"abc", "image", clock)
            raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        store_and_fail()
    with read_scope(engine) as session:
        assert session.exec(select(BlobPart)).all() == []


def test_a_reading_transaction_refuses_to_write(engine: Engine, clock: FixedClock) -> None:
    with pytest.raises(RuntimeError, match="reading transaction"), read_scope(engine) as session:
        session.add(_user(clock))


def test_a_connection_cut_in_the_middle_is_reported_and_leaves_nothing(engine: Engine, clock: FixedClock) -> None:
    def store_and_lose_the_database() -> None:
        with session_scope(engine) as session:
            put_blob(session, b"abc", "image", clock)
            _cut(engine, session.connection())
            put_blob(session, b"d" * PART_BYTES, "image", clock)

    with pytest.raises(DatabaseUnavailable):
        store_and_lose_the_database()
    with read_scope(engine) as session:
        assert session.exec(select(BlobPart)).all() == []


def _cut(engine: Engine, connection: Connection) -> None:
    """Take the database away from an open transaction: kill it at the server, or let the disk be full."""
    if engine.dialect.name == "mysql":
        number = connection.execute(text("SELECT CONNECTION_ID()")).scalar_one()
        with engine.connect() as other:
            other.execute(text(f"KILL {number}"))
    else:
        connection.exec_driver_sql("PRAGMA max_page_count=1")


def test_a_server_that_is_not_there_is_reported(tmp_path: Path) -> None:
    gone = make_engine("mysql+pymysql://root@127.0.0.1:1/none")
    with pytest.raises(DatabaseUnavailable), session_scope(gone) as session:
        session.exec(select(User)).all()
    folder = make_engine(f"sqlite:///{tmp_path / 'missing' / 'x.db'}")
    with pytest.raises(DatabaseUnavailable), read_scope(folder) as session:
        session.exec(select(User)).all()


def test_writers_of_one_process_wait_for_their_turn_and_give_it_back_however_they_end(
    tmp_path: Path, clock: FixedClock, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("db.engine._BUSY_TIMEOUT_S", 0.05)
    file = tmp_path / "turns.db"
    impatient = make_engine(f"sqlite:///{file}")
    migrate.upgrade(impatient)

    def write(engine: Engine, name: str) -> None:
        with session_scope(engine) as session:
            session.add(_user(clock, username=name))

    with session_scope(impatient) as session:
        session.add(_user(clock, username="first"))
        session.flush()
        with ThreadPoolExecutor() as others, pytest.raises(DatabaseUnavailable):
            others.submit(write, impatient, "too-early").result()
    with closing(sqlite3.connect(file, isolation_level=None)) as of_another_process:
        of_another_process.execute("BEGIN IMMEDIATE")
        with pytest.raises(DatabaseUnavailable):
            write(impatient, "too-early")
        of_another_process.execute("ROLLBACK")
    write(impatient, "second")
    with pytest.raises(IntegrityError):
        write(impatient, "second")
    impatient.dispose()
    monkeypatch.undo()
    patient = make_engine(f"sqlite:///{file}")
    with ThreadPoolExecutor(8) as others:
        list(others.map(partial(write, patient), map(str, range(8))))
    with read_scope(patient) as session:
        assert set(session.exec(select(User.username)).all()) == {"first", "second", *map(str, range(8))}
    patient.dispose()


@pytest.mark.parametrize(
    ("said", "takes"), [(0, True), ("OFF", True), (1, False), ("ON", False), ("NO_LOCK", False), (None, False)]
)
def test_whether_a_server_takes_writes_is_read_however_it_says_so(said: object, takes: bool) -> None:
    """MySQL and MariaDB before 12 say a number, later ones a word; one that was lost says nothing."""
    cursor = MagicMock()
    cursor.__enter__.return_value.fetchone.return_value = (said,)
    ping: Any = make_engine("mysql+pymysql://root@127.0.0.1:1/none").dialect.do_ping
    assert ping(MagicMock(cursor=lambda: cursor)) is takes


@pytest.mark.parametrize("database_url", ["mysql"], indirect=True)
@pytest.mark.mysql
@pytest.mark.parametrize("number", [1047, 1290, 1836])
def test_a_server_that_refuses_to_work_is_left_for_whatever_the_address_leads_to_next(
    engine: Engine, number: int
) -> None:
    """A node that lost its cluster (Galera) answers the ping of a connection, and refuses all else."""

    def connection_of(said: Session) -> int:
        return said.exec(text("SELECT CONNECTION_ID()")).scalar_one()  # type: ignore[call-overload]

    with read_scope(engine) as session:
        first = connection_of(session)
    with pytest.raises(DatabaseUnavailable), read_scope(engine) as session:
        session.exec(text(f"SIGNAL SQLSTATE '08S01' SET MYSQL_ERRNO = {number}"))  # type: ignore[call-overload]
    with read_scope(engine) as session:
        assert connection_of(session) != first
