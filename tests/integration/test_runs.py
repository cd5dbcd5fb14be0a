"""Runs through the database, on both engines: order, play, watch, steer, resume, promote. NumPy learner."""

import errno
import shutil
import sys
from collections.abc import Callable
from datetime import timedelta
from functools import partial
from typing import Any

import pytest
from sqlmodel import col, select

from core.clock import FixedClock
from core.errors import CheckpointRefused, NoModel, NotAuthorised, NotFound, RunRefused, StorageFailed
from core.imaging.datasets import Part
from core.learning.run_events import FailureCode
from core.services import audit, models, node, run_views, runs
from core.services.app import Actor, App
from core.services.candidates import served_model
from core.services.members import certificates, revoke_certificate
from core.settings import Settings
from core.studies import LEUKEMIA, Study
from db.engine import read_scope, session_scope
from db.models import Blob, BlobPart, CertificateRecord, Checkpoint, Dataset, RevocationList, Run, RunAttempt, RunEvent
from db.models.federation import CheckpointStatus, Provenance, RunStatus
from federated.dbstore import LEASE_S
from federated.worker import Worker
from security.encoding import decode, encode
from security.errors import CertificateRefused
from tests.federation import SLUGS, SoftmaxLearner, without
from tests.integration.runs_support import give_data, queue_run, worker_for


@pytest.fixture
def datasets(app: App) -> list[str]:
    return give_data(app)


def status_of(app: App, run: str) -> RunStatus:
    with read_scope(app.engine) as session:
        return session.get_one(Run, run).status


def play(app: App, clock: FixedClock) -> bool:
    worker = worker_for(app.settings, clock)
    try:
        return worker.run_one()
    finally:
        worker.close()


def test_a_run_goes_from_order_to_a_model_in_service_and_back(
    app: App, clock: FixedClock, authority: Actor, hospital: Actor, datasets: list[str]
) -> None:
    run = queue_run(app, authority, datasets)
    assert play(app, clock)
    detail = run_views.run_detail(app, authority, run)
    assert (detail.run.status, detail.run.rounds_done) == (RunStatus.FINISHED, 2)
    assert [one.round for one in detail.rounds if one.finished] == [0, 1, 2]
    assert set(detail.own[2]) == {"east", "north", "south", "west"}
    assert detail.rounds[2].metrics["images"] == sum(own["images"] for own in detail.own[2].values())
    assert detail.totals["cryptography_s"] > 0
    assert detail.totals["bytes_up"] > 0

    first = models.list_models(app, authority)[0]
    assert (first.verified, first.status, first.steps) == (True, CheckpointStatus.CANDIDATE, 3)
    models.promote(app, authority, first.id)
    clock.advance(timedelta(minutes=1))

    again = queue_run(app, authority, datasets, start_from=first.id, rounds=1)
    assert play(app, clock)
    second = models.list_models(app, authority)[0]
    assert (second.run_id, second.verified, second.steps) == (again, True, 5)
    models.promote(app, authority, second.id)
    assert [one.status for one in models.list_models(app, authority)] == [
        CheckpointStatus.IN_SERVICE,
        CheckpointStatus.RETIRED,
    ]
    with read_scope(app.engine) as session:
        sealed = models.model_in_service(app, session, LEUKEMIA)
    assert (sealed.checkpoint_id, sealed.sender, sealed.run) == (second.id, "authority", again)
    assert models.roll_back(app, authority, LEUKEMIA.name) == first.id
    states = {one.id: one.status for one in models.list_models(app, authority)}
    assert states == {first.id: CheckpointStatus.IN_SERVICE, second.id: CheckpointStatus.ROLLED_BACK}
    with pytest.raises(NotFound):
        models.roll_back(app, authority, LEUKEMIA.name)  # what was rolled back is never what one rolls back to

    own = run_views.run_detail(app, hospital, run)
    assert set(own.own[2]) == {"north"}
    assert own.own[2]["north"] == detail.own[2]["north"]


def test_figures_are_drawn_with_the_apps_own_key_and_no_other(
    app: App, clock: FixedClock, authority: Actor, hospital: Actor, datasets: list[str]
) -> None:
    run = queue_run(app, authority, datasets, rounds=1)
    play(app, clock)
    for folder in app.settings.keys_dir.iterdir():
        if folder.name != "app":
            shutil.rmtree(folder)
    assert set(run_views.run_detail(app, authority, run).own[1]) == {"east", "north", "south", "west"}
    assert set(run_views.run_detail(app, hospital, run).own[1]) == {"north"}
    assert node.comparison(app, hospital, run).rounds[1][0]["images"] > 0


