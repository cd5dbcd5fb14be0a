"""A small learner in NumPy alone: for tests and demonstrations that want a real one without TensorFlow."""

import numpy as np
from numpy.typing import NDArray

from core.learning.metric_sums import Vector, length_of, sums_of
from core.learning.privacy import steps_an_epoch
from core.learning.private_training import members_of, sample
from core.learning.run_choices import PrivacyOptions
from core.learning.secret_draws import SecretDraws
from core.learning.training import Progress, ShouldStop, TrainingOptions, TrainingReport
from core.learning.weights import Weights, encode_weights
from core.studies import LEUKEMIA, Study

NAME = "softmax"
"""The architecture that an order names for it."""
POOL = 12
"""Pixels on a side that become one input."""


class SoftmaxLearner:
    """Multinomial logistic regression on mean-pooled pixels; a `federated.learner.Learner`."""

    def __init__(self, study: Study = LEUKEMIA) -> None:
        self._study = study
        self._classes = len(study.classes)

    def initial(self, seed: int) -> Weights:
        """Small random weights."""
        rng = np.random.default_rng(seed)
        inputs = (self._study.input_size // POOL) ** 2 * 3
        return {
            "softmax/kernel": rng.normal(0, 0.01, (inputs, self._classes)).astype(np.float32),
            "softmax/bias": np.zeros(self._classes, np.float32),
        }

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
        """Full-batch gradient descent, one step an epoch, then FedProx's pull (Li et al. 2020) in one more."""
        kernel, bias = weights["softmax/kernel"].copy(), weights["softmax/bias"].copy()
        inputs, targets, loss, done, stopped = _pooled(images), np.eye(self._classes)[labels], float("nan"), 0, False
        for done in range(1, options.epochs + 1):
            if should_stop():
                stopped = True
                break
            logits = inputs @ kernel + bias
            shifted = np.exp(logits - logits.max(axis=1, keepdims=True))
            probabilities = shifted / shifted.sum(axis=1, keepdims=True)
            loss = float(-np.log((probabilities * targets).sum(axis=1) + 1e-12).mean())
            error = (probabilities - targets) / len(labels)
            kernel -= (0.5 * inputs.T @ error).astype(np.float32)
            bias -= (0.5 * error.sum(axis=0)).astype(np.float32)
            kernel -= np.float32(0.5 * options.proximal) * (kernel - weights["softmax/kernel"])
            bias -= np.float32(0.5 * options.proximal) * (bias - weights["softmax/bias"])
            progress(done, options.epochs, loss)
        new = {"softmax/kernel": kernel, "softmax/bias": bias}
        return new, TrainingReport(images=len(labels), steps=done, loss=loss, stopped=stopped)

    def fit_privately(
        self,
        weights: Weights,
        images: NDArray[np.uint8],
        labels: NDArray[np.int64],
        units: NDArray[np.int64],
        options: TrainingOptions,
        *,
        privacy: PrivacyOptions,
        should_stop: ShouldStop,
        progress: Progress,
    ) -> tuple[Weights, TrainingReport]:
        """DP-SGD as in `core.learning.private_training`, one unit after the other."""
        vector = np.concatenate([weights["softmax/kernel"].ravel(), weights["softmax/bias"]])
        inputs, targets, draws = _pooled(images), np.eye(self._classes)[labels], SecretDraws()
        inputs = np.hstack([inputs, np.ones((len(inputs), 1))])  # the last row of the weights is the bias
        members, done, stopped = members_of(units, len(labels)), 0, False
        total = options.epochs * steps_an_epoch(privacy.sampling_rate)
        for done in range(1, total + 1):
            if should_stop():
                stopped = True
                break
            step = privacy.noise_multiplier * privacy.clip_norm * draws.normal(vector.size)
            for unit in sample(members, privacy.sampling_rate, draws):
                logits = inputs[unit] @ vector.reshape(-1, self._classes)
                shifted = np.exp(logits - logits.max(axis=1, keepdims=True))
                error = shifted / shifted.sum(axis=1, keepdims=True) - targets[unit]
                gradient = (inputs[unit].T @ error / len(unit)).ravel()
                step += gradient / max(1.0, float(np.linalg.norm(gradient)) / privacy.clip_norm)
            vector = vector - 0.5 * step / (privacy.sampling_rate * len(members))
            progress(done, total, float("nan"))
        kernel, bias = np.split(vector.astype(np.float32), [-self._classes])
        new = {"softmax/kernel": kernel.reshape(-1, self._classes), "softmax/bias": bias}
        return new, TrainingReport(images=len(labels), steps=done, loss=float("nan"), stopped=stopped)

    def evaluate(self, weights: Weights, images: NDArray[np.uint8], labels: NDArray[np.int64]) -> Vector:
        """Metric sums of the logits; zeros for no images."""
        if len(labels) == 0:
            return np.zeros(length_of(self._classes))
        logits = _pooled(images) @ weights["softmax/kernel"] + weights["softmax/bias"]
        return sums_of(logits.astype(np.float32), labels, self._study)

    def export(self, weights: Weights) -> bytes:
        """The weights themselves: this learner has no other serving form."""
        return encode_weights(weights, {})


def _pooled(images: NDArray[np.uint8]) -> NDArray[np.float32]:
    side = images.shape[1] // POOL
    cells = images.reshape(len(images), side, POOL, side, POOL, 3).mean(axis=(2, 4))
    return (cells.reshape(len(images), -1) / 255 - 0.5).astype(np.float32)
