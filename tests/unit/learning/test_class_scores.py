"""Log-odds of classes and their calibration, for two, four and six classes."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from core.learning.class_scores import (
    calibrated,
    calibrated_probabilities,
    class_log_odds,
    histograms,
    log_softmax,
    positive_log_odds,
)
from core.studies import LEUKEMIA, STUDIES, Study

LOGITS = st.integers(2, 6).flatmap(lambda c: arrays(np.float64, (3, c), elements=st.floats(-40, 40)))
TEMPERATURE = st.floats(0.25, 8)


@given(LOGITS)
def test_the_score_of_a_class_is_the_log_odds_of_its_probability(logits: np.ndarray) -> None:
    p = np.exp(log_softmax(logits))
    np.testing.assert_allclose(1 / (1 + np.exp(-class_log_odds(logits))), p, atol=1e-12)


@pytest.mark.parametrize("study", STUDIES.values(), ids=lambda study: study.name)
@given(
    seed=st.integers(0, 999),
    rule=st.tuples(TEMPERATURE, TEMPERATURE, st.floats(-3, 3)),
    size=st.floats(0, 50),
)
def test_calibrated_probabilities_add_up_by_side_and_in_all(
    study: Study, seed: int, rule: tuple[float, float, float], size: float
) -> None:
    temperature, of_positive, offset = rule
    logits = size * np.random.default_rng(seed).normal(0, 1, (5, len(study.classes)))
    p = calibrated_probabilities(
        logits, study, temperature=temperature, positive_temperature=of_positive, positive_offset=offset
    )
    positive = calibrated(positive_log_odds(logits, study), of_positive, offset)
    assert (p >= 0).all()
    np.testing.assert_allclose(p.sum(axis=1), 1, rtol=1e-12)
    np.testing.assert_allclose(p[:, list(study.positive_indices)].sum(axis=1), positive, rtol=1e-9, atol=1e-12)
    for side in (list(study.positive_indices), [c for c in range(p.shape[1]) if c not in study.positive_indices]):
        order = np.argsort(logits[:, side], axis=1)
        assert (np.diff(np.take_along_axis(p[:, side], order, axis=1), axis=1) >= 0).all()


@given(seed=st.integers(0, 99), temperature=TEMPERATURE)
def test_for_two_classes_it_is_the_softmax_at_the_temperature(seed: int, temperature: float) -> None:
    logits = np.random.default_rng(seed).normal(0, 4, (5, 2))
    p = calibrated_probabilities(
        logits, LEUKEMIA, temperature=temperature, positive_temperature=temperature, positive_offset=0
    )
    np.testing.assert_allclose(p, np.exp(log_softmax(logits / temperature)), rtol=1e-6, atol=1e-12)


def test_scores_beyond_the_limit_are_counted_in_the_outermost_bins() -> None:
    counts = histograms(np.array([-99.0, -16.0, 15.99, 99.0]), np.array([True, False, False, True]))
    assert (counts[0, 0], counts[1, 0], counts[0, -1], counts[1, -1]) == (1, 1, 1, 1)
