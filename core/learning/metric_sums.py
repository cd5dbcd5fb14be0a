"""Metrics as one vector of sums, so that hospitals' figures are added, never shown one by one.

Layout of the vector (float64, length `length_of(classes)`), with C classes and B = `BINS`:

====================  ==========  ===========================================================================
part                  size        meaning
====================  ==========  ===========================================================================
images                1           number of images
loss                  1           sum of the cross-entropies at temperature 1 (nats), each at most `worst_loss`
confusion             C*C         counts, row = true class, column = most probable class
class scores          C*2*B       histograms of the log-odds of class c, for images (not of, of) class c
positive scores       2*B         histograms of the log-odds of "any positive class", for (negative, positive)
temperatures          len(grid)   the same at each temperature of `TEMPERATURES`
====================  ==========  ===========================================================================

The histograms are over uncalibrated log-odds: their order, hence AUC, does not depend on the temperature, and the
calibrated probability of the positive classes is ``sigmoid(log_odds / temperature)`` (Platt scaling without offset;
for two classes this is exactly temperature scaling, Guo et al. 2017).
"""

import math
from collections.abc import Mapping
from dataclasses import asdict, dataclass

import numpy as np
from numpy.typing import NDArray

from core.studies import Study

Vector = NDArray[np.float64]

BINS = 512
LIMIT = 16.0
"""Log-odds beyond ±16 (probability 1e-7) are counted in the outermost bins."""
TEMPERATURES = np.exp(np.linspace(math.log(0.25), math.log(8.0), 61))
PSEUDO_PATIENT_CELLS = 100
"""Cells of a pseudo-patient: the count of a clinical differential."""
PLATEAU = 0.002
"""Balanced accuracies closer than this are the same to us: the middle of the flat top is chosen, not its noise."""

_WIDTH = 2 * LIMIT / BINS
_MAY_BE_MISSING = ("auc", "sensitivity", "specificity")
"""Figures that need images of both sides."""


@dataclass(frozen=True, kw_only=True)
class Summary:
    """What the sums say. Shares are in 0..1; `nan` where the images do not allow the figure.

    Attributes:
        images: number of images.
        loss: mean cross-entropy in nats.
        accuracy: share of images whose most probable class is right.
        balanced_accuracy: mean of the classes' recalls (most probable class).
        auc: macro one-versus-rest area under the ROC curve; the plain AUC for two classes.
        sensitivity: share of positive images at or above `threshold`.
        specificity: share of negative images below `threshold`.
        temperature: the temperature of the grid with the least cross-entropy.
        threshold: calibrated positive probability from which an image is called positive.
        uncertain_low: calibrated positive probability from which the answer is "uncertain" ...
        uncertain_high: ... up to this one.
        alarm_threshold: calibrated positive probability from which an image counts for its patient's alarm.
        alarm_rate: a patient whose share of such images exceeds it raises the alarm.
        false_alarm_rate: expected share of all-normal pseudo-patients above `alarm_rate`.
    """

    images: int
    loss: float
    accuracy: float
    balanced_accuracy: float
    auc: float
    sensitivity: float
    specificity: float
    temperature: float
    threshold: float
    uncertain_low: float
    uncertain_high: float
    alarm_threshold: float
    alarm_rate: float
    false_alarm_rate: float


def length_of(classes: int) -> int:
    """Return the length of the vector for a number of classes."""
    return 2 + classes * classes + classes * 2 * BINS + 2 * BINS + len(TEMPERATURES)


def log_softmax(logits: NDArray[np.floating]) -> Vector:
    """Return log-probabilities float64 of logits [n, C], stable for large values."""
    shifted = logits.astype(np.float64) - logits.max(axis=-1, keepdims=True)
    return shifted - np.log(np.exp(shifted).sum(axis=-1, keepdims=True))


def positive_log_odds(logits: NDArray[np.floating], study: Study) -> Vector:
    """Return log(p / (1 - p)) float64 [n], p being the probability of any positive class."""
    return _log_odds(log_softmax(logits), study.positive_indices)


def calibrated(log_odds: NDArray[np.floating], temperature: float) -> Vector:
    """Return the calibrated positive probability float64 of log-odds."""
    return 1.0 / (1.0 + np.exp(-np.clip(np.asarray(log_odds, np.float64) / temperature, -500, 500)))


def worst_loss(temperature: Vector | float, classes: int) -> Vector:
    """Return the largest cross-entropy that an image is counted with: that of log-odds `LIMIT` on the wrong side."""
    return np.asarray(LIMIT / np.asarray(temperature) + math.log(classes))


