"""A hospital leaves a run and comes back: at the coordinator, at its own node, and through the services."""

from dataclasses import replace
from pathlib import Path

import pytest
from sqlmodel import select

from core.clock import FixedClock
from core.errors import NotAuthorised, NotFound, RecordDamaged, RunRefused
from core.learning.orders import AggregationMode
from core.learning.run_choices import PrivacyOptions, RoundRules
from core.learning.run_events import EventKind, FailureCode
from core.services import audit, participation, run_views, runs, share_preview
from core.services.app import Actor, App
from core.services.participation import LeaveReason
from core.services.runs import RunStatus
from core.studies import LEUKEMIA
from db.engine import read_scope, session_scope
from db.models import Run, RunEvent, RunMember
from federated.aggregation.blind import course
from federated.failures import RoundFailed
from federated.store import Event
from tests.federation import Federation, SoftmaxLearner, learn_nothing
from tests.integration.runs_support import give_data, queue_run, worker_for

MODES = (AggregationMode.SEALED, AggregationMode.BLIND)
NORTH = "north.training"


def play(app: App, clock: FixedClock) -> None:
    worker = worker_for(app.settings, clock)
    try:
        assert worker.run_one()
    finally:
        worker.close()


def events_of(federation: Federation) -> list[Event]:
    return [event for _, event in federation.store.events]


@pytest.mark.parametrize("mode", MODES)
def test_who_has_left_is_sent_nothing_and_the_others_finish(tmp_path: Path, mode: AggregationMode) -> None:
    federation = Federation(tmp_path, mode=mode, rounds=1)
    federation.store.away = {NORTH}
    assert federation.play() == "finished"
    assert set(federation.store.models[-1].members) == {"east.training", "south.training", "west.training"}
    told = [event for event in events_of(federation) if event.party == NORTH]
    assert told
    assert {event.payload["code"] for event in told} == {FailureCode.LEFT.value}
    assert not any("bytes_out" in event.payload for event in told)


@pytest.mark.parametrize("mode", MODES)
def test_too_few_pause_the_run_before_anybody_works_for_nothing_and_a_return_lets_it_go_on(
    tmp_path: Path, mode: AggregationMode
) -> None:
    federation = Federation(tmp_path, mode=mode, rounds=1)
    federation.options = replace(federation.options, round_rules=RoundRules(tries=3))
    federation.store.away = {NORTH, "east.training"}
    assert federation.play() == "paused"
    assert "2 are left in the run" in federation.store.reason
    assert "east.training, north.training" in federation.store.reason
    assert not [event for event in events_of(federation) if event.kind is EventKind.ANSWERED]
    assert len(federation.store.attempts) == 1, "another try would find them gone too"

    federation.store.away = set()
    assert federation.play() == "finished"
    assert NORTH in federation.store.models[-1].members


@pytest.mark.parametrize("mode", MODES)
def test_a_node_whose_hospital_has_left_answers_no_coordinator(tmp_path: Path, mode: AggregationMode) -> None:
    federation = Federation(tmp_path, mode=mode, rounds=1, gone={"north"})
    assert federation.play() == "finished"
    assert NORTH not in federation.store.models[-1].members
    answers = [event for event in events_of(federation) if event.party == NORTH]
    assert {(event.kind, event.payload["code"]) for event in answers} == {(EventKind.FAILED, FailureCode.LEFT.value)}


@pytest.mark.parametrize("mode", MODES)
def test_too_few_that_show_only_during_the_round_pause_it_too(tmp_path: Path, mode: AggregationMode) -> None:
    federation = Federation(tmp_path, mode=mode, rounds=1, gone={"north", "east"})
    assert federation.play() == "paused"
    assert FailureCode.LEFT.text in federation.store.reason


