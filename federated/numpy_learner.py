"""What small learners in NumPy share: full-batch gradient descent, DP-SGD, metric sums. Subclasses bring a network."""

from abc import ABC, abstractmethod
from typing import Any, ClassVar

import numpy as np
from numpy.typing import NDArray

from core.imaging.squares import Squares
from core.learning.metric_sums import Vector, length_of, sums_of
from core.learning.privacy import steps_an_epoch
from core.learning.private_training import members_of, sample
from core.learning.run_choices import PrivacyOptions
from core.learning.secret_draws import SecretDraws
from core.learning.training import Progress, ShouldStop, TrainingOptions, TrainingReport
from core.learning.weights import Weights, encode_weights
from core.studies import LEUKEMIA, Study


class NumpyLearner(ABC):
    """A `federated.learner.Learner` without TensorFlow.

    Attributes:
        RATE: step along the gradient.
        POOL: pixels on a side that become one input, unless told otherwise.
        pool: the same, of this learner.
    """

    RATE: ClassVar[float] = 0.5
    POOL: ClassVar[int]

    def __init__(self, study: Study = LEUKEMIA, *, pool: int | None = None) -> None:
        self.pool = pool or self.POOL
        self._study = study
        self._classes = len(study.classes)

    @abstractmethod
    def initial(self, seed: int) -> Weights:
        """Small random weights, the same for a seed."""

    @abstractmethod
    def inputs(self, images: NDArray[np.uint8]) -> NDArray[np.float32]:
        """What the network is given of images [n, side, side, 3]: float32[n, ...]."""

    @abstractmethod
    def logits(self, weights: Weights, inputs: NDArray[np.float32]) -> NDArray[np.float32]:
        """The network's answers: float32[n, classes]."""

    @abstractmethod
    def gradient(
        self, weights: Weights, inputs: NDArray[np.float32], targets: NDArray[np.float64]
    ) -> tuple[float, Weights]:
        """Mean cross-entropy to one-hot `targets` [n, classes] in nats, and its gradient, variable by variable."""

    def targets(self, labels: NDArray[np.int64]) -> NDArray[np.float64]:
        """Labels as one-hot rows: float64[n, classes]."""
        return np.eye(self._classes)[labels]

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
        """Full-batch gradient descent, one step an epoch, then FedProx's pull (Li et al. 2020) in one more."""
        new = {name: array.copy() for name, array in weights.items()}
        inputs, targets = self.inputs(np.asarray(images)), self.targets(labels)
        loss, done, stopped = float("nan"), 0, False
        for done in range(1, options.epochs + 1):
            if should_stop():
                stopped = True
                break
            loss, gradient = self.gradient(new, inputs, targets)
            for name, start in weights.items():
                new[name] -= (self.RATE * gradient[name]).astype(np.float32)
                new[name] -= np.float32(self.RATE * options.proximal) * (new[name] - start)
            progress(done, options.epochs, loss)
        return new, TrainingReport(images=len(labels), steps=done, loss=loss, stopped=stopped)

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
        """DP-SGD as in `core.learning.private_training`, one unit after the other."""
        vector = _flat(weights)
        inputs, targets, draws = self.inputs(np.asarray(images)), self.targets(labels), SecretDraws()
        members, done, stopped = members_of(units, len(labels)), 0, False
        total = options.epochs * steps_an_epoch(privacy.sampling_rate)
        for done in range(1, total + 1):
            if should_stop():
                stopped = True
                break
            step = privacy.noise_multiplier * privacy.clip_norm * draws.normal(vector.size)
            now = _shaped(vector, weights)
            for unit in sample(members, privacy.sampling_rate, draws):
                gradient = _flat(self.gradient(now, inputs[unit], targets[unit])[1])
                step += gradient / max(1.0, float(np.linalg.norm(gradient)) / privacy.clip_norm)
            vector = vector - self.RATE * step / (privacy.sampling_rate * len(members))
            progress(done, total, float("nan"))
        new = {name: array.astype(np.float32) for name, array in _shaped(vector, weights).items()}
        return new, TrainingReport(images=len(labels), steps=done, loss=float("nan"), stopped=stopped)

    def evaluate(self, weights: Weights, images: Squares, labels: NDArray[np.int64]) -> Vector:
        """Metric sums of the logits; zeros for no images."""
        if len(labels) == 0:
            return np.zeros(length_of(self._classes))
        return sums_of(self.logits(weights, self.inputs(np.asarray(images))).astype(np.float32), labels, self._study)

    def export(self, weights: Weights) -> bytes:
        """The weights themselves: these learners have no other serving form."""
        return encode_weights(weights, {})


def pooled(images: NDArray[np.uint8], pool: int) -> NDArray[np.float32]:
    """Return means of `pool` by `pool` pixels, from -0.5 to 0.5: float32[n, side / pool, side / pool, 3]."""
    side = images.shape[1] // pool
    cells = images.reshape(len(images), side, pool, side, pool, 3).mean(axis=(2, 4))
    return (cells / 255 - 0.5).astype(np.float32)


def _flat(weights: Weights) -> NDArray[np.float64]:
    return np.concatenate([np.asarray(array, np.float64).ravel() for array in weights.values()])


def _shaped(vector: NDArray[Any], like: Weights) -> dict[str, NDArray[Any]]:
    cuts = np.cumsum([array.size for array in like.values()])[:-1]
    pieces = zip(np.split(vector, cuts), like.items(), strict=True)
    return {name: piece.reshape(array.shape) for piece, (name, array) in pieces}
