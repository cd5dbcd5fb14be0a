"""Metrics as sums that hospitals can add."""

import math
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.metrics import balanced_accuracy_score, log_loss, roc_auc_score

from core.learning.metric_sums import (
    PSEUDO_PATIENT_CELLS,
    alarm_rate,
    calibrated,
    length_of,
    log_softmax,
    positive_log_odds,
    summarise,
    summary_dict,
    sums_of,
)
from core.studies import LEUKEMIA, ClassLabel, Policy, Study, Subject

THREE = Study(
    name="three",
    code="s93",
    title="Three",
    modalities=("SMEAR",),
    subject=Subject.FIELD,
    classes=(
        ClassLabel("a", "A", "a", "a", positive=False),
        ClassLabel("b", "B", "b", "b", positive=True),
        ClassLabel("c", "C", "c", "c", positive=True),
    ),
    input_size=32,
    min_side=16,
)


def sample(study: Study, n: int = 600, *, seed: int = 0, gap: float = 1.5) -> tuple[np.ndarray, np.ndarray]:
    rng = np.random.default_rng(seed)
    labels = rng.integers(0, len(study.classes), n)
    return rng.normal(0, 1, (n, len(study.classes))) + gap * np.eye(len(study.classes))[labels], labels


@pytest.mark.parametrize("study", [LEUKEMIA, THREE], ids=lambda study: study.name)
@given(cut=st.integers(0, 600))
@settings(max_examples=10)
def test_the_sums_of_two_hospitals_add_up_to_the_sums_of_all_images(study: Study, cut: int) -> None:
    logits, labels = sample(study)
    parts = sums_of(logits[:cut], labels[:cut], study) + sums_of(logits[cut:], labels[cut:], study)
    np.testing.assert_allclose(parts, sums_of(logits, labels, study), rtol=1e-12)


@pytest.mark.parametrize("study", [LEUKEMIA, THREE], ids=lambda study: study.name)
def test_figures_from_sums_agree_with_scikit_learn(study: Study) -> None:
    logits, labels = sample(study)
    summary = summarise(sums_of(logits, labels, study), study)
    p = np.exp(log_softmax(logits))
    scores = p[:, 1] if len(study.classes) == 2 else p
    assert summary.images == 600
    assert summary.auc == pytest.approx(roc_auc_score(labels, scores, multi_class="ovr"), abs=2e-3)
    assert summary.loss == pytest.approx(log_loss(labels, p))
    assert summary.accuracy == pytest.approx((logits.argmax(1) == labels).mean())
    assert summary.balanced_accuracy == pytest.approx(balanced_accuracy_score(labels, logits.argmax(1)))


def test_overconfident_logits_are_cooled_down() -> None:
    rng = np.random.default_rng(3)
    odds = rng.normal(0, 2, 4000)
    labels = (rng.random(4000) < calibrated(odds, 1.0)).astype(np.int64)
    logits = np.stack([np.zeros_like(odds), odds * 3], axis=1)
    assert summarise(sums_of(logits, labels, LEUKEMIA), LEUKEMIA).temperature == pytest.approx(3.0, rel=0.1)


def test_for_two_classes_the_positive_probability_is_temperature_scaling() -> None:
    logits, _ = sample(LEUKEMIA, 50)
    scaled = np.exp(log_softmax(logits / 1.7))[:, 1]
    np.testing.assert_allclose(calibrated(positive_log_odds(logits, LEUKEMIA), 1.7), scaled)


def test_the_threshold_has_the_best_balanced_accuracy_of_all() -> None:
    logits, labels = sample(LEUKEMIA, 3000, gap=1.0)
    summary = summarise(sums_of(logits, labels, LEUKEMIA), LEUKEMIA)
    p = calibrated(positive_log_odds(logits, LEUKEMIA), summary.temperature)
    best = max(balanced_accuracy_score(labels, p >= t) for t in np.linspace(0.01, 0.99, 99))
    assert balanced_accuracy_score(labels, p >= summary.threshold) > best - 0.006
    assert (summary.sensitivity + summary.specificity) / 2 == pytest.approx(
        balanced_accuracy_score(labels, p >= summary.threshold), abs=1e-9
    )


