"""The worker as a real process: killed in the middle, started again, started twice."""

import os
import signal
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager

import pytest
from filelock import FileLock
from sqlmodel import col, select

from core.clock import FixedClock
from core.services import run_views, runs
from core.services.app import Actor, App
from core.services.processes import environment
from core.services.worker_process import (
    LOCK_NAME,
    PID_NAME,
    ensure_running,
    is_running,
    note_started,
    stop,
)
from core.settings import ROOT, Settings
from db.engine import read_scope
from db.models import Checkpoint, Run, RunAttempt, RunEvent
from db.models.federation import RunStatus
from federated.worker import serve
from tests.federation import SLUGS
from tests.integration.runs_support import give_data, queue_run, softmax

ONE_ENGINE = pytest.mark.parametrize("database_url", ["sqlite"], indirect=True)


def start(app: App, clock: FixedClock, wait_before: int) -> "subprocess.Popen[str]":
    command = [sys.executable, "-m", "tests.integration.softmax_worker", str(wait_before), clock.now().isoformat()]
    return subprocess.Popen(command, cwd=ROOT, env=environment(app.settings), stdout=subprocess.PIPE, text=True)


@ONE_ENGINE
def test_a_killed_worker_loses_the_round_in_hand_only_and_resumes_with_a_new_attempt(
    app: App, clock: FixedClock, authority: Actor
) -> None:
    run = queue_run(app, authority, give_data(app), rounds=3)
    in_round_two = len(SLUGS) + 2
    first = start(app, clock, in_round_two)
    assert first.stdout is not None
    assert first.stdout.readline() == "training\n"
    assert is_running(app.settings)
    os.kill(first.pid, signal.SIGKILL)
    assert first.wait() == -signal.SIGKILL
    first.stdout.close()
    assert not is_running(app.settings)

    killed = run_views.run_detail(app, authority, run)
    assert (killed.run.status, killed.run.rounds_done) == (RunStatus.RUNNING, 1)
    with read_scope(app.engine) as session:
        kept = session.exec(select(Checkpoint.weights_sha256).where(Checkpoint.round_number == 1)).one()

    with start(app, clock, 0) as second:
        assert second.wait() == 0
    with read_scope(app.engine) as session:
        row = session.get_one(Run, run)
        attempts = session.exec(select(RunAttempt).order_by(col(RunAttempt.number))).all()
        checkpoints = session.exec(select(Checkpoint).order_by(col(Checkpoint.round_number))).all()
        events = session.exec(select(RunEvent).where(RunEvent.round_number == 2)).all()
    assert (row.status, row.rounds_done, row.worker) == (RunStatus.FINISHED, 3, None)
    assert [(one.round_number, one.outcome) for one in attempts] == [
        (0, "finished"),
        (1, "finished"),
        (2, "abandoned"),
        (2, "finished"),
        (3, "finished"),
        (3, "finished"),
    ]
    assert [one.round_number for one in checkpoints] == [0, 1, 2, 3]
    assert checkpoints[1].weights_sha256 == kept
    old, new = attempts[2].id, attempts[3].id
    marks = [str(one.payload["attempt"]) for one in events if "attempt" in one.payload]
    assert set(marks) == {old, new}
    assert marks.index(new) == marks.count(old), "nothing bears the old attempt after the new one began"


@ONE_ENGINE
def test_a_second_worker_of_the_same_installation_ends_by_itself(app: App, clock: FixedClock) -> None:
    app.settings.run_dir.mkdir(parents=True, exist_ok=True)
    with FileLock(app.settings.run_dir / LOCK_NAME), start(app, clock, 0) as second:
        assert second.wait() == 3


@ONE_ENGINE
def test_a_worker_that_starts_while_somebody_asks_whether_one_lives_does_not_give_up(
    app: App, clock: FixedClock, authority: Actor
) -> None:
    run = queue_run(app, authority, give_data(app), rounds=1)
    app.settings.run_dir.mkdir(parents=True, exist_ok=True)
    asked = FileLock(app.settings.run_dir / LOCK_NAME, thread_local=False)
    asked.acquire()
    slow = threading.Timer(1.2, asked.release)
    handlers = {number: signal.getsignal(number) for number in (signal.SIGTERM, signal.SIGINT)}
    slow.start()
    try:
        assert serve(app.settings, clock=clock, learner_for=softmax, idle_exit_s=0)
    finally:
        for number, handler in handlers.items():
            signal.signal(number, handler)
        slow.join()
    assert run_views.list_runs(app, authority)[0].id == run
    assert run_views.list_runs(app, authority)[0].status is RunStatus.FINISHED


@ONE_ENGINE
def test_stopping_never_ends_a_process_that_is_not_the_worker(app: App) -> None:
    app.settings.run_dir.mkdir(parents=True, exist_ok=True)
    with subprocess.Popen([sys.executable, "-c", "input()"], stdin=subprocess.PIPE) as stranger:
        note_started(app.settings)
        noted = app.settings.run_dir / PID_NAME
        noted.write_text(noted.read_text().replace(str(os.getpid()), str(stranger.pid), 1))
        with FileLock(app.settings.run_dir / LOCK_NAME):
            assert stop(app.settings)
        stranger.communicate(b"\n")
    assert stranger.returncode == 0


NOTED = "from core.services.worker_process import *; note_started(Settings()); print('noted', flush=True); input()"


@contextmanager
def noted_worker(settings: Settings) -> "Iterator[subprocess.Popen[bytes]]":
    """A process that has noted itself as the worker of these settings, while the lock is held."""
    settings.run_dir.mkdir(parents=True, exist_ok=True)
    command = [sys.executable, "-c", NOTED]
    with (
        subprocess.Popen(
            command, cwd=ROOT, env=environment(settings), stdin=subprocess.PIPE, stdout=subprocess.PIPE
        ) as worker,
        FileLock(settings.run_dir / LOCK_NAME),
    ):
        assert worker.stdout is not None
        assert worker.stdout.readline() == b"noted\n"
        try:
            yield worker
        finally:
            worker.kill()


@ONE_ENGINE
def test_stopping_ends_the_process_that_noted_itself(app: App) -> None:
    with noted_worker(app.settings) as worker:
        assert stop(app.settings)
        assert worker.wait() == -signal.SIGTERM


@ONE_ENGINE
def test_a_worker_of_another_database_does_not_count_and_is_ended_to_make_room(app: App) -> None:
    folder = app.settings.data_dir
    other = Settings(data_dir=folder, database_url=f"sqlite:///{folder / 'other.db'}", master_key=None)
    with noted_worker(other) as worker:
        assert is_running(other)
        assert not is_running(app.settings)
        assert not ensure_running(app.settings), "the place is free only when the other has gone"
        assert worker.wait() == -signal.SIGTERM


@ONE_ENGINE
def test_a_server_that_stops_ends_an_idle_worker_and_leaves_one_that_has_a_run(app: App, authority: Actor) -> None:
    with noted_worker(app.settings) as worker:
        run = queue_run(app, authority, give_data(app), rounds=1)
        assert not runs.dismiss_worker(app)
        assert worker.poll() is None
        runs.abort(app, authority, run)
        assert runs.dismiss_worker(app)
        assert worker.wait() == -signal.SIGTERM
