"""What the tables of the papers reckon: intervals over patients and seeds, curves, shares of attacks, kept steps."""

import json
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.metrics import average_precision_score, matthews_corrcoef, roc_auc_score

from core.errors import InvalidInput
from core.evaluation.answers import thinned
from core.evaluation.attacks.result import PRIVATE_VIEWS, Figure
from core.evaluation.held_out import judged_arrays, judged_from
from core.evaluation.tables.attacks import read_attacks, withstood
from core.evaluation.tables.blocks import Table
from core.evaluation.tables.curves import calibration, precision_recall, roc
from core.evaluation.tables.intervals import Verdict, difference, drawn, with_intervals
from core.evaluation.tables.methods import Method
from core.evaluation.tables.methods import useful_share as of_run
from core.evaluation.tables.page import html_of
from core.evaluation.tables.profile import FULL, QUICK, Budget
from core.evaluation.tables.response import reduction
from core.evaluation.tables.response import useful_share as of_upload
from core.evaluation.tables.summaries import security
from core.evaluation.tables.workbook import Workbook
from core.imaging.datasets import Record
from core.learning.metrics import Judged, replicated
from core.studies import LEUKEMIA


def judged(right: float, *, patients: int = 20, seed: int = 0) -> Judged:
    """Ten images of each patient, of which about a share is called right."""
    rng = np.random.default_rng(seed)
    labels = np.tile([0, 1], patients * 5)
    chosen = np.where(rng.random(len(labels)) < right, labels, 1 - labels)
    ones = np.where(chosen == 1, 0.6, 0.1) + rng.random(len(labels)) * 0.3
    return Judged(
        labels=labels,
        predicted=chosen,
        probabilities=np.stack([1 - ones, ones], axis=1),
        alarming=np.zeros(len(labels), bool),
        patients=tuple(f"p{number // 10}" for number in range(len(labels))),
    )


def test_the_value_is_the_mean_over_the_seeds_and_lies_within_its_interval() -> None:
    of_seeds = [judged(0.9, seed=seed) for seed in range(3)]
    found = with_intervals(drawn(of_seeds, LEUKEMIA, replicates=200))
    expected = np.mean([matthews_corrcoef(one.labels, one.predicted) for one in of_seeds])
    assert found["mcc"].value == pytest.approx(expected)
    assert found["mcc"].low < found["mcc"].value < found["mcc"].high


def test_with_one_seed_the_replicates_are_those_of_its_patients_alone() -> None:
    one = judged(0.8)
    values = drawn([one], LEUKEMIA, replicates=50)["auc"]
    assert np.array_equal(values, replicated(one, LEUKEMIA, alarm_rate=1.0, replicates=50)["auc"])
    assert values[0] == pytest.approx(roc_auc_score(one.labels, one.probabilities[:, 1]))


def test_seeds_that_differ_widen_the_interval() -> None:
    alike = with_intervals(drawn([judged(0.85, seed=1)] * 3, LEUKEMIA, replicates=300))["mcc"]
    unlike = with_intervals(drawn([judged(share, seed=1) for share in (0.7, 0.85, 1.0)], LEUKEMIA, replicates=300))
    assert unlike["mcc"].high - unlike["mcc"].low > 1.5 * (alike.high - alike.low)


def test_differences_are_paired_and_say_who_is_ahead() -> None:
    good, bad = ([judged(share, seed=3)] for share in (0.95, 0.7))
    ours, theirs = (drawn(one, LEUKEMIA, replicates=200)["mcc"] for one in (good, bad))
    ahead, behind, alike = difference(ours, theirs), difference(theirs, ours), difference(ours, ours)
    assert (ahead.verdict, behind.verdict, alike.verdict) == (Verdict.AHEAD, Verdict.BEHIND, Verdict.NOT_TOLD_APART)
    assert ahead.figure.value == pytest.approx(-behind.figure.value)
    assert ahead.p == pytest.approx(2 / 201)
    assert alike.p == 1.0
    assert (alike.figure.low, alike.figure.high) == (0.0, 0.0)


