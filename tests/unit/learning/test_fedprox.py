"""FedProx in local training: the pull is the paper's, it is compiled once, and without it nothing changes."""

from dataclasses import replace
from typing import Any

import numpy as np
import pytest

from core.learning.architectures import DEFAULT_ARCHITECTURE
from core.learning.fedprox import proximal_adamw
from core.learning.training import MAX_PROXIMAL, Trainer, TrainingOptions
from core.learning.weights import Weights, sha256_of
from core.studies import LEUKEMIA

SMALL = replace(LEUKEMIA, input_size=16)
OPTIONS = TrainingOptions(epochs=2, batch=16, seed=3)
SETTINGS = {"weight_decay": 1e-2, "global_clipnorm": 1.0}


@pytest.fixture(scope="module")
def trainer() -> Trainer:
    return Trainer(DEFAULT_ARCHITECTURE, SMALL, jit=False)


@pytest.fixture(scope="module")
def cells() -> tuple[np.ndarray, np.ndarray]:
    """Noise; in positive images a dark square."""
    rng = np.random.default_rng(0)
    labels = rng.integers(0, 2, 64)
    images = rng.integers(90, 255, (64, 16, 16, 3), np.uint8)
    images[labels == 1, 4:12, 4:12] //= 3
    return images, labels


def variables() -> list[Any]:
    """Two Keras variables, with the same values each time."""
    import keras  # noqa: PLC0415  imports TensorFlow

    return [keras.Variable(np.array(values, np.float32)) for values in ([0.5, -0.25], [[1.0], [2.0]])]


def way(start: Weights, end: Weights) -> float:
    return float(np.sqrt(sum(np.square(end[name] - start[name]).sum() for name in start)))


def test_the_step_is_that_of_adamw_on_gradients_with_the_pull_added() -> None:
    import keras  # noqa: PLC0415  imports TensorFlow

    strength, rng = 0.3, np.random.default_rng(0)
    ours, plain = variables(), variables()
    start = [variable.numpy().copy() for variable in ours]
    proximal, adamw = proximal_adamw(0.1, **SETTINGS), keras.optimizers.AdamW(0.1, **SETTINGS)
    proximal.build(ours)
    adamw.build(plain)
    proximal.hold(strength)
    for _step in range(4):
        gradients = [rng.normal(size=centre.shape).astype(np.float32) for centre in start]
        pull = [np.float32(strength) * (v.numpy() - centre) for v, centre in zip(plain, start, strict=True)]
        proximal.apply(gradients, ours)
        adamw.apply([gradient + part for gradient, part in zip(gradients, pull, strict=True)], plain)
    for one, other in zip(ours, plain, strict=True):
        np.testing.assert_allclose(one.numpy(), other.numpy(), rtol=1e-6)


def test_the_stronger_the_pull_the_nearer_training_stays_to_where_it_began(
    trainer: Trainer, cells: tuple[np.ndarray, np.ndarray]
) -> None:
    start = trainer.initial(0)
    ways = [
        way(start, trainer.fit(start, *cells, replace(OPTIONS, proximal=strength))[0])
        for strength in (0.0, 0.1, MAX_PROXIMAL)
    ]
    assert ways[0] > ways[1] > ways[2] > 0


def test_training_without_the_pull_gives_the_same_weights_before_and_after_training_with_it(
    cells: tuple[np.ndarray, np.ndarray],
) -> None:
    fresh, used = (Trainer(DEFAULT_ARCHITECTURE, SMALL, jit=False, threads=1) for _ in range(2))
    start = fresh.initial(0)
    used.fit(start, *cells, replace(OPTIONS, proximal=1.0))
    expected, got = fresh.fit(start, *cells, OPTIONS)[0], used.fit(start, *cells, OPTIONS)[0]
    for name, array in expected.items():
        np.testing.assert_allclose(got[name], array, atol=1e-5)


def test_a_faint_pull_trains_as_none_does(trainer: Trainer, cells: tuple[np.ndarray, np.ndarray]) -> None:
    start = trainer.initial(0)
    none, _ = trainer.fit(start, *cells, OPTIONS)
    faint, report = trainer.fit(start, *cells, replace(OPTIONS, proximal=1e-9))
    assert report.steps == 8
    for name, array in none.items():
        np.testing.assert_allclose(faint[name], array, atol=1e-4)


def test_each_training_is_pulled_to_its_own_start(trainer: Trainer, cells: tuple[np.ndarray, np.ndarray]) -> None:
    strong = replace(OPTIONS, proximal=MAX_PROXIMAL)
    for seed in (1, 2):
        start = trainer.initial(seed)
        assert way(start, trainer.fit(start, *cells, strong)[0]) < 0.5 * way(trainer.initial(1), trainer.initial(2))


def test_nodes_rounds_and_strengths_share_one_compiled_step(
    cells: tuple[np.ndarray, np.ndarray], monkeypatch: pytest.MonkeyPatch
) -> None:
    trainer = Trainer(DEFAULT_ARCHITECTURE, SMALL, jit=False)
    strong = replace(OPTIONS, epochs=1, proximal=1.0)
    trainer.fit(trainer.initial(0), *cells, strong)
    ((_, optimizer),) = trainer._solvers.values()
    traced: list[int] = []
    monkeypatch.setattr(optimizer, "apply", lambda *_arguments: traced.append(1))
    trainer.fit(trainer.initial(1), *cells, replace(strong, proximal=0.01, seed=9, first_epoch=3, planned_epochs=6))
    assert traced == []


def test_training_leaves_the_weights_it_started_from_alone(
    trainer: Trainer, cells: tuple[np.ndarray, np.ndarray]
) -> None:
    start = trainer.initial(0)
    before = sha256_of(start)
    trainer.fit(start, *cells, replace(OPTIONS, proximal=1.0))
    assert sha256_of(start) == before


@pytest.mark.parametrize("strength", [-0.1, MAX_PROXIMAL + 1, float("nan")])
def test_a_pull_that_cannot_be_is_refused(strength: float) -> None:
    with pytest.raises(ValueError, match="proximal"):
        TrainingOptions(proximal=strength)
