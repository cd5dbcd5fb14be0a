"""A small learner in NumPy alone: for tests and demonstrations that want a real one without TensorFlow."""

import numpy as np
from numpy.typing import NDArray

from core.learning.weights import Weights
from federated.numpy_learner import NumpyLearner, pooled

NAME = "softmax"
"""The architecture that an order names for it."""


class SoftmaxLearner(NumpyLearner):
    """Multinomial logistic regression on mean-pooled pixels; a `federated.learner.Learner`."""

    POOL = 12

    def initial(self, seed: int) -> Weights:
        """Small random weights."""
        rng = np.random.default_rng(seed)
        inputs = (self._study.input_size // self.pool) ** 2 * 3
        return {
            "softmax/kernel": rng.normal(0, 0.01, (inputs, self._classes)).astype(np.float32),
            "softmax/bias": np.zeros(self._classes, np.float32),
        }

    def inputs(self, images: NDArray[np.uint8]) -> NDArray[np.float32]:
        """See `NumpyLearner.inputs`: one row of numbers for each image."""
        return pooled(images, self.pool).reshape(len(images), -1)

    def logits(self, weights: Weights, inputs: NDArray[np.float32]) -> NDArray[np.float32]:
        """See `NumpyLearner.logits`."""
        return inputs @ weights["softmax/kernel"] + weights["softmax/bias"]

    def gradient(
        self, weights: Weights, inputs: NDArray[np.float32], targets: NDArray[np.float64]
    ) -> tuple[float, Weights]:
        """See `NumpyLearner.gradient`."""
        logits = self.logits(weights, inputs)
        shifted = np.exp(logits - logits.max(axis=1, keepdims=True))
        probabilities = shifted / shifted.sum(axis=1, keepdims=True)
        loss = float(-np.log((probabilities * targets).sum(axis=1) + 1e-12).mean())
        error = (probabilities - targets) / len(targets)
        return loss, {"softmax/kernel": inputs.T @ error, "softmax/bias": error.sum(axis=0)}