def test_any_failure_while_a_hospital_is_away_pauses_the_run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """As when an earlier attempt of the round was opened with the one that left, so that it must come back first."""

    def missing(*_: object) -> dict[str, object]:
        raise RoundFailed("An earlier attempt of this round was opened with other members.")

    monkeypatch.setattr(course, "_settled", missing)
    federation = Federation(tmp_path, mode=AggregationMode.BLIND, rounds=1)
    federation.store.away = {NORTH}
    assert federation.play() == "paused"
    federation.store.away = set()
    assert federation.play() == "failed"


@pytest.mark.parametrize("mode", MODES)
def test_who_leaves_during_a_round_finishes_it_and_is_gone_in_the_next(tmp_path: Path, mode: AggregationMode) -> None:
    federation = Federation(tmp_path, mode=mode, rounds=2)

    class LeavesWhileItTrains(SoftmaxLearner):
        def fit(self, *arguments: object, **options: object) -> object:  # type: ignore[override]
            federation.gone.add("north")
            return super().fit(*arguments, **options)  # type: ignore[arg-type]

    federation.learner = LeavesWhileItTrains()
    federation.nodes["north"] = federation.node("north")
    assert federation.play() == "finished"
    assert NORTH in federation.store.models[1].members
    assert NORTH not in federation.store.models[2].members


def test_a_hospital_leaves_with_a_reason_and_comes_back_and_the_log_has_both(
    app: App, clock: FixedClock, authority: Actor, hospital: Actor
) -> None:
    run = queue_run(app, authority, give_data(app), rounds=1)
    before = participation.open_runs(app, hospital)
    assert [(one.run.id, one.left_at, one.here) for one in before] == [(run, None, 4)]
    assert before[0].goes_on_without_us

    participation.leave(app, hospital, run, LeaveReason.DATA)
    (away,) = participation.open_runs(app, hospital)
    assert (away.left_at, away.left_reason, away.here) == (clock.now(), LeaveReason.DATA, 3)
    with pytest.raises(RunRefused, match="already"):
        participation.leave(app, hospital, run, LeaveReason.OTHER)
    play(app, clock)
    detail = run_views.run_detail(app, authority, run)
    assert detail.run.status is RunStatus.FINISHED
    assert NORTH not in detail.rounds[1].members
    assert {(fault.party, fault.code) for one in detail.rounds for fault in one.failures} == {(NORTH, FailureCode.LEFT)}
    assert [one.left_reason for one in detail.members if one.slug == "north"] == [LeaveReason.DATA]
    assert participation.open_runs(app, hospital) == []
    with pytest.raises(RunRefused, match="finished"):
        participation.return_to(app, hospital, run)

    acts = [(one.action, dict(one.details)["reason"]) for one in audit.list_entries(app, authority, action="run.leave")]
    assert acts == [("run.leave", "data")]


def test_a_run_that_too_many_have_left_waits_and_goes_on_when_they_are_back(
    app: App, clock: FixedClock, authority: Actor, hospital: Actor
) -> None:
    run = queue_run(app, authority, give_data(app, slugs=("north", "south", "west")), rounds=1)
    participation.leave(app, hospital, run, LeaveReason.MAINTENANCE)
    assert not participation.open_runs(app, hospital)[0].goes_on_without_us
    play(app, clock)
    detail = run_views.run_detail(app, authority, run)
    assert detail.run.status is RunStatus.PAUSED
    assert "north.training" in detail.run.reason

    participation.return_to(app, hospital, run)
    with pytest.raises(RunRefused, match="takes part"):
        participation.return_to(app, hospital, run)
    runs.resume(app, authority, run)
    play(app, clock)
    detail = run_views.run_detail(app, authority, run)
    assert detail.run.status is RunStatus.FINISHED
    assert NORTH in detail.rounds[1].members
    assert [one.object_id for one in audit.list_entries(app, authority, action="run.return")] == [run]