def test_what_the_page_has_seen_is_not_opened_again(
    app: App, clock: FixedClock, authority: Actor, datasets: list[str]
) -> None:
    run = queue_run(app, authority, datasets, rounds=1)
    play(app, clock)
    memory = run_views.RunMemory()
    first = run_views.run_detail(app, authority, run, memory=memory)
    assert memory.count == len(memory.opened) == 8
    for figures in memory.opened.values():
        figures["loss"] = -1.0
    second = run_views.run_detail(app, authority, run, memory=memory)
    assert first.own[1]["east"]["loss"] == second.own[1]["east"]["loss"] == -1.0
    assert memory.count == 8


def test_rounds_that_are_over_are_not_read_again(
    app: App, clock: FixedClock, authority: Actor, datasets: list[str]
) -> None:
    run = queue_run(app, authority, datasets, rounds=3)
    play(app, clock)
    memory = run_views.RunMemory()
    first = run_views.run_detail(app, authority, run, memory=memory)
    assert memory.last == 2
    with session_scope(app.engine) as session:
        for row in session.exec(select(RunEvent).where(RunEvent.run_id == run, RunEvent.round_number < 3)).all():
            session.delete(row)
    second = run_views.run_detail(app, authority, run, memory=memory)
    assert len(second.rounds) == 4
    assert (second.rounds, second.own, second.training_loss, second.totals) == (
        first.rounds,
        first.own,
        first.training_loss,
        first.totals,
    )
    assert {one.round for one in second.events} == {3}
    assert set(run_views.run_detail(app, authority, run).own) == {3}


def test_nothing_stored_about_a_run_names_the_study_or_a_diagnosis(
    app: App, clock: FixedClock, authority: Actor, datasets: list[str]
) -> None:
    queue_run(app, authority, datasets)
    play(app, clock)
    with read_scope(app.engine) as session:
        parts = [row.data for row in session.exec(select(BlobPart)).all()]
        rows = [str(row.options) for row in session.exec(select(Run)).all()]
        rows += [str(row.payload) for row in session.exec(select(RunEvent)).all()]
        sealed = [row.sealed or b"" for row in session.exec(select(RunEvent)).all()]
        lineages = [row.lineage for row in session.exec(select(Checkpoint)).all()]
    stored = b"".join([*parts, *sealed, *lineages, *(text.encode() for text in rows)])
    for word in (LEUKEMIA.name, *LEUKEMIA.class_names, "softmax/kernel"):
        assert word.encode() not in stored


@pytest.mark.parametrize("role", ["hospital", "doctor", "patient"])
def test_only_the_authority_orders_and_steers(
    app: App, authority: Actor, datasets: list[str], role: str, request: pytest.FixtureRequest
) -> None:
    run = queue_run(app, authority, datasets)
    person: Actor = request.getfixturevalue(role)
    acts: list[Callable[[], object]] = [
        partial(queue_run, app, person, datasets),
        partial(runs.dataset_choices, app, person),
        partial(runs.pause, app, person, run),
        partial(runs.abort, app, person, run),
        partial(runs.resume, app, person, run),
        partial(runs.set_drop_out, app, person, run, "x", drop=True),
        partial(runs.wake_worker, app, person),
        partial(models.promote, app, person, "x"),
        partial(models.roll_back, app, person, LEUKEMIA.name),
    ]
    if role != "hospital":
        acts += [partial(run_views.list_runs, app, person), partial(run_views.run_detail, app, person, run)]
    for act in acts:
        with pytest.raises(NotAuthorised):
            act()


def test_a_hospital_does_not_see_runs_of_others(
    app: App, authority: Actor, hospital: Actor, hospital_east: Actor
) -> None:
    datasets = give_data(app, slugs=("east", "south", "west"))
    run = queue_run(app, authority, datasets)
    assert run_views.list_runs(app, hospital) == []
    assert [row.id for row in run_views.list_runs(app, hospital_east)] == [run]
    with pytest.raises(NotFound):
        run_views.run_detail(app, hospital, run)


