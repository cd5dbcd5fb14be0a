"""What a node learns with: the `Learner` port, and `KerasLearner`, its adapter to `core.learning`."""

from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from core.learning.metric_sums import Vector
from core.learning.training import Progress, ShouldStop, Trainer, TrainingOptions, TrainingReport
from core.learning.weights import Weights
from core.studies import Study


class Learner(Protocol):
    """Anything that trains, evaluates and exports weights; stateless between calls, one call at a time.

    Arrays are as in `core.learning.training.Trainer`: images uint8 [n, s, s, 3], labels int64 [n].
    """

    def initial(self, seed: int) -> Weights:
        """Return new weights, the same for a seed."""
        ...

    def fit(
        self,
        weights: Weights,
        images: NDArray[np.uint8],
        labels: NDArray[np.int64],
        options: TrainingOptions,
        *,
        should_stop: ShouldStop,
        progress: Progress,
    ) -> tuple[Weights, TrainingReport]:
        """Train from `weights`; see `Trainer.fit`."""
        ...

    def evaluate(self, weights: Weights, images: NDArray[np.uint8], labels: NDArray[np.int64]) -> Vector:
        """Return metric sums; zeros for no images."""
        ...

    def export(self, weights: Weights) -> bytes:
        """Return the model as it is served (LiteRT)."""
        ...


class KerasLearner:
    """The product's learner. TensorFlow is imported when it is first asked for something."""

    def __init__(self, architecture: str, study: Study) -> None:
        self._architecture = architecture
        self._study = study
        self._made: Trainer | None = None

    @property
    def _trainer(self) -> Trainer:
        if self._made is None:
            self._made = Trainer(self._architecture, self._study)
        return self._made

    def initial(self, seed: int) -> Weights:
        """See `Learner.initial`."""
        return self._trainer.initial(seed)

    def fit(
        self,
        weights: Weights,
        images: NDArray[np.uint8],
        labels: NDArray[np.int64],
        options: TrainingOptions,
        *,
        should_stop: ShouldStop,
        progress: Progress,
    ) -> tuple[Weights, TrainingReport]:
        """See `Learner.fit`."""
        return self._trainer.fit(weights, images, labels, options, should_stop=should_stop, progress=progress)

    def evaluate(self, weights: Weights, images: NDArray[np.uint8], labels: NDArray[np.int64]) -> Vector:
        """See `Learner.evaluate`."""
        return self._trainer.evaluate(weights, images, labels)

    def export(self, weights: Weights) -> bytes:
        """See `Learner.export`."""
        from core.learning.export import export_litert  # noqa: PLC0415  imports TensorFlow

        return export_litert(weights, self._architecture, self._study)
