"""Our combining rules and server optimisers against the strategies of `flwr`, fed with the same arrays."""

from dataclasses import dataclass
from typing import Any

import flwr.serverapp.strategy as theirs
import numpy as np
from flwr.app import Array, ArrayRecord, MetricRecord, RecordDict

from core.learning.weights import Weights
from federated.aggregation.fedavg import Update, average, difference

SHAPES = {"conv/kernel": (3, 3, 2, 4), "conv/bias": (4,), "head/kernel": (8, 2)}


def weights(seed: int, *, scale: float = 1.0) -> Weights:
    rng = np.random.default_rng(seed)
    return {name: rng.normal(0, scale, shape).astype(np.float32) for name, shape in SHAPES.items()}


@dataclass(frozen=True)
class Reply:
    """What a strategy reads of a Flower message; a real one can be made inside a running Flower task only."""

    content: RecordDict

    def has_error(self) -> bool:
        """Whether the node failed."""
        return False


def reply(trained: Weights, images: int) -> Any:
    """What a Flower node answers: its weights and the number of its examples."""
    arrays = ArrayRecord({name: Array(array) for name, array in trained.items()})
    return Reply(RecordDict({"arrays": arrays, "metrics": MetricRecord({"num-examples": images})}))


def combined_by(strategy: theirs.FedAvg, trained: dict[str, tuple[Weights, int]], *, round_number: int = 1) -> Weights:
    """What a Flower strategy makes of these nodes' weights."""
    arrays, _ = strategy.aggregate_train(round_number, [reply(*one) for one in trained.values()])
    assert arrays is not None
    return {name: array.numpy() for name, array in arrays.items()}


def test_federated_averaging_gives_the_weights_that_flower_gives() -> None:
    base = weights(0)
    trained = {f"p{number}": (weights(number, scale=0.1), 10 * number) for number in range(1, 6)}
    updates = {party: Update(delta=difference(new, base), images=images) for party, (new, images) in trained.items()}

    ours, flower = average(base, updates), combined_by(theirs.FedAvg(), trained)

    for name, array in ours.items():
        np.testing.assert_allclose(array, flower[name], rtol=0, atol=1e-6)
