"""The figures of both papers with their intervals, as defined in ``docs/results.md``; plain NumPy.

Everything is first counted per patient. A bootstrap replicate is then a vector of weights, one per patient, and every
figure is a function of weighted sums, so that 1,000 replicates of 10,000 images take about a second.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from core.studies import Study

Floats = NDArray[np.float64]

REPLICATES = 1000
SEED = 0
CALIBRATION_BINS = 15
PERCENTILES = (2.5, 97.5)


@dataclass(frozen=True)
class Figure:
    """A figure with its 95 % interval; `nan` where it does not exist for the data."""

    value: float
    low: float
    high: float


@dataclass(frozen=True, eq=False)
class Judged:
    """Images with their answers.

    Attributes:
        labels: int64 [n], class indices.
        predicted: int64 [n], class indices.
        probabilities: float64 [n, C], calibrated.
        alarming: bool [n], whether the image counts for its patient's alarm.
        patients: n names; the groups of the bootstrap.
    """

    labels: NDArray[np.int64]
    predicted: NDArray[np.int64]
    probabilities: Floats
    alarming: NDArray[np.bool_]
    patients: tuple[str, ...]


def figures(
    judged: Judged, study: Study, *, alarm_rate: float, replicates: int = REPLICATES, seed: int = SEED
) -> dict[str, Figure]:
    """Return every figure with its interval; arguments and errors as in `replicated`."""
    values = replicated(judged, study, alarm_rate=alarm_rate, replicates=replicates, seed=seed)
    return {name: figure_of(value) for name, value in values.items()}


def replicated(
    judged: Judged, study: Study, *, alarm_rate: float, replicates: int = REPLICATES, seed: int = SEED
) -> dict[str, Floats]:
    """Return every figure of the data (row 0) and of each bootstrap replicate, float64 [replicates + 1].

    Answers to the same images with the same seed are resampled alike, row by row, so that they can be paired.

    Args:
        judged: at least one image.
        study: gives the classes and which of them are positive.
        alarm_rate: a patient whose share of alarming images exceeds it is detected.
        replicates: bootstrap replicates over patients.
        seed: of the bootstrap.

    Raises:
        ValueError: no image, or shapes that do not fit.
    """
    classes = len(study.classes)
    count = len(judged.labels)
    if count == 0 or judged.predicted.shape != (count,) or judged.probabilities.shape != (count, classes):
        raise ValueError(f"expected n >= 1 labels, predictions and probabilities [n, {classes}]")
    group, weights = _replicates(judged.patients, replicates, seed)
    return {
        **_from_confusion(_confusions(judged, group, weights, classes), study),
        "auc": _aucs(judged, group, weights, classes),
        "detection_rate": _detection(judged, group, weights, study, alarm_rate),
        "ece": _calibration(judged, group, weights),
    }


def figure_of(values: Floats) -> Figure:
    """Return the figure whose first value is of the data and whose others are replicates; some may be `nan`."""
    replicates = values[1:][np.isfinite(values[1:])]
    if not math.isfinite(values[0]) or len(replicates) == 0:
        return Figure(float(values[0]), math.nan, math.nan)
    low, high = np.percentile(replicates, PERCENTILES)
    return Figure(float(values[0]), float(low), float(high))


def share(held: NDArray[np.bool_], patients: Sequence[str], *, replicates: int = REPLICATES) -> Figure:
    """Return the share of images, bool [n >= 1], for which something holds, with its interval over patients."""
    group, weights = _replicates(patients, replicates, SEED)
    return figure_of(_ratio(weights @ np.bincount(group, held), weights @ np.bincount(group)))


def area(scores: Floats, inside: NDArray[np.bool_], patients: Sequence[str], *, replicates: int = REPLICATES) -> Figure:
    """Return the area under the ROC curve of scores [n] for bool [n], with its interval over patients."""
    return figure_of(_auc(scores, inside, *_replicates(patients, replicates, SEED)))


def areas_by_modality(
    scores: Floats, inside: NDArray[np.bool_], patients: Sequence[str], modalities: Sequence[str]
) -> dict[str, Figure]:
    """Return `area` within each modality that has images inside and outside; one modality name per image."""
    of_image, names = np.array(modalities), np.array(patients)
    areas = {}
    for modality in np.unique(of_image):
        own = of_image == modality
        if 0 < inside[own].sum() < own.sum():
            areas[str(modality)] = area(scores[own], inside[own], names[own].tolist())
    return areas


def confusion_matrix(judged: Judged, classes: int) -> NDArray[np.int64]:
    """Return counts int64 [C, C], row = label, column = predicted class."""
    matrix = np.zeros((classes, classes), np.int64)
    np.add.at(matrix, (judged.labels, judged.predicted), 1)
    return matrix


def false_alarm_rate(
    alarming: NDArray[np.bool_], *, alarm_rate: float, cells: int, draws: int, seed: int = SEED
) -> float:
    """Return the share of pseudo-patients above the alarm rate.

    Args:
        alarming: bool [n], one per normal image: whether it counts for an alarm.
        alarm_rate: share of images that must be exceeded.
        cells: images of a pseudo-patient, drawn with replacement.
        draws: pseudo-patients.
        seed: of the draws.

    Returns:
        The share, or `nan` without normal images.
    """
    if len(alarming) == 0:
        return math.nan
    counts = np.random.default_rng(seed).binomial(cells, alarming.mean(), size=draws)
    return float((counts / cells > alarm_rate).mean())


def _replicates(patients: Sequence[str], replicates: int, seed: int) -> tuple[NDArray[np.int64], Floats]:
    """Each image's patient [n], and weights [replicates + 1, patients]; row 0 is the data as they are."""
    names, group = np.unique(np.array(patients), return_inverse=True)
    rng = np.random.default_rng(seed)
    drawn = rng.multinomial(len(names), np.full(len(names), 1 / len(names)), size=replicates)
    return group, np.concatenate([np.ones((1, len(names))), drawn.astype(np.float64)])


