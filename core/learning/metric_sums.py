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

The histograms are over uncalibrated log-odds (`core.learning.class_scores`): their order, hence AUC, does not depend
on the temperature. The temperature of the classes is read from the last part (Guo et al. 2017). The calibrated
probability of the positive classes is ``sigmoid(log_odds / positive_temperature + positive_offset)``, both read from
the positive scores (Platt 1999). For two classes it is the same question as that of the classes: the same
temperature, no offset.
"""

import math
from collections.abc import Mapping
from dataclasses import asdict, dataclass

import numpy as np
from numpy.typing import NDArray

from core.learning.class_scores import (
    BINS,
    EDGES,
    LIMIT,
    WIDTH,
    area,
    calibrated,
    class_log_odds,
    histograms,
    log_softmax,
    positive_log_odds,
)
from core.learning.conformal import set_bounds
from core.studies import Study
from core.studies.study import Threshold

Vector = NDArray[np.float64]

TEMPERATURES = np.exp(np.linspace(math.log(0.25), math.log(8.0), 61))
PSEUDO_PATIENT_CELLS = 100
"""Cells of a pseudo-patient: the count of a clinical differential."""
PLATEAU = 0.002
"""Balanced accuracies closer than this are the same to us: the middle of the flat top is chosen, not its noise."""

_BOUND = "set_bound_"
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
        temperature: the temperature of the grid with the least cross-entropy of the classes.
        positive_temperature: with the offset, the one with the least cross-entropy of positive against negative.
        positive_offset: what is added to positive log-odds after they were divided; 0 for two classes.
        threshold: calibrated positive probability from which an image is called positive.
        uncertain_low: calibrated positive probability from which the answer is "uncertain" ...
        uncertain_high: ... up to this one.
        alarm_threshold: calibrated positive probability from which an image counts for its patient's alarm.
        alarm_rate: a patient whose share of such images exceeds it raises the alarm.
        false_alarm_rate: expected share of all-normal pseudo-patients above `alarm_rate`.
        set_bounds: for each class the lowest score with which it is in a prediction set (`core.learning.conformal`).
    """

    images: int
    loss: float
    accuracy: float
    balanced_accuracy: float
    auc: float
    sensitivity: float
    specificity: float
    temperature: float
    positive_temperature: float
    positive_offset: float
    threshold: float
    uncertain_low: float
    uncertain_high: float
    alarm_threshold: float
    alarm_rate: float
    false_alarm_rate: float
    set_bounds: tuple[float, ...]


def length_of(classes: int) -> int:
    """Return the length of the vector for a number of classes."""
    return 2 + classes * classes + classes * 2 * BINS + 2 * BINS + len(TEMPERATURES)


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
    scores = class_log_odds(logits)
    confusion = np.zeros((classes, classes))
    np.add.at(confusion, (labels, logits.argmax(axis=1)), 1)
    by_class = np.stack([histograms(scores[:, c], labels == c) for c in range(classes)])
    positive = histograms(positive_log_odds(logits, study), np.isin(labels, study.positive_indices))
    loss, *nll = (
        np.minimum(-log_softmax(logits / t)[rows, labels], worst_loss(t, classes)).sum() for t in (1.0, *TEMPERATURES)
    )
    head = np.array([len(labels), loss])
    return np.concatenate([head, confusion.ravel(), by_class.ravel(), positive.ravel(), nll])