@given(gap=st.floats(0.1, 6), seed=st.integers(0, 99))
@settings(max_examples=20)
def test_at_most_a_tenth_of_the_images_is_uncertain_and_the_band_holds_the_threshold(gap: float, seed: int) -> None:
    logits, labels = sample(LEUKEMIA, 300, seed=seed, gap=gap)
    summary = summarise(sums_of(logits, labels, LEUKEMIA), LEUKEMIA)
    p = calibrated(positive_log_odds(logits, LEUKEMIA), summary.temperature)
    assert ((p >= summary.uncertain_low) & (p < summary.uncertain_high)).mean() <= LEUKEMIA.policy.uncertain_share
    assert summary.uncertain_low <= summary.threshold <= summary.uncertain_high
    assert summary.threshold <= summary.alarm_threshold


@given(negatives=st.integers(20, 5000), share=st.floats(0, 0.5))
@settings(max_examples=30)
def test_the_alarm_rate_is_the_lowest_that_keeps_false_alarms_within_the_bound(negatives: int, share: float) -> None:
    false_positives = round(share * negatives)
    rate, false_alarms = alarm_rate(false_positives, negatives, 0.05)
    assert false_alarms <= 0.05
    rng = np.random.default_rng(0)
    p = rng.beta(false_positives + 0.5, negatives - false_positives + 0.5, 40_000)
    counts = rng.binomial(PSEUDO_PATIENT_CELLS, p) / PSEUDO_PATIENT_CELLS
    assert (counts > rate).mean() == pytest.approx(false_alarms, abs=0.01)
    assert (counts > rate - 1.5 / PSEUDO_PATIENT_CELLS).mean() > 0.05 - 0.01


def test_an_alarm_threshold_of_its_own_finds_patients_with_fewer_positive_cells() -> None:
    logits, labels = sample(LEUKEMIA, 4000, gap=2.5)
    summary = summarise(sums_of(logits, labels, LEUKEMIA), LEUKEMIA)
    p = calibrated(positive_log_odds(logits, LEUKEMIA), summary.temperature)

    def detectable(threshold: float) -> float:
        false, true = (p[labels == 0] >= threshold).mean(), (p[labels == 1] >= threshold).mean()
        rate, _ = alarm_rate(
            (p[labels == 0] >= threshold).sum(), (labels == 0).sum(), LEUKEMIA.policy.false_alarm_bound
        )
        return (rate - false) / (true - false)

    assert detectable(summary.alarm_threshold) < detectable(summary.threshold)


def test_one_class_alone_gives_a_summary_without_the_figures_it_does_not_allow() -> None:
    logits, labels = sample(LEUKEMIA, 50)
    summary = summarise(sums_of(logits, np.zeros_like(labels), LEUKEMIA), LEUKEMIA)
    assert math.isnan(summary.auc)
    assert "auc" not in summary_dict(summary)
    assert 0 <= summary.alarm_rate <= 1


def test_impossible_sums_are_refused() -> None:
    logits, labels = sample(LEUKEMIA, 50)
    good = sums_of(logits, labels, LEUKEMIA)
    for wrong in (good[:-1], np.zeros_like(good), -good, np.full_like(good, np.nan)):
        with pytest.raises(ValueError, match="sums"):
            summarise(wrong, LEUKEMIA)
    with pytest.raises(ValueError, match="shape"):
        sums_of(logits[:, :1], labels, LEUKEMIA)
    with pytest.raises(ValueError, match="finite"):
        sums_of(np.full_like(logits, np.inf), labels, LEUKEMIA)


def test_no_images_are_zeros_of_the_right_length() -> None:
    empty = sums_of(np.zeros((0, 2)), np.zeros(0, np.int64), LEUKEMIA)
    assert empty.shape == (length_of(2),)
    assert not empty.any()


def test_a_study_may_ask_for_fewer_false_alarms() -> None:
    vector = sums_of(*sample(LEUKEMIA, 1000), LEUKEMIA)
    strict = summarise(vector, replace(LEUKEMIA, policy=Policy(false_alarm_bound=0.001)))
    assert strict.false_alarm_rate <= 0.001