def test_plain_is_refused_for_clinical_data(app: App, authority: Actor) -> None:
    datasets = give_data(app, provenance=Provenance.CLINICAL)
    with pytest.raises(RunRefused, match="clinical"):
        runs.start_run(
            app,
            authority,
            study=LEUKEMIA.name,
            mode=runs.AggregationMode.PLAIN,
            rounds=1,
            dataset_ids=datasets,
        )


def test_a_node_decides_by_its_sealed_data_set_whether_images_are_clinical(
    app: App, clock: FixedClock, authority: Actor
) -> None:
    datasets = give_data(app, provenance=Provenance.CLINICAL)
    with session_scope(app.engine) as session:
        for row in session.exec(select(Dataset)).all():
            row.provenance = Provenance.PUBLIC
    runs.start_run(app, authority, study=LEUKEMIA.name, mode=runs.AggregationMode.PLAIN, rounds=1, dataset_ids=datasets)
    play(app, clock)
    view = run_views.list_runs(app, authority)[0]
    assert view.status is RunStatus.FAILED
    assert FailureCode.CLINICAL.text in view.reason


def test_impossible_orders_are_refused_with_the_reason(app: App, authority: Actor, datasets: list[str]) -> None:
    def order(**changes: object) -> str:
        wanted = {
            "study": LEUKEMIA.name,
            "mode": runs.AggregationMode.SEALED,
            "rounds": 1,
            "dataset_ids": datasets,
        }
        return runs.start_run(app, authority, **{**wanted, **changes})  # type: ignore[arg-type]

    with pytest.raises(RunRefused, match="at least 3 hospitals"):
        order(dataset_ids=datasets[:2])
    with pytest.raises(RunRefused, match="not two"):
        order(dataset_ids=[datasets[0], datasets[0]])
    with pytest.raises(RunRefused, match="rounds"):
        order(rounds=0)
    with pytest.raises(RunRefused, match="must finish each round"):
        order(minimum_members=5)
    with pytest.raises(NotFound):
        order(dataset_ids=[*datasets, "x"])
    with pytest.raises(NotFound):
        order(start_from="x")


@pytest.mark.parametrize(
    ("label", "reason"),
    [(None, "has no validation images"), (0, "no hospital has a validation image of: "), (1, "no hospital has")],
)
def test_a_run_whose_validation_allows_no_decision_rule_is_refused_when_it_is_ordered(
    app: App, authority: Actor, label: int | None, reason: str
) -> None:
    datasets = give_data(app, change=lambda data: without(data, Part.VALIDATION, label))
    with pytest.raises(RunRefused, match=reason):
        queue_run(app, authority, datasets)


def test_a_node_that_was_made_to_drop_out_is_left_out_and_shown(
    app: App, clock: FixedClock, authority: Actor, hospital: Actor, datasets: list[str]
) -> None:
    run = queue_run(app, authority, datasets, rounds=1)
    runs.set_drop_out(app, authority, run, str(hospital.hospital_id), drop=True)
    play(app, clock)
    detail = run_views.run_detail(app, authority, run)
    assert detail.run.status is RunStatus.FINISHED
    assert [(fault.party, fault.code) for fault in detail.rounds[1].failures] == [
        ("north.training", FailureCode.DROPPED_OUT)
    ]
    assert [member.slug for member in detail.members if member.drop_requested] == ["north"]
    assert "north.training" not in detail.rounds[1].members


def test_a_node_with_a_revoked_certificate_is_left_out_and_the_run_goes_on(
    app: App, clock: FixedClock, authority: Actor, datasets: list[str]
) -> None:
    run = queue_run(app, authority, datasets, rounds=1)
    for certificate in certificates(app, authority):
        if certificate.party == "west.training":
            revoke_certificate(app, authority, certificate.serial, "keyCompromise")
    play(app, clock)
    detail = run_views.run_detail(app, authority, run)
    assert detail.run.status is RunStatus.FINISHED
    assert {fault.code for fault in detail.rounds[1].failures} == {FailureCode.MEMBER_REFUSED}
    assert "west.training" not in detail.rounds[1].members


def lose_revocations(app: App) -> None:
    """What somebody with write access to the database can do: nobody was ever revoked."""
    with session_scope(app.engine) as session:
        for revoked in session.exec(select(RevocationList)).all():
            session.delete(revoked)
        for record in session.exec(select(CertificateRecord)).all():
            record.revoked_at = None


