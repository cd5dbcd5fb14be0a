"""The server's optimisers as arithmetic, with properties."""

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from core.learning.run_choices import ServerOptimiser, ServerOptions
from core.learning.run_events import FailureCode
from core.learning.weights import Weights
from federated.aggregation.combining import Combined
from federated.aggregation.contributions import difference
from federated.aggregation.server import ServerState, step
from federated.failures import Refused

BASE: Weights = {"a": np.linspace(-1, 1, 6, dtype=np.float32).reshape(2, 3), "b": np.zeros(2, np.float32)}
ADAPTIVE = (ServerOptimiser.FEDADAM, ServerOptimiser.FEDYOGI)


def change(seed: int, scale: float = 0.1) -> Combined:
    rng = np.random.default_rng(seed)
    return {name: rng.normal(0, scale, array.shape) for name, array in BASE.items()}


@given(st.integers(0, 2**31), st.floats(1e-6, 1e3))
def test_federated_averaging_at_rate_one_adds_the_difference_bit_for_bit(seed: int, scale: float) -> None:
    combined = change(seed, scale)
    after = step(ServerState(weights=BASE), combined, ServerOptions())
    for name, array in BASE.items():
        assert after.weights[name].tobytes() == (array.astype(np.float64) + combined[name]).astype(np.float32).tobytes()
        assert after.weights[name].dtype == np.float32
    assert (after.first, after.second) == ({}, {})


def test_the_difference_of_one_node_gives_its_weights_back() -> None:
    new = {name: (array + 0.25).astype(np.float32) for name, array in BASE.items()}
    combined = {name: array.astype(np.float64) for name, array in difference(new, BASE).items()}
    after = step(ServerState(weights=BASE), combined, ServerOptions())
    assert all(np.array_equal(after.weights[name], new[name]) for name in BASE)


def test_the_server_rate_shortens_the_step_of_averaging() -> None:
    combined = {name: np.full(array.shape, 0.5) for name, array in BASE.items()}
    after = step(ServerState(weights=BASE), combined, ServerOptions(learning_rate=0.5))
    assert np.array_equal(after.weights["b"], np.full(2, 0.25, np.float32))


@pytest.mark.parametrize("optimiser", ADAPTIVE)
@given(seeds=st.lists(st.integers(0, 2**31), min_size=1, max_size=4), scale=st.floats(1e-9, 1e3))
def test_adaptive_steps_are_the_papers_formulas_worked_out_one_number_at_a_time_to_the_bit(
    optimiser: ServerOptimiser, seeds: list[int], scale: float
) -> None:
    options = ServerOptions(optimiser=optimiser, learning_rate=0.1)
    rate, beta_1, beta_2, tau = options.learning_rate, options.beta_1, options.beta_2, options.tau
    state, weights = ServerState(weights=BASE), BASE["a"].ravel().tolist()
    first, second = [0.0] * 6, [tau * tau] * 6
    for seed in seeds:
        combined = change(seed, scale)
        state = step(state, combined, options)
        for place, d in enumerate(combined["a"].ravel().tolist()):
            v, square = second[place], d * d
            first[place] = beta_1 * first[place] + (1 - beta_1) * d
            if optimiser is ServerOptimiser.FEDADAM:
                second[place] = beta_2 * v + (1 - beta_2) * square
            else:
                second[place] = v - (1 - beta_2) * square * ((v > square) - (v < square))
            moved = weights[place] + rate * (first[place] / (math.sqrt(second[place]) + tau))
            weights[place] = float(np.float32(moved))
        assert state.first["a"].ravel().tolist() == first
        assert state.second["a"].ravel().tolist() == second
        assert state.weights["a"].ravel().tolist() == weights


@pytest.mark.parametrize("optimiser", ADAPTIVE)
def test_a_step_changes_nothing_of_what_it_was_given(optimiser: ServerOptimiser) -> None:
    options = ServerOptions(optimiser=optimiser)
    before = step(ServerState(weights=BASE), change(1), options)
    kept = {name: array.copy() for name, array in before.second.items()}
    step(before, change(2), options)
    assert all(np.array_equal(before.second[name], kept[name]) for name in kept)


@pytest.mark.parametrize("optimiser", ADAPTIVE)
def test_moments_left_by_another_optimiser_are_dropped_by_averaging(optimiser: ServerOptimiser) -> None:
    state = step(ServerState(weights=BASE), change(1), ServerOptions(optimiser=optimiser))
    assert step(state, change(2), ServerOptions()).first == {}


@pytest.mark.parametrize("optimiser", list(ServerOptimiser))
@pytest.mark.parametrize("value", [np.inf, np.nan, 1e300])
def test_weights_or_moments_that_are_no_numbers_are_refused(optimiser: ServerOptimiser, value: float) -> None:
    combined = {name: np.full(array.shape, value) for name, array in BASE.items()}
    with pytest.raises(Refused) as refused:
        step(ServerState(weights=BASE), combined, ServerOptions(optimiser=optimiser))
    assert refused.value.code is FailureCode.NOT_FINITE


def test_a_mean_beyond_single_precision_is_refused() -> None:
    state = ServerState(weights={"w": np.full(2, 3e38, np.float32)})
    with pytest.raises(Refused) as refused:
        step(state, {"w": np.full(2, 3e38)}, ServerOptions())
    assert refused.value.code is FailureCode.NOT_FINITE
