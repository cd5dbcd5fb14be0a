"""A run belongs to one worker: what a lease is worth while the database is away, and after the process stood still."""

import shutil
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import timedelta
from types import SimpleNamespace

import pytest
from sqlalchemy import event

from core.clock import FixedClock
from core.errors import DatabaseUnavailable
from core.services import run_views
from core.services.app import Actor, App
from db.engine import session_scope
from db.models import Run
from db.models.federation import RunStatus
from federated.dbstore import LEASE_S, Lease, Office, claim_run, queue
from tests.integration.runs_support import give_data, queue_run, worker_for

ONE_ENGINE = pytest.mark.parametrize("database_url", ["sqlite"], indirect=True)


@pytest.fixture
def office(app: App, clock: FixedClock, authority: Actor) -> Iterator[Office]:
    queue_run(app, authority, give_data(app), rounds=1)
    worker = worker_for(app.settings, clock)
    yield worker._office
    worker.close()


@pytest.fixture
def now(monkeypatch: pytest.MonkeyPatch) -> SimpleNamespace:
    """A monotonic clock for leases that moves only when told to; the heartbeat waits for it to be asked."""
    time = SimpleNamespace(at=0.0)
    monkeypatch.setattr(queue, "time", SimpleNamespace(monotonic=lambda: time.at))
    monkeypatch.setattr(queue, "HEARTBEAT_S", 0.001)
    return time


@contextmanager
def away(office: Office) -> Iterator[threading.Event]:
    """A database that answers no statement; yields an event that is set when somebody has asked."""
    asked = threading.Event()

    def refuse(*_arguments: object) -> None:
        asked.set()
        raise DatabaseUnavailable

    event.listen(office.engine, "before_cursor_execute", refuse)
    try:
        yield asked
    finally:
        event.remove(office.engine, "before_cursor_execute", refuse)


def test_a_lease_that_could_not_be_renewed_in_time_is_lost_until_the_database_confirms_it(
    office: Office, now: SimpleNamespace
) -> None:
    run = claim_run(office)
    assert run is not None
    with Lease(office, run, since=now.at) as lease:
        with away(office) as asked:
            assert asked.wait(10)
            assert not lease.tenure.is_lost()
            now.at += LEASE_S + 1
            assert lease.tenure.is_lost()
        until(lambda: not lease.tenure.is_lost())


def test_a_worker_that_stood_still_knows_before_it_asks_the_database(office: Office, now: SimpleNamespace) -> None:
    run = claim_run(office)
    assert run is not None
    lease = Lease(office, run, since=now.at)
    assert not lease.tenure.is_lost()
    now.at += LEASE_S + 1
    assert lease.tenure.is_lost()


def test_a_run_that_another_worker_took_is_lost_for_good(office: Office, now: SimpleNamespace) -> None:
    run = claim_run(office)
    assert run is not None
    with Lease(office, run, since=now.at) as lease:
        with session_scope(office.engine) as session:
            row = session.get_one(Run, run)
            row.worker = "elsewhere/place/1"
            session.add(row)
        until(lease.tenure.is_lost)


def test_a_run_of_another_host_is_taken_over_when_its_lease_has_ended_and_not_before(
    office: Office, clock: FixedClock
) -> None:
    run = claim_run(office)
    assert run is not None
    other = Office(
        engine=office.engine, clock=clock, worker="elsewhere/place/1", signer=office.signer, newest=office.newest
    )
    assert claim_run(other) is None
    clock.advance(timedelta(seconds=LEASE_S + 1))
    assert claim_run(other) == run


@ONE_ENGINE
def test_a_worker_that_starts_before_its_database_plays_as_soon_as_there_is_one(
    app: App, clock: FixedClock, authority: Actor
) -> None:
    run = queue_run(app, authority, give_data(app), rounds=1)
    app.engine.dispose()
    database, hidden = app.settings.data_dir / "hemaseal.db", app.settings.data_dir / "hidden"
    hidden.mkdir()
    database.rename(hidden / database.name)
    database.mkdir()  # a file could be made anew, empty
    worker = worker_for(app.settings, clock)
    try:
        with pytest.raises(DatabaseUnavailable):
            worker.run_one()
        database.rmdir()
        shutil.move(hidden / "hemaseal.db", database)
        assert worker.run_one()
    finally:
        worker.close()
    assert run_views.run_detail(app, authority, run).run.status is RunStatus.FINISHED


def until(holds: Callable[[], bool]) -> None:
    """Wait for what a heartbeat brings about."""
    waited = threading.Event()
    for _ in range(2000):
        if holds():
            return
        waited.wait(0.005)
    raise AssertionError("it did not come about in ten seconds")
