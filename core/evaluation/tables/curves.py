"""The points of the plots: ROC, precision and recall, calibration, confusion. Definitions: docs/results.md."""

from typing import Any

import numpy as np
from numpy.typing import NDArray

from core.learning.metrics import Floats, Judged, confusion_matrix
from core.studies import Study

BINS = 10
MOST_POINTS = 200


def curves_of(judged: Judged, study: Study) -> dict[str, Any]:
    """Return the points of all plots of a method as JSON values."""
    positive = list(study.positive_indices)
    scores = judged.probabilities[:, positive].sum(axis=1)
    inside = np.isin(judged.labels, positive)
    return {
        "roc": roc(scores, inside),
        "precision_recall": precision_recall(scores, inside),
        "calibration": calibration(judged),
        "confusion": confusion_matrix(judged, len(study.classes)).tolist(),
    }


def roc(scores: Floats, inside: NDArray[np.bool_]) -> list[list[float]]:
    """Return [false positive rate, true positive rate] from the highest threshold to the lowest; [] for one class."""
    hits, false = _counts(scores, inside)
    if not hits[-1] or not false[-1]:
        return []
    return _thinned(np.stack([false / false[-1], hits / hits[-1]], axis=1))


def precision_recall(scores: Floats, inside: NDArray[np.bool_]) -> list[list[float]]:
    """Return [recall, precision] from the highest threshold to the lowest; [] without positives."""
    hits, false = _counts(scores, inside)
    if not hits[-1]:
        return []
    return _thinned(np.stack([hits[1:] / hits[-1], hits[1:] / (hits[1:] + false[1:])], axis=1))


def calibration(judged: Judged, bins: int = BINS) -> list[dict[str, float]]:
    """Return for each bin that holds images: mean probability of the called class, share that is right, images."""
    confidence = judged.probabilities[np.arange(len(judged.labels)), judged.predicted]
    place = np.clip(np.ceil(confidence * bins).astype(int) - 1, 0, bins - 1)
    right = judged.predicted == judged.labels
    return [
        {
            "probability": float(confidence[place == number].mean()),
            "right": float(right[place == number].mean()),
            "images": int((place == number).sum()),
        }
        for number in range(bins)
        if (place == number).any()
    ]


def _counts(scores: Floats, inside: NDArray[np.bool_]) -> tuple[Floats, Floats]:
    """Return hits and false alarms at each distinct threshold, from none called to all."""
    order = np.argsort(-scores, kind="stable")
    last = np.flatnonzero(np.append(np.diff(scores[order]) != 0, True))
    hits, false = np.cumsum(inside[order])[last], np.cumsum(~inside[order])[last]
    return np.append(0.0, hits), np.append(0.0, false)


def _thinned(points: Floats) -> list[list[float]]:
    """Return at most `MOST_POINTS` points, the first and the last among them."""
    chosen = np.unique(np.linspace(0, len(points) - 1, MOST_POINTS).round().astype(int))
    return np.round(points[chosen], 5).tolist()
