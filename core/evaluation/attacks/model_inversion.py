"""Model inversion (Fredrikson et al. 2015): from a model back to what sets a class of its training pictures apart.

By a hospital, which holds the model in clear, and by the cloud or a thief of its database, who have it sealed.
"""

import tempfile
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from core.clock import SystemClock
from core.diagnosis.checkpoint_file import seal_model
from core.errors import DatasetRefused, RunRefused
from core.evaluation.attacks.bench import Bench
from core.evaluation.attacks.held import datasets_of, flat, vector_of
from core.evaluation.attacks.inversion import SIDE, Tried, draw
from core.evaluation.attacks.metrics import mean_interval
from core.evaluation.attacks.result import Attacked, Figure, View
from core.learning.orders import AUTHORITY, AggregationMode
from core.learning.training import TrainingOptions
from core.learning.weights import decode_weights
from federated.shares import SimulationOptions
from federated.simulation import Simulated, simulate
from federated.softmax import SoftmaxLearner
from federated.throwaway import ThrowAwayKeys

NAME = "model-inversion"
HOSPITALS, PICTURES, ROUNDS, STEPS = 4, 100, 4, 20
"""Hospitals of a run, pictures of each, rounds, and steps of each round."""
ALIKE = 0.3
"""Above this correlation, in every class, a model has been inverted."""
_RATE, _SURE, _LONGEST = 0.1, 0.99, 500
_ENCLAVE = "north.serving"
Floats = NDArray[np.float64]


def attack(bench: Bench) -> list[Attacked]:
    """Invert models of blind runs: as a hospital has them, and as they lie sealed in the cloud.

    Raises:
        DatasetRefused: a drawn set of the hospitals' pictures lacks a class.
        RunRefused: a run failed.
    """
    learner = SoftmaxLearner(bench.study, pool=bench.study.input_size // SIDE)
    own = apart(learner.inputs(bench.own.images).astype(np.float64), bench.own.labels)
    scores: dict[View, list[Floats]] = {View.STORED_CLEAR: [], View.STORED: []}
    shown: dict[View, list[Tried]] = {view: [] for view in scores}
    known = []
    with tempfile.TemporaryDirectory(prefix="hemaseal-attacks-") as folder:
        keys = ThrowAwayKeys(Path(folder), clock=SystemClock())
        authority, enclave = keys.enrol(AUTHORITY), keys.enrol(_ENCLAVE)
        for number in range(bench.profile.models):
            bench.say("inverting models", number, bench.profile.models)
            rng = np.random.default_rng([bench.seed, 13, number])
            places = rng.permutation(len(bench.theirs.labels))[: HOSPITALS * PICTURES]
            if len(np.unique(bench.theirs.labels[places])) < len(bench.study.classes):
                raise DatasetRefused(f"a class is so rare that {len(places)} drawn pictures have none of it")
            inputs = learner.inputs(bench.theirs.images[places]).astype(np.float64)
            true = apart(inputs, bench.theirs.labels[places])
            known.append(correlations(own, true))
            simulated = _run(bench, learner, np.array_split(places, HOSPITALS))
            clear = flat(decode_weights(simulated.model.weights or b"")[0])
            vectors = {View.STORED_CLEAR: [clear], View.STORED: []}
            for _ in range(bench.profile.sealings):
                sealed = seal_model(simulated.model, sender=authority, recipients=[enclave.sealing_certificate])
                words = vector_of(AggregationMode.SEALED, sealed, clear.size)
                vectors[View.STORED].append(words * np.linalg.norm(clear) / np.linalg.norm(words))
            for view, each in vectors.items():
                found = [inverted(vector, classes=len(bench.study.classes)) for vector in each]
                scores[view] += [correlations(one - one.mean(axis=0), true) for one in found]
                shown[view].append(_shown(true[-1], found[0][-1] - found[0].mean(axis=0)))
    return [_judged(bench, view, np.array(scores[view]), np.array(known), shown[view]) for view in scores]


def apart(inputs: Floats, labels: NDArray[np.int64]) -> Floats:
    """Return each class's mean picture less the mean over classes: [classes, pixels]."""
    means = np.stack([inputs[labels == label].mean(axis=0) for label in np.unique(labels)])
    return means - means.mean(axis=0)


def inverted(vector: Floats, *, classes: int) -> Floats:
    """Return, for each class, a picture of which softmax regression is sure, from a grey surface: [classes, pixels].

    Fredrikson et al.'s algorithm 1 on the loss, without their filters: steps along the gradient of the picture, which
    stays within its range, until the class's probability is `_SURE`.

    Args:
        vector: the model's numbers, kernel [pixels, classes] and bias [classes], in this order.
        classes: their number.
    """
    kernel, bias = vector[:-classes].reshape(-1, classes), vector[-classes:]
    pictures = np.zeros((classes, len(kernel)))
    for wanted, picture in zip(np.eye(classes), pictures, strict=True):
        for _ in range(_LONGEST):
            logits = picture @ kernel + bias
            probabilities = np.exp(logits - logits.max()) / np.exp(logits - logits.max()).sum()
            if probabilities @ wanted > _SURE:
                break
            picture[:] = np.clip(picture - _RATE * kernel @ (probabilities - wanted), -0.5, 0.5)
    return pictures


def correlations(found: Floats, true: Floats) -> Floats:
    """Return each class's correlation, over pixels and colours; 0 for a flat surface."""
    lengths = np.linalg.norm(found, axis=1) * np.linalg.norm(true, axis=1)
    return np.divide((found * true).sum(axis=1), lengths, out=np.zeros(len(true)), where=lengths > 0)


def _run(bench: Bench, learner: SoftmaxLearner, parts: list[NDArray[np.int64]]) -> Simulated:
    """Play a blind run of hospitals with these pictures.

    Raises:
        RunRefused: it failed.
    """
    batches = [(bench.theirs.images[places], bench.theirs.labels[places]) for places in parts]
    options = SimulationOptions(
        hospitals=HOSPITALS, rounds=ROUNDS, seed=bench.seed, training=TrainingOptions(epochs=STEPS)
    )
    simulated = simulate(datasets_of(batches, bench.own, bench.study), bench.study, options, learner=learner)
    if simulated.model.weights is None:
        raise RunRefused("the run exported no weights")
    return simulated


def _shown(true: Floats, found: Floats) -> Tried:
    """Return what sets a class apart, and what was found of it, as pictures around grey."""
    wanted, got = (0.5 + one.reshape(SIDE, SIDE, 3) / (2 * np.abs(one).max() + 1e-12) for one in (true, found))
    return Tried(wanted, got, np.full_like(wanted, 0.5))


def _judged(bench: Bench, view: View, scores: Floats, known: Floats, shown: list[Tried]) -> Attacked:
    is_clear = view is View.STORED_CLEAR
    return Attacked(
        attack=NAME,
        adversary="a hospital" if is_clear else "cloud, thief of the database",
        view=view,
        figure=Figure.PRIVACY,
        trials=len(scores),
        successes=int((scores > ALIKE).all(axis=1).sum()),
        figures={
            "correlation with what sets the class apart": mean_interval(scores.mean(axis=1)),
            "the same of the adversary's own pictures, without any model": mean_interval(known.mean(axis=1)),
            "pixels": SIDE,
        },
        seed=bench.seed,
        picture=draw(shown, bench.out / "attacks" / f"{NAME}-{view.value}.png"),
    )