def summarise(vector: Vector, study: Study) -> Summary:
    """Turn (added) sums into figures and into the decision rule of a model.

    The rule: temperatures with the least cross-entropy; threshold with the highest balanced accuracy (middle of the
    flat top, see `PLATEAU`) or, where the study's policy says so, at even odds; the widest band around the threshold
    that holds at most `uncertain_share` of the images and stays within `uncertain_odds`, both of the policy too; the
    alarm with the lowest detectable share (see `_alarm`); prediction sets of the policy's coverage.

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
    aucs = [area(by_class[c]) for c in range(classes)]
    temperature = float(TEMPERATURES[int(np.argmin(nll))])
    of_positive, offset = (temperature, 0.0) if classes == 2 else _platt(positive)  # noqa: PLR2004  two classes
    even = study.policy.threshold is Threshold.EVEN
    wanted = int(np.abs(calibrated(EDGES, of_positive, offset) - 0.5).argmin()) if even else None
    at, sensitivity, specificity = _threshold(positive, wanted)
    reach = round(math.log(study.policy.uncertain_odds) * of_positive / WIDTH)
    low, high = _band(positive.sum(axis=0), at, reach, study.policy.uncertain_share)
    alarm_at, alarm, false_alarm = _alarm(positive, at, study.policy.false_alarm_bound)
    low_p, threshold_p, high_p, alarm_p = (
        float(p) for p in calibrated(EDGES[[low, at, high, alarm_at]], of_positive, offset)
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
        positive_temperature=of_positive,
        positive_offset=offset,
        threshold=threshold_p,
        uncertain_low=low_p,
        uncertain_high=high_p,
        alarm_threshold=alarm_p,
        alarm_rate=alarm,
        false_alarm_rate=false_alarm,
        set_bounds=set_bounds(by_class[:, 1], study.policy.coverage),
    )


def summary_dict(summary: Summary) -> dict[str, float]:
    """Return the figures as JSON values (`nan` left out), the bounds of the classes one by one."""
    figures = asdict(summary)
    bounds = {f"{_BOUND}{c}": bound for c, bound in enumerate(figures.pop("set_bounds"))}
    return {key: value for key, value in figures.items() if not math.isnan(value)} | bounds


def summary_of(metrics: Mapping[str, float]) -> Summary:
    """Return what `summary_dict` wrote; figures that the images did not allow are `nan` again.

    Raises:
        TypeError: a figure is unknown, or one that any image allows is missing.
    """
    figures = {name: value for name, value in metrics.items() if not name.startswith(_BOUND)}
    figures = {**dict.fromkeys(_MAY_BE_MISSING, math.nan), **figures}
    return Summary(**figures, set_bounds=bounds_of(metrics))  # type: ignore[arg-type]


def bounds_of(metrics: Mapping[str, float]) -> tuple[float, ...]:
    """Return the bounds of the prediction sets in what `summary_dict` wrote.

    Raises:
        TypeError: one is missing.
    """
    names = [f"{_BOUND}{c}" for c in range(sum(name.startswith(_BOUND) for name in metrics))]
    if not names or not metrics.keys() >= set(names):
        raise TypeError("a bound of the prediction sets is missing")
    return tuple(metrics[name] for name in names)


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


def _platt(positive: Vector) -> tuple[float, float]:
    """Temperature of the grid and offset with the least cross-entropy of the positive scores (Platt 1999).

    Each score counts as the middle of its bin. At each temperature the best offset is the one with which the
    probabilities add up to the number of positives; it is found by bisection.
    """
    counts, positives = positive.sum(axis=0), positive[1].sum()
    if not 0 < positives < counts.sum():
        return 1.0, 0.0
    log_odds = (EDGES[:-1] + EDGES[1:]) / 2 / TEMPERATURES[:, np.newaxis]
    low, high = np.full(len(TEMPERATURES), -4 * LIMIT), np.full(len(TEMPERATURES), 4 * LIMIT)
    for _ in range(40):
        middle = (low + high) / 2
        above = calibrated(log_odds + middle[:, np.newaxis], 1.0) @ counts > positives
        low, high = np.where(above, low, middle), np.where(above, middle, high)
    shifted = log_odds + low[:, np.newaxis]
    losses = np.logaddexp(0, shifted) @ positive[0] + np.logaddexp(0, -shifted) @ positive[1]
    best = int(np.argmin(losses))
    return float(TEMPERATURES[best]), float(low[best])


def _threshold(positive: Vector, wanted: int | None) -> tuple[int, float, float]:
    """Index of the bin edge that is the threshold, and sensitivity and specificity there.

    It is the one that is wanted or, for None, the middle of those with the highest balanced accuracy.
    """
    negatives, positives = positive.sum(axis=1)
    specificity = (
        np.concatenate([[0.0], np.cumsum(positive[0])]) / negatives if negatives else np.full(BINS + 1, np.nan)
    )
    sensitivity = (
        1 - np.concatenate([[0.0], np.cumsum(positive[1])]) / positives if positives else np.full(BINS + 1, np.nan)
    )
    if wanted is not None:
        at = wanted
    elif not negatives or not positives:
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
