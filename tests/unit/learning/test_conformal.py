"""Prediction sets hold the true class as often as they promise, class by class."""

import math
from itertools import pairwise

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from core.learning.class_scores import BINS, LIMIT, WIDTH, class_log_odds, histograms
from core.learning.conformal import ALWAYS, coverage_of, prediction_sets, set_bounds


def drawn(rng: np.random.Generator, n: int, classes: int, gap: float) -> tuple[np.ndarray, np.ndarray]:
    """Logits [n, C] of a network that is sometimes wrong, and the true classes; each class has its own difficulty."""
    labels = rng.integers(0, classes, n)
    sure = gap * (1 + labels / classes)[:, np.newaxis]
    return rng.normal(0, 1, (n, classes)) + sure * np.eye(classes)[labels], labels


def own_histograms(logits: np.ndarray, labels: np.ndarray) -> np.ndarray:
    scores = class_log_odds(logits)
    return np.stack([histograms(scores[:, c], labels == c)[1] for c in range(logits.shape[1])])


@pytest.mark.parametrize("classes", [2, 4, 6])
@pytest.mark.parametrize("coverage", [0.8, 0.9, 0.95])
def test_new_images_of_every_class_are_covered_as_promised(classes: int, coverage: float) -> None:
    rng = np.random.default_rng(classes)
    shares = []
    for _ in range(60):
        known, labels = drawn(rng, 40 * classes, classes, 1.0)
        new, truth = drawn(rng, 200 * classes, classes, 1.0)
        bounds = set_bounds(own_histograms(known, labels), coverage)
        shares.append(coverage_of(prediction_sets(new, bounds, new.argmax(axis=1)), truth).by_class)
    assert np.mean(shares, axis=0).min() >= coverage - 0.01  # the mean of 60 draws spreads by less than 0.006


@given(
    counts=st.lists(st.lists(st.integers(0, 30), min_size=BINS, max_size=BINS), min_size=2, max_size=3),
    coverage=st.floats(0.5, 0.99),
)
@settings(max_examples=30)
def test_a_bound_leaves_out_no_more_than_the_finite_sample_allows(counts: list[list[int]], coverage: float) -> None:
    own = np.array(counts, np.float64)
    for one, bound in zip(own, set_bounds(own, coverage), strict=True):
        below = one[: round((bound + LIMIT) / WIDTH)].sum()
        assert below < max((1 - coverage) * (one.sum() + 1), 1e-9) or below == 0


@given(st.integers(0, 400), st.sampled_from([0.9, 0.95, 0.98]))
@settings(max_examples=60)
def test_with_too_few_images_nothing_is_promised_and_the_class_is_in_every_set(images: int, coverage: float) -> None:
    own = np.zeros((1, BINS))
    own[0, 300] = images
    too_few = (1 - coverage) * (images + 1) < 1 - 1e-9
    assert (set_bounds(own, coverage)[0] == ALWAYS) == too_few


def test_a_higher_coverage_never_takes_a_class_out() -> None:
    rng = np.random.default_rng(0)
    logits, labels = drawn(rng, 900, 6, 1.5)
    own = own_histograms(logits, labels)
    sets = [
        prediction_sets(logits, set_bounds(own, coverage), logits.argmax(axis=1))
        for coverage in (0.5, 0.8, 0.9, 0.95, 0.99)
    ]
    for smaller, larger in pairwise(sets):
        assert (smaller <= larger).all()


@given(st.integers(0, 99), st.integers(2, 6))
@settings(max_examples=20)
def test_no_set_is_empty_since_the_class_that_is_called_is_in_it(seed: int, classes: int) -> None:
    logits, _ = drawn(np.random.default_rng(seed), 50, classes, 3.0)
    called = logits.argmin(axis=1)
    assert prediction_sets(logits, [LIMIT] * classes, called)[np.arange(50), called].all()
    assert prediction_sets(logits, [ALWAYS] * classes, called).all()
    assert prediction_sets(1e3 * logits, [ALWAYS] * classes, called).all()  # scores beyond the histograms too


def test_coverage_is_counted_by_class_with_the_size_of_the_sets() -> None:
    sets = np.array([[True, False, False], [True, True, False], [False, True, False], [True, True, True]])
    found = coverage_of(sets, np.array([0, 1, 0, 1]))
    assert (found.images, found.share, found.size, found.single) == (4, 0.75, 1.75, 0.5)
    assert found.by_class[:2] == (0.5, 1.0)
    assert math.isnan(found.by_class[2])
    with pytest.raises(ValueError, match="labels"):
        coverage_of(sets, np.array([0, 1]))
