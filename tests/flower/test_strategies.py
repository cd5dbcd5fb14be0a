"""Our combining rules and server optimisers against the strategies of `flwr`, fed with the same arrays.

`flwr` combines nodes' weights in float32, we combine differences in float64, so figures agree to a few roundings of
float32 (`ROUNDING`). Where `flwr` computes something else than the paper does, we follow the paper, and a
test here states the difference and shows that it is the only one:

- `MultiKrum` weighs the chosen nodes by their examples; the paper's mean is unweighted.
- `Krum` and `MultiKrum` go on with fewer than 2f + 3 nodes, for which the paper proves nothing; we refuse.
- `FedTrimmedAvg` takes a share and cuts the floor of share times nodes; we are told how many to cut.
- `FedAdam` and `FedYogi` start the second moment at 0; algorithm 2 starts it at tau squared or above.
- `FedAdam` multiplies the rate by Adam's bias correction, for round t with the exponent t + 1; algorithm 2 has none.
"""

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import flwr.serverapp.strategy as theirs
import numpy as np
import pytest
from flwr.app import Array, ArrayRecord, MetricRecord, RecordDict

from core.learning.run_choices import Combining, CombiningRule, ServerOptimiser, ServerOptions
from core.learning.weights import Weights
from federated.aggregation.combining import combine
from federated.aggregation.contributions import Update, difference
from federated.aggregation.server import ServerState, step
from federated.failures import Refused

SHAPES = {"conv/kernel": (3, 3, 2, 4), "conv/bias": (4,), "head/kernel": (8, 2)}
ROUNDING = 1e-6
ROUNDS = 5
ADAPTIVE = ((ServerOptimiser.FEDADAM, theirs.FedAdam), (ServerOptimiser.FEDYOGI, theirs.FedYogi))
OPTIONS = {"beta_1": 0.9, "beta_2": 0.99, "tau": 1e-3}
RATE = 0.1

Trained = Mapping[str, tuple[Weights, int]]
"""Party -> its weights after training and the number of its images."""


@dataclass(frozen=True)
class Reply:
    """What a strategy reads of a Flower message; a real one can be made inside a running Flower task only."""

    content: RecordDict

    def has_error(self) -> bool:
        """Whether the node failed."""
        return False


def record(weights: Weights) -> ArrayRecord:
    return ArrayRecord({name: Array(array) for name, array in weights.items()})


def combined_by(strategy: Any, trained: Trained, *, round_number: int = 1) -> Weights:
    """What a Flower strategy makes of these nodes' weights."""
    replies = [
        Reply(RecordDict({"arrays": record(weights), "metrics": MetricRecord({"num-examples": images})}))
        for weights, images in trained.values()
    ]
    arrays, _ = strategy.aggregate_train(round_number, replies)
    assert arrays is not None
    return {name: array.numpy() for name, array in arrays.items()}


def combined_by_us(base: Weights, trained: Trained, combining: Combining) -> Weights:
    """What our rule and plain averaging at the server make of them."""
    return step(ServerState(weights=base), combine(updates_of(base, trained), combining), ServerOptions()).weights


def updates_of(base: Weights, trained: Trained) -> dict[str, Update]:
    return {party: Update(delta=difference(new, base), images=images) for party, (new, images) in trained.items()}


def drawn(seed: int, scale: float) -> Weights:
    rng = np.random.default_rng(seed)
    return {name: rng.normal(0, scale, shape).astype(np.float32) for name, shape in SHAPES.items()}


def training(seed: int, nodes: int, *, outliers: int = 0) -> tuple[Weights, dict[str, tuple[Weights, int]]]:
    """Global weights, and what nodes made of them; the first ones are far off."""
    base = drawn(seed, 1.0)
    trained = {}
    for number in range(nodes):
        change = drawn(1000 * seed + number + 1, 5.0 if number < outliers else 0.1)
        trained[f"p{number:02}"] = ({name: array + change[name] for name, array in base.items()}, 7 * number + 5)
    return base, trained


def assert_equal(ours: Weights, flower: Weights) -> None:
    assert list(ours) == list(flower)
    for name, array in ours.items():
        np.testing.assert_allclose(array, flower[name], rtol=ROUNDING, atol=ROUNDING, err_msg=name)


def differ(ours: Weights, flower: Weights) -> bool:
    return any(np.abs(array - flower[name]).max() > 100 * ROUNDING for name, array in ours.items())


@pytest.mark.parametrize("nodes", [1, 2, 5, 9])
def test_the_mean_is_that_of_fedavg(nodes: int) -> None:
    base, trained = training(nodes, nodes)
    assert_equal(combined_by_us(base, trained, Combining()), combined_by(theirs.FedAvg(), trained))


@pytest.mark.parametrize("nodes", [2, 5])
def test_with_fedprox_nothing_changes_but_the_nodes_training(nodes: int) -> None:
    """Its term acts at the nodes (`tests/unit/learning/test_fedprox.py`); Flower's strategy hands out its weight."""
    base, trained = training(nodes, nodes)
    assert_equal(combined_by_us(base, trained, Combining()), combined_by(theirs.FedProx(proximal_mu=0.5), trained))


@pytest.mark.parametrize("bound", [0.5, 1.0, 100.0])
def test_norm_bounding_is_that_of_flowers_clipping_at_the_server_without_its_noise(bound: float) -> None:
    base, trained = training(6, 6, outliers=2)
    lengths = [np.sqrt(sum(np.square(w[n] - base[n]).sum() for n in base)) for w, _ in trained.values()]
    assert min(lengths) < 1.0 < max(lengths) < 100.0, "some are shortened, some are not, and in the end none"
    ours = combined_by_us(base, trained, Combining(rule=CombiningRule.NORM_BOUNDED, norm_bound=bound))
    strategy = theirs.DifferentialPrivacyServerSideFixedClipping(
        theirs.FedAvg(), noise_multiplier=0.0, clipping_norm=bound, num_sampled_clients=len(trained)
    )
    strategy.current_arrays = record(base)
    assert_equal(ours, combined_by(strategy, trained))


