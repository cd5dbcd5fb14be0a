"""The server's optimiser: how a combined difference changes the global weights (FedAvg, FedAdam, FedYogi).

Each element is computed by itself in float64 with +, -, *, / and the square root only, which IEEE 754 rounds correctly:
the same numbers give the same bits on every machine, so members who compute a step each get the same weights.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from core.learning.run_choices import ServerOptimiser, ServerOptions
from core.learning.run_events import FailureCode
from core.learning.weights import Weights
from federated.failures import Refused

_BLOCK = 32768
"""Elements that are computed at once: what lies between stays in a core's own cache."""
Moments = Mapping[str, NDArray[np.float64]]
"""Name of a variable -> one moment of each of its elements."""


@dataclass(frozen=True, kw_only=True)
class ServerState:
    """What a step starts from and ends with.

    Attributes:
        weights: global weights, float32.
        first: moving mean of the combined differences; empty before the first step, and with FedAvg.
        second: moving mean of their squares (FedYogi: what it has instead); empty when `first` is.
    """

    weights: Weights
    first: Moments = field(default_factory=dict)
    second: Moments = field(default_factory=dict)


def step(state: ServerState, combined: Mapping[str, NDArray[np.float64]], options: ServerOptions) -> ServerState:
    """Return the state after one step along a combined difference (Reddi et al. 2021, algorithm 2).

    FedAvg adds `learning_rate` times the difference. FedAdam and FedYogi start from a first moment of 0 and a second
    one of tau squared, the smallest that the algorithm allows, and correct no bias, as the algorithm has it.

    Args:
        state: before; not changed. Moments are left out by FedAvg.
        combined: difference from the global weights, float64, with the names and shapes of the weights.
        options: the optimiser and its values.

    Raises:
        Refused: with `NOT_FINITE`, a weight does not fit into float32 or a moment into float64.
    """
    with np.errstate(over="ignore", invalid="ignore"):
        if options.optimiser is ServerOptimiser.FEDAVG:
            after = ServerState(
                weights={name: _moved(array, options, combined[name]) for name, array in state.weights.items()}
            )
        else:
            after = _adaptive(state, combined, options)
    for arrays in (after.weights, after.first, after.second):
        if not all(np.isfinite(array).all() for array in arrays.values()):
            raise Refused(FailureCode.NOT_FINITE)
    return after


def _adaptive(state: ServerState, combined: Mapping[str, NDArray[np.float64]], options: ServerOptions) -> ServerState:
    weights: Weights = {}
    first: dict[str, NDArray[np.float64]] = {}
    second: dict[str, NDArray[np.float64]] = {}
    for name, array in state.weights.items():
        change = combined[name]
        square = change * change
        mean = state.first[name] if state.first else np.zeros(array.shape)
        spread = state.second[name] if state.second else np.full(array.shape, options.tau * options.tau)
        first[name] = options.beta_1 * mean + (1 - options.beta_1) * change
        if options.optimiser is ServerOptimiser.FEDADAM:
            second[name] = options.beta_2 * spread + (1 - options.beta_2) * square
        else:
            second[name] = spread - (1 - options.beta_2) * square * np.sign(spread - square)
        weights[name] = _moved(array, options, first[name] / (np.sqrt(second[name]) + options.tau))
    return ServerState(weights=weights, first=first, second=second)


def _moved(array: NDArray[np.float32], options: ServerOptions, direction: NDArray[np.float64]) -> NDArray[np.float32]:
    moved = np.empty(array.shape, np.float32)
    flat, before, along = moved.reshape(-1), array.reshape(-1), direction.reshape(-1)
    buffer = np.empty(min(_BLOCK, flat.size))
    for start in range(0, flat.size, _BLOCK):
        part = slice(start, start + _BLOCK)
        new = buffer[: flat[part].size]
        new[:] = before[part]  # numpy converts a whole block faster than in the midst of a sum
        new += along[part] if options.learning_rate == 1 else options.learning_rate * along[part]
        flat[part] = new
    return moved
