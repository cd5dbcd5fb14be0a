"""A small generative adversarial network with a discriminator of several tasks (mGAN-AI: Wang et al. 2019), in NumPy.

The discriminator is the hospitals' own network with two more heads: is a picture real, what class is it of, whose is
it? The generator draws pictures for a class and a hospital. Both are trained by Adam (Kingma and Ba 2015).
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from core.learning.weights import Weights
from federated.smooth import Gradients, Trunk, cross_entropy

NOISE, HIDDEN, BATCH = 16, 128, 16
RATE = 2e-3
MATCHING = 10.0
_MOMENTS, _LEAST = (0.5, 0.999), 1e-8
_SMALL = 0.01
_EDGE = 0.02
Floats = NDArray[np.float64]
Places = NDArray[np.int64]
Array = NDArray[Any]
Learn = Callable[[Floats, float], None]
"""Told the gradient by the pictures that were drawn, and how far to go against it."""


@dataclass(frozen=True, eq=False)
class Shown:
    """Pictures that the discriminator is told about.

    Attributes:
        pictures: [n, side, side, 3] from 0 to 1.
        classes: int64[n].
        owners: int64[n]; the hospital, or their number for pictures that are no hospital's.
    """

    pictures: Floats
    classes: Places
    owners: Places

    def drawn(self, rng: np.random.Generator) -> "Shown":
        """Return `BATCH` of them."""
        which = rng.integers(0, len(self.classes), BATCH)
        return Shown(self.pictures[which], self.classes[which], self.owners[which])


@dataclass(eq=False)
class Adam:
    """Weights that go down a gradient, with moments for each (Kingma and Ba 2015)."""

    weights: dict[str, Array]
    _first: dict[str, Array] = field(default_factory=dict)
    _second: dict[str, Array] = field(default_factory=dict)
    _steps: int = 0

    def step(self, gradient: Mapping[str, Array], rate: float) -> None:
        """Go one step of `rate` against `gradient`."""
        self._steps += 1
        one, two = _MOMENTS
        for name, slope in gradient.items():
            first = self._first[name] = one * self._first.get(name, 0.0) + (1 - one) * slope
            second = self._second[name] = two * self._second.get(name, 0.0) + (1 - two) * slope**2
            length = np.sqrt(second / (1 - two**self._steps)) + _LEAST
            self.weights[name] = self.weights[name] - rate * first / (1 - one**self._steps) / length


class Generator:
    """Draws pictures for a class and a hospital: two dense layers, which begin with the adversary's mean picture.

    Args:
        mean: that picture, [side, side, 3].
        classes: number of classes.
        hospitals: number of hospitals.
        rng: draws the first weights.
    """

    def __init__(self, mean: Floats, *, classes: int, hospitals: int, rng: np.random.Generator) -> None:
        inside = np.clip(mean, _EDGE, 1 - _EDGE).ravel()
        self._kinds, self._classes, self._shape = classes * hospitals, classes, mean.shape
        self.adam = Adam(
            {
                "in/kernel": rng.normal(0, 1 / np.sqrt(NOISE), (NOISE + self._kinds, HIDDEN)),
                "in/bias": np.zeros(HIDDEN),
                "out/kernel": rng.normal(0, _SMALL, (HIDDEN, inside.size)),
                "out/bias": np.log(inside / (1 - inside)),
            }
        )

    def draw(self, classes: Places, owners: Places, rng: np.random.Generator) -> tuple[Floats, Learn]:
        """Return pictures [n, side, side, 3] from 0 to 1, and what learns from a gradient by them."""
        weights = self.adam.weights
        given = np.hstack(
            [rng.normal(0, 1, (len(classes), NOISE)), np.eye(self._kinds)[owners * self._classes + classes]]
        )
        hidden = np.tanh(given @ weights["in/kernel"] + weights["in/bias"])
        out = 1 / (1 + np.exp(-(hidden @ weights["out/kernel"] + weights["out/bias"])))

        def learn(of_pictures: Floats, rate: float) -> None:
            back = of_pictures.reshape(out.shape) * out * (1 - out)
            before = back @ weights["out/kernel"].T * (1 - hidden**2)
            self.adam.step(
                {
                    "in/kernel": given.T @ before,
                    "in/bias": before.sum(axis=0),
                    "out/kernel": hidden.T @ back,
                    "out/bias": back.sum(axis=0),
                },
                rate,
            )

        return out.reshape(len(classes), *self._shape), learn


class Discriminator:
    """The hospitals' network with heads for what is real and whose it is beside the one for the class.

    Args:
        weights: of the network as the hospitals have it.
        hospitals: number of hospitals.
        rng: draws the new heads.
    """

    def __init__(self, weights: Weights, *, hospitals: int, rng: np.random.Generator) -> None:
        exact = {name: array.astype(np.float64) for name, array in weights.items()}
        features = len(exact["dense/kernel"])
        for name, outputs in {"real": 2, "owner": hospitals + 1}.items():
            exact |= {f"{name}/kernel": rng.normal(0, _SMALL, (features, outputs)), f"{name}/bias": np.zeros(outputs)}
        self.adam = Adam(exact)

    def judge(self, pictures: Floats, wanted: Mapping[str, Places], towards: Floats | None = None) -> Gradients:
        """Return a loss and its gradients by the weights that it depends on, and by the pictures.

        The loss is the sum of the heads' mean cross-entropies to `wanted`, and, where maps are wanted, of
        `MATCHING` times the relative squared distance to them of the first maps, averaged over each kind's pictures.

        Args:
            pictures: [n, side, side, 3] from 0 to 1.
            wanted: head -> int64[n].
            towards: mean first maps [kinds, h, w, channels]; then pictures come kind by kind, equally many of each.
        """
        weights, trunk = self.adam.weights, Trunk.of(self.adam.weights, pictures - 0.5)
        found: dict[str, Array] = {}
        loss, back = 0.0, np.zeros_like(trunk.features)
        for head, answers in wanted.items():
            kernel, bias = weights[f"{head}/kernel"], weights[f"{head}/bias"]
            entropy, error = cross_entropy(trunk.features @ kernel + bias, np.eye(bias.size)[answers])
            loss += entropy
            found |= {f"{head}/kernel": trunk.features.T @ error, f"{head}/bias": error.sum(axis=0)}
            back += error @ kernel.T
        of_first: Floats | float = 0.0
        if towards is not None:
            first, each = trunk.layers[0][2], len(pictures) // len(towards)
            away = first.reshape(len(towards), each, *first.shape[1:]).mean(axis=1) - towards
            weight = MATCHING / float((towards**2).sum())
            loss += weight * float((away**2).sum())
            of_first = np.repeat(2 * weight / each * away, each, axis=0)
        below, of_pictures = trunk.pulled(back, of_first)
        return Gradients(loss, found | below, of_pictures)

    def first_maps(self, pictures: Floats) -> Floats:
        """Return what the first convolution makes of pictures [n, side, side, 3] from 0 to 1: [n, h, w, channels]."""
        return np.asarray(Trunk.of(self.adam.weights, pictures - 0.5).layers[0][2], np.float64)


def train(
    weights: Weights, own: Shown, theirs: Shown, *, hospitals: int, steps: int, rng: np.random.Generator
) -> Generator:
    """Train both against each other and return the generator.

    Args:
        weights: of the hospitals' network.
        own: the adversary's pictures; no hospital's.
        theirs: what it made of the hospitals' updates.
        hospitals: their number.
        steps: of each of both.
        rng: draws weights, batches and noise.
    """
    classes = weights["dense/bias"].size
    generator = Generator(own.pictures.mean(axis=0), classes=classes, hospitals=hospitals, rng=rng)
    discriminator = Discriminator(weights, hospitals=hospitals, rng=rng)
    real = np.ones(BATCH, np.int64)
    kinds = np.unique(np.column_stack([theirs.owners, theirs.classes]), axis=0)
    owners, labels = np.repeat(kinds, -(-BATCH // len(kinds)), axis=0).T
    places = [np.flatnonzero((theirs.owners == owner) & (theirs.classes == label)) for owner, label in kinds]
    for rate in np.linspace(RATE, 0, steps):
        drawn, learn = generator.draw(labels, owners, rng)
        told = [
            discriminator.judge(one.pictures, {"dense": one.classes, "owner": one.owners, "real": real})
            for one in (own.drawn(rng), theirs.drawn(rng))
        ]
        told.append(discriminator.judge(drawn, {"real": np.zeros_like(labels)}))
        total: dict[str, Array] = {}
        for one in told:
            total |= {name: total[name] + slope if name in total else slope for name, slope in one.of_weights.items()}
        discriminator.adam.step(total, rate)
        seen = discriminator.first_maps(theirs.pictures)
        towards = np.stack([seen[which].mean(axis=0) for which in places])
        wanted = {"dense": labels, "owner": owners, "real": np.ones_like(labels)}
        learn(discriminator.judge(drawn, wanted, towards).of_inputs, rate)
    return generator
