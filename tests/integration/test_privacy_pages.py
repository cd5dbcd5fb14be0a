"""Differential privacy from the authority's order to the hospital's page, through the database and the worker."""

import pytest
from sqlmodel import select

from core.clock import FixedClock
from core.errors import NotAuthorised, RunRefused
from core.learning.privacy import epsilon_by_round
from core.services import audit, models, privacy_spend, run_views
from core.services.app import Actor, App
from core.services.privacy_spend import PrivacyOptions, PrivacyUnit
from core.services.runs import AggregationMode, RunStatus, start_run
from core.studies import LEUKEMIA
from db.engine import read_scope
from db.models import RunEvent
from federated.spend import HISTORY_NAME
from tests.integration.page_support import draw, words
from tests.integration.runs_support import give_data, worker_for

PRIVACY = PrivacyOptions(noise_multiplier=2.0, sampling_rate=0.5, budget_epsilon=20.0)
PLAN = epsilon_by_round(PRIVACY, epochs=3, rounds=4)


def play(app: App, clock: FixedClock, authority: Actor, datasets: list[str], privacy: PrivacyOptions | None) -> str:
    run = start_run(
        app,
        authority,
        study=LEUKEMIA.name,
        mode=AggregationMode.SEALED,
        rounds=2,
        dataset_ids=datasets,
        privacy=privacy,
    )
    worker = worker_for(app.settings, clock)
    try:
        assert worker.run_one()
    finally:
        worker.close()
    return run


def test_spend_goes_on_from_run_to_run_and_is_seen_by_those_who_may(
    app: App, clock: FixedClock, authority: Actor, hospital: Actor
) -> None:
    datasets = give_data(app)
    first = play(app, clock, authority, datasets, PRIVACY)
    second = play(app, clock, authority, datasets, PRIVACY)  # a new worker: the history comes from the node's folder

    detail = run_views.run_detail(app, authority, second)
    assert detail.run.status is RunStatus.FINISHED
    assert detail.privacy == PRIVACY
    assert detail.epsilon == {1: dict.fromkeys(detail.own[1], PLAN[2]), 2: dict.fromkeys(detail.own[2], PLAN[3])}
    assert detail.training_loss == {}
    assert set(run_views.run_detail(app, hospital, second).epsilon[1]) == {"north"}

    own = privacy_spend.own_spend(app, hospital)
    assert [[spend.epsilon for spend in one.spent] for one in own] == [PLAN]
    assert [spend.run_id for spend in own[0].spent] == [first, first, second, second]
    assert (own[0].spent[0].unit, own[0].spent[0].limit, own[0].unprotected) == (PrivacyUnit.PATIENT, 20.0, 0)
    assert audit.list_entries(app, authority, action="node.read-figures")[0].object_id == "privacy"
    with pytest.raises(NotAuthorised):
        privacy_spend.own_spend(app, authority)

    model = next(view for view in models.list_models(app, authority) if view.run_id == second)
    assert model.privacy["epsilon"] == PLAN[3]
    assert privacy_spend.describe(model.privacy) == f"epsilon {PLAN[3]:.2f} per patient, delta 1e-05"


def test_a_hospitals_own_limit_keeps_it_out(app: App, clock: FixedClock, authority: Actor) -> None:
    datasets = give_data(app)
    limit = app.settings.keys_dir / "west.training" / "privacy-limit"
    limit.write_text("0.1", encoding="ascii")

    run = play(app, clock, authority, datasets, PRIVACY)

    detail = run_views.run_detail(app, authority, run)
    assert detail.run.status is RunStatus.FINISHED
    assert {(fault.party, fault.code.value) for one in detail.rounds for fault in one.failures} == {
        ("west.training", "privacy-budget")
    }
    assert not (limit.parent / HISTORY_NAME).exists()


def test_a_run_without_privacy_says_so(app: App, clock: FixedClock, authority: Actor, hospital: Actor) -> None:
    run = play(app, clock, authority, give_data(app), None)

    assert run_views.run_detail(app, authority, run).privacy is None
    own = privacy_spend.own_spend(app, hospital)
    assert (own[0].spent, own[0].unprotected) == ([], 2)
    assert privacy_spend.describe(models.list_models(app, authority)[0].privacy) == (
        "trained without differential privacy"
    )
    with read_scope(app.engine) as session:
        assert all("epsilon" not in row.payload for row in session.exec(select(RunEvent)).all())


def test_a_plan_tells_what_it_costs_and_how_far_the_budget_goes() -> None:
    cost = privacy_spend.plan_cost(PRIVACY, epochs=3, rounds=4)
    assert (cost.epsilon, cost.rounds) == (PLAN[3], 4)

    tight = PrivacyOptions(noise_multiplier=2.0, sampling_rate=0.5, budget_epsilon=PLAN[1])
    assert privacy_spend.plan_cost(tight, epochs=3, rounds=4).rounds == 2
    with pytest.raises(RunRefused):
        privacy_spend.plan_cost(PRIVACY, epochs=3, rounds=0)


@pytest.mark.parametrize("database_url", ["sqlite"], indirect=True)
def test_the_pages_show_what_was_spent_and_what_a_plan_would_cost(
    served: App, clock: FixedClock, authority: Actor, hospital: Actor
) -> None:
    play(served, clock, authority, give_data(served), PRIVACY)

    node = draw(served, "hospital/training", "demo-hospital")
    assert not node.exception
    assert f"epsilon {PLAN[1]:.2f}** per patient" in words(node)

    watch = draw(served, "authority/runs", "demo-authority")
    assert not watch.exception
    assert "Noise multiplier 2" in words(watch)

    order = draw(served, "authority/runs", "demo-authority", runs_section="New run", order_privacy_on=True)
    assert not order.exception
    assert "This plan costs each hospital **epsilon" in words(order)
    order.number_input(key="order_budget").set_value(0.5).run()
    assert "The budget allows 0 of 3 rounds" in words(order)