def split_sums(vector: Vector, classes: int) -> tuple[Vector, Vector, Vector, Vector, Vector]:
    """Return head [2], confusion [C, C], class scores [C, 2, BINS], positive scores [2, BINS] and temperatures."""
    cuts = np.cumsum([2, classes * classes, classes * 2 * BINS, 2 * BINS])
    head, confusion, by_class, positive, losses = np.split(vector, cuts)
    by_class, positive = by_class.reshape(classes, 2, BINS), positive.reshape(2, BINS)
    return head, confusion.reshape(classes, classes), by_class, positive, losses


def sums_of(logits: NDArray[np.floating], labels: NDArray[np.integer], study: Study) -> Vector:
    """Count logits [n, C] against labels int [n] (class indices).

    Returns:
        The vector of this module's table; a zero vector for n = 0.

    Raises:
        ValueError: shapes do not fit or a logit is not finite.
    """
    classes = len(study.classes)
    if logits.shape != (len(labels), classes):
        raise ValueError(f"expected logits of shape {(len(labels), classes)}, got {logits.shape}")
    if len(labels) == 0:
        return np.zeros(length_of(classes))
    if not np.isfinite(logits).all():
        raise ValueError("logits are not finite")
    rows = np.arange(len(labels))
    log_p = log_softmax(logits)
    confusion = np.zeros((classes, classes))
    np.add.at(confusion, (labels, logits.argmax(axis=1)), 1)
    by_class = np.stack([_histograms(_log_odds(log_p, (c,)), labels == c) for c in range(classes)])
    positive = _histograms(_log_odds(log_p, study.positive_indices), np.isin(labels, study.positive_indices))
    loss, *nll = (
        np.minimum(-log_softmax(logits / t)[rows, labels], worst_loss(t, classes)).sum() for t in (1.0, *TEMPERATURES)
    )
    head = np.array([len(labels), loss])
    return np.concatenate([head, confusion.ravel(), by_class.ravel(), positive.ravel(), nll])


def summarise(vector: Vector, study: Study) -> Summary:
    """Turn (added) sums into figures and into the decision rule of a model.

    The rule: temperature with the least cross-entropy; threshold with the highest balanced accuracy (middle of the
    flat top, see `PLATEAU`); the widest band around the threshold that holds at most `uncertain_share` of the
    images and stays within `uncertain_odds`, both of the study's policy; the alarm with the lowest detectable share
    (see `_alarm`).

    Raises:
        ValueError: the vector has another length than this study's, holds values that sums cannot have, or no image.
    """
    classes = len(study.classes)
    if vector.shape != (length_of(classes),):
        raise ValueError(f"expected {length_of(classes)} sums, got shape {vector.shape}")
    if not np.isfinite(vector).all() or vector.min() < 0 or vector[0] < 1:
        raise ValueError("the sums hold no image or impossible values")
    head, confusion, by_class, positive, nll = split_sums(vector, classes)
    seen = confusion.sum(axis=1) > 0
    recalls = np.diag(confusion)[seen] / confusion.sum(axis=1)[seen]
    aucs = [_auc(by_class[c]) for c in range(classes)]
    temperature = float(TEMPERATURES[int(np.argmin(nll))])
    at, sensitivity, specificity = _threshold(positive)
    reach = round(math.log(study.policy.uncertain_odds) * temperature / _WIDTH)
    low, high = _band(positive.sum(axis=0), at, reach, study.policy.uncertain_share)
    alarm_at, alarm, false_alarm = _alarm(positive, at, study.policy.false_alarm_bound)
    low_p, threshold_p, high_p, alarm_p = (
        float(p) for p in calibrated(_edges()[[low, at, high, alarm_at]], temperature)
    )
    return Summary(
        images=int(head[0]),
        loss=float(head[1] / head[0]),
        accuracy=float(np.trace(confusion) / confusion.sum()),
        balanced_accuracy=float(recalls.mean()),
        auc=float(np.mean(aucs)),
        sensitivity=sensitivity,
        specificity=specificity,
        temperature=temperature,
        threshold=threshold_p,
        uncertain_low=low_p,
        uncertain_high=high_p,
        alarm_threshold=alarm_p,
        alarm_rate=alarm,
        false_alarm_rate=false_alarm,
    )


def summary_dict(summary: Summary) -> dict[str, float]:
    """Return the figures as JSON values (`nan` left out)."""
    return {key: value for key, value in asdict(summary).items() if not math.isnan(value)}


def summary_of(metrics: Mapping[str, float]) -> Summary:
    """Return what `summary_dict` wrote; figures that the images did not allow are `nan` again.

    Raises:
        TypeError: a figure is unknown, or one that any image allows is missing.
    """
    return Summary(**{**dict.fromkeys(_MAY_BE_MISSING, math.nan), **metrics})  # type: ignore[arg-type]


