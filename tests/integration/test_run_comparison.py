"""Runs side by side, on both databases: what is shown, what differs, how many, who may, and the CSV."""

import csv
import io
from datetime import timedelta
from functools import partial

import pytest

from core.clock import FixedClock
from core.errors import InvalidInput, NotAuthorised, NotFound
from core.services.app import Actor, App
from core.services.models import CheckpointStatus, list_models
from core.services.run_comparison import MAX_COMPARED, as_csv, compare, differing
from core.services.run_views import list_runs, run_detail
from core.services.runs import AggregationMode, start_run
from core.studies import LEUKEMIA
from tests.integration.page_support import draw, words
from tests.integration.runs_support import give_data, queue_run, worker_for


def played(app: App, clock: FixedClock) -> None:
    worker = worker_for(app.settings, clock)
    while worker.run_one():
        pass
    worker.close()


@pytest.fixture
def two(app: App, clock: FixedClock, authority: Actor) -> list[str]:
    """Two finished runs of different modes, seeds and rounds, and a queued one."""
    datasets = give_data(app)
    order = partial(start_run, app, authority, study=LEUKEMIA.name, dataset_ids=datasets)
    runs = [
        order(mode=AggregationMode.SEALED, rounds=2, seed=1),
        order(mode=AggregationMode.BLIND, rounds=1, seed=2, proximal=0.1),
    ]
    played(app, clock)
    return [*runs, queue_run(app, authority, datasets)]


def test_settings_figures_time_bytes_privacy_and_model_stand_side_by_side(
    app: App, authority: Actor, two: list[str]
) -> None:
    sealed, blind, queued = compared = compare(app, authority, two)
    assert [one.run.id for one in compared] == two
    assert differing(compared) == ["Seed", "FedProx"]
    assert [one.settings["FedProx"] for one in compared] == ["0", "0.1", "0"]
    assert (sorted(sealed.curves), sorted(blind.curves), queued.curves) == ([1, 2], [1], {})
    for one in (sealed, blind):
        detail = run_detail(app, authority, one.run.id)
        assert one.final == detail.rounds[-1].metrics
        assert one.bytes_up == detail.totals["bytes_up"] > 0
        assert one.seconds["cryptography_s"] == detail.totals["cryptography_s"]
        assert one.hospitals == tuple(member.hospital for member in detail.members)
        assert one.privacy == "trained without differential privacy"
        assert one.status is CheckpointStatus.CANDIDATE
    weights = {view.run_id: view.weights_sha256 for view in list_models(app, authority)}
    assert [weights[one.run.id].startswith(one.weights) for one in (sealed, blind)] == [True, True]
    assert (queued.final, queued.privacy, queued.weights, queued.status) == ({}, "", "", None)


@pytest.mark.parametrize("database_url", ["sqlite"], indirect=True)
def test_the_file_has_a_line_for_each_run_and_the_numbers_of_the_table(
    app: App, authority: Actor, two: list[str]
) -> None:
    compared = compare(app, authority, two)
    rows = list(csv.DictReader(io.StringIO(as_csv(compared).decode())))
    assert [row["run"] for row in rows] == two
    assert [float(row["figure: auc"]) for row in rows[:2]] == [one.final["auc"] for one in compared[:2]]
    assert rows[2]["figure: auc"] == ""
    assert [row["setting: Seed"] for row in rows] == ["1", "2", "0"]
    assert [int(row["bytes_to_coordinator"]) for row in rows] == [one.bytes_up for one in compared]


@pytest.mark.parametrize("database_url", ["sqlite"], indirect=True)
def test_ten_are_compared_and_an_eleventh_one_or_the_same_twice_are_not(app: App, authority: Actor) -> None:
    datasets = give_data(app)
    runs = [queue_run(app, authority, datasets) for _ in range(MAX_COMPARED + 1)]
    assert len(compare(app, authority, runs[:MAX_COMPARED])) == MAX_COMPARED
    with pytest.raises(InvalidInput, match="at most 10 runs are compared at a time, not 11"):
        compare(app, authority, runs)
    for wrong in (runs[:1], [], [runs[0], runs[0]]):
        with pytest.raises(InvalidInput, match="two or more different"):
            compare(app, authority, wrong)
    with pytest.raises(NotFound):
        compare(app, authority, [runs[0], "nowhere"])


@pytest.mark.parametrize("role", ["hospital", "doctor", "patient"])
def test_only_the_authority_compares(app: App, authority: Actor, role: str, request: pytest.FixtureRequest) -> None:
    datasets = give_data(app)
    runs = [queue_run(app, authority, datasets) for _ in range(2)]
    with pytest.raises(NotAuthorised):
        compare(app, request.getfixturevalue(role), runs)


@pytest.mark.parametrize("database_url", ["sqlite"], indirect=True)
def test_the_page_compares_what_was_chosen_and_says_how_many_are_too_many(
    served: App, clock: FixedClock, authority: Actor
) -> None:
    datasets = give_data(served)
    for _ in range(2):
        queue_run(served, authority, datasets, rounds=1)
    played(served, clock)
    clock.advance(timedelta(minutes=1))
    for _ in range(MAX_COMPARED - 1):
        queue_run(served, authority, datasets)
    runs = [view.id for view in list_runs(served, authority)]
    tab = draw(served, "authority/runs", "demo-authority", runs_section="Compare", compare_runs=runs[-2:])
    assert not tab.exception
    shown = next(one.value for one in tab.dataframe if "Model is" in one.value)
    assert list(shown["Run"]) == ["A · sealed", "B · sealed"]
    assert list(shown["Model is"]) == ["◇ candidate"] * 2
    tab = draw(served, "authority/runs", "demo-authority", runs_section="Compare", compare_runs=runs)
    assert "take 1 out again" in words(tab)
    assert not tab.dataframe
