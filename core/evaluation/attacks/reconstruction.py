"""Reconstruction of a user: from what the cloud held of each hospital's updates of a run to pictures like its own.

mGAN-AI (Wang et al. 2019, "Beyond inferring class representatives"): pictures that stand for a hospital's are looked
for from its updates, and a generator with a discriminator of several tasks learns from them (`gan`).
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from core.errors import DatasetRefused
from core.evaluation.attacks.bench import Bench
from core.evaluation.attacks.gan import Shown, train
from core.evaluation.attacks.gradient_inversion import represent
from core.evaluation.attacks.held import flat, play_rounds, vector_of
from core.evaluation.attacks.inversion import Tried, draw, likeness
from core.evaluation.attacks.metrics import mean_interval, psnr
from core.evaluation.attacks.pictures import Pictures
from core.evaluation.attacks.result import Attacked, Figure, View
from core.imaging.squares import Squares
from core.learning.orders import AggregationMode
from core.learning.training import Progress, ShouldStop, TrainingOptions, TrainingReport
from core.learning.weights import Weights
from core.studies import Study
from federated.smooth import SmoothLearner

NAME = "user-reconstruction"
SIDE = 32
HOSPITALS, ROUNDS, EACH = 4, 3, 8
"""Hospitals of a run, its rounds, and pictures of each class that each has."""
REPRESENTATIVES, ITERATIONS, STEPS = 2, 120, 200
"""Of each class, of their search, and of the generator's training."""
DRAWN = 32
_NOISE = 0.05
Floats = NDArray[np.float64]
Places = NDArray[np.int64]


