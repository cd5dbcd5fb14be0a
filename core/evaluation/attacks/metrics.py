"""How good an attack is: likeness of pictures, ranking of guesses, and the intervals of both."""

import math
from dataclasses import dataclass

import cv2
import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]
FALSE_SHARE = 0.01
"""So many of those who are not meant may be named by mistake."""
_Z = 1.959963984540054
"""97.5th percentile of the normal distribution."""
_WINDOW, _SIGMA = 11, 1.5
_C1, _C2 = 0.01**2, 0.03**2


def psnr(picture: Floats, true: Floats) -> float:
    """Return the peak signal-to-noise ratio in dB of pictures from 0 to 1; at most 120."""
    return float(-10 * np.log10(np.mean((np.clip(picture, 0, 1) - true) ** 2) + 1e-12))


def ssim(picture: Floats, true: Floats) -> float:
    """Return the structural similarity of pictures [h, w, channels] from 0 to 1 (Wang et al. 2004), mean over channels.

    Gaussian window of 11 pixels with sigma 1.5; places whose window reaches over the edge are left out.

    Raises:
        ValueError: shapes differ, or a side is shorter than the window.
    """
    if picture.shape != true.shape or min(true.shape[:2]) < _WINDOW:
        raise ValueError(f"cannot compare {picture.shape} with {true.shape} in windows of {_WINDOW} pixels")
    one, other = np.clip(picture, 0, 1).astype(np.float64), true.astype(np.float64)
    edge = _WINDOW // 2

    def mean(values: Floats) -> Floats:
        blurred = cv2.GaussianBlur(values, (_WINDOW, _WINDOW), _SIGMA)
        return np.asarray(blurred, np.float64)[edge:-edge, edge:-edge]

    first, second = mean(one), mean(other)
    variances = mean(one * one) - first**2, mean(other * other) - second**2
    together = mean(one * other) - first * second
    alike = (2 * first * second + _C1) * (2 * together + _C2)
    return float((alike / ((first**2 + second**2 + _C1) * (sum(variances) + _C2))).mean())


@dataclass(frozen=True)
class Ranking:
    """How well scores tell two groups apart.

    Attributes:
        auc: area under the ROC curve; ties count a half.
        low, high: its 95 % interval (Hanley and McNeil 1982).
        named: members of the group at or above the threshold at which at most `FALSE_SHARE` of the others are.
        members: of the group.
        others: not of it.
    """

    auc: float
    low: float
    high: float
    named: int
    members: int
    others: int


def rank(scores: Floats, truths: NDArray[np.bool_]) -> Ranking:
    """Judge scores of which the group's should be the higher ones.

    Raises:
        ValueError: one group is empty, or a score is no number.
    """
    inside, outside = scores[truths], scores[~truths]
    if not inside.size or not outside.size or not np.isfinite(scores).all():
        raise ValueError("both groups must have members, and every score must be a number")
    ordered = np.sort(outside)
    below, up_to = np.searchsorted(ordered, inside, "left"), np.searchsorted(ordered, inside, "right")
    auc = float((below + up_to).mean() / 2 / outside.size)
    allowed = math.floor(FALSE_SHARE * outside.size)
    named = int((inside > ordered[outside.size - 1 - allowed]).sum())
    half = _Z * _error(auc, inside.size, outside.size)
    return Ranking(auc, max(0.0, auc - half), min(1.0, auc + half), named, inside.size, outside.size)


def mean_interval(values: Floats) -> tuple[float, float, float]:
    """Return mean and 95 % interval by the normal approximation; of one value, the value alone."""
    mean = float(values.mean())
    half = _Z * float(values.std(ddof=1)) / math.sqrt(values.size) if values.size > 1 else 0.0
    return mean, mean - half, mean + half


def _error(auc: float, members: int, others: int) -> float:
    """Standard error of an AUC (Hanley and McNeil 1982, with the exponential approximation of Q1 and Q2)."""
    one, two = auc / (2 - auc), 2 * auc**2 / (1 + auc)
    spread = auc * (1 - auc) + (members - 1) * (one - auc**2) + (others - 1) * (two - auc**2)
    return math.sqrt(max(spread, 0.0) / (members * others))
