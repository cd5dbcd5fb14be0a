"""Rare kinds of cells within a class, given to a training several times.

Patients with acute leukemia have few eosinophils and basophils, so a network that learns from their blood hardly sees
these normal cells, and calls the few that it meets leukemic. Only what is not positive is repeated: the shares of
normal kinds are those of the disease, not of the blood elsewhere that a model will be shown.
"""

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from core.studies import Study


@dataclass(frozen=True, kw_only=True)
class RareKinds:
    """How often images are given.

    Attributes:
        least: share of a class's images that each of its kinds should make up before others are repeated ...
        most: ... but no image is given more often than this.
    """

    least: float = 0.08
    most: int = 10

    def positions(self, labels: NDArray[np.int64], kinds: Sequence[str], study: Study) -> NDArray[np.int64]:
        """Return which images to train on: positions in [0, n), ascending, each as often as it is given.

        Args:
            labels: class indices [n].
            kinds: n names of kinds, as ``source_label`` of ``index.csv`` has them.
            study: says which classes are positive.
        """
        of_class = Counter(labels.tolist())
        of_kind = Counter(zip(labels.tolist(), kinds, strict=True))
        times = [
            1 if label in study.positive_indices else self._times(of_kind[label, kind], of_class[label])
            for label, kind in zip(labels.tolist(), kinds, strict=True)
        ]
        return np.repeat(np.arange(len(labels)), times)

    def _times(self, of_kind: int, of_class: int) -> int:
        return min(self.most, max(1, round(self.least * of_class / of_kind)))