def test_a_revocation_that_the_database_lost_still_counts_for_every_party_that_heard_of_it(
    app: App, clock: FixedClock, authority: Actor, datasets: list[str]
) -> None:
    runs_of_all = [queue_run(app, authority, datasets, rounds=1) for _ in range(2)]
    for certificate in certificates(app, authority):
        if certificate.party == "west.training":
            revoke_certificate(app, authority, certificate.serial, "keyCompromise")
    play(app, clock)
    lose_revocations(app)
    play(app, clock)
    for run in runs_of_all:
        detail = run_views.run_detail(app, authority, run)
        assert detail.run.status is RunStatus.FINISHED
        assert "west.training" not in detail.rounds[1].members


def test_a_worker_that_has_never_seen_a_revocation_list_plays_nothing(
    app: App, clock: FixedClock, authority: Actor, datasets: list[str]
) -> None:
    queue_run(app, authority, datasets)
    lose_revocations(app)
    with pytest.raises(CertificateRefused, match="no revocation list"):
        worker_for(app.settings, clock)


def test_a_paused_run_keeps_its_rounds_and_goes_on(
    app: App, clock: FixedClock, authority: Actor, datasets: list[str]
) -> None:
    run = queue_run(app, authority, datasets)
    runs.pause(app, authority, run)
    assert status_of(app, run) is RunStatus.PAUSED
    assert not play(app, clock)
    runs.resume(app, authority, run)
    assert play(app, clock)
    assert status_of(app, run) is RunStatus.FINISHED
    with pytest.raises(RunRefused):
        runs.abort(app, authority, run)


def test_pausing_stops_a_training_under_way_and_nothing_of_it_is_kept(
    app: App, clock: FixedClock, authority: Actor, datasets: list[str]
) -> None:
    run = queue_run(app, authority, datasets)

    class Paused(SoftmaxLearner):
        """The learner, in whose third training the authority pauses the run."""

        trainings = 0

        def fit(self, *arguments: Any, **options: Any) -> Any:
            self.trainings += 1
            if self.trainings == 3:
                runs.pause(app, authority, run)
                while not options["should_stop"]():  # the wish is read at most every half second
                    pass
            return super().fit(*arguments, **options)

    worker = Worker(app.settings, clock=clock, learner_for=lambda _architecture, _study: Paused())
    worker.run_one()
    worker.close()
    view = run_views.list_runs(app, authority)[0]
    assert (view.status, view.rounds_done) == (RunStatus.PAUSED, 0)
    with read_scope(app.engine) as session:
        attempts = session.exec(select(RunAttempt.outcome).order_by(col(RunAttempt.number))).all()
    assert attempts == ["finished", "abandoned"]
    runs.resume(app, authority, run)
    assert play(app, clock)
    assert status_of(app, run) is RunStatus.FINISHED


def test_an_aborted_run_is_never_taken_again(
    app: App, clock: FixedClock, authority: Actor, datasets: list[str]
) -> None:
    run = queue_run(app, authority, datasets)
    runs.abort(app, authority, run)
    assert not play(app, clock)
    with pytest.raises(RunRefused):
        runs.resume(app, authority, run)


def test_a_run_that_fails_says_why_and_can_be_resumed(
    app: App, clock: FixedClock, authority: Actor, datasets: list[str]
) -> None:
    run = queue_run(app, authority, datasets[:3])
    members = run_views.run_detail(app, authority, run).members
    runs.set_drop_out(app, authority, run, members[0].hospital_id, drop=True)
    play(app, clock)
    view = run_views.list_runs(app, authority)[0]
    assert view.status is RunStatus.FAILED
    assert "2 of 3 members finished the step 'initialise' and 3 are needed" in view.reason
    runs.resume(app, authority, run)
    runs.set_drop_out(app, authority, run, members[0].hospital_id, drop=False)
    play(app, clock)
    assert status_of(app, run) is RunStatus.FINISHED


