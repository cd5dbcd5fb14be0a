"""Two machines of one installation: data, vault and database are shared, and each has a runtime folder of its own."""

import os
import signal
import subprocess
import sys
import threading
from collections.abc import Iterator
from dataclasses import replace
from datetime import timedelta
from pathlib import Path

import pytest
from sqlmodel import col, select

from core.clock import FixedClock
from core.errors import DataErased, MeasurementRefused, SessionEnded, TooOften
from core.services import approvals, audit, node_health, run_views, runs
from core.services.app import Actor, App
from core.services.appointments import appointments, book
from core.services.case_reading import view_pictures
from core.services.case_records import CaseStatus
from core.services.context import display_name
from core.services.datasets import PATIENT_RANGE, datasets, generate_dataset
from core.services.demo import DEMO_PASSWORD
from core.services.erasure import erase
from core.services.models import install
from core.services.node_health import WorkerState
from core.services.processes import environment
from core.services.rate_limits import LOOKS, spend
from core.services.reviews import Decision, reviews_of, sign_review
from core.services.sessions import check_password, redeem_code, session_actor, sign_out
from core.services.slots import free_slots
from core.services.vault import key_of
from core.services.worklist import worklist
from core.settings import ROOT
from db.engine import read_scope, session_scope
from db.models import Run, RunAttempt
from db.models.federation import RunStatus
from federated.dbstore import LEASE_S
from tests.conftest import Installation
from tests.integration.clinic import offered_slots
from tests.integration.machines import app_with, machines, shipped_model, upload
from tests.integration.runs_support import give_data, queue_run

pytestmark = [pytest.mark.mysql, pytest.mark.parametrize("database_url", ["mysql"], indirect=True)]
Pair = tuple[App, App]


@pytest.fixture
def pair(app: App, clock: FixedClock, tmp_path: Path) -> Iterator[Pair]:
    """The application on one machine and on another one."""
    settings = app.settings.model_copy(update={"runtime_dir": tmp_path / "runtime of the other"})
    other = App.start(settings, clock=clock)
    yield app, other
    other.engine.dispose()


def test_a_case_is_sent_to_one_machine_and_read_signed_and_booked_on_the_other(
    pair: Pair, installation: Installation, tmp_path: Path, patient: Actor, doctor: Actor
) -> None:
    with session_scope(pair[0].engine) as session:
        install(pair[0], session, shipped_model(installation))
    with machines(installation, tmp_path / "north", "north.serving") as (north,):
        here, there = (app_with(app, north) for app in pair)
        case = upload(here, patient)
        assert case.status is CaseStatus.ANSWERED
        assert [entry.case.id for entry in worklist(there, doctor)] == [case.id]
        assert view_pictures(there, doctor, case.id).with_heat_map is not None
        sign_review(there, doctor, case.id, decision=Decision.AGREE)
        offered_slots(there, doctor)
        slot = free_slots(here, patient, case.id)[0]
        book(there, patient, case_id=case.id, slot_id=slot.id)
        assert [one.case_id for one in appointments(here, patient)] == [case.id]
        assert len(reviews_of(here, doctor, case.id)) == 1


def test_signing_in_and_out_limits_and_withdrawn_programs_count_on_both(pair: Pair, authority: Actor) -> None:
    here, there = pair
    token = redeem_code(there, check_password(here, "demo-patient", DEMO_PASSWORD))
    assert session_actor(here, token).username == "demo-patient"
    sign_out(there, token)
    with pytest.raises(SessionEnded):
        session_actor(here, token)
    limit = replace(LOOKS, times=4)
    for app in (here, there, here, there):
        spend(app, limit, "somebody")
    for app in (here, there):
        with pytest.raises(TooOften):
            spend(app, limit, "somebody")
    measurement = approvals.in_force(there).approved[0].measurement.sha256
    approvals.withdraw(here, authority, measurement)
    with pytest.raises(MeasurementRefused):
        approvals.in_force(there).require(measurement)


def test_the_audit_log_of_two_machines_that_write_at_once_is_one_log(pair: Pair, authority: Actor) -> None:
    def write(app: App, who: str) -> None:
        for number in range(20):
            with session_scope(app.engine) as session:
                audit.append(app, session, authority, "test.act", object_id=f"{who}/{number}")

    writers = [threading.Thread(target=write, args=(app, who)) for app, who in zip(pair, "ab", strict=True)]
    for writer in writers:
        writer.start()
    for writer in writers:
        writer.join()
    for app in pair:
        audit.verify(app, authority)
    written = audit.list_entries(pair[1], authority, action="test.act", limit=100)
    assert {entry.object_id for entry in written} == {f"{who}/{number}" for who in "ab" for number in range(20)}


def test_what_is_erased_on_one_machine_is_gone_on_the_other(pair: Pair, patient: Actor) -> None:
    here, there = pair
    with read_scope(there.engine) as session:
        assert display_name(there, session, patient.user_id)
    erase(here, patient, password=DEMO_PASSWORD)
    with read_scope(there.engine) as session, pytest.raises(DataErased):
        key_of(there, session, patient.user_id)


def test_a_data_set_that_one_machine_took_is_there_for_the_other(pair: Pair, hospital: Actor) -> None:
    here, there = pair
    made = generate_dataset(here, hospital, patients=PATIENT_RANGE[0], cells_per_patient=1)
    assert [one.id for one in datasets(there, hospital)] == [made.id]


def test_a_worker_of_another_machine_takes_a_run_whose_worker_died_once_its_lease_has_ended_and_not_before(
    pair: Pair, clock: FixedClock, authority: Actor
) -> None:
    here, there = pair
    run = queue_run(here, authority, give_data(here), rounds=2)
    first = start(here, clock, wait_before=2)
    assert first.stdout is not None
    assert first.stdout.readline() == "training\n"
    with start(there, clock) as second:
        assert second.wait() == 0, "it lives beside the first, and finds nothing to do"
    assert run_views.run_detail(there, authority, run).run.status is RunStatus.RUNNING
    os.kill(first.pid, signal.SIGKILL)
    first.wait()
    first.stdout.close()
    clock.advance(timedelta(seconds=LEASE_S + 1))
    with start(there, clock) as second:
        assert second.wait() == 0
    with read_scope(here.engine) as session:
        row = session.get_one(Run, run)
        attempts = session.exec(select(RunAttempt).order_by(col(RunAttempt.number))).all()
    assert (row.status, row.rounds_done, row.worker) == (RunStatus.FINISHED, 2, None)
    assert [one.outcome for one in attempts].count("abandoned") == 1


def start(app: App, clock: FixedClock, *, wait_before: int = 0) -> "subprocess.Popen[str]":
    """Start a worker on a machine; it waits for ever before its N-th training."""
    command = [sys.executable, "-m", "tests.integration.softmax_worker", str(wait_before), clock.now().isoformat()]
    return subprocess.Popen(command, cwd=ROOT, env=environment(app.settings), stdout=subprocess.PIPE, text=True)


def test_where_workers_are_on_other_machines_the_app_starts_none(app: App, authority: Actor, hospital: Actor) -> None:
    apart = replace(app, settings=app.settings.model_copy(update={"start_worker": False}))
    queue_run(apart, authority, give_data(apart), rounds=1)
    assert not runs.wake_worker(apart, authority)
    assert not (apart.settings.run_dir / "worker.starting").exists()
    assert node_health.health(apart, hospital).worker is WorkerState.ELSEWHERE