def _confusions(judged: Judged, group: NDArray[np.int64], weights: Floats, classes: int) -> Floats:
    """Weighted confusion matrices float64 [replicates + 1, C, C]."""
    per_patient = np.zeros((weights.shape[1], classes, classes))
    np.add.at(per_patient, (group, judged.labels, judged.predicted), 1)
    return np.tensordot(weights, per_patient, axes=1)


def _from_confusion(matrices: Floats, study: Study) -> dict[str, Floats]:
    """All figures that a confusion matrix gives, for matrices [r, C, C]."""
    total = matrices.sum(axis=(1, 2))
    right = np.trace(matrices, axis1=1, axis2=2)
    hits = np.diagonal(matrices, axis1=1, axis2=2)
    labelled, called = matrices.sum(axis=2), matrices.sum(axis=1)
    present = labelled + called > 0
    precision, recall = _ratio(hits, called), _ratio(hits, labelled)
    f1, jaccard = _ratio(2 * hits, labelled + called), _ratio(hits, labelled + called - hits)
    specificity = _ratio(total[:, None] - labelled - called + hits, total[:, None] - labelled)
    if len(study.classes) == 2 and len(study.positive_indices) == 1:  # noqa: PLR2004  two classes, one of them positive
        positive = study.positive_indices[0]
        of_class = {
            name: value[:, positive]
            for name, value in (("precision", precision), ("recall", recall), ("f1", f1), ("specificity", specificity))
        }
        of_class["specificity"] = np.where(total > labelled[:, positive], of_class["specificity"], np.nan)
        of_class["recall"] = np.where(labelled[:, positive] > 0, of_class["recall"], np.nan)
    else:
        pairs = (("precision", precision), ("recall", recall), ("f1", f1), ("specificity", specificity))
        of_class = {name: _mean(value, present) for name, value in pairs}
    accuracy = right / total
    chance = (labelled * called).sum(axis=1) / total**2
    spread = (total**2 - (called**2).sum(axis=1)) * (total**2 - (labelled**2).sum(axis=1))
    covariance = right * total - (labelled * called).sum(axis=1)
    return {
        "accuracy": accuracy,
        **of_class,
        "mcc": _ratio(covariance, np.sqrt(spread)),
        "jaccard": _mean(jaccard, present),
        "balanced_accuracy": _mean(recall, labelled > 0),
        "kappa": np.where(chance < 1, _ratio(accuracy - chance, 1 - chance), np.nan),
        "dri": accuracy.copy(),
    }


