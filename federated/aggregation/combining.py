"""How members' updates become one difference: mean, coordinate median, trimmed mean, Krum, Multi-Krum, norm bounding.

Pure arithmetic in float64 and in the order of party names, so that the same updates give the same bits in whatever
order they came. Updates have been checked before (`contributions.read_update`): same names and shapes, finite.
"""

import math
from collections.abc import Callable, Mapping, Sequence

import numpy as np
from numpy.typing import NDArray

from core.learning.run_choices import Combining, CombiningRule
from core.learning.run_events import FailureCode
from core.learning.weights import Weights
from federated.aggregation.contributions import Update
from federated.failures import Refused

Combined = dict[str, NDArray[np.float64]]
"""Name of a variable -> combined difference from the global weights."""


def combine(updates: Mapping[str, Update], combining: Combining) -> Combined:
    """Combine members' updates by the rule of the order.

    The mean and the mean of shortened updates weigh a member by its images. Median, trimmed mean, Krum and Multi-Krum
    count every member once: a weight is what a malicious member would claim first.

    Args:
        updates: party -> checked update, at least one.
        combining: the rule, how many members may be malicious, and the bound of the norm.

    Raises:
        Refused: with `TOO_FEW`, fewer updates than the rule needs (`Combining.least_updates`).
    """
    if len(updates) < combining.least_updates:
        raise Refused(FailureCode.TOO_FEW)
    return _RULES[combining.rule]([updates[party] for party in sorted(updates)], combining)


def weighted_mean(updates: Sequence[Update], _: Combining) -> Combined:
    """Return sum(n_k * delta_k) / sum(n_k) (McMahan et al. 2017, algorithm 1), n_k being a member's images."""
    total = sum(update.images for update in updates)
    result: Combined = {}
    for name, like in updates[0].delta.items():
        mean = np.zeros(like.shape, np.float64)
        for update in updates:
            mean += update.delta[name] * (update.images / total)
        result[name] = mean
    return result


def coordinate_median(updates: Sequence[Update], _: Combining) -> Combined:
    """Return the median of each coordinate, unweighted (Yin et al. 2018, option I of algorithm 1)."""
    return {
        name: np.median(np.stack([update.delta[name] for update in updates]).astype(np.float64), axis=0)
        for name in updates[0].delta
    }


def trimmed_mean(updates: Sequence[Update], combining: Combining) -> Combined:
    """Return the mean of each coordinate without its f largest and f smallest values (Yin et al. 2018, definition 2).

    Unweighted; f is `combining.malicious`, so beta of the paper is f divided by the number of updates.
    """
    cut = combining.malicious
    result: Combined = {}
    for name in updates[0].delta:
        ordered = np.sort(np.stack([update.delta[name] for update in updates]), axis=0)
        result[name] = _mean(ordered[cut : len(updates) - cut])
    return result


def krum(updates: Sequence[Update], combining: Combining) -> Combined:
    """Return the update with the lowest score (Blanchard et al. 2017, section 4), whatever its weight."""
    best = _ranked(updates, combining.malicious)[0]
    return {name: array.astype(np.float64) for name, array in updates[best].delta.items()}


def multi_krum(updates: Sequence[Update], combining: Combining) -> Combined:
    """Return the unweighted mean of the n - f updates with the lowest scores (Blanchard et al. 2017, section 4)."""
    chosen = sorted(_ranked(updates, combining.malicious)[: len(updates) - combining.malicious])
    return {name: _mean([updates[index].delta[name] for index in chosen]) for name in updates[0].delta}


def norm_bounded_mean(updates: Sequence[Update], combining: Combining) -> Combined:
    """Return the weighted mean of delta / max(1, norm / bound) (Sun et al. 2019, section 4.2)."""
    return weighted_mean([_shortened(update, combining.norm_bound) for update in updates], combining)


def _mean(arrays: Sequence[NDArray[np.float32]] | NDArray[np.float32]) -> NDArray[np.float64]:
    total = np.zeros(arrays[0].shape, np.float64)
    for array in arrays:
        total += array
    return total / len(arrays)


def _shortened(update: Update, bound: float) -> Update:
    norm = math.sqrt(sum(float(np.square(array, dtype=np.float64).sum()) for array in update.delta.values()))
    if norm <= bound:
        return update
    delta = {name: (array * (bound / norm)).astype(np.float32) for name, array in update.delta.items()}
    return Update(delta=delta, images=update.images)


def _ranked(updates: Sequence[Update], malicious: int) -> list[int]:
    """Return the places of updates by their score, lowest first, equal ones in the order of party names.

    An update's score is the sum of its squared distances to the n - f - 2 other updates that are nearest to it.
    """
    count = len(updates)
    distances = np.zeros((count, count))
    for one in range(count):
        for other in range(one):
            distances[one, other] = distances[other, one] = _squared_distance(updates[one].delta, updates[other].delta)
    scores = [
        float(np.sort(np.delete(row, place))[: count - malicious - 2].sum()) for place, row in enumerate(distances)
    ]
    return sorted(range(count), key=lambda place: scores[place])


def _squared_distance(one: Weights, other: Weights) -> float:
    return sum(float(np.square(array - other[name].astype(np.float64)).sum()) for name, array in one.items())


_RULES: Mapping[CombiningRule, Callable[[Sequence[Update], Combining], Combined]] = {
    CombiningRule.MEAN: weighted_mean,
    CombiningRule.MEDIAN: coordinate_median,
    CombiningRule.TRIMMED_MEAN: trimmed_mean,
    CombiningRule.KRUM: krum,
    CombiningRule.MULTI_KRUM: multi_krum,
    CombiningRule.NORM_BOUNDED: norm_bounded_mean,
}