@settings(max_examples=30)
@given(st.lists(st.floats(-1, 1), min_size=2, max_size=60))
def test_p_is_a_probability_and_small_exactly_where_the_replicates_agree(values: list[float]) -> None:
    ours = np.array([0.0, *values])
    found = difference(ours, np.zeros_like(ours))
    assert 2 / (len(values) + 1) <= found.p <= 1 or found.p == 1.0
    if found.verdict is not Verdict.NOT_TOLD_APART:
        assert found.p < 0.2 or len(values) < 20


@settings(max_examples=30)
@given(st.lists(st.tuples(st.integers(0, 6), st.booleans()), min_size=3, max_size=80))
def test_areas_under_the_drawn_curves_are_the_known_ones(images: Sequence[tuple[int, bool]]) -> None:
    scores, inside = np.array([score / 6 for score, _ in images]), np.array([held for _, held in images])
    points = np.array(roc(scores, inside))
    if inside.all() or not inside.any():
        assert len(points) == 0
    else:
        area = np.trapezoid(points[:, 1], points[:, 0])
        assert area == pytest.approx(roc_auc_score(inside, scores), abs=1e-3)
    if inside.any():
        steps = np.array([[0.0, 1.0], *precision_recall(scores, inside)])
        area = float((np.diff(steps[:, 0]) * steps[1:, 1]).sum())
        assert area == pytest.approx(average_precision_score(inside, scores), abs=1e-3)


def test_calibration_counts_every_image_once_and_shows_how_often_it_is_right() -> None:
    probabilities = np.array([[0.05, 0.95], [0.08, 0.92], [0.45, 0.55], [1.0, 0.0]])
    one = Judged(np.array([1, 0, 1, 0]), np.array([1, 1, 1, 0]), probabilities, np.zeros(4, bool), tuple("abcd"))
    assert calibration(one) == [
        {"probability": pytest.approx(0.55), "right": 1.0, "images": 1},
        {"probability": pytest.approx((0.95 + 0.92 + 1.0) / 3), "right": pytest.approx(2 / 3), "images": 3},
    ]


def test_answers_come_back_from_a_file_as_they_were(tmp_path: Path) -> None:
    one = judged(0.9)
    workbook = Workbook(tmp_path, {"seed": 0})
    workbook.write("step", {"a": 1}, judged_arrays(one))
    again = judged_from(workbook.arrays("step"))
    assert again.patients == one.patients
    assert np.array_equal(again.probabilities, one.probabilities)


def test_a_folder_keeps_finished_steps_and_is_refused_for_another_question(tmp_path: Path) -> None:
    Workbook(tmp_path, {"seeds": [0], "images": 5}).write("step", {"value": 2.5})
    again = Workbook(tmp_path, {"seeds": (0,), "images": 5})
    assert again.has("step")
    assert not again.has("other")
    assert again.read("step") == {"value": 2.5}
    with pytest.raises(InvalidInput, match="images"):
        Workbook(tmp_path, {"seeds": [0], "images": 6})
    with pytest.raises(ValueError, match="JSON"):
        again.write("broken", {"value": float("nan")})
    assert not again.has("broken")


def test_a_question_of_at_most_so_many_images_takes_every_nth() -> None:
    records = [Record(f"{number}.png", "", 0, "", "", "") for number in range(10)]
    assert [record.path for record in thinned(records, 4)] == ["0.png", "3.png", "6.png", "9.png"]
    assert thinned(records, 10) == records == thinned(records, 0)
    assert thinned([], 4) == []


def test_every_method_is_trained_as_long_as_the_others() -> None:
    assert Budget.of(QUICK, LEUKEMIA) == Budget(rounds=3, epochs=1)
    full = Budget.of(FULL, LEUKEMIA)
    assert (full.rounds, full.epochs) == (18, 1)
    paper, recipe = full.of_the_paper(), full.recipe(LEUKEMIA)
    assert paper.epochs == recipe.epochs == full.epochs
    assert (paper.learning_rate, paper.batch, paper.dropout, paper.augment) == (1e-3, 32, 0.3, False)