def _aucs(judged: Judged, group: NDArray[np.int64], weights: Floats, classes: int) -> Floats:
    """Macro one-versus-rest areas float64 [replicates + 1]; for two classes both areas are the same."""
    areas = [_auc(judged.probabilities[:, c], judged.labels == c, group, weights) for c in range(classes)]
    return np.mean(areas, axis=0) if classes > 2 else areas[1]  # noqa: PLR2004  two classes


def _auc(scores: Floats, inside: NDArray[np.bool_], group: NDArray[np.int64], weights: Floats) -> Floats:
    """Weighted probability that an inside score is above an outside one, ties half; one per row of weights."""
    order = np.argsort(scores, kind="stable")
    starts = np.flatnonzero(np.concatenate([[True], np.diff(scores[order]) > 0]))
    areas = np.full(len(weights), np.nan)
    for row, weight in enumerate(weights):
        per_image = weight[group[order]]
        ones = np.add.reduceat(np.where(inside[order], per_image, 0.0), starts)
        zeros = np.add.reduceat(np.where(inside[order], 0.0, per_image), starts)
        pairs = ones.sum() * zeros.sum()
        if pairs > 0:
            areas[row] = (ones * (np.cumsum(zeros) - zeros / 2)).sum() / pairs
    return areas


def _detection(judged: Judged, group: NDArray[np.int64], weights: Floats, study: Study, alarm_rate: float) -> Floats:
    """Share of positive patients whose share of alarming images exceeds the alarm rate, per row of weights."""
    called = np.bincount(group, judged.alarming) / np.bincount(group)
    positive = np.bincount(group, np.isin(judged.labels, study.positive_indices)) > 0
    patients = weights @ positive
    return np.where(patients > 0, _ratio(weights @ (positive & (called > alarm_rate)), patients), np.nan)


def _calibration(judged: Judged, group: NDArray[np.int64], weights: Floats) -> Floats:
    """Expected calibration error (Guo et al. 2017, equation 5) of the predicted class, per row of weights."""
    confidence = judged.probabilities[np.arange(len(judged.labels)), judged.predicted]
    bins = np.clip(np.ceil(confidence * CALIBRATION_BINS).astype(np.int64) - 1, 0, CALIBRATION_BINS - 1)
    gaps = np.zeros((weights.shape[1], CALIBRATION_BINS))
    np.add.at(gaps, (group, bins), (judged.predicted == judged.labels) - confidence)
    return np.abs(weights @ gaps).sum(axis=1) / (weights @ np.bincount(group))


def _ratio(above: Floats, below: Floats) -> Floats:
    """Elementwise quotient; zero where nothing is below, as scikit-learn has it."""
    return np.divide(above, below, out=np.zeros(np.broadcast(above, below).shape), where=below > 0)


def _mean(values: Floats, where: NDArray[np.bool_]) -> Floats:
    """Mean over the classes that are there."""
    return _ratio((values * where).sum(axis=1), where.sum(axis=1).astype(np.float64))


def as_json(named: dict[str, Figure], keys: Sequence[str] | None = None) -> dict[str, dict[str, float | None]]:
    """Return the figures as JSON values, `nan` as None."""

    def plain(value: float) -> float | None:
        return None if math.isnan(value) else value

    return {
        key: {"value": plain(figure.value), "low": plain(figure.low), "high": plain(figure.high)}
        for key, figure in ((key, named[key]) for key in keys or named)
    }
