"""Every network of the registry: its map explains its answer, it learns, and it is served as it was judged."""

from dataclasses import replace

import numpy as np
import pytest
from ai_edge_litert.interpreter import Interpreter

from core.errors import CheckpointRefused
from core.imaging.preprocess import normalise
from core.learning import architectures
from core.learning.architectures.attention import waves
from core.learning.export import TOLERANCE, export_litert
from core.learning.metric_sums import summarise
from core.learning.private_training import PrivateTrainer
from core.learning.run_choices import PrivacyOptions
from core.learning.training import TrainingOptions
from core.studies import LEUKEMIA

SMALL = replace(LEUKEMIA, input_size=32)
NAMES = list(architectures.ARCHITECTURES)
OPTIONS = TrainingOptions(epochs=8, batch=16, seed=1, learning_rate=2e-3, augment=False)


@pytest.fixture(scope="module")
def cells() -> tuple[np.ndarray, np.ndarray]:
    """Noise; in positive images a dark square."""
    rng = np.random.default_rng(0)
    labels = rng.integers(0, 2, 64)
    images = rng.integers(90, 255, (64, 32, 32, 3), np.uint8)
    images[labels == 1, 8:24, 8:24] //= 3
    return images, labels


@pytest.fixture(scope="module", params=NAMES)
def trainer(request: pytest.FixtureRequest) -> PrivateTrainer:
    return PrivateTrainer(request.param, SMALL, jit=False)


def test_an_architecture_says_what_it_is_for() -> None:
    for name, entry in architectures.ARCHITECTURES.items():
        assert len(entry.purpose) > 20, name


@pytest.mark.parametrize("name", NAMES)
def test_the_activation_map_shows_the_numbers_that_made_the_decision(name: str) -> None:
    entry = architectures.find(name)
    model = architectures.build(name, input_size=64, classes=3)
    rng = np.random.default_rng(0)
    shapes = {variable.path: tuple(variable.shape) for variable in model.weights}
    model.set_weights(list(architectures.initial(name, shapes, rng).values()))
    image = rng.random((2, 64, 64, 3), np.float32)
    given = entry.trunk.build(64)(image) if entry.trunk else image
    logits, cam, features = (np.asarray(part) for part in model(given))
    np.testing.assert_allclose(logits, cam.mean(axis=(1, 2)), atol=1e-4)
    kernel, bias = (np.asarray(part) for part in model.get_layer("head").weights)
    np.testing.assert_allclose(logits, features @ kernel + bias, atol=1e-4)


def test_a_network_learns_and_is_served_as_it_was_judged(
    trainer: PrivateTrainer, cells: tuple[np.ndarray, np.ndarray]
) -> None:
    weights, _ = trainer.fit(trainer.initial(0), *cells, OPTIONS)
    assert summarise(trainer.evaluate(weights, *cells), SMALL).auc > 0.9
    runner = Interpreter(model_content=export_litert(weights, trainer.architecture, SMALL)).get_signature_runner()
    served = np.concatenate([runner(image=normalise(cells[0][i : i + 1]))["logits"] for i in range(4)])
    wanted = trainer.logits(weights, cells[0][:4])
    np.testing.assert_allclose(served, wanted, atol=100 * TOLERANCE * np.abs(wanted).max())


@pytest.mark.parametrize("name", NAMES)
def test_members_export_the_same_bytes_whatever_they_built_before(name: str) -> None:
    study = replace(LEUKEMIA, input_size=64, orientations=1)
    model = architectures.build(name, input_size=64, classes=2)
    shapes = {variable.path: tuple(variable.shape) for variable in model.weights}
    weights = architectures.initial(name, shapes, np.random.default_rng(0))
    assert export_litert(weights, name, study) == export_litert(weights, name, study)


def test_the_registry_says_which_networks_train_privately_and_others_are_refused_clearly(
    trainer: PrivateTrainer, cells: tuple[np.ndarray, np.ndarray]
) -> None:
    units = np.arange(len(cells[1]))
    privacy = PrivacyOptions(noise_multiplier=0.1, clip_norm=1.0, sampling_rate=0.5)
    start = trainer.initial(0)

    def train() -> dict[str, np.ndarray]:
        return trainer.fit_privately(start, *cells, units, replace(OPTIONS, epochs=1), privacy=privacy)[0]

    if architectures.find(trainer.architecture).private:
        assert np.abs(train()["head/kernel"] - start["head/kernel"]).max() > 0
    else:
        with pytest.raises(ValueError, match=r"per-example gradient"):
            train()


def test_residual_branches_start_silent_and_kernels_with_the_deviation_they_need() -> None:
    model = architectures.build("residual-small", input_size=32, classes=2)
    shapes = {variable.path: tuple(variable.shape) for variable in model.weights}
    weights = architectures.initial("residual-small", shapes, np.random.default_rng(0))
    assert (weights["stage2a_last_norm/gamma"] == 0).all()
    assert (weights["stage2_down_norm/gamma"] == 1).all()
    assert weights["stage3b_conv/kernel"].std() == pytest.approx(np.sqrt(2 / (9 * 128)), rel=0.02)


def test_every_place_has_waves_of_its_own() -> None:
    places = waves(5, 7, 32)
    assert places.shape == (35, 32)
    apart = np.linalg.norm(places[:, None] - places[None], axis=-1)
    assert apart[~np.eye(35, dtype=bool)].min() > 0.1


def test_unknown_names_and_sizes_are_refused() -> None:
    for name, size, classes in (("unknown", 96, 2), ("vit-small", 8, 2), ("vit-small", 96, 1)):
        with pytest.raises(ValueError, match=r"unknown|at least"):
            architectures.build(name, input_size=size, classes=classes)


def test_weights_of_another_architecture_are_not_exported(trainer: PrivateTrainer) -> None:
    weights = trainer.initial(0)
    weights.pop("head/bias")
    with pytest.raises(CheckpointRefused):
        export_litert(weights, trainer.architecture, SMALL)
