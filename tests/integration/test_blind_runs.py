"""Blind runs through services, worker and pages: order with choices, play, watch, promote. NumPy learner."""

import pytest

from core.clock import FixedClock
from core.errors import RunRefused
from core.learning.orders import RunOptions
from core.learning.run_events import FailureCode
from core.services import models, node, run_views, runs
from core.services.app import Actor, App
from core.services.cloud_view import seen_by_cloud
from core.services.run_plans import Combining, CombiningRule, OnFailure, RoundRules, ServerOptimiser, ServerOptions
from core.services.run_steps import PhaseState, phases_of
from core.services.runs import AggregationMode, RunStatus, start_run
from core.studies import LEUKEMIA
from db.engine import read_scope
from db.models import Run
from tests.federation import SoftmaxLearner, learn_nothing
from tests.integration.page_support import draw, words
from tests.integration.runs_support import give_data, worker_for

SLUGS = ("east", "north", "south", "west")


def order(app: App, authority: Actor, datasets: list[str], **choices: object) -> str:
    wanted: dict[str, object] = {"study": LEUKEMIA.name, "rounds": 1, "dataset_ids": datasets}
    return start_run(app, authority, **{**wanted, **choices})  # type: ignore[arg-type]


def play(app: App, clock: FixedClock) -> None:
    worker = worker_for(app.settings, clock)
    try:
        assert worker.run_one()
    finally:
        worker.close()


def test_a_run_is_blind_unless_it_says_otherwise_and_its_model_can_serve(
    app: App, clock: FixedClock, authority: Actor, hospital: Actor
) -> None:
    run = order(app, authority, give_data(app), rounds=2)
    play(app, clock)

    detail = run_views.run_detail(app, authority, run)
    assert (detail.run.status, detail.run.mode) == (RunStatus.FINISHED, AggregationMode.BLIND)
    assert set(detail.own[2]) == set(detail.training_loss[2]) == set(SLUGS)
    assert detail.rounds[2].metrics["images"] == sum(own["images"] for own in detail.own[2].values())
    phases = phases_of(AggregationMode.BLIND, detail.rounds[2], under_way=False)
    assert {view.state for view in phases} == {PhaseState.DONE}

    held = seen_by_cloud(AggregationMode.BLIND, detail.rounds[1]).held
    assert [one.of for one in held if one.what == "masked update"] == list(SLUGS)
    assert len({one.sha256 for one in held}) == len(held) == 9
    assert all(one.at is not None and one.bytes > 0 and not one.readable for one in held)

    assert node.comparison(app, hospital, run).rounds[2][0]["images"] > 0
    model = models.list_models(app, authority)[0]
    assert (model.verified, model.mode, model.steps) == (True, "blind", 3)
    models.promote(app, authority, model.id)


