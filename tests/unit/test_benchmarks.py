"""The parts of the benchmark scripts that reckon: updates, errors, critical path, fitted line."""

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from benchmarks.cross_validation import folds_of
from benchmarks.line_chart import fit, ticks
from benchmarks.live_page import Growth, Sample
from benchmarks.recipe_trials import LABORATORIES, changed
from benchmarks.rivals.measuring import Inputs, Stopwatch, largest_error
from benchmarks.secure_aggregation import blind_mean, draw
from benchmarks.shipped_model import compact
from core.diagnosis.bundle import ServingModel
from core.evaluation.held_out import Images, called, joined, mean
from core.imaging.datasets import Record
from core.learning.metrics import Judged
from core.learning.run_choices import DEFAULT_CLIP
from core.learning.weights import decode_weights, rounded_to_half, sha256_of
from core.studies import LEUKEMIA, STUDIES
from federated.aggregation.blind.fixed_point import Encoding


def test_rivals_get_the_updates_that_bench_hands_out_every_time() -> None:
    first, again = draw(3, 1000), draw(3, 1000)
    assert first.updates.shape == (3, 1000)
    assert first.updates.dtype == np.float32
    assert np.array_equal(first.updates, again.updates)
    assert np.array_equal(first.images, again.images)
    assert not np.array_equal(first.updates[0], first.updates[1])


def test_the_blind_mean_is_within_the_stated_quantisation_error() -> None:
    inputs = draw(5, 2000)
    bound = Encoding.for_members(5, clip=DEFAULT_CLIP).mean_error(inputs.images.sum() / inputs.images.max())
    assert 0 < largest_error(inputs, blind_mean(inputs)) <= bound


def test_the_largest_error_is_that_of_the_worst_coordinate() -> None:
    inputs = Inputs(np.array([[1, 2], [3, 6]], np.float32), np.array([1, 3]))
    assert largest_error(inputs, np.array([2.5, 4.75])) == pytest.approx(0.25)


def test_the_critical_path_takes_the_slowest_party_of_each_step() -> None:
    watch = Stopwatch()
    watch.laps["mask"] |= {"node 0": 1.0, "node 1": 3.0}
    watch.laps["add"]["server"] += 0.5
    assert watch.phases() == {"mask": 4.0, "add": 0.5}
    assert watch.critical() == pytest.approx(3.5)


@given(st.floats(-10, 10), st.floats(-10, 10))
def test_points_on_a_line_give_that_line(slope: float, intercept: float) -> None:
    x = [3.0, 5.0, 7.0, 10.0]
    found = fit(x, [intercept + slope * value for value in x])
    assert (found.slope, found.intercept) == pytest.approx((slope, intercept), abs=1e-9)


@given(st.floats(1e-6, 1e6))
def test_ticks_reach_the_highest_value_in_few_steps(highest: float) -> None:
    marks = ticks(highest)
    assert marks[0] == 0
    assert marks[-2] < highest <= marks[-1] * (1 + 1e-9)
    assert 3 <= len(marks) <= 6


def _records(patients: int) -> list[Record]:
    rng = np.random.default_rng(0)
    return [
        Record(f"{patient}-{number}.png", "", int(rng.random() < patient / patients), "SMEAR", "here", f"p{patient}")
        for patient in range(patients)
        for number in range(rng.integers(1, 12))
    ]


def test_folds_hold_whole_patients_alike_in_images_and_labels() -> None:
    records = _records(60)
    folds = folds_of(records, 5, seed=3)
    patients = [{record.patient for record in fold} for fold in folds]
    assert sum(len(own) for own in patients) == len(set.union(*patients)) == 60
    assert max(map(len, folds)) < 1.25 * min(map(len, folds))
    shares = [float(np.mean([record.label_index for record in fold])) for fold in folds]
    assert max(shares) - min(shares) < 0.2
    assert folds_of(records, 5, seed=3) == folds
    assert folds_of(records, 5, seed=4) != folds


def test_averaged_weights_count_by_images() -> None:
    ones, zeros = {"a": np.ones((2, 3), np.float32)}, {"a": np.zeros((2, 3), np.float32)}
    assert np.allclose(mean([ones, zeros], [30, 10])["a"], 0.75)