@pytest.mark.parametrize(
    "thrown",
    [
        (ZeroDivisionError("a secret detail"), "Something unforeseen ended the run; the worker's log says what."),
        (OSError(errno.ENOSPC, "a secret path"), StorageFailed().public_text),
    ],
    ids=["unforeseen", "disk full"],
)
def test_an_error_of_the_worker_ends_the_run_with_a_neutral_reason_and_the_worker_goes_on(
    app: App, clock: FixedClock, authority: Actor, datasets: list[str], thrown: tuple[Exception, str]
) -> None:
    error, reason = thrown
    broken = queue_run(app, authority, datasets)
    clock.advance(timedelta(minutes=1))
    sound = queue_run(app, authority, datasets, rounds=1)

    made: list[SoftmaxLearner] = []

    def learner_for(_architecture: str, _study: Study) -> SoftmaxLearner:
        if not made:
            made.append(SoftmaxLearner())
            raise error
        return made[0]

    worker = Worker(app.settings, clock=clock, learner_for=learner_for)
    assert worker.run_one()
    assert worker.run_one()
    assert not worker.run_one()
    worker.close()
    failed = next(view for view in run_views.list_runs(app, authority) if view.id == broken)
    assert (failed.status, failed.reason) == (RunStatus.FAILED, reason)
    assert status_of(app, sound) is RunStatus.FINISHED


def test_a_worker_of_another_host_takes_a_run_only_after_its_lease(
    app: App, clock: FixedClock, authority: Actor, datasets: list[str]
) -> None:
    run = queue_run(app, authority, datasets)
    with session_scope(app.engine) as session:
        row = session.get_one(Run, run)
        row.status, row.worker = RunStatus.RUNNING, "elsewhere/000000000000/1"
        row.lease_until = clock.now() + timedelta(seconds=LEASE_S)
    assert not play(app, clock)
    clock.advance(timedelta(seconds=LEASE_S + 1))
    assert play(app, clock)
    assert status_of(app, run) is RunStatus.FINISHED


def test_a_worker_that_lost_its_run_writes_nothing_more(
    app: App, clock: FixedClock, authority: Actor, datasets: list[str]
) -> None:
    run = queue_run(app, authority, datasets)

    class Taken(SoftmaxLearner):
        """The learner, in whose first training another worker takes the run."""

        def fit(self, *arguments: Any, **options: Any) -> Any:
            with session_scope(app.engine) as session:
                session.get_one(Run, run).worker = "elsewhere/000000000000/1"
            return super().fit(*arguments, **options)

    worker = Worker(app.settings, clock=clock, learner_for=lambda _architecture, _study: Taken())
    assert worker.run_one()
    worker.close()
    with read_scope(app.engine) as session:
        row = session.get_one(Run, run)
        assert (row.worker, row.rounds_done) == ("elsewhere/000000000000/1", 0)
        kinds = session.exec(select(RunEvent.kind).where(RunEvent.round_number == 1)).all()
    assert kinds == ["round-started"]


@pytest.mark.parametrize("what", ["bytes", "bytes and hash", "lineage", "other weights"])
def test_a_tampered_checkpoint_row_is_found_and_never_trained_on(
    app: App, clock: FixedClock, authority: Actor, datasets: list[str], what: str
) -> None:
    run = queue_run(app, authority, datasets)
    with session_scope(app.engine) as session:
        session.get_one(Run, run).rounds = 2
    tamper_after_round_one(app, clock, run, what)
    play(app, clock)
    view = run_views.list_runs(app, authority)[0]
    assert (view.status, view.rounds_done) == (RunStatus.FAILED, 1)
    assert "model" in view.reason


def test_a_tampered_model_is_shown_as_such_and_not_promoted(
    app: App, clock: FixedClock, authority: Actor, datasets: list[str]
) -> None:
    queue_run(app, authority, datasets, rounds=1)
    play(app, clock)
    (candidate,) = models.list_models(app, authority)
    with session_scope(app.engine) as session:
        first = session.exec(select(Checkpoint).where(Checkpoint.round_number == 0)).one()
        first.lineage = first.lineage[:-1] + bytes([first.lineage[-1] ^ 1])
        session.add(first)
    (shown,) = models.list_models(app, authority)
    assert not shown.verified
    assert shown.problem
    with pytest.raises(CheckpointRefused):
        models.promote(app, authority, candidate.id)