def attacks_file(out: Path, name: str, rows: Sequence[dict[str, object]]) -> None:
    (out / "attacks").mkdir(exist_ok=True)
    (out / "attacks" / name).write_text(json.dumps(list(rows)))


def test_attacks_are_counted_by_what_the_adversary_sees(tmp_path: Path) -> None:
    def row(figure: str, view: str, trials: int, successes: int) -> dict[str, object]:
        counts = {"trials": trials, "successes": successes, "seed": 1, "data": "cells"}
        return {"attack": "a", "adversary": "cloud", "figure": figure, "view": view, **counts}

    assert read_attacks(tmp_path) == []
    attacks_file(tmp_path, "one.json", [row("privacy", "blind", 200, 2), row("privacy", "plain", 50, 40)])
    attacks_file(tmp_path, "two.json", [row("privacy", "stored", 100, 0), row("none", "sealed", 7, 7)])
    found = read_attacks(tmp_path)
    hidden, read = (withstood(found, Figure.PRIVACY, PRIVATE_VIEWS[name]) for name in ("as used", "plain"))
    assert hidden is not None
    assert read is not None
    assert (hidden.trials, hidden.failed, hidden.share) == (300, 298, pytest.approx(298 / 300))
    assert hidden.low < hidden.share < hidden.high
    assert (read.trials, read.share) == (50, pytest.approx(0.2))
    assert withstood(found, Figure.ACCESS) is None


@pytest.mark.parametrize(
    "change", [{"trials": 0}, {"successes": 11}, {"view": "elsewhere"}, {"figure": "beauty"}, {"trials": None}]
)
def test_a_file_that_is_no_result_of_an_attack_is_refused(tmp_path: Path, change: dict[str, object]) -> None:
    attacks_file(
        tmp_path,
        "one.json",
        [{"attack": "a", "adversary": "", "figure": "privacy", "view": "blind", "trials": 9, "successes": 1, **change}],
    )
    with pytest.raises(InvalidInput, match=r"one\.json"):
        read_attacks(tmp_path)


def test_efficiency_and_latency_are_as_defined() -> None:
    assert of_run({"training_s": 80.0, "evaluation_s": 15.0, "cryptography_s": 3.0}, 100.0) == pytest.approx(0.95)
    stages = {"enclave.infer": 10.0, "enclave.preprocess": 1.0, "enclave.heat_map": 1.0, "seal": 3.0, "total": 48.0}
    assert of_upload(stages) == pytest.approx(0.25)
    assert reduction([30.0, 50.0, 40.0], [100.0, 80.0, 60.0]) == pytest.approx(0.5)


def test_figures_that_no_attack_measured_are_not_there_and_reach_no_goal() -> None:
    run = {"useful_share": 0.99, "cryptography_s": 1.0, "run_s": 100.0}
    response = {"useful_share": 0.3, "n": 5, "latency_reduction": {"predict": 0.5, "call": -0.1}}
    found = security([], [run], response)
    assert found["privacy_preservation"] == {"goal": 0.9831, "measured": None, "reached": None}
    assert found["cloud_efficiency_run"]["reached"] is True
    assert found["cloud_efficiency_diagnosis"]["reached"] is False
    assert found["latency_reduction"]["measured"]["against_a_direct_call"] == -0.1


def test_names_in_a_report_cannot_write_into_its_page() -> None:
    made = html_of(Table("<b>", ("a", "b"), [("<script>alert(1)</script>", "0.5")]))
    assert "<script>" not in made
    assert "<b>" not in made
    assert '<td class="number">0.5</td>' in made


def test_each_method_has_a_step_of_its_own_and_a_definition() -> None:
    steps = {method.step(seed) for method in Method for seed in (0, 1)}
    assert len(steps) == 2 * len(Method)
    text = (Path(__file__).resolve().parents[2] / "docs" / "results.md").read_text(encoding="utf-8")
    defined = text.partition("## Tables of the papers")[2]
    for method in Method:
        assert f"| {method.value} |" in defined, method
