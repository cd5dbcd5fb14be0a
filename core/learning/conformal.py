"""Prediction sets with a promise for every class: label-conditional (Mondrian) conformal prediction.

Class c is in the set of an image when the image's score of c (`core.learning.class_scores`) is not lower than the k-th
lowest score that images of class c had on the summed validation, with k = floor((1 - coverage) * (n + 1)) for n such
images (Vovk, Gammerman and Shafer 2005, section 4.5; split form of Angelopoulos and Bates 2023, section 2, class by
class as in their section 4.2). For an image of class c that is exchangeable with those n, c is then in the set with a
probability of at least `coverage`, whatever the network is worth. All that is needed is one histogram per class, which
hospitals add anyway; a bin counts as its lower edge, which can only make sets larger.

Three things to know. With fewer than 1 / (1 - coverage) - 1 images of a class nothing can be promised for it, so it
is in every set. The class that is called is in every set too, so that no set is empty: an empty one would say as
little as a full one. And images of one patient resemble each other, as those of one hospital do, so for new patients
the promise is only as good as its measured share (`coverage_of`, ``docs/results.md``).
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from core.learning.class_scores import EDGES, LIMIT, Floats, class_log_odds

ALWAYS = -LIMIT
"""Bound of a class that is in every set."""


@dataclass(frozen=True)
class Coverage:
    """What prediction sets are worth on images whose classes are known. Shares are in 0..1.

    Attributes:
        images: number of images.
        share: of the images whose true class is in their set.
        by_class: the same for the images of each class; `nan` where there are none.
        size: mean number of classes in a set.
        single: share of the images whose set is one class.
    """

    images: int
    share: float
    by_class: tuple[float, ...]
    size: float
    single: float


def set_bounds(own: Floats, coverage: float) -> tuple[float, ...]:
    """Return for each class the lowest score with which it is in a set, from -`LIMIT` (always) to `LIMIT`.

    Args:
        own: counts float64 [C, BINS] of the scores of class c for images of class c.
        coverage: share of each class's images whose sets must hold it, in 0..1.
    """
    bounds = []
    for counts in own:
        left_out = math.floor((1 - coverage) * (counts.sum() + 1) + 1e-9)
        reached = np.cumsum(counts) > left_out - 0.5
        bounds.append(float(EDGES[int(np.argmax(reached))]) if left_out > 0 else ALWAYS)
    return tuple(bounds)


def prediction_sets(
    logits: NDArray[np.floating], bounds: Sequence[float], called: NDArray[np.integer]
) -> NDArray[np.bool_]:
    """Return which classes are in the set of each image, bool [n, C].

    Args:
        logits: [n, C].
        bounds: of each class, as `set_bounds` returns them.
        called: int [n], the class that each answer calls; it is in the set.
    """
    inside = np.clip(class_log_odds(logits), -LIMIT, LIMIT) >= np.asarray(bounds)
    inside[np.arange(len(called)), called] = True
    return inside


def coverage_of(sets: NDArray[np.bool_], labels: NDArray[np.integer]) -> Coverage:
    """Judge prediction sets bool [n, C] against the true classes int [n].

    Raises:
        ValueError: no image, or shapes that do not fit.
    """
    if sets.ndim != 2 or not len(labels) or len(sets) != len(labels):  # noqa: PLR2004  images and classes
        raise ValueError(f"expected sets [n, C] and n >= 1 labels, got {sets.shape} and {len(labels)}")
    held = sets[np.arange(len(labels)), labels]
    sizes = sets.sum(axis=1)
    by_class = [float(held[labels == c].mean()) if (labels == c).any() else math.nan for c in range(sets.shape[1])]
    return Coverage(len(labels), float(held.mean()), tuple(by_class), float(sizes.mean()), float((sizes == 1).mean()))
