"""Gradient inversion: from an update of one training step back to the picture, or to pictures that stand for several.

Deep leakage from gradients (Zhu et al. 2019) or by the cosine between gradients (Geiping et al. 2020), with the label
read off the last bias (Zhao et al. 2020, iDLG), a total variation term (Geiping et al. 2020) and L-BFGS, on the smooth
network of `federated.smooth`.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum

import numpy as np
from numpy.typing import NDArray
from scipy.optimize import minimize

from core.learning.weights import Weights
from federated.smooth import gradients

SMOOTHNESS = 1e-5
"""Weight of the total variation beside the relative squared distance of the gradients."""
REPRESENTED_SMOOTHNESS = 1e-4
"""The same for each picture that stands for several."""
_SCALE = 1e3
_STEP = 1e-20
_EDGE = 1e-8
Vector = NDArray[np.float64]


class Distance(StrEnum):
    """How far a picture's gradient is from the wanted one."""

    SQUARED = "squared"
    """Squared difference by the wanted one's squared norm (Zhu et al. 2019)."""
    COSINE = "cosine"
    """One less the cosine of the angle between them, which no scale changes (Geiping et al. 2020)."""


@dataclass(frozen=True)
class Inverted:
    """What an attack found.

    Attributes:
        picture: from 0 to 1, float64 [side, side, 3].
        distance: of its gradient from the wanted one, as it was asked for: 0 where they agree.
        evaluations: of the network's gradients.
    """

    picture: Vector
    distance: float
    evaluations: int


def invert(
    wanted: Vector,
    weights: Weights,
    *,
    side: int,
    iterations: int,
    rng: np.random.Generator,
    kind: Distance = Distance.SQUARED,
    progress: Callable[[int], None] = lambda _done: None,
) -> Inverted:
    """Look for the picture whose gradient is `wanted`.

    Args:
        wanted: gradient of the loss by all weights, in their order.
        weights: of the network when the step was made.
        side: of the picture in pixels.
        iterations: of L-BFGS at most.
        rng: draws the picture that the search begins with.
        kind: what is made small.
        progress: told after each iteration how many there were.
    """
    exact = {name: array.astype(np.float64) for name, array in weights.items()}
    classes = exact["dense/bias"].size
    bias = wanted[_starts(exact)["dense/bias"] :][:classes]
    target = np.eye(classes)[[int(np.argmin(bias))]]  # the true class is the one whose bias is pulled up
    count = [0]

    def distance(picture: Vector) -> tuple[float, Vector]:
        value, slope = _away(exact, picture[None], target, wanted, kind)
        return value, slope[0]

    def objective(values: Vector) -> tuple[float, Vector]:
        picture = values.reshape(side, side, 3)
        value, slope = distance(picture)
        rough, rough_slope = _total_variation(picture)
        return _SCALE * (value + SMOOTHNESS * rough), _SCALE * (slope + SMOOTHNESS * rough_slope).ravel()

    def told(_values: Vector) -> None:
        count[0] += 1
        progress(count[0])

    best = minimize(
        objective,
        rng.uniform(0, 1, side * side * 3),
        jac=True,
        method="L-BFGS-B",
        bounds=[(0.0, 1.0)] * (side * side * 3),
        callback=told,
        options={"maxiter": iterations, "maxfun": 4 * iterations, "ftol": 1e-16, "gtol": 1e-12, "maxcor": 20},
    )
    picture = best.x.reshape(side, side, 3)
    return Inverted(picture, distance(picture)[0], int(best.nfev))


def represent(seen: Sequence[tuple[Weights, Vector]], begun: Vector, targets: Vector, *, iterations: int) -> Vector:
    """Look for pictures that together have the gradients that were seen: representatives (Wang et al. 2019).

    Args:
        seen: the network's weights before a round, and the gradient that a hospital then had; of several rounds.
        begun: pictures that the search begins with, [n, side, side, 3] from 0 to 1.
        targets: their classes, one-hot [n, classes].
        iterations: of L-BFGS at most.
    """
    exact = [({name: array.astype(np.float64) for name, array in weights.items()}, wanted) for weights, wanted in seen]

    def objective(values: Vector) -> tuple[float, Vector]:
        pictures = values.reshape(begun.shape)
        rough = [_total_variation(picture) for picture in pictures]
        total = REPRESENTED_SMOOTHNESS * sum(value for value, _ in rough)
        slope = REPRESENTED_SMOOTHNESS * np.stack([slope for _, slope in rough])
        for weights, wanted in exact:
            value, way = _away(weights, pictures, targets, wanted, Distance.SQUARED)
            total, slope = total + value / len(exact), slope + way / len(exact)
        return _SCALE * total, _SCALE * slope.ravel()

    bounds, options = [(0.0, 1.0)] * begun.size, {"maxiter": iterations, "maxfun": 4 * iterations, "maxcor": 20}
    best = minimize(objective, begun.ravel(), jac=True, method="L-BFGS-B", bounds=bounds, options=options)
    return np.asarray(best.x, np.float64).reshape(begun.shape)


def _starts(weights: Mapping[str, Vector]) -> dict[str, int]:
    """Return where each variable begins in the vector of all."""
    ends = np.cumsum([0, *(array.size for array in weights.values())])
    return {name: int(end) for name, end in zip(weights, ends, strict=False)}


def _away(
    weights: Mapping[str, Vector], pictures: Vector, targets: Vector, wanted: Vector, kind: Distance
) -> tuple[float, Vector]:
    """Return how far the gradient of pictures [n, side, side, 3] is from the wanted one, and its slope by them."""
    inputs, starts = pictures - 0.5, _starts(weights)
    found = np.concatenate([one.ravel() for one in gradients(weights, inputs, targets).of_weights.values()])
    value, way = _DISTANCES[kind](found, wanted)
    turned = {
        name: array + 1j * _STEP * way[starts[name] :][: array.size].reshape(array.shape)
        for name, array in weights.items()
    }
    return value, gradients(turned, inputs, targets).of_inputs.imag / _STEP  # of <gradient, way> by the pictures


def _squared(found: Vector, wanted: Vector) -> tuple[float, Vector]:
    """Return the relative squared distance, and its slope by `found`."""
    away, norm = found - wanted, float(wanted @ wanted)
    return float(away @ away) / norm, 2 * away / norm


def _cosine(found: Vector, wanted: Vector) -> tuple[float, Vector]:
    """Return one less the cosine, and its slope by `found`."""
    long, other = float(np.linalg.norm(found)), float(np.linalg.norm(wanted))
    cosine = float(found @ wanted) / (long * other)
    return 1 - cosine, cosine * found / long**2 - wanted / (long * other)


_DISTANCES: dict[Distance, Callable[[Vector, Vector], tuple[float, Vector]]] = {
    Distance.SQUARED: _squared,
    Distance.COSINE: _cosine,
}


def _total_variation(picture: Vector) -> tuple[float, Vector]:
    """Return the mean absolute difference of neighbours, smoothed at 0, and its slope."""
    slope, total = np.zeros_like(picture), 0.0
    for axis in (0, 1):
        step = np.diff(picture, axis=axis)
        length = np.sqrt(step * step + _EDGE)
        total += float(length.mean())
        part = step / length / step.size
        ahead, behind = [slice(None)] * 3, [slice(None)] * 3
        ahead[axis], behind[axis] = slice(1, None), slice(None, -1)
        slope[tuple(ahead)] += part
        slope[tuple(behind)] -= part
    return total, slope
