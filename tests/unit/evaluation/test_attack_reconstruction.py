"""Representatives, the network of several tasks and model inversion on tiny pictures of which all is known."""

import numpy as np
import pytest

from core.evaluation.attacks import model_inversion
from core.evaluation.attacks.gan import Discriminator, Shown, train
from core.evaluation.attacks.gradient_inversion import represent
from core.evaluation.attacks.held import flat
from core.evaluation.attacks.metrics import psnr
from core.learning.weights import Weights
from core.studies import LEUKEMIA
from federated.smooth import SmoothLearner, gradients

SIDE = 8
COLOURS = np.array([[0.8, 0.3, 0.3], [0.3, 0.3, 0.8]])
"""Of each hospital's pictures."""


@pytest.fixture
def weights() -> Weights:
    return SmoothLearner(LEUKEMIA, pool=LEUKEMIA.input_size // SIDE).initial(0)


def coloured(rng: np.random.Generator, owners: np.ndarray, classes: np.ndarray) -> np.ndarray:
    """Surfaces of the hospital's colour with noise; those of class 1 have a dark middle."""
    pictures = COLOURS[owners][:, None, None] + rng.normal(0, 0.02, (len(owners), SIDE, SIDE, 3))
    pictures[classes == 1, 2:6, 2:6] -= 0.2
    return pictures


def test_representatives_have_the_look_of_what_several_gradients_were_made_of(weights: Weights) -> None:
    rng, classes = np.random.default_rng(0), np.repeat([0, 1], 4)
    true = coloured(rng, np.zeros(8, np.int64), classes)
    rounds = [weights, {name: array * np.float32(1.2) for name, array in weights.items()}]
    seen = [(one, flat(gradients(one, true - 0.5, np.eye(2)[classes]).of_weights)) for one in rounds]
    means = np.stack([true[classes == label].mean(axis=0) for label in (0, 1)])
    begun = np.broadcast_to(means.mean(axis=(0, 1, 2)), means.shape)  # the colour of both classes together
    found = represent(seen, begun, np.eye(2), iterations=60)
    blind = represent([(one, rng.permutation(wanted)) for one, wanted in seen], begun, np.eye(2), iterations=60)
    from_start, from_rounds, from_noise = (psnr(one[1], means[1]) for one in (begun, found, blind))
    assert from_rounds > from_start + 3
    assert from_noise < from_start


def test_the_loss_of_several_heads_has_the_slope_that_differences_show(weights: Weights) -> None:
    rng = np.random.default_rng(1)
    discriminator = Discriminator(weights, hospitals=2, rng=rng)
    pictures, way = rng.uniform(0, 1, (4, SIDE, SIDE, 3)), rng.normal(0, 1, (4, SIDE, SIDE, 3))
    towards = discriminator.first_maps(rng.uniform(0, 1, (2, SIDE, SIDE, 3)))
    wanted = {"dense": np.array([0, 1, 0, 1]), "owner": np.array([0, 1, 2, 0]), "real": np.array([0, 0, 1, 1])}
    by_pictures = discriminator.judge(pictures, wanted, towards).of_inputs
    step = 1e-5
    for name in ("owner/kernel", "conv-1/kernel"):
        kernel, turn = discriminator.adam.weights[name], rng.normal(0, 1, discriminator.adam.weights[name].shape)
        slope = float((discriminator.judge(pictures, wanted).of_weights[name] * turn).sum())
        losses = []
        for sign in (1, -1):
            discriminator.adam.weights[name] = kernel + sign * step * turn
            losses.append(discriminator.judge(pictures, wanted).loss)
        discriminator.adam.weights[name] = kernel
        assert slope == pytest.approx((losses[0] - losses[1]) / (2 * step), rel=1e-4)
    ahead, behind = (discriminator.judge(pictures + sign * step * way, wanted, towards).loss for sign in (1, -1))
    assert float((by_pictures * way).sum()) == pytest.approx((ahead - behind) / (2 * step), rel=1e-4)


def test_the_generator_draws_for_each_hospital_what_stands_for_it(weights: Weights) -> None:
    rng = np.random.default_rng(2)
    owners, classes = np.repeat([0, 1], 8), np.tile([0, 1], 8)
    theirs = Shown(coloured(rng, owners, classes), classes, owners)
    own = Shown(np.full((6, SIDE, SIDE, 3), 0.5) + rng.normal(0, 0.05, (6, SIDE, SIDE, 3)), classes[:6], np.full(6, 2))
    generator = train(weights, own, theirs, hospitals=2, steps=150, rng=rng)
    for hospital in (0, 1):
        drawn, _ = generator.draw(np.zeros(16, np.int64), np.full(16, hospital), rng)
        distances = np.abs(drawn.mean(axis=(0, 1, 2)) - COLOURS).sum(axis=1)
        assert distances[hospital] < distances[1 - hospital] / 3


def test_what_sets_a_class_apart_comes_back_from_a_model_and_not_from_noise() -> None:
    rng = np.random.default_rng(3)
    kernel = rng.normal(0, 0.1, (48, 3))
    vector = np.concatenate([kernel.ravel(), np.zeros(3)])
    found = model_inversion.inverted(vector, classes=3)
    true = (kernel - kernel.mean(axis=1, keepdims=True)).T
    assert (model_inversion.correlations(found - found.mean(axis=0), true) > 0.8).all()
    noise = model_inversion.inverted(rng.permutation(vector), classes=3)
    assert (model_inversion.correlations(noise - noise.mean(axis=0), true) < 0.5).all()


def test_a_flat_guess_has_no_correlation() -> None:
    assert model_inversion.correlations(np.zeros((2, 12)), np.ones((2, 12))).tolist() == [0.0, 0.0]
