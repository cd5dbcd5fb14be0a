"""Intervals over patients and seeds, and paired differences, for the comparison of methods (docs/results.md).

A bootstrap with two levels: seeds are drawn with replacement, and within each drawn seed its test patients
(`core.learning.metrics.replicated`). Two methods that share the draws can be compared replicate by replicate.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum

import numpy as np
from numpy.typing import NDArray

from core.learning.metrics import SEED, Figure, Floats, Judged, figure_of, replicated
from core.studies import Study

KEYS = ("mcc", "jaccard", "balanced_accuracy", "kappa", "auc", "dri")
TESTED = ("mcc", "auc")
"""Figures in which methods are compared pairwise."""


class Verdict(StrEnum):
    """How a method stands to another one."""

    AHEAD = "ahead"
    BEHIND = "behind"
    NOT_TOLD_APART = "not told apart"


@dataclass(frozen=True)
class Difference:
    """A paired difference of two methods in one figure.

    Attributes:
        figure: difference with its interval.
        p: two-sided.
    """

    figure: Figure
    p: float

    @property
    def verdict(self) -> Verdict:
        """What the interval says."""
        if self.figure.low > 0:
            return Verdict.AHEAD
        return Verdict.BEHIND if self.figure.high < 0 else Verdict.NOT_TOLD_APART


def drawn(judged: Sequence[Judged], study: Study, *, replicates: int, seed: int = SEED) -> dict[str, Floats]:
    """Return each figure's value (row 0) and its replicates, float64 [replicates + 1].

    Args:
        judged: the answers of one method for each seed, at least one.
        study: gives the classes.
        replicates: of the bootstrap.
        seed: of the draws; methods that are compared need the same.
    """
    of_seed = [
        replicated(one, study, alarm_rate=1.0, replicates=replicates, seed=seed + number)
        for number, one in enumerate(judged)
    ]
    rows, seeds = _draws(len(judged), replicates, seed)
    figures = {}
    for key in KEYS:
        values = np.stack([one[key] for one in of_seed])
        figures[key] = np.concatenate([[values[:, 0].mean()], values[seeds, rows].mean(axis=1)])
    return figures


def with_intervals(values: Mapping[str, Floats]) -> dict[str, Figure]:
    """Return the figures of `drawn`."""
    return {key: figure_of(value) for key, value in values.items()}


def difference(ours: Floats, theirs: Floats) -> Difference:
    """Return how much higher `ours` is than `theirs`, both of `drawn` with the same draws.

    Replicates in which a figure does not exist are left out.
    """
    values = ours - theirs
    finite = values[1:][np.isfinite(values[1:])]
    if len(finite) == 0:
        return Difference(figure_of(values), 1.0)
    share = min((finite <= 0).mean(), (finite >= 0).mean())
    return Difference(figure_of(values), float(min(1.0, max(2 * share, 2 / (len(finite) + 1)))))


def _draws(seeds: int, replicates: int, seed: int) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Return rows and seeds, int64 [replicates, seeds]: which replicate of which seed stands at each place.

    A seed that is drawn twice stands there with two different draws of patients.
    """
    rng = np.random.default_rng([seed, seeds])
    chosen = rng.integers(0, seeds, (replicates, seeds))
    rows = np.stack([1 + rng.permutation(replicates) for _ in range(seeds)], axis=1)
    return (np.arange(1, replicates + 1)[:, np.newaxis] if seeds == 1 else rows), chosen
