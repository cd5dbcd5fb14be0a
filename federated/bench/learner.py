"""What the nodes of a measured round learn with: made-up updates of any size."""

from functools import cached_property

import numpy as np
from numpy.typing import NDArray

from core.imaging.squares import Squares
from core.learning.metric_sums import Vector, sums_of
from core.learning.training import Progress, ShouldStop, TrainingOptions, TrainingReport
from core.learning.weights import Weights
from core.studies import LEUKEMIA
from federated.softmax import SoftmaxLearner

DEVIATION = 0.02
"""Standard deviation of the made-up weight changes."""
_TENSORS = 8


class BenchLearner(SoftmaxLearner):
    """Hands out a made-up update instead of training, and figures of a few made-up answers."""

    def __init__(self, parameters: int, node: int) -> None:
        super().__init__()
        self._parameters = parameters
        self._node = node
        self._images = int(np.random.default_rng([node, 1]).integers(50, 400))

    @cached_property
    def _delta(self) -> Weights:
        """Made when it is asked for, in the node's process."""
        rng = np.random.default_rng(self._node)
        sizes = [len(piece) for piece in np.array_split(np.empty(self._parameters, np.uint8), _TENSORS)]
        return {f"layer-{i}": rng.normal(0, DEVIATION, size).astype(np.float32) for i, size in enumerate(sizes)}

    def update(self) -> tuple[Weights, int]:
        """Return the change of each tensor that this node hands out, and its number of images."""
        return self._delta, self._images

    def initial(self, seed: int) -> Weights:
        """See `Learner.initial`."""
        rng = np.random.default_rng(seed)
        return {name: rng.normal(0, 0.1, delta.shape).astype(np.float32) for name, delta in self._delta.items()}

    def fit(
        self,
        weights: Weights,
        images: Squares,  # noqa: ARG002 - there is nothing to train on
        labels: NDArray[np.int64],  # noqa: ARG002
        options: TrainingOptions,  # noqa: ARG002
        *,
        should_stop: ShouldStop,  # noqa: ARG002
        progress: Progress,  # noqa: ARG002
    ) -> tuple[Weights, TrainingReport]:
        """See `Learner.fit`."""
        new = {name: array + self._delta[name] for name, array in weights.items()}
        return new, TrainingReport(images=self._images, steps=1, loss=0.0, stopped=False)

    def evaluate(self, weights: Weights, images: Squares, labels: NDArray[np.int64]) -> Vector:  # noqa: ARG002
        """See `Learner.evaluate`."""
        return sums_of(np.linspace(-1, 1, 2 * len(labels)).reshape(-1, 2), labels, LEUKEMIA)
