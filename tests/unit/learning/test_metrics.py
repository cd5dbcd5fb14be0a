"""The figures of both papers, against scikit-learn, and their intervals over patients."""

import math

import numpy as np
import pytest
from sklearn import metrics as reference

from core.learning.metrics import Judged, as_json, confusion_matrix, false_alarm_rate, figures
from core.studies import LEUKEMIA, Study
from tests.unit.learning.test_metric_sums import THREE

PATIENTS = 20


def judged(study: Study, n: int = 500, seed: int = 0) -> Judged:
    rng = np.random.default_rng(seed)
    classes = len(study.classes)
    labels = rng.integers(0, classes, n)
    logits = rng.normal(0, 1, (n, classes)) + 1.5 * np.eye(classes)[labels]
    p = np.exp(logits) / np.exp(logits).sum(1, keepdims=True)
    p = np.round(p, 2) / np.round(p, 2).sum(1, keepdims=True)  # ties on purpose
    predicted = p.argmax(1)
    return Judged(
        labels=labels,
        predicted=predicted,
        probabilities=p,
        alarming=np.isin(predicted, study.positive_indices),
        patients=tuple(f"p{i % PATIENTS}" for i in range(n)),
    )


def test_two_class_figures_are_those_of_scikit_learn() -> None:
    data = judged(LEUKEMIA)
    y, z = data.labels, data.predicted
    got = {name: figure.value for name, figure in figures(data, LEUKEMIA, alarm_rate=0.1, replicates=5).items()}
    expected = {
        "accuracy": reference.accuracy_score(y, z),
        "precision": reference.precision_score(y, z),
        "recall": reference.recall_score(y, z),
        "specificity": reference.recall_score(y, z, pos_label=0),
        "f1": reference.f1_score(y, z),
        "mcc": reference.matthews_corrcoef(y, z),
        "jaccard": reference.jaccard_score(y, z, average="macro"),
        "balanced_accuracy": reference.balanced_accuracy_score(y, z),
        "kappa": reference.cohen_kappa_score(y, z),
        "auc": reference.roc_auc_score(y, data.probabilities[:, 1]),
        "dri": reference.accuracy_score(y, z),
    }
    assert {name: got[name] for name in expected} == pytest.approx(expected)


def test_figures_for_more_classes_are_macro_averages_as_in_scikit_learn() -> None:
    data = judged(THREE)
    y, z = data.labels, data.predicted
    got = {name: figure.value for name, figure in figures(data, THREE, alarm_rate=0.1, replicates=5).items()}
    expected = {
        "precision": reference.precision_score(y, z, average="macro"),
        "recall": reference.recall_score(y, z, average="macro"),
        "specificity": np.mean([reference.recall_score(y == c, z == c, pos_label=False) for c in range(3)]),
        "f1": reference.f1_score(y, z, average="macro"),
        "mcc": reference.matthews_corrcoef(y, z),
        "jaccard": reference.jaccard_score(y, z, average="macro"),
        "balanced_accuracy": reference.balanced_accuracy_score(y, z),
        "kappa": reference.cohen_kappa_score(y, z),
        "auc": reference.roc_auc_score(y, data.probabilities, multi_class="ovr"),
    }
    assert {name: got[name] for name in expected} == pytest.approx(expected)


def test_a_replicate_is_the_figure_of_the_drawn_patients() -> None:
    data = judged(LEUKEMIA, 200)
    drawn = np.random.default_rng(7).multinomial(PATIENTS, np.full(PATIENTS, 1 / PATIENTS), size=1)[0]
    names = np.unique(data.patients)
    rows = np.concatenate(
        [
            np.flatnonzero(np.array(data.patients) == name)
            for name, k in zip(names, drawn, strict=True)
            for _ in range(k)
        ]
    )
    figure = figures(data, LEUKEMIA, alarm_rate=0.1, replicates=1, seed=7)
    assert figure["auc"].low == pytest.approx(reference.roc_auc_score(data.labels[rows], data.probabilities[rows, 1]))
    assert figure["mcc"].low == pytest.approx(reference.matthews_corrcoef(data.labels[rows], data.predicted[rows]))


