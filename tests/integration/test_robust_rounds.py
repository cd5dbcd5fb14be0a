"""Rounds with robust combining and server optimisers among real parties: what poison does, what a checkpoint holds."""

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from core.diagnosis.checkpoint_file import open_model
from core.errors import CheckpointRefused, RunRefused
from core.learning.lineage import checkpoint_context, sha256_of_lineage
from core.learning.orders import AGGREGATION, AUTHORITY, AggregationMode
from core.learning.run_choices import Combining, CombiningRule, ServerOptimiser, ServerOptions
from core.learning.training import TrainingOptions, TrainingReport
from core.learning.weights import Weights, decode_weights, sha256_of
from core.studies import LEUKEMIA
from federated.aggregation.server import ServerState
from federated.checkpoints import encode_state, open_state, open_weights, sha256_of_state
from federated.shares import SimulationOptions
from federated.simulation import order_options
from federated.softmax import SoftmaxLearner
from federated.store import MemoryRunStore
from tests.federation import RUN, Federation

FIVE = ("east", "middle", "north", "south", "west")
POISON = 1e4
RULES = (
    Combining(rule=CombiningRule.MEDIAN),
    Combining(rule=CombiningRule.TRIMMED_MEAN, malicious=1),
    Combining(rule=CombiningRule.KRUM, malicious=1),
    Combining(rule=CombiningRule.MULTI_KRUM, malicious=1),
    Combining(rule=CombiningRule.NORM_BOUNDED, norm_bound=1.0),
)
ADAPTIVE = (ServerOptimiser.FEDADAM, ServerOptimiser.FEDYOGI)


class Poisoner(SoftmaxLearner):
    """A member that sends an honest update with something huge added to it."""

    def fit(self, weights: Weights, *arguments: Any, **options: Any) -> tuple[Weights, TrainingReport]:
        """Train, and spoil every weight."""
        new, report = super().fit(weights, *arguments, **options)
        return {name: array + np.float32(POISON) for name, array in new.items()}, report


def largest_weight_after_poison(folder: Path, mode: AggregationMode, combining: Combining) -> float:
    """Play a run of five in which one poisons, and return the largest global weight at its end."""
    federation = Federation(folder, mode=mode, slugs=FIVE, minimum=5)
    federation.options = replace(federation.options, combining=combining)
    federation.learner = Poisoner()
    federation.nodes["middle"] = federation.node("middle")
    assert federation.play() == "finished"
    return max(float(np.abs(array).max()) for array in last_state(federation).weights.values())


def last_state(federation: Federation, *, run: str = RUN, round_number: int | None = None) -> ServerState:
    """The state of a model of a run, its last one if none is named."""
    wire = federation.store.models[-1 if round_number is None else round_number].wire
    return open_state(federation.notary(AGGREGATION), wire, run=run, round_number=wire.round)[0]


def adaptive(folder: Path, optimiser: ServerOptimiser) -> Federation:
    """A run with an adaptive server optimiser, played to its end."""
    federation = Federation(folder)
    options = ServerOptions(optimiser=optimiser, learning_rate=0.05)
    federation.options = replace(federation.options, server=options)
    assert federation.play() == "finished"
    return federation


@pytest.mark.parametrize("mode", [AggregationMode.SEALED, AggregationMode.PLAIN])
def test_a_poisoned_member_ruins_the_mean(tmp_path: Path, mode: AggregationMode) -> None:
    assert largest_weight_after_poison(tmp_path, mode, Combining()) > POISON / 10


@pytest.mark.parametrize("combining", RULES, ids=lambda combining: combining.rule)
def test_a_poisoned_member_does_not_ruin_a_robust_rule(tmp_path: Path, combining: Combining) -> None:
    assert largest_weight_after_poison(tmp_path, AggregationMode.SEALED, combining) < 2


def test_an_order_whose_rule_needs_more_updates_than_a_round_may_have_is_refused(tmp_path: Path) -> None:
    options = Federation(tmp_path).options
    with pytest.raises(RunRefused, match="5 updates"):
        replace(options, combining=Combining(rule=CombiningRule.KRUM, malicious=1))


