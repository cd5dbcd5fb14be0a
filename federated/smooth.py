"""A small convolutional network in NumPy, smooth everywhere, with its gradients written by hand.

For demonstrations: three convolutions of 5 by 5 with tanh, then one dense layer (after the network of Zhu et al. 2019,
"Deep leakage from gradients", which attacks need to be smooth). All of it takes complex numbers too, so that exact
directional derivatives of its gradients come from one evaluation (complex step: Squire and Trapp 1998).
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.lib.stride_tricks import sliding_window_view
from numpy.typing import NDArray

from core.learning.weights import Weights
from federated.numpy_learner import NumpyLearner, pooled

SIDE_OF_KERNEL = 5
STRIDES = (2, 2, 1)
CHANNELS = 12
_PADDING = SIDE_OF_KERNEL // 2
_FIRST_RANGE = 0.1
Array = NDArray[Any]
_Layer = tuple[Array, tuple[int, ...], Array]


@dataclass(frozen=True)
class Gradients:
    """What one backward pass gives.

    Attributes:
        loss: mean cross-entropy in nats; its real part where weights are complex.
        of_weights: by variable, in the order of the weights.
        of_inputs: shaped as the inputs.
    """

    loss: float
    of_weights: dict[str, Array]
    of_inputs: Array


def logits_of(weights: Mapping[str, Array], inputs: Array) -> Array:
    """Return the answers [n, classes] for inputs [n, side, side, 3]."""
    return Trunk.of(weights, inputs).features @ weights["dense/kernel"] + weights["dense/bias"]


def gradients(weights: Mapping[str, Array], inputs: Array, targets: Array) -> Gradients:
    """Return the gradients of the mean cross-entropy between the answers and `targets` [n, classes]."""
    trunk = Trunk.of(weights, inputs)
    loss, error = cross_entropy(trunk.features @ weights["dense/kernel"] + weights["dense/bias"], targets)
    below, of_inputs = trunk.pulled(error @ weights["dense/kernel"].T)
    found = below | {"dense/kernel": trunk.features.T @ error, "dense/bias": error.sum(axis=0)}
    return Gradients(loss, {name: found[name] for name in weights}, of_inputs)


def cross_entropy(logits: Array, targets: Array) -> tuple[float, Array]:
    """Return the mean cross-entropy to `targets` [n, classes] in nats, and its gradient by the logits."""
    shifted = np.exp(logits - logits.real.max(axis=1, keepdims=True))
    probabilities = shifted / shifted.sum(axis=1, keepdims=True)
    loss = float(-np.log((probabilities * targets).sum(axis=1).real + 1e-12).mean())
    return loss, (probabilities - targets) / len(targets)


@dataclass(frozen=True, eq=False)
class Trunk:
    """The convolutions applied to some inputs.

    Attributes:
        weights: the network's.
        layers: what each convolution saw, as rows and as a shape, and what it gave.
    """

    weights: Mapping[str, Array]
    layers: list[_Layer]

    @classmethod
    def of(cls, weights: Mapping[str, Array], inputs: Array) -> "Trunk":
        """Apply the convolutions to inputs [n, side, side, 3]."""
        layers, maps = [], inputs
        for number, stride in enumerate(STRIDES):
            columns = _windows(maps, stride)
            out = np.tanh(columns @ weights[f"conv-{number}/kernel"] + weights[f"conv-{number}/bias"])
            layers.append((columns, maps.shape, out))
            maps = out
        return cls(weights, layers)

    @property
    def features(self) -> Array:
        """What the last convolution gave: [n, features]."""
        last = self.layers[-1][2]
        return last.reshape(len(last), -1)

    def pulled(self, of_features: Array, of_first: Array | float = 0.0) -> tuple[dict[str, Array], Array]:
        """Return the gradients by the convolutions' weights and by the inputs.

        Args:
            of_features: gradient by the features.
            of_first: what else there is by what the first convolution gave, [n, h, w, channels].
        """
        found: dict[str, Array] = {}
        back = of_features.reshape(self.layers[-1][2].shape)
        for number in reversed(range(len(STRIDES))):
            columns, shape, out = self.layers[number]
            back = (back if number else back + of_first) * (1 - out * out)
            kernel = self.weights[f"conv-{number}/kernel"]
            found[f"conv-{number}/kernel"] = columns.reshape(-1, len(kernel)).T @ back.reshape(-1, CHANNELS)
            found[f"conv-{number}/bias"] = back.sum(axis=(0, 1, 2))
            back = _windows_back(back @ kernel.T, shape, STRIDES[number])
        return found, back


def _windows(values: Array, stride: int) -> Array:
    """Return each window of a convolution as one row: [n, h, w, channels * kernel * kernel]."""
    edge = (_PADDING, _PADDING)
    padded = np.pad(values, ((0, 0), edge, edge, (0, 0)))
    windows = sliding_window_view(padded, (SIDE_OF_KERNEL, SIDE_OF_KERNEL), axis=(1, 2))[:, ::stride, ::stride]
    return windows.reshape(*windows.shape[:3], -1)


def _windows_back(rows: Array, shape: tuple[int, ...], stride: int) -> Array:
    """Add what comes back to each window onto the values that it was made of; the transpose of `_windows`."""
    count, height, width, channels = shape
    parts = rows.reshape(*rows.shape[:3], channels, SIDE_OF_KERNEL, SIDE_OF_KERNEL)
    padded = np.zeros((count, height + 2 * _PADDING, width + 2 * _PADDING, channels), rows.dtype)
    down, across = stride * rows.shape[1], stride * rows.shape[2]
    for i in range(SIDE_OF_KERNEL):
        for j in range(SIDE_OF_KERNEL):
            padded[:, i : i + down : stride, j : j + across : stride] += parts[..., i, j]
    return padded[:, _PADDING : _PADDING + height, _PADDING : _PADDING + width]


class SmoothLearner(NumpyLearner):
    """The network as a `federated.learner.Learner`; it looks at mean-pooled pixels.

    Attributes:
        RATE: larger steps make its loss rise.
    """

    RATE = 0.05
    POOL = 3

    def initial(self, seed: int) -> Weights:
        """Small random weights."""
        rng = np.random.default_rng(seed)
        shapes: dict[str, tuple[int, ...]] = {}
        side, inputs = self._study.input_size // self.pool, 3
        for number, stride in enumerate(STRIDES):
            shapes[f"conv-{number}/kernel"] = (inputs * SIDE_OF_KERNEL**2, CHANNELS)
            shapes[f"conv-{number}/bias"] = (CHANNELS,)
            side, inputs = -(-side // stride), CHANNELS
        shapes |= {"dense/kernel": (side * side * CHANNELS, self._classes), "dense/bias": (self._classes,)}
        return {
            name: rng.uniform(-_FIRST_RANGE, _FIRST_RANGE, shape).astype(np.float32) for name, shape in shapes.items()
        }

    def inputs(self, images: NDArray[np.uint8]) -> NDArray[np.float32]:
        """See `NumpyLearner.inputs`: a smaller picture."""
        return pooled(images, self.pool)

    def logits(self, weights: Weights, inputs: NDArray[np.float32]) -> NDArray[np.float32]:
        """See `NumpyLearner.logits`."""
        return logits_of(weights, inputs)

    def gradient(
        self, weights: Weights, inputs: NDArray[np.float32], targets: NDArray[np.float64]
    ) -> tuple[float, Weights]:
        """See `NumpyLearner.gradient`."""
        found = gradients(weights, inputs, targets)
        return found.loss, found.of_weights
