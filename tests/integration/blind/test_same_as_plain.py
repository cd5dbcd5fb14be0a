"""With the same local updates `blind` gives the model that `plain` gives, but for the rounding that is stated."""

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from core.learning.orders import AggregationMode, Member, RunOptions
from core.learning.run_choices import ServerOptimiser, ServerOptions
from core.learning.training import TrainingOptions
from core.studies import LEUKEMIA
from federated.aggregation.blind.circle import circle_of
from federated.aggregation.blind.payload import decode_update, encode_update, update_encoding
from federated.checkpoints import open_model
from tests.federation import RUN, Federation

SLUGS = ("east", "inner", "north", "south", "west")


@settings(max_examples=60)
@given(
    images=st.lists(st.integers(1, 5000), min_size=3, max_size=12),
    seed=st.integers(0, 2**32),
    size=st.integers(1, 50),
    spread=st.sampled_from([1e-6, 1e-2, 1.0, 3.9]),
    taking=st.integers(3, 12),
)
def test_the_mean_of_encoded_updates_is_off_by_no_more_than_stated(
    images: list[int], seed: int, size: int, spread: float, taking: int
) -> None:
    members = tuple(
        Member(party=f"m{number:02}.training", dataset="d", images=count, validation=1)
        for number, count in enumerate(images)
    )
    options = RunOptions(study=LEUKEMIA.code, mode=AggregationMode.BLIND, rounds=1, members=members)
    circle = circle_of(options, order=b"order", round_number=1)
    rng = np.random.default_rng(seed)
    survivors = members[: max(3, min(taking, len(members)))]
    deltas = [{"w": rng.uniform(-spread, spread, size).astype(np.float32)} for _ in survivors]
    encoding = update_encoding(options, circle)
    total = np.zeros(size + 1, encoding.dtype)
    for member, delta in zip(survivors, deltas, strict=True):
        words, clipped = encode_update(delta, member.images, options=options, circle=circle)
        assert clipped == 0
        total += words
    mean, counted = decode_update(total, deltas[0], options=options, circle=circle)
    weights = np.array([member.images for member in survivors], np.float64)
    exact = sum(w * delta["w"].astype(np.float64) for w, delta in zip(weights, deltas, strict=True)) / weights.sum()
    assert counted == weights.sum()
    bound = encoding.mean_error(counted / max(images))
    assert np.abs(mean["w"] - exact).max() <= bound + 1e-15


def checkpoints(folder: Path, mode: AggregationMode, **changes: Any) -> tuple[Federation, list[dict[str, np.ndarray]]]:
    """The weights of all rounds of a run."""
    federation = Federation(folder, mode=mode, rounds=1, slugs=SLUGS)
    federation.options = replace(federation.options, **changes)
    assert federation.play() == "finished", federation.store.reason
    notary = federation.notary("east.training")
    return federation, [
        open_model(notary, model.wire, run=RUN, round_number=model.round)[0] for model in federation.store.models
    ]


def test_a_real_round_in_blind_ends_with_plains_checkpoint_but_for_the_stated_error(tmp_path: Path) -> None:
    other, plain = checkpoints(tmp_path / "plain", AggregationMode.PLAIN)
    federation, blind = checkpoints(tmp_path / "blind", AggregationMode.BLIND)
    options = federation.options
    circle = circle_of(options, order=federation.order(), round_number=1)
    images = [member.images for member in options.members]
    bound = update_encoding(options, circle).mean_error(sum(images) / max(images))
    assert bound < 1e-5
    for name, array in plain[0].items():
        assert np.array_equal(array, blind[0][name]), "both begin with what the seed gives"
        apart = np.abs(plain[1][name].astype(np.float64) - blind[1][name].astype(np.float64))
        rounding = np.spacing(np.abs(plain[1][name])).astype(np.float64)  # each side rounds to float32 once
        assert np.all(apart <= bound + rounding)
        assert not np.array_equal(plain[0][name], plain[1][name])
    figures = federation.store.models[1].metrics
    assert figures["images"] == other.store.models[1].metrics["images"]
    assert figures["auc"] == pytest.approx(other.store.models[1].metrics["auc"], abs=1e-6)


@pytest.mark.parametrize("optimiser", list(ServerOptimiser))
def test_each_server_optimiser_and_the_nodes_pull_give_in_blind_what_they_give_in_plain(
    tmp_path: Path, optimiser: ServerOptimiser
) -> None:
    server = ServerOptions(optimiser=optimiser, learning_rate=0.05)
    changes = {"server": server, "training": TrainingOptions(epochs=3, proximal=0.5)}
    _, plain = checkpoints(tmp_path / "plain", AggregationMode.PLAIN, **changes)
    _, blind = checkpoints(tmp_path / "blind", AggregationMode.BLIND, **changes)
    slope = server.learning_rate * (1 if optimiser is ServerOptimiser.FEDAVG else 1 / server.tau)
    for name, array in plain[1].items():
        apart = np.abs(array.astype(np.float64) - blind[1][name].astype(np.float64))
        assert apart.max() <= slope * 1e-5 + np.spacing(np.abs(array)).max(), "a step is no steeper than that"
        assert np.abs(array - plain[0][name]).max() > 100 * apart.max()