@pytest.mark.parametrize("nodes", [3, 4, 7, 10])
def test_the_median_is_that_of_fedmedian(nodes: int) -> None:
    base, trained = training(nodes, nodes, outliers=1)
    ours = combined_by_us(base, trained, Combining(rule=CombiningRule.MEDIAN))
    assert_equal(ours, combined_by(theirs.FedMedian(), trained))


@pytest.mark.parametrize(("nodes", "cut"), [(3, 1), (5, 1), (5, 2), (10, 2), (10, 0)])
def test_the_trimmed_mean_is_that_of_fedtrimmedavg_when_both_cut_as_many(nodes: int, cut: int) -> None:
    base, trained = training(nodes, nodes, outliers=cut)
    ours = combined_by_us(base, trained, Combining(rule=CombiningRule.TRIMMED_MEAN, malicious=cut))
    share = (cut + 0.5) / nodes if cut + 0.5 < nodes / 2 else cut / nodes + 1e-9
    assert_equal(ours, combined_by(theirs.FedTrimmedAvg(beta=share), trained))


@pytest.mark.parametrize(("nodes", "malicious"), [(3, 0), (5, 1), (7, 2), (10, 3), (12, 2)])
@pytest.mark.parametrize("seed", range(5))
def test_krum_chooses_the_node_that_flower_chooses(nodes: int, malicious: int, seed: int) -> None:
    base, trained = training(10 * nodes + seed, nodes, outliers=malicious)
    ours = combined_by_us(base, trained, Combining(rule=CombiningRule.KRUM, malicious=malicious))
    assert_equal(ours, combined_by(theirs.Krum(num_malicious_nodes=malicious), trained))


@pytest.mark.parametrize(("nodes", "malicious"), [(5, 1), (7, 2), (10, 3)])
@pytest.mark.parametrize("seed", range(5))
def test_multi_krum_chooses_the_nodes_that_flower_chooses_and_weighs_them_alike(
    nodes: int, malicious: int, seed: int
) -> None:
    base, trained = training(10 * nodes + seed, nodes, outliers=malicious)
    ours = combined_by_us(base, trained, Combining(rule=CombiningRule.MULTI_KRUM, malicious=malicious))
    strategy = theirs.MultiKrum(num_malicious_nodes=malicious, num_nodes_to_select=nodes - malicious)
    same_weights = {party: (weights, 1) for party, (weights, _) in trained.items()}
    assert_equal(ours, combined_by(strategy, same_weights))
    assert differ(ours, combined_by(strategy, trained))


def test_flower_goes_on_with_fewer_nodes_than_krum_needs_and_we_do_not() -> None:
    base, trained = training(1, 4, outliers=1)
    combined_by(theirs.Krum(num_malicious_nodes=1), trained)
    with pytest.raises(Refused):
        combined_by_us(base, trained, Combining(rule=CombiningRule.KRUM, malicious=1))


@pytest.mark.parametrize(("optimiser", "strategy_class"), ADAPTIVE)
def test_adaptive_optimisers_are_flowers_but_for_where_the_second_moment_starts_and_the_correction_of_bias(
    optimiser: ServerOptimiser, strategy_class: Any
) -> None:
    options = ServerOptions(optimiser=optimiser, learning_rate=RATE, **OPTIONS)
    strategy = strategy_class(eta=RATE, **OPTIONS)
    state = ServerState(weights=drawn(1, 1.0))
    strategy.v_t = {name: np.full(shape, options.tau**2) for name, shape in SHAPES.items()}
    for number in range(1, ROUNDS + 1):
        trained = training_from(state.weights, number)
        strategy.current_arrays = state.weights
        if optimiser is ServerOptimiser.FEDADAM:
            strategy.eta = RATE * (1 - options.beta_1 ** (number + 1)) / math.sqrt(1 - options.beta_2 ** (number + 1))
        flower = combined_by(strategy, trained, round_number=number)
        state = step(state, combine(updates_of(state.weights, trained), Combining()), options)
        assert_equal(state.weights, flower)
        for name in SHAPES:
            np.testing.assert_allclose(state.first[name], strategy.m_t[name], atol=ROUNDING)
            np.testing.assert_allclose(state.second[name], strategy.v_t[name], atol=ROUNDING)


@pytest.mark.parametrize(("optimiser", "strategy_class"), ADAPTIVE)
def test_with_flowers_start_and_correction_the_first_step_is_another_one(
    optimiser: ServerOptimiser, strategy_class: Any
) -> None:
    state = ServerState(weights=drawn(1, 1.0))
    trained = training_from(state.weights, 1)
    strategy = strategy_class(eta=RATE, **OPTIONS)
    strategy.current_arrays = state.weights
    flower = combined_by(strategy, trained)
    options = ServerOptions(optimiser=optimiser, learning_rate=RATE, **OPTIONS)
    ours = step(state, combine(updates_of(state.weights, trained), Combining()), options)
    assert differ(ours.weights, flower)


def training_from(base: Weights, seed: int) -> dict[str, tuple[Weights, int]]:
    """What four nodes make of global weights: changes with a direction in common."""
    common = drawn(seed, 0.05)
    trained = {}
    for number in range(4):
        own = drawn(100 * seed + number, 0.01)
        trained[f"p{number}"] = (
            {name: array + common[name] + own[name] for name, array in base.items()},
            10 * number + 3,
        )
    return trained