def alarm_rate(false_positives: float, negatives: float, bound: float) -> tuple[float, float]:
    """Choose the alarm rate from counts of normal images.

    A pseudo-patient has `PSEUDO_PATIENT_CELLS` normal images; how many of them are called positive follows the
    beta-binomial distribution that the counts predict (Jeffreys prior), which allows for a small validation set.

    Returns:
        The lowest rate k / cells such that at most `bound` of the pseudo-patients have more than k positives, and
        the share that has.
    """
    cells = PSEUDO_PATIENT_CELLS
    a, b = false_positives + 0.5, negatives - false_positives + 0.5
    above = 1.0
    for k in range(cells + 1):
        above -= math.exp(
            math.lgamma(cells + 1) - math.lgamma(k + 1) - math.lgamma(cells - k + 1)
            + _log_beta(k + a, cells - k + b) - _log_beta(a, b)
        )  # fmt: skip
        if above <= bound:
            return k / cells, max(above, 0.0)
    return 1.0, 0.0


def _log_beta(a: float, b: float) -> float:
    return math.lgamma(a) + math.lgamma(b) - math.lgamma(a + b)


def _edges() -> Vector:
    """Lower edges of the bins and the upper edge of the last: float64 [BINS + 1]."""
    return np.linspace(-LIMIT, LIMIT, BINS + 1)


def _log_odds(log_p: Vector, indices: tuple[int, ...]) -> Vector:
    inside = np.zeros(log_p.shape[1], bool)
    inside[list(indices)] = True
    if inside.all() or not inside.any():
        return np.full(len(log_p), LIMIT if inside.all() else -LIMIT)
    return np.asarray(np.logaddexp.reduce(log_p[:, inside], axis=1) - np.logaddexp.reduce(log_p[:, ~inside], axis=1))


def _histograms(log_odds: Vector, inside: NDArray[np.bool_]) -> Vector:
    """Counts float64 [2, BINS] for images (outside, inside)."""
    bins = np.clip(np.floor((log_odds + LIMIT) / _WIDTH), 0, BINS - 1).astype(np.int64)
    return np.stack([np.bincount(bins[chosen], minlength=BINS) for chosen in (~inside, inside)]).astype(np.float64)


def _auc(histograms: Vector) -> float:
    """Probability that an inside score is above an outside one; ties (same bin) count half."""
    outside, inside = histograms
    pairs = outside.sum() * inside.sum()
    if pairs == 0:
        return math.nan
    below = np.cumsum(outside) - outside
    return float((inside * (below + outside / 2)).sum() / pairs)


def _threshold(positive: Vector) -> tuple[int, float, float]:
    """Index of the bin edge that is the threshold, and sensitivity and specificity there."""
    negatives, positives = positive.sum(axis=1)
    specificity = (
        np.concatenate([[0.0], np.cumsum(positive[0])]) / negatives if negatives else np.full(BINS + 1, np.nan)
    )
    sensitivity = (
        1 - np.concatenate([[0.0], np.cumsum(positive[1])]) / positives if positives else np.full(BINS + 1, np.nan)
    )
    if not negatives or not positives:
        at = BINS // 2
    else:
        balanced = (sensitivity + specificity) / 2
        top = np.flatnonzero(balanced >= balanced.max() - PLATEAU)
        at = int(top[len(top) // 2])
    return at, float(sensitivity[at]), float(specificity[at])


def _alarm(positive: Vector, at: int, bound: float) -> tuple[int, float, float]:
    """Choose the alarm: index of the bin edge that is its threshold, its rate, and the false alarms to expect.

    Of all thresholds from the image's own upwards, with the rate that `bound` asks for, the one is taken with the
    lowest detectable share q: the share of positive images at which ``q * sensitivity + (1 - q) * false positives``
    reaches the rate.
    """
    negatives, positives = positive.sum(axis=1)
    if not negatives or not positives:
        return (at, *alarm_rate(positive[0, at:].sum(), negatives, bound))
    best, chosen = math.inf, (at, 1.0, 0.0)
    for edge in range(at, BINS):
        false_positives = positive[0, edge:].sum()
        share, sensitivity = false_positives / negatives, positive[1, edge:].sum() / positives
        if sensitivity <= share:
            break
        rate, false_alarms = alarm_rate(false_positives, negatives, bound)
        detectable = (rate - share) / (sensitivity - share)
        if detectable < best:
            best, chosen = detectable, (edge, rate, false_alarms)
    return chosen


def _band(counts: Vector, at: int, reach: int, share: float) -> tuple[int, int]:
    """The widest pair of bin edges within `reach` of `at` that holds at most a share of the images."""
    allowed = share * counts.sum()
    low = high = at
    for step in range(1, reach + 1):
        wider_low, wider_high = max(at - step, 0), min(at + step, BINS)
        if counts[wider_low:wider_high].sum() > allowed:
            break
        low, high = wider_low, wider_high
    return low, high
