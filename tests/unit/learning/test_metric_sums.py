"""Metrics as sums that hospitals can add."""

import math
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.metrics import balanced_accuracy_score, log_loss, roc_auc_score

from core.learning.class_scores import WIDTH, calibrated, calibrated_probabilities, log_softmax, positive_log_odds
from core.learning.conformal import coverage_of, prediction_sets
from core.learning.metric_sums import (
    PSEUDO_PATIENT_CELLS,
    alarm_rate,
    length_of,
    summarise,
    summary_dict,
    summary_of,
    sums_of,
)
from core.learning.metrics import Judged, figures
from core.studies import LEUKEMIA, STUDIES, ClassLabel, Policy, Study, Subject
from core.studies.study import Threshold

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


EVERY = pytest.mark.parametrize("study", [*STUDIES.values(), THREE], ids=lambda study: study.name)


def sample(study: Study, n: int = 600, *, seed: int = 0, gap: float = 1.5) -> tuple[np.ndarray, np.ndarray]:
    rng = np.random.default_rng(seed)
    labels = rng.integers(0, len(study.classes), n)
    return rng.normal(0, 1, (n, len(study.classes))) + gap * np.eye(len(study.classes))[labels], labels


@EVERY
@given(cut=st.integers(0, 600))
@settings(max_examples=10)
def test_the_sums_of_two_hospitals_add_up_to_the_sums_of_all_images(study: Study, cut: int) -> None:
    logits, labels = sample(study)
    parts = sums_of(logits[:cut], labels[:cut], study) + sums_of(logits[cut:], labels[cut:], study)
    np.testing.assert_allclose(parts, sums_of(logits, labels, study), rtol=1e-12)


@EVERY
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


def true_to_their_logits(study: Study, n: int = 6000) -> tuple[np.ndarray, np.ndarray]:
    """Logits whose softmax is the truth: the class of each image is drawn from it."""
    rng = np.random.default_rng(5)
    logits = rng.normal(0, 2, (n, len(study.classes)))
    return logits, (log_softmax(logits) + rng.gumbel(0, 1, logits.shape)).argmax(axis=1)


@EVERY
def test_probabilities_of_overconfident_logits_are_calibrated_again(study: Study) -> None:
    logits, labels = true_to_their_logits(study)
    summary = summarise(sums_of(2.5 * logits, labels, study), study)
    assert summary.temperature == pytest.approx(2.5, rel=0.1)
    p = calibrated_probabilities(
        2.5 * logits,
        study,
        temperature=summary.temperature,
        positive_temperature=summary.positive_temperature,
        positive_offset=summary.positive_offset,
    )
    judged = Judged(labels, p.argmax(axis=1), p, np.zeros(len(labels), bool), tuple(map(str, range(len(labels)))))
    assert figures(judged, study, alarm_rate=1.0, replicates=2)["ece"].value < 0.03
    positive = p[:, list(study.positive_indices)].sum(axis=1)
    for low, high in ((0.0, 0.3), (0.3, 0.7), (0.7, 1.0)):
        inside = (positive >= low) & (positive <= high)
        if inside.sum() > 200:
            share = np.isin(labels[inside], study.positive_indices).mean()
            assert share == pytest.approx(positive[inside].mean(), abs=0.05)


def test_the_question_of_any_positive_class_has_a_calibration_of_its_own() -> None:
    study = STUDIES["multimodal"]
    logits, labels = true_to_their_logits(study)
    logits[:, list(study.positive_indices)] *= 3  # sure of the wrong finding, and of a finding
    summary = summarise(sums_of(logits, labels, study), study)
    p = calibrated(positive_log_odds(logits, study), summary.positive_temperature, summary.positive_offset)
    at = calibrated(positive_log_odds(logits, study), summary.temperature)
    truth = np.isin(labels, study.positive_indices)
    assert log_loss(truth, p) <= log_loss(truth, at)


@EVERY
def test_prediction_sets_of_the_summary_keep_the_policys_coverage(study: Study) -> None:
    logits, labels = sample(study, 4000)
    strict = replace(study, policy=Policy(coverage=0.8))
    summary = summarise(sums_of(logits, labels, strict), strict)
    new, truth = sample(study, 4000, seed=1)
    assert min(
        coverage_of(prediction_sets(new, summary.set_bounds, new.argmax(axis=1)), truth).by_class
    ) == pytest.approx(0.8, abs=0.06)


@EVERY
def test_a_summary_survives_its_journey_as_named_figures(study: Study) -> None:
    logits, labels = sample(study, 300)
    summary = summarise(sums_of(logits, labels, study), study)
    named = summary_dict(summary)
    assert summary_of(named) == summary
    for name in ("set_bound_0", "positive_temperature"):
        with pytest.raises(TypeError):
            summary_of({key: value for key, value in named.items() if key != name})


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


def test_a_threshold_at_even_odds_calls_the_more_probable_side() -> None:
    study = STUDIES["multimodal"]
    assert study.policy.threshold is Threshold.EVEN
    logits, labels = sample(study, 2000, gap=2.0)
    summary = summarise(sums_of(logits - [3, 0, 0, 0, 0, 0], labels, study), study)
    half_a_bin = WIDTH / 2 / summary.positive_temperature
    assert abs(math.log(summary.threshold / (1 - summary.threshold))) <= half_a_bin + 1e-9
    assert summary.uncertain_low <= summary.threshold <= summary.uncertain_high
    assert summary.threshold <= summary.alarm_threshold


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