def test_images_are_chosen_by_the_patients_of_records() -> None:
    images = Images(np.zeros((4, 2, 2, 3), np.uint8), np.arange(4), np.array(["a", "b", "a", "c"]))
    chosen = images.of([Record("x", "", 0, "SMEAR", "here", "a"), Record("y", "", 0, "SMEAR", "here", "c")])
    assert chosen.labels.tolist() == [0, 2, 3]


def test_the_class_that_is_called_is_of_the_side_that_is_called() -> None:
    probabilities = np.array([[0.4, 0.3, 0.2, 0.1], [0.4, 0.3, 0.2, 0.1]])
    assert called(probabilities, np.array([True, False]), STUDIES["leukemia_subtypes"]).tolist() == [1, 0]
    assert called(np.array([[0.6, 0.4]]), np.array([True]), LEUKEMIA).tolist() == [1]


def test_joined_folds_keep_each_image_with_its_patient() -> None:
    one = Judged(np.array([0]), np.array([1]), np.array([[0.2, 0.8]]), np.array([False]), ("a",))
    two = Judged(np.array([1]), np.array([1]), np.array([[0.1, 0.9]]), np.array([True]), ("b",))
    both = joined([one, two])
    assert (both.labels.tolist(), both.patients, both.alarming.tolist()) == ([0, 1], ("a", "b"), [False, True])


@pytest.mark.parametrize("name", sorted(LABORATORIES))
def test_an_invented_laboratory_changes_every_picture_in_its_own_way_and_keeps_the_original(name: str) -> None:
    rng = np.random.default_rng(0)
    picture = np.repeat(np.repeat(rng.integers(60, 200, (12, 12, 3), np.uint8), 8, 0), 8, 1)
    before = picture.copy()
    seen = LABORATORIES[name](picture)
    assert (seen.shape, seen.dtype) == ((96, 96, 3), np.uint8)
    assert np.array_equal(picture, before)
    assert np.abs(seen.astype(int) - picture).mean() > 2
    assert np.array_equal(seen, LABORATORIES[name](picture))


def test_fields_of_a_trial_take_the_kind_of_what_they_replace() -> None:
    like = {"batch": 32, "learning_rate": 2e-3, "augment": True}
    assert changed(["batch=8", "learning_rate=1", "augment=false"], like) == {
        "batch": 8,
        "learning_rate": 1.0,
        "augment": False,
    }
    assert changed(None, like) == {}
    with pytest.raises(KeyError):
        changed(["patience=3"], like)


def test_a_shipped_model_keeps_halves_only_of_weights_that_are_served_as_halves(serving_model: ServingModel) -> None:
    assert compact(serving_model) == serving_model
    served_as_halves = replace(serving_model.manifest, architecture="residual-small")
    small = compact(replace(serving_model, manifest=served_as_halves))
    small.check()
    assert serving_model.weights is not None
    assert small.weights is not None
    assert len(small.weights) < 0.6 * len(serving_model.weights)
    assert small.litert == serving_model.litert
    weights, rounded = decode_weights(serving_model.weights)[0], decode_weights(small.weights)[0]
    assert sha256_of(rounded) == sha256_of(rounded_to_half(weights)) == small.manifest.weights_sha256
    assert small.standing_alone().manifest == small.manifest


def test_growth_is_what_a_line_adds_after_the_first_fifth() -> None:
    same = {"tab": 1.0, "own": 1.0, "held": 1.0, "heap": 1.0}
    settling = [Sample(at=10.0 * n, server=500.0 - n, nodes=1, rounds=0, **same) for n in range(20)]
    after = [Sample(at=10.0 * n, server=300.0 + 0.1 * n, nodes=1, rounds=0, **same) for n in range(20, 100)]
    assert Growth.of(settling + after, "server") == Growth(302.0, 7.9, 0.0)
    assert Growth.of(settling + after, "tab") == Growth(1.0, 0.0, 0.0)
    assert Growth.of(settling + after, "server", after=0.5) == Growth(305.0, 4.9, 0.0)