class TellingLearner(SmoothLearner):
    """The small network, which also tells what weights each training began with: more than a blind cloud knows."""

    def __init__(self, study: Study) -> None:
        super().__init__(study, pool=study.input_size // SIDE)
        self.begun: list[Weights] = []

    def fit(
        self,
        weights: Weights,
        images: Squares,
        labels: NDArray[np.int64],
        options: TrainingOptions,
        *,
        should_stop: ShouldStop,
        progress: Progress,
    ) -> tuple[Weights, TrainingReport]:
        """See `Learner.fit`."""
        self.begun.append(weights)
        return super().fit(weights, images, labels, options, should_stop=should_stop, progress=progress)


@dataclass(frozen=True, eq=False)
class Drawn:
    """One hospital and class.

    Attributes:
        tried: the hospital's mean picture, that of what was drawn for it, and the adversary's mean of the class.
        representative: mean of the pictures that were found to stand for it.
        others: mean pictures of the class in the other hospitals.
    """

    tried: Tried
    representative: Floats
    others: Sequence[Floats]

    @property
    def is_nearest(self) -> bool:
        """Whether what was drawn is nearer to this hospital's mean than to any other's."""
        return psnr(self.tried.found, self.tried.true) > max(psnr(self.tried.found, one) for one in self.others)


def attack(bench: Bench) -> list[Attacked]:
    """Reconstruct in each mode."""
    return [_in_mode(bench, mode, bench.profile.reconstructions[mode]) for mode in AggregationMode]


def _in_mode(bench: Bench, mode: AggregationMode, runs: int) -> Attacked:
    found: list[Drawn] = []
    for number in range(runs):
        bench.say(f"reconstructing what hospitals have, mode {mode.value}", number, runs)
        found += reconstruct(bench, mode, number)
    tried = [one.tried for one in found]
    representatives = np.array([psnr(one.representative, one.tried.true) for one in found])
    return Attacked(
        attack=NAME,
        adversary="cloud",
        view=View(mode.value),
        figure=Figure.PRIVACY,
        trials=len(found),
        successes=sum(one.tried.is_recovered and one.is_nearest for one in found),
        figures=likeness(tried)
        | {
            "psnr representatives": mean_interval(representatives),
            "share nearest to its own hospital": float(np.mean([one.is_nearest for one in found])),
            "runs": runs,
            "pixels": SIDE,
        },
        seed=bench.seed,
        picture=draw(tried, bench.out / "attacks" / f"{NAME}-{mode.value}.png"),
    )


def reconstruct(bench: Bench, mode: AggregationMode, number: int) -> list[Drawn]:
    """Play one run and reconstruct each hospital's pictures of each class.

    Raises:
        DatasetRefused: no class has enough pictures.
        RunRefused: the run failed.
    """
    rng = np.random.default_rng([bench.seed, 12, number])
    places = _dealt(bench.theirs, rng)
    batches = [np.concatenate([each[hospital] for each in places.values()]) for hospital in range(HOSPITALS)]
    learner = TellingLearner(bench.study)
    held = play_rounds(
        mode,
        [(bench.theirs.images[which], bench.theirs.labels[which]) for which in batches],
        bench.own,
        study=bench.study,
        learner=learner,
        steps=1,
        seed=bench.seed,
        rounds=ROUNDS,
    )
    weights = learner.begun[::HOSPITALS]
    own = learner.inputs(bench.own.images).astype(np.float64) + 0.5
    labels = np.repeat(list(places), REPRESENTATIVES)
    targets = learner.targets(labels)
    usual = _usual(learner, weights[0], bench.own, batches[0].size)
    size, shape = flat(weights[0]).size, (len(labels), *own.shape[1:])
    found = []
    for hospital in range(HOSPITALS):
        seen = []
        for before, uploads in zip(weights, held, strict=True):
            wanted = -vector_of(mode, uploads[hospital], size) / learner.RATE
            if mode is not AggregationMode.PLAIN:  # as in `inversion`: its scale says nothing
                wanted *= usual / np.linalg.norm(wanted)
            seen.append((before, wanted))
        begun = np.clip(own.mean(axis=0) + rng.normal(0, _NOISE, shape), 0, 1)
        found.append(represent(seen, begun, targets, iterations=ITERATIONS))
    theirs = Shown(np.concatenate(found), np.tile(labels, HOSPITALS), np.repeat(range(HOSPITALS), len(labels)))
    nobodys = Shown(own, bench.own.labels, np.full(len(own), HOSPITALS))
    generator = train(weights[-1], nobodys, theirs, hospitals=HOSPITALS, steps=STEPS, rng=rng)
    outcome = []
    for label, each in places.items():
        true = [learner.inputs(bench.theirs.images[which]).mean(axis=0).astype(np.float64) + 0.5 for which in each]
        guess = own[bench.own.labels == label].mean(axis=0)
        for hospital in range(HOSPITALS):
            pictures, _ = generator.draw(np.full(DRAWN, label), np.full(DRAWN, hospital), rng)
            tried = Tried(true[hospital], pictures.mean(axis=0), guess)
            representative = found[hospital][labels == label].mean(axis=0)
            outcome.append(Drawn(tried, representative, true[:hospital] + true[hospital + 1 :]))
    return outcome


def _dealt(pictures: Pictures, rng: np.random.Generator) -> dict[int, list[Places]]:
    """Return, of each class with enough pictures, the places of each hospital's.

    Raises:
        DatasetRefused: no class has enough.
    """
    dealt = {}
    for label in np.unique(pictures.labels):
        places = np.flatnonzero(pictures.labels == label)
        if len(places) >= HOSPITALS * EACH:
            parts = np.array_split(places[np.argsort(pictures.looks[places], kind="stable")], HOSPITALS)
            dealt[int(label)] = [rng.choice(part, EACH, replace=False) for part in parts]
    if not dealt:
        raise DatasetRefused(f"no class has {HOSPITALS * EACH} pictures in each half of the patients")
    return dealt


def _usual(learner: SmoothLearner, weights: Weights, own: Pictures, size: int) -> float:
    """Return the length of the gradient that the adversary's own pictures give."""
    inputs, targets = learner.inputs(own.images[:size]), learner.targets(own.labels[:size])
    return float(np.linalg.norm(flat(learner.gradient(weights, inputs, targets)[1])))