def test_a_serving_model_of_another_run_is_not_promoted(
    app: App, clock: FixedClock, authority: Actor, datasets: list[str]
) -> None:
    for _ in range(2):
        queue_run(app, authority, datasets, rounds=1)
        play(app, clock)
        clock.advance(timedelta(minutes=1))
    with session_scope(app.engine) as session:
        serving = select(Checkpoint).where(col(Checkpoint.serving_blob_id).is_not(None))
        one, other = session.exec(serving.order_by(col(Checkpoint.created_at))).all()
        one.serving_blob_id, other.serving_blob_id = other.serving_blob_id, one.serving_blob_id
        wanted = one.id
    with pytest.raises(CheckpointRefused):
        models.promote(app, authority, wanted)


def serve(app: App, wanted: str) -> None:
    """What somebody with write access to the database can do: put a model's row into service."""
    with session_scope(app.engine) as session:
        for row in session.exec(select(Checkpoint)).all():
            row.status = CheckpointStatus.IN_SERVICE if row.id == wanted else CheckpointStatus.CANDIDATE


def assert_nothing_serves(app: App) -> None:
    with read_scope(app.engine) as session:
        with pytest.raises(CheckpointRefused):
            models.model_in_service(app, session, LEUKEMIA)
        with pytest.raises(NoModel):
            served_model(app, session, LEUKEMIA)


def test_a_status_in_the_database_puts_no_model_into_service(
    app: App, clock: FixedClock, authority: Actor, datasets: list[str]
) -> None:
    for _ in range(3):
        queue_run(app, authority, datasets, rounds=1)
        play(app, clock)
        clock.advance(timedelta(minutes=1))
    third, second, first = (one.id for one in models.list_models(app, authority))
    models.promote(app, authority, first)
    models.promote(app, authority, second)
    for wanted in (third, first):
        serve(app, wanted)
        assert_nothing_serves(app)
    with session_scope(app.engine) as session:
        rows = {row.id: row for row in session.exec(select(Checkpoint)).all()}
        rows[third].promotion = rows[second].promotion  # a statement of another model
        rows[second].promotion = None
    serve(app, third)
    assert_nothing_serves(app)
    serve(app, first)  # nothing in the database tells any more that another one followed it
    assert_nothing_serves(app)
    models.promote(app, authority, third)
    with read_scope(app.engine) as session:
        assert models.model_in_service(app, session, LEUKEMIA).checkpoint_id == third
        assert served_model(app, session, LEUKEMIA).checkpoint_id == third


def test_a_model_for_which_one_member_only_stands_is_not_promoted(
    app: App, clock: FixedClock, authority: Actor, datasets: list[str]
) -> None:
    queue_run(app, authority, datasets, rounds=1)
    play(app, clock)
    (only,) = models.list_models(app, authority)
    with session_scope(app.engine) as session:
        row = session.get_one(Checkpoint, only.id)
        whole = row.exports or b""
        statements = decode(whole)
        assert set(statements) == {f"{slug}.training" for slug in SLUGS}
        row.exports = encode({"east.training": statements["east.training"]})
    with pytest.raises(CheckpointRefused, match="fewer than 2"):
        models.promote(app, authority, only.id)
    with session_scope(app.engine) as session:
        session.get_one(Checkpoint, only.id).exports = whole
    models.promote(app, authority, only.id)


def test_another_serving_model_under_a_promoted_row_is_not_served(
    app: App, clock: FixedClock, authority: Actor, datasets: list[str]
) -> None:
    queue_run(app, authority, datasets, rounds=1)
    play(app, clock)
    (only,) = models.list_models(app, authority)
    models.promote(app, authority, only.id)
    with session_scope(app.engine) as session:
        row = session.get_one(Checkpoint, only.id)
        row.serving_blob_id = row.weights_blob_id
    with read_scope(app.engine) as session, pytest.raises(CheckpointRefused):
        models.model_in_service(app, session, LEUKEMIA)


