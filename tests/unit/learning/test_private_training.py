"""DP-SGD on a real, small network: what bounds one patient's influence, and that nobody can repeat the noise."""

import math
import os
from collections import Counter
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from core.imaging.preprocess import normalise
from core.learning.architectures import DEFAULT_ARCHITECTURE
from core.learning.example_gradients import check_chain, gradients_by_example
from core.learning.metric_sums import summarise
from core.learning.private_training import (
    MAX_UNIT_IMAGES,
    MICROBATCH,
    PrivateTrainer,
    lay_out,
    pack,
    sample,
)
from core.learning.run_choices import PrivacyOptions, PrivateWeights
from core.learning.secret_draws import SecretDraws
from core.learning.training import TrainingOptions
from core.learning.weights import Weights, sha256_of
from core.studies import LEUKEMIA

SMALL = replace(LEUKEMIA, input_size=16)
CLIP = 0.5


@pytest.fixture(scope="module")
def trainer() -> PrivateTrainer:
    return PrivateTrainer(DEFAULT_ARCHITECTURE, SMALL, jit=False)


@pytest.fixture(scope="module")
def cells() -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Noise; in positive images a dark square; twenty patients of four images."""
    rng = np.random.default_rng(0)
    labels = rng.integers(0, 2, 80)
    images = rng.integers(90, 255, (80, 16, 16, 3), np.uint8)
    images[labels == 1, 4:12, 4:12] //= 3
    return images, labels, np.repeat(np.arange(20), 4)


def clipped_sum(
    trainer: PrivateTrainer, images: np.ndarray, labels: np.ndarray, units: list[np.ndarray], clip: float = CLIP
) -> np.ndarray:
    """The sum of a step before its noise, as one vector."""
    sums = [np.zeros(variable.shape, np.float32) for variable in trainer._steps(PrivateWeights.ALL).variables]
    for load in pack(units):
        rows, mix = lay_out(load)
        batch = normalise(images[rows])
        sums = trainer._steps(PrivateWeights.ALL).add_clipped(
            sums, batch, np.eye(2, dtype=np.float32)[labels[rows]], mix, clip
        )
    return np.concatenate([part.ravel() for part in sums])


def test_gradients_by_example_are_those_of_each_example_alone(trainer: PrivateTrainer) -> None:
    import tensorflow as tf  # noqa: PLC0415

    trainer._load(trainer.initial(0))
    network, rng = trainer._logits, np.random.default_rng(1)
    layers = [layer for layer in network.layers if layer.trainable_variables]
    images = tf.constant(rng.random((3, 16, 16, 3), np.float32))
    targets = tf.constant([[0.9, 0.1], [0.2, 0.8], [0.0, 1.0]])

    together = gradients_by_example(network, layers, images, targets)

    for number in range(3):
        with tf.GradientTape() as tape:
            logits = network(images[number : number + 1])
            loss = tf.nn.softmax_cross_entropy_with_logits(targets[number : number + 1], logits)[0]
        alone = tape.gradient(loss, network.trainable_variables)
        for one, of_all in zip(alone, together, strict=True):
            np.testing.assert_allclose(of_all[number], np.ravel(one), atol=1e-5)


def test_a_network_whose_gradients_are_not_known_is_refused() -> None:
    import keras  # noqa: PLC0415

    image = keras.Input((4, 4, 3))
    network = keras.Model(image, keras.layers.Dense(2)(keras.layers.BatchNormalization()(image)))

    with pytest.raises(ValueError, match="BatchNormalization"):
        check_chain(network)


def test_another_network_that_is_no_chain_is_refused() -> None:
    import keras  # noqa: PLC0415

    image = keras.Input((4, 4, 3))
    network = keras.Model(image, keras.layers.Add()([image, keras.layers.Activation("relu")(image)]))

    with pytest.raises(ValueError, match="chain"):
        check_chain(network)


def test_one_patient_moves_the_sum_by_at_most_twice_the_clipping_norm(
    trainer: PrivateTrainer, cells: tuple[np.ndarray, np.ndarray, np.ndarray]
) -> None:
    images, labels, units = cells
    trainer._load(trainer.initial(0))
    patients = [np.flatnonzero(units == number) for number in range(10)]
    before = clipped_sum(trainer, images, labels, patients)

    other, other_labels = images.copy(), labels.copy()
    other[patients[3]] = np.random.default_rng(9).choice([0, 255], (4, 16, 16, 3))
    other_labels[patients[3]] = 1 - labels[patients[3]]
    exchanged = clipped_sum(trainer, other, other_labels, patients)
    without = clipped_sum(trainer, images, labels, [*patients[:3], *patients[4:]])

    assert 0 < np.linalg.norm(exchanged - before) <= 2 * CLIP * (1 + 1e-4)
    assert 0 < np.linalg.norm(without - before) <= CLIP * (1 + 1e-4)


def test_gradients_below_the_clipping_norm_are_added_as_they_are(
    trainer: PrivateTrainer, cells: tuple[np.ndarray, np.ndarray, np.ndarray]
) -> None:
    images, labels, units = cells
    trainer._load(trainer.initial(0))
    patients = [np.flatnonzero(units == number) for number in range(3)]

    alone = [clipped_sum(trainer, images, labels, [patient], clip=1e6) for patient in patients]

    np.testing.assert_allclose(clipped_sum(trainer, images, labels, patients, clip=1e6), sum(alone), atol=1e-4)
    clipped = clipped_sum(trainer, images, labels, [patients[0]], clip=float(np.linalg.norm(alone[0])) / 2)
    np.testing.assert_allclose(clipped, alone[0] / 2, atol=1e-4)


def test_a_gradient_that_is_no_number_never_reaches_the_sum(
    trainer: PrivateTrainer, cells: tuple[np.ndarray, np.ndarray, np.ndarray]
) -> None:
    _, labels, _ = cells
    trainer._load(trainer.initial(0))
    rows, mix = lay_out([np.arange(4), np.arange(4, 8)])
    batch = np.random.default_rng(0).random((MICROBATCH, 16, 16, 3), np.float32)
    targets = np.eye(2, dtype=np.float32)[labels[rows]]
    targets[4:8] = np.nan
    zeros = [np.zeros(variable.shape, np.float32) for variable in trainer._steps(PrivateWeights.ALL).variables]

    sums = trainer._steps(PrivateWeights.ALL).add_clipped(zeros, batch, targets, mix, CLIP)

    assert all(np.isfinite(part).all() for part in sums)


def test_private_training_learns_when_the_noise_is_small(
    trainer: PrivateTrainer, cells: tuple[np.ndarray, np.ndarray, np.ndarray]
) -> None:
    images, labels, units = cells
    start = trainer.initial(0)
    options = TrainingOptions(epochs=8, learning_rate=5e-3, augment=False)
    privacy = PrivacyOptions(noise_multiplier=0.01, clip_norm=1.0, sampling_rate=0.5)

    new, report = trainer.fit_privately(start, images, labels, units, options, privacy=privacy)

    assert (report.images, report.steps, report.stopped) == (80, 16, False)
    assert math.isnan(report.loss), "the loss would tell of the images without noise"
    before, after = (summarise(trainer.evaluate(weights, images, labels), SMALL).auc for weights in (start, new))
    assert after > max(before, 0.8)


def test_the_noise_has_its_stated_deviation(
    trainer: PrivateTrainer, cells: tuple[np.ndarray, np.ndarray, np.ndarray], monkeypatch: pytest.MonkeyPatch
) -> None:
    images, labels, units = cells
    seen: list[np.ndarray] = []
    monkeypatch.setattr(
        trainer._steps(PrivateWeights.ALL),
        "descend",
        lambda _optimizer, gradients, *_: seen.append(np.concatenate([*map(np.ravel, gradients)])),
    )
    privacy = PrivacyOptions(noise_multiplier=3.0, clip_norm=0.01, sampling_rate=0.25)

    trainer.fit_privately(trainer.initial(0), images, labels, units, TrainingOptions(epochs=1), privacy=privacy)

    assert len(seen) == 4
    for gradient in seen:  # divided by the expected number of patients, 0.25 * 20, never by the number drawn
        assert np.std(gradient) == pytest.approx(3.0 * 0.01 / 5, rel=0.02)


def test_nobody_can_repeat_the_noise_from_the_order(
    trainer: PrivateTrainer, cells: tuple[np.ndarray, np.ndarray, np.ndarray], monkeypatch: pytest.MonkeyPatch
) -> None:
    images, labels, units = cells
    keys: list[int] = []

    def fresh(size: int) -> bytes:
        keys.append(size)
        return os.urandom(size)

    monkeypatch.setattr("core.learning.secret_draws.secrets.token_bytes", fresh)
    start, options = trainer.initial(0), TrainingOptions(epochs=1, seed=5)
    privacy = PrivacyOptions(noise_multiplier=1.0, sampling_rate=0.5)

    def train() -> Weights:
        return trainer.fit_privately(start, images, labels, units, options, privacy=privacy)[0]

    assert sha256_of(train()) != sha256_of(train())
    assert keys == [32, 32], "each training takes a fresh key from the operating system"


def test_it_ends_when_it_is_asked_to(trainer: PrivateTrainer, cells: tuple[np.ndarray, np.ndarray, np.ndarray]) -> None:
    images, labels, units = cells
    told: list[tuple[int, int]] = []

    _, report = trainer.fit_privately(
        trainer.initial(0),
        images,
        labels,
        units,
        TrainingOptions(epochs=2),
        privacy=PrivacyOptions(noise_multiplier=1.0, sampling_rate=0.5),
        should_stop=lambda: len(told) == 2,
        progress=lambda done, total, _loss: told.append((done, total)),
    )

    assert report.stopped
    assert (report.steps, told) == (2, [(1, 4), (2, 4)])


def test_units_with_gaps_are_refused(trainer: PrivateTrainer, cells: tuple[np.ndarray, np.ndarray, np.ndarray]) -> None:
    images, labels, units = cells
    with pytest.raises(ValueError, match="gaps"):
        trainer.fit_privately(
            trainer.initial(0),
            images,
            labels,
            units * 2,
            TrainingOptions(),
            privacy=PrivacyOptions(noise_multiplier=1.0),
        )


def test_each_patient_is_drawn_by_itself_with_the_sampling_rate() -> None:
    members, draws, trials = [np.arange(3) + 3 * number for number in range(40)], SecretDraws(), 2000
    sizes: list[int] = []
    counts: Counter[int] = Counter()
    for _ in range(trials):
        drawn = sample(members, 0.2, draws)
        sizes.append(len(drawn))
        counts.update(int(unit[0]) // 3 for unit in drawn)

    # number drawn: binomial(40, 0.2), mean 8, variance 6.4; each bound is some five deviations wide
    assert np.mean(sizes) == pytest.approx(8, abs=5 * math.sqrt(6.4 / trials))
    assert np.var(sizes) == pytest.approx(6.4, rel=0.2)
    for number in range(40):
        assert counts[number] / trials == pytest.approx(0.2, abs=5 * math.sqrt(0.16 / trials))


def test_every_patient_is_in_every_step_when_the_rate_is_one() -> None:
    assert len(sample([np.arange(2)] * 50, 1.0, SecretDraws())) == 50


def test_a_large_patient_lends_a_step_other_images_each_time() -> None:
    draws, members = SecretDraws(), [np.arange(1000)]
    first, second = (sample(members, 1.0, draws)[0] for _ in range(2))

    assert len(first) == len(set(first.tolist())) == MAX_UNIT_IMAGES
    assert set(first.tolist()) != set(second.tolist())


@given(st.lists(st.integers(1, MICROBATCH), max_size=60))
def test_loads_hold_every_unit_once_and_undivided(sizes: list[int]) -> None:
    ends = np.cumsum(sizes, dtype=int)
    units = [np.arange(end - size, end) for end, size in zip(ends, sizes, strict=True)]

    loads = pack(units)

    assert sorted(int(unit[0]) for load in loads for unit in load) == [int(unit[0]) for unit in units]
    for load in loads:
        rows, mix = lay_out(load)
        assert sum(map(len, load)) <= MICROBATCH == len(rows)
        np.testing.assert_allclose(mix.sum(axis=1), np.arange(MICROBATCH) < len(load), atol=1e-6)
        for weights, unit in zip(mix, load, strict=False):
            assert rows[weights > 0].tolist() == unit.tolist()


def test_secret_draws_are_uniform_and_normal() -> None:
    draws = SecretDraws()
    uniform, normal = draws.uniform(200_001), draws.normal(200_001)

    assert (uniform.min() > 0) & (uniform.max() <= 1)
    assert uniform.mean() == pytest.approx(0.5, abs=0.004)
    assert normal.dtype == np.float32
    assert normal.shape == (200_001,)
    assert normal.mean() == pytest.approx(0, abs=0.012)
    assert normal.std() == pytest.approx(1, abs=0.01)
    assert np.mean(np.abs(normal) < 1.959964) == pytest.approx(0.95, abs=0.0025)


def test_training_the_norms_and_the_head_only_leaves_the_convolutions_as_they_were(
    trainer: PrivateTrainer, cells: tuple[np.ndarray, np.ndarray, np.ndarray]
) -> None:
    images, labels, units = cells
    start = trainer.initial(0)
    privacy = PrivacyOptions(noise_multiplier=1.0, sampling_rate=0.5, weights=PrivateWeights.NORMS_AND_HEAD)

    new, _ = trainer.fit_privately(start, images, labels, units, TrainingOptions(epochs=1), privacy=privacy)

    changed = {name for name in start if not np.array_equal(start[name], new[name])}
    assert changed == {name for name in start if "conv" not in name}