def test_a_patient_run_that_learns_nothing_more_ends_early_and_its_model_can_serve(
    app: App, clock: FixedClock, authority: Actor, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(SoftmaxLearner, "fit", learn_nothing)
    run = order(app, authority, give_data(app), rounds=9, round_rules=RoundRules(patience=1))
    play(app, clock)
    detail = run_views.run_detail(app, authority, run)
    assert (detail.run.status, detail.run.rounds_done) == (RunStatus.FINISHED, 2)
    models.promote(app, authority, models.list_models(app, authority)[0].id)


def test_a_hospital_that_dropped_out_reads_where_and_why(
    app: App, clock: FixedClock, authority: Actor, hospital: Actor
) -> None:
    run = order(app, authority, give_data(app))
    runs.set_drop_out(app, authority, run, str(hospital.hospital_id), drop=True)
    play(app, clock)

    detail = run_views.run_detail(app, authority, run)
    assert detail.run.status is RunStatus.FINISHED
    assert "north.training" not in detail.rounds[1].members
    left_out = node.comparison(app, hospital, run).left_out
    assert left_out == [(0, "opening", FailureCode.DROPPED_OUT.text), (1, "keys", FailureCode.DROPPED_OUT.text)]


def test_choices_reach_the_signed_order_and_the_run_repeats_them_in_words(app: App, authority: Actor) -> None:
    run = order(
        app,
        authority,
        give_data(app),
        mode=AggregationMode.SEALED,
        combining=Combining(rule=CombiningRule.TRIMMED_MEAN, malicious=1),
        server=ServerOptions(optimiser=ServerOptimiser.FEDADAM, learning_rate=0.02),
        proximal=0.5,
        round_rules=RoundRules(participation=0.75, deadline_s=120, tries=2, on_failure=OnFailure.PAUSE, patience=3),
    )
    with read_scope(app.engine) as session:
        options = RunOptions.from_json(
            {name: value for name, value in session.get_one(Run, run).options.items() if name not in {"order", "group"}}
        )
    assert (options.combining.rule, options.server.optimiser) == (CombiningRule.TRIMMED_MEAN, ServerOptimiser.FEDADAM)
    assert (options.training.proximal, options.round_rules.tries, options.asked) == (0.5, 2, 3)
    assert run_views.run_detail(app, authority, run).choices == [
        "combined by trimmed mean against 1 malicious",
        "server optimiser FedAdam, rate 0.02",
        "FedProx with weight 0.5",
        "each round asks 75 % of the hospitals",
        "training may take 2 min",
        "a round is tried 2 times",
        "ends after 3 rounds without a lower validation loss",
        "a failed round pauses the run",
    ]


def test_choices_that_cannot_be_are_refused_with_the_reason(app: App, authority: Actor) -> None:
    datasets = give_data(app)
    with pytest.raises(RunRefused, match="nobody sees a single update"):
        order(app, authority, datasets, combining=Combining(rule=CombiningRule.MEDIAN))
    with pytest.raises(RunRefused, match="FedProx"):
        order(app, authority, datasets, proximal=99.0)
    with pytest.raises(RunRefused, match="finished by 3 of 4"):
        order(app, authority, datasets, minimum_members=4)


@pytest.mark.parametrize("database_url", ["sqlite"], indirect=True)
def test_the_order_page_offers_blind_first_and_says_who_may_drop_out(served: App, clock: FixedClock) -> None:
    give_data(served)
    tab = draw(served, "authority/runs", "demo-authority", runs_section="New run")
    assert not tab.exception
    assert tab.radio(key="order_mode").value is AggregationMode.BLIND
    assert "all 4 hospitals and needs 3 to finish: one of them may drop out" in words(tab)
    assert "in blind mode nobody sees one" in words(tab)
    next(box for box in tab.selectbox if box.label.startswith("West")).set_value("").run()
    assert "none of them may drop out. A fourth one would allow one to." in words(tab)

    tab.radio(key="order_mode").set_value(AggregationMode.SEALED).run()
    tab.selectbox(key="order_rule").set_value(CombiningRule.KRUM).run()
    assert not tab.exception
    assert "With 3 hospitals at most 0" in words(tab)
    tab.selectbox(key="order_rule").set_value(CombiningRule.NORM_BOUNDED).run()
    assert "combined by mean of updates bounded in norm to 5" in words(tab)


@pytest.mark.parametrize("database_url", ["sqlite"], indirect=True)
def test_a_run_that_paused_itself_says_why_and_what_to_do(
    served: App, clock: FixedClock, authority: Actor, hospital: Actor, hospital_east: Actor
) -> None:
    run = order(served, authority, give_data(served), round_rules=RoundRules(on_failure=OnFailure.PAUSE))
    for one in (hospital, hospital_east):
        runs.set_drop_out(served, authority, run, str(one.hospital_id), drop=True)
    play(served, clock)

    tab = draw(served, "authority/runs", "demo-authority")
    assert not tab.exception
    text = words(tab)
    assert "The run paused itself." in text
    assert FailureCode.DROPPED_OUT.text in text
    assert "press Resume" in text
    assert not draw(served, "hospital/node", "demo-hospital").exception


@pytest.mark.parametrize("database_url", ["sqlite"], indirect=True)
def test_the_blind_section_adds_what_is_typed_into_it(served: App) -> None:
    tab = draw(served, "authority/runs", "demo-authority", runs_section="How blind works")
    assert not tab.exception
    assert "The sum is **+2.500000**" in words(tab)
    tab.number_input(key="blind_value_North").set_value(-1.0).run()
    assert "The sum is **+0.000000**" in words(tab)
