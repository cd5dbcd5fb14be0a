"""Class scores: log-odds of one class or of several, their calibration, and their histograms with fixed bins.

The score of class c is the log-odds of c against all other classes at temperature 1; the positive score is that of all
positive classes together. Scores are compared, added up and cut in this form; people see calibrated probabilities.
"""

import math

import numpy as np
from numpy.typing import NDArray

from core.studies import Study

Floats = NDArray[np.float64]

BINS = 512
LIMIT = 16.0
"""Log-odds beyond ±16 (probability 1e-7) are counted in the outermost bins."""
WIDTH = 2 * LIMIT / BINS
EDGES: Floats = np.linspace(-LIMIT, LIMIT, BINS + 1)
"""Lower edges of the bins and the upper edge of the last."""


def log_softmax(logits: NDArray[np.floating]) -> Floats:
    """Return log-probabilities float64 of logits [n, C], stable for large values."""
    shifted = logits.astype(np.float64) - logits.max(axis=-1, keepdims=True)
    return shifted - np.log(np.exp(shifted).sum(axis=-1, keepdims=True))


def class_log_odds(logits: NDArray[np.floating]) -> Floats:
    """Return log(p / (1 - p)) float64 [n, C] of every class."""
    log_p = log_softmax(logits)
    return np.stack([_log_odds(log_p, (c,)) for c in range(log_p.shape[1])], axis=1)


def positive_log_odds(logits: NDArray[np.floating], study: Study) -> Floats:
    """Return log(p / (1 - p)) float64 [n], p being the probability of any positive class."""
    return _log_odds(log_softmax(logits), study.positive_indices)


def calibrated(log_odds: NDArray[np.floating], temperature: float, offset: float = 0.0) -> Floats:
    """Return the calibrated positive probability float64 of log-odds (Platt 1999)."""
    return 1.0 / (1.0 + np.exp(-np.clip(np.asarray(log_odds, np.float64) / temperature + offset, -500, 500)))


def calibrated_probabilities(
    logits: NDArray[np.floating],
    study: Study,
    *,
    temperature: float,
    positive_temperature: float,
    positive_offset: float,
) -> Floats:
    """Return calibrated probabilities float64 [n, C] of logits [n, C]; each row adds up to 1.

    Whether any positive class is there is a question of its own with a calibration of its own; `temperature` divides
    each side's share among its classes. So the positive classes add up to exactly the positive probability, and for two
    classes, where both temperatures are one and the offset is 0, this is the softmax at that temperature.
    """
    positive = np.isin(np.arange(len(study.classes)), study.positive_indices)
    log_p = log_softmax(logits / temperature)
    sides = calibrated(positive_log_odds(logits, study), positive_temperature, positive_offset)[:, np.newaxis]
    result = np.empty_like(log_p)
    result[:, positive] = sides * np.exp(log_softmax(log_p[:, positive]))
    result[:, ~positive] = (1.0 - sides) * np.exp(log_softmax(log_p[:, ~positive]))
    return result


def histograms(log_odds: Floats, inside: NDArray[np.bool_]) -> Floats:
    """Counts float64 [2, BINS] for images (outside, inside)."""
    bins = np.clip(np.floor((log_odds + LIMIT) / WIDTH), 0, BINS - 1).astype(np.int64)
    return np.stack([np.bincount(bins[chosen], minlength=BINS) for chosen in (~inside, inside)]).astype(np.float64)


def area(counts: Floats) -> float:
    """Probability that an inside score is above an outside one, of counts [2, BINS]; ties (same bin) count half."""
    outside, inside = counts
    pairs = outside.sum() * inside.sum()
    if pairs == 0:
        return math.nan
    below = np.cumsum(outside) - outside
    return float((inside * (below + outside / 2)).sum() / pairs)


def _log_odds(log_p: Floats, indices: tuple[int, ...]) -> Floats:
    inside = np.zeros(log_p.shape[1], bool)
    inside[list(indices)] = True
    return np.asarray(np.logaddexp.reduce(log_p[:, inside], axis=1) - np.logaddexp.reduce(log_p[:, ~inside], axis=1))
