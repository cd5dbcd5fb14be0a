"""What a node learns with: the `Learner` port, and `KerasLearner`, its adapter to `core.learning`."""

from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from core.imaging.squares import Squares
from core.learning.metric_sums import Vector
from core.learning.private_training import PrivateTrainer
from core.learning.run_choices import PrivacyOptions
from core.learning.training import Progress, ShouldStop, TrainingOptions, TrainingReport
from core.learning.weights import Weights
from core.studies import Inference, Study


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
        images: Squares,
        labels: NDArray[np.int64],
        options: TrainingOptions,
        *,
        should_stop: ShouldStop,
        progress: Progress,
    ) -> tuple[Weights, TrainingReport]:
        """Train from `weights`; see `Trainer.fit`."""
        ...

    def fit_privately(
        self,
        weights: Weights,
        images: Squares,
        labels: NDArray[np.int64],
        units: NDArray[np.int64],
        options: TrainingOptions,
        *,
        privacy: PrivacyOptions,
        should_stop: ShouldStop,
        progress: Progress,
    ) -> tuple[Weights, TrainingReport]:
        """Train from `weights` with differential privacy; see `PrivateTrainer.fit_privately`."""
        ...

    def evaluate(self, weights: Weights, images: Squares, labels: NDArray[np.int64]) -> Vector:
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
        self._made: PrivateTrainer | None = None

    @property
    def trainer(self) -> PrivateTrainer:
        """What trains and answers; made when it is first asked for."""
        if self._made is None:
            self._made = PrivateTrainer(self._architecture, self._study)
        return self._made

    def initial(self, seed: int) -> Weights:
        """See `Learner.initial`."""
        return self.trainer.initial(seed)

    def fit(
        self,
        weights: Weights,
        images: Squares,
        labels: NDArray[np.int64],
        options: TrainingOptions,
        *,
        should_stop: ShouldStop,
        progress: Progress,
    ) -> tuple[Weights, TrainingReport]:
        """See `Learner.fit`."""
        return self.trainer.fit(weights, images, labels, options, should_stop=should_stop, progress=progress)

    def fit_privately(
        self,
        weights: Weights,
        images: Squares,
        labels: NDArray[np.int64],
        units: NDArray[np.int64],
        options: TrainingOptions,
        *,
        privacy: PrivacyOptions,
        should_stop: ShouldStop,
        progress: Progress,
    ) -> tuple[Weights, TrainingReport]:
        """See `Learner.fit_privately`."""
        return self.trainer.fit_privately(
            weights, images, labels, units, options, privacy=privacy, should_stop=should_stop, progress=progress
        )

    def evaluate(self, weights: Weights, images: Squares, labels: NDArray[np.int64]) -> Vector:
        """See `Learner.evaluate`."""
        return self.trainer.evaluate(weights, images, labels)

    def export(self, weights: Weights) -> bytes:
        """See `Learner.export`."""
        from core.learning.export import export_backbone, export_litert  # noqa: PLC0415  imports TensorFlow

        hidden = self._study.inference is Inference.ENCRYPTED_HEAD
        return (export_backbone if hidden else export_litert)(weights, self._architecture, self._study)