def tamper_after_round_one(app: App, clock: FixedClock, run: str, what: str) -> None:
    """Play one round, end the worker as if it were killed, and change what it stored."""
    settings: Settings = app.settings

    class Killed(SoftmaxLearner):
        """The learner, whose process ends in the second round."""

        rounds = 0

        def fit(self, *arguments: Any, **options: Any) -> Any:
            self.rounds += 1
            if self.rounds > 4:
                worker.ending.set()
            return super().fit(*arguments, **options)

    worker = Worker(settings, clock=clock, learner_for=lambda _architecture, _study: Killed())
    worker.run_one()
    worker.close()
    with session_scope(app.engine) as session:
        row = session.exec(select(Checkpoint).where(Checkpoint.run_id == run, Checkpoint.round_number == 1)).one()
        first = session.exec(select(Checkpoint).where(Checkpoint.run_id == run, Checkpoint.round_number == 0)).one()
        part = session.get_one(BlobPart, (row.weights_blob_id, 0))
        if what == "lineage":
            row.lineage = row.lineage[:-1] + bytes([row.lineage[-1] ^ 1])
        elif what == "other weights":
            row.weights_blob_id = first.weights_blob_id
        else:
            part.data = part.data[:-1] + bytes([part.data[-1] ^ 1])
        if what == "bytes and hash":
            import hashlib  # noqa: PLC0415

            session.get_one(Blob, row.weights_blob_id).sha256 = hashlib.sha256(part.data).hexdigest()
    with read_scope(app.engine) as session:
        open_attempts = session.exec(select(RunAttempt).where(col(RunAttempt.outcome).is_(None))).all()
    assert len(open_attempts) == 1


def test_a_hospital_compares_its_own_figures_with_the_global_ones(
    app: App, clock: FixedClock, authority: Actor, hospital: Actor, datasets: list[str]
) -> None:
    run = queue_run(app, authority, datasets, rounds=1)
    play(app, clock)
    view = node.comparison(app, hospital, run)
    own, everybody = view.rounds[1]
    assert own["images"] == everybody["images"] / 4
    assert view.seconds["cryptography_s"] > 0
    assert node.node(app, hospital).training == "north.training"
    assert [one.id for one in node.last_runs(app, hospital)] == [run]
    assert {(one.party, one.key_use, one.state) for one in node.certificates(app, hospital)} == {
        (party, use, "valid") for party in ("north.training", "north.serving") for use in ("sign", "seal")
    }
    read = audit.list_entries(app, authority, action="node.read-figures")
    assert [(entry.actor, entry.object_id) for entry in read] == [(hospital.user_id, run)]


@pytest.mark.parametrize("role", ["authority", "doctor", "patient"])
def test_a_node_is_shown_to_its_own_hospital_only(app: App, role: str, request: pytest.FixtureRequest) -> None:
    person: Actor = request.getfixturevalue(role)
    for act in (node.node, node.certificates, node.last_runs):
        with pytest.raises(NotAuthorised):
            act(app, person)


def test_each_act_on_a_run_and_its_end_is_in_the_audit_log(
    app: App, clock: FixedClock, authority: Actor, hospital: Actor, datasets: list[str]
) -> None:
    run = queue_run(app, authority, datasets, rounds=1)
    runs.pause(app, authority, run)
    runs.resume(app, authority, run)
    runs.set_drop_out(app, authority, run, str(hospital.hospital_id), drop=True)
    play(app, clock)
    (candidate,) = models.list_models(app, authority)
    models.promote(app, authority, candidate.id)
    (order,) = audit.list_entries(app, authority, action="run.start")
    named = {name: value for name, value in order.details.items() if name.startswith("dataset.")}
    assert sorted(named.values(), key=str) == sorted(datasets)
    assert "dataset.north" in named
    entries = [*audit.list_entries(app, authority, action="run."), *audit.list_entries(app, authority, action="model.")]
    assert [(entry.actor, entry.action) for entry in sorted(entries, key=lambda entry: entry.number)] == [
        (authority.user_id, "run.start"),
        (authority.user_id, "run.pause"),
        (authority.user_id, "run.resume"),
        (authority.user_id, "run.drop-node"),
        ("coordinator", "run.finished"),
        (authority.user_id, "model.promote"),
    ]
    assert audit.verify(app, authority).size > 0


@pytest.mark.parametrize("database_url", ["sqlite"], indirect=True)
@pytest.mark.filterwarnings("ignore:subprocess:ResourceWarning", "ignore::pytest.PytestUnraisableExceptionWarning")
def test_starting_the_worker_is_in_the_audit_log(
    app: App, authority: Actor, datasets: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sys, "executable", shutil.which("true"))  # what is started ends at once
    assert not runs.wake_worker(app, authority)
    run = queue_run(app, authority, datasets)
    assert runs.wake_worker(app, authority)
    assert not runs.wake_worker(app, authority)  # one is starting
    assert [entry.object_id for entry in audit.list_entries(app, authority, action="worker.start")] == [run]