@pytest.mark.parametrize("optimiser", ADAPTIVE)
def test_moments_travel_in_the_checkpoint_and_are_part_of_its_name(tmp_path: Path, optimiser: ServerOptimiser) -> None:
    federation = adaptive(tmp_path, optimiser)
    assert last_state(federation, round_number=0).first == {}
    for number in (1, 2):
        state, wire = last_state(federation, round_number=number), federation.store.models[number].wire
        assert list(state.first) == list(state.second) == list(state.weights)
        assert wire.weights_sha256 == sha256_of_state(state) != sha256_of(state.weights)
    assert any(np.any(array) for array in state.first.values())


@pytest.mark.parametrize("moment", ["first", "second"])
def test_changed_moments_are_not_what_the_lineage_names(tmp_path: Path, moment: str) -> None:
    federation = adaptive(tmp_path, ServerOptimiser.FEDADAM)
    wire, state, notary = federation.store.models[-1].wire, last_state(federation), federation.notary(AGGREGATION)
    changed = {name: array + 1e-12 for name, array in getattr(state, moment).items()}
    damages: list[dict[str, Any]] = [{moment: changed}, {"first": {}, "second": {}}]
    for fields in damages:
        context = checkpoint_context(
            study=LEUKEMIA.code, run=RUN, round_number=2, weights_sha256=wire.weights_sha256, sender=AGGREGATION
        )
        recipient = federation.identities[AGGREGATION].sealing_certificate
        sealed = notary.seal(encode_state(replace(state, **fields)), [recipient], context)
        with pytest.raises(CheckpointRefused):
            open_state(notary, wire.model_copy(update={"sealed": sealed}), run=RUN, round_number=2)
        with pytest.raises(CheckpointRefused):
            open_weights(notary, sealed, run=RUN, round_number=2, weights_sha256=wire.weights_sha256)


@pytest.mark.parametrize("optimiser", [ServerOptimiser.FEDAVG, *ADAPTIVE])
def test_the_served_model_holds_weights_only_and_is_named_as_its_lineage_says(
    tmp_path: Path, optimiser: ServerOptimiser
) -> None:
    federation = adaptive(tmp_path, optimiser)
    store, wire = federation.store, federation.store.models[-1].wire
    assert store.served is not None
    model = open_model(
        store.served.sealed,
        recipient=federation.identities[AUTHORITY],
        trust=federation.keys.trust(),
        study=LEUKEMIA.name,
        run=RUN,
        sender=store.served.exporter,
        at=federation.clock.now(),
    )
    assert model.manifest.weights_sha256 == wire.weights_sha256
    assert model.weights is not None
    served, _ = decode_weights(model.weights)
    assert sha256_of(served) == sha256_of(last_state(federation).weights)


def test_a_run_that_starts_from_a_model_with_moments_starts_without_them(tmp_path: Path) -> None:
    federation = adaptive(tmp_path, ServerOptimiser.FEDYOGI)
    parent, before = federation.store.models[-1].wire, last_state(federation)
    federation.options = replace(federation.options, start_from=sha256_of_lineage(parent.lineage))
    federation.store = MemoryRunStore(clock=federation.clock, start=parent)
    federation.nodes = {slug: federation.node(slug) for slug in federation.slugs}
    assert federation.play("d" * 32) == "finished"
    first = last_state(federation, run="d" * 32, round_number=0)
    assert first.first == {}
    assert sha256_of(first.weights) == sha256_of(before.weights)


def test_a_simulation_orders_what_was_asked_for(tmp_path: Path) -> None:
    data = Federation(tmp_path).data
    combining = Combining(rule=CombiningRule.TRIMMED_MEAN, malicious=1)
    server = ServerOptions(optimiser=ServerOptimiser.FEDYOGI, learning_rate=0.1)
    training = TrainingOptions(proximal=0.5)
    asked = SimulationOptions(mode=AggregationMode.SEALED, combining=combining, server=server, training=training)
    ordered = order_options(data, LEUKEMIA, asked)
    assert (ordered.combining, ordered.server, ordered.training.proximal) == (combining, server, 0.5)


def test_a_pull_keeps_the_weights_of_a_run_nearer_to_where_it_began(tmp_path: Path) -> None:
    ways = []
    for number, proximal in enumerate((0.0, 1.0)):
        federation = Federation(tmp_path / str(number))
        federation.options = replace(federation.options, training=TrainingOptions(epochs=3, proximal=proximal))
        assert federation.play() == "finished"
        first, last = (last_state(federation, round_number=place).weights for place in (0, -1))
        ways.append(sum(float(np.square(last[name] - first[name]).sum()) for name in first))
    assert ways[1] < ways[0]