def test_other_hospitals_see_that_one_has_left_and_not_why(
    app: App, authority: Actor, hospital: Actor, hospital_east: Actor
) -> None:
    run = queue_run(app, authority, give_data(app))
    participation.leave(app, hospital, run, LeaveReason.TERMS)
    seen = {one.slug: one for one in run_views.run_detail(app, hospital_east, run).members}
    assert seen["north"].left_at is not None
    assert seen["north"].left_reason is None
    own = {one.slug: one for one in run_views.run_detail(app, hospital, run).members}
    assert own["north"].left_reason is LeaveReason.TERMS


def test_nobody_else_decides_for_a_hospital_or_sees_what_it_would_send(
    app: App, authority: Actor, hospital: Actor, hospital_east: Actor, doctor: Actor
) -> None:
    run = queue_run(app, authority, give_data(app, slugs=("north", "south", "west")))
    for stranger in (authority, doctor):
        with pytest.raises(NotAuthorised):
            participation.leave(app, stranger, run, LeaveReason.OTHER)
        with pytest.raises(NotAuthorised):
            participation.return_to(app, stranger, run)
        with pytest.raises(NotAuthorised):
            participation.open_runs(app, stranger)
        with pytest.raises(NotAuthorised):
            share_preview.preview(app, stranger, run)
    for act in (
        lambda: participation.leave(app, hospital_east, run, LeaveReason.OTHER),
        lambda: participation.return_to(app, hospital_east, run),
        lambda: share_preview.preview(app, hospital_east, run),
        lambda: share_preview.preview(app, hospital, "0" * 32),
    ):
        with pytest.raises(NotFound):
            act()
    with read_scope(app.engine) as session:
        assert not [row for row in session.exec(select(RunMember)).all() if row.left_at]


def test_the_preview_says_what_the_node_then_sends(
    app: App, clock: FixedClock, authority: Actor, hospital: Actor
) -> None:
    run = queue_run(app, authority, give_data(app), rounds=1)
    told = share_preview.preview(app, hospital, run)
    assert told.sent is None
    assert told.parameters == sum(one.numbers for one in told.tensors) == 296_994
    assert (told.tensors[-2].name, told.tensors[-2].shape) == ("head/kernel", (128, 2))
    assert told.leaves[0].size == 4 * (told.parameters + 1)
    play(app, clock)
    sent = share_preview.preview(app, hospital, run).sent
    assert sent is not None
    with read_scope(app.engine) as session:
        rows = session.exec(select(RunEvent).where(RunEvent.party == NORTH, RunEvent.round_number == 1)).all()
    counted = [row.payload["bytes_in"] for row in rows if row.kind == EventKind.ANSWERED]
    assert (sent.round, sent.messages, sent.size) == (1, len(counted), sum(counted))  # type: ignore[arg-type]


def test_the_preview_of_a_blind_private_run_has_words_noise_and_cost(
    app: App, authority: Actor, hospital: Actor, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(SoftmaxLearner, "fit", learn_nothing)
    privacy = PrivacyOptions(noise_multiplier=1.4)
    run = runs.start_run(
        app, authority, study=LEUKEMIA.name, rounds=3, dataset_ids=give_data(app), privacy=privacy, local_epochs=1
    )
    told = share_preview.preview(app, hospital, run)
    assert told.mode is AggregationMode.BLIND
    assert told.words is not None
    assert (told.words.word, told.words.guard, told.words.clip) == (32, 2, 4.0)
    assert told.privacy == privacy
    assert told.cost is not None
    assert told.cost.epsilon > 0
    assert any("epsilon" in one.what for one in told.leaves)


def test_an_order_that_somebody_changed_is_not_told_as_if_it_were_true(
    app: App, authority: Actor, hospital: Actor
) -> None:
    run = queue_run(app, authority, give_data(app))
    with session_scope(app.engine) as session:
        row = session.get_one(Run, run)
        row.options = {**row.options, "order": ""}
        session.add(row)
    with pytest.raises(RecordDamaged):
        share_preview.preview(app, hospital, run)
    assert participation.open_runs(app, hospital)[0].plan is None