def test_intervals_hold_the_value_and_come_out_the_same_again() -> None:
    data = judged(LEUKEMIA)
    first = figures(data, LEUKEMIA, alarm_rate=0.1, replicates=200)
    assert first == figures(data, LEUKEMIA, alarm_rate=0.1, replicates=200)
    assert all(f.low <= f.value <= f.high for name, f in first.items() if name != "ece")


def test_one_patient_alone_has_no_spread() -> None:
    data = judged(LEUKEMIA, 100)
    alone = Judged(data.labels, data.predicted, data.probabilities, data.alarming, ("p",) * 100)
    accuracy = figures(alone, LEUKEMIA, alarm_rate=0.1, replicates=20)["accuracy"]
    assert accuracy.low == accuracy.value == accuracy.high


def test_a_positive_patient_is_detected_when_alarming_images_exceed_the_rate() -> None:
    data = Judged(
        labels=np.array([1, 0, 0, 0, 1, 0, 0, 0, 0, 0]),
        predicted=np.zeros(10, np.int64),
        probabilities=np.full((10, 2), 0.5),
        alarming=np.array([1, 1, 0, 0, 0, 0, 0, 0, 1, 1], bool),
        patients=("a",) * 4 + ("b",) * 4 + ("healthy",) * 2,
    )
    assert figures(data, LEUKEMIA, alarm_rate=0.3, replicates=1)["detection_rate"].value == 0.5
    assert figures(data, LEUKEMIA, alarm_rate=0.5, replicates=1)["detection_rate"].value == 0.0


def test_the_calibration_error_is_the_gap_between_confidence_and_accuracy() -> None:
    p = np.tile([0.2, 0.8], (100, 1))
    labels = np.repeat([1, 0], [60, 40])
    data = Judged(labels, np.ones(100, np.int64), p, np.ones(100, bool), ("p",) * 100)
    assert figures(data, LEUKEMIA, alarm_rate=0.1, replicates=1)["ece"].value == pytest.approx(0.2)


def test_figures_that_the_data_do_not_allow_are_null() -> None:
    data = judged(LEUKEMIA, 40)
    normal = Judged(np.zeros(40, np.int64), data.predicted, data.probabilities, data.alarming, data.patients)
    got = as_json(figures(normal, LEUKEMIA, alarm_rate=0.1, replicates=5))
    for name in ("auc", "recall", "detection_rate"):
        assert got[name] == {"value": None, "low": None, "high": None}
    assert got["specificity"]["value"] is not None


def test_false_alarms_are_counted_over_pseudo_patients_of_normal_images() -> None:
    alarming = np.zeros(1000, bool)
    alarming[:50] = True
    rate = false_alarm_rate(alarming, alarm_rate=0.08, cells=100, draws=20_000)
    assert rate == pytest.approx(0.0631, abs=0.006)  # P(binomial(100, 0.05) > 8)
    assert false_alarm_rate(np.zeros(10, bool), alarm_rate=0.0, cells=100, draws=10) == 0
    assert math.isnan(false_alarm_rate(np.zeros(0, bool), alarm_rate=0.1, cells=100, draws=10))


def test_the_confusion_matrix_has_labels_in_rows() -> None:
    data = judged(THREE, 100)
    expected = reference.confusion_matrix(data.labels, data.predicted)
    np.testing.assert_array_equal(confusion_matrix(data, 3), expected)


def test_answers_that_do_not_fit_are_refused() -> None:
    data = judged(LEUKEMIA, 10)
    with pytest.raises(ValueError, match="expected"):
        figures(
            Judged(data.labels, data.predicted[:5], data.probabilities, data.alarming, data.patients),
            LEUKEMIA,
            alarm_rate=0,
        )
