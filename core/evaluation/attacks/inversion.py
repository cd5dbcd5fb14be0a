"""Gradient inversion on what the cloud held: is a picture that a hospital took one step on found again?"""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np
from numpy.typing import NDArray

from core.evaluation.attacks.bench import Bench
from core.evaluation.attacks.gradient_inversion import Distance, invert
from core.evaluation.attacks.held import HOSPITALS, flat, held_vectors
from core.evaluation.attacks.metrics import mean_interval, psnr, ssim
from core.evaluation.attacks.perceptual import apart, looks_of
from core.evaluation.attacks.result import Attacked, Figure, View
from core.imaging.decode import encode_png
from core.learning.orders import AggregationMode
from federated.smooth import SmoothLearner

NAME = "gradient-inversion"
SIDE = 16
ITERATIONS = 100
RECOVERED_DB = 1.0
"""So many decibels better than every baseline, a picture counts as recovered."""
_SHOWN, _SHOWN_SIDE = 6, 96
Floats = NDArray[np.float64]


@dataclass(frozen=True)
class Tried:
    """One picture: the true one, what came out, the adversary's mean picture; each [side, side, 3] from 0 to 1."""

    true: Floats
    found: Floats
    guess: Floats

    @property
    def flat(self) -> Floats:
        """A surface of the true picture's mean colour."""
        return np.broadcast_to(self.true.mean(axis=(0, 1)), self.true.shape)

    @property
    def is_recovered(self) -> bool:
        """Whether what came out is better than both baselines by `RECOVERED_DB`."""
        baseline = max(psnr(self.flat, self.true), psnr(self.guess, self.true))
        return psnr(self.found, self.true) > baseline + RECOVERED_DB


def attack(bench: Bench) -> list[Attacked]:
    """Invert in each mode."""
    return [_in_mode(bench, mode, bench.profile.inversions[mode]) for mode in AggregationMode]


def _in_mode(bench: Bench, mode: AggregationMode, trials: int) -> Attacked:
    learner = SmoothLearner(bench.study, pool=bench.study.input_size // SIDE)
    weights = learner.initial(bench.seed)
    whole = learner.inputs(bench.own.images).astype(np.float64) + 0.5
    rng = np.random.default_rng([bench.seed, 1, len(mode.value)])
    usual = float(
        np.mean(
            [np.linalg.norm(flat(learner.gradient(weights, *_one(bench, learner, place))[1])) for place in range(8)]
        )
    )

    def batches(number: int) -> list[NDArray[np.int64]]:
        drawn = np.random.default_rng([bench.seed, 2, number])
        return [drawn.integers(0, len(bench.theirs.labels), 1) for _ in range(HOSPITALS)]

    tried, evaluations = [], 0
    seen = held_vectors(
        bench.folder / NAME,
        mode,
        batches,
        bench.theirs,
        bench.own,
        trials=trials,
        study=bench.study,
        learner=learner,
        steps=1,
        seed=bench.seed,
        say=bench.say,
    )
    for number, vector in enumerate(seen):
        bench.say(f"inverting what a {mode.value} cloud held", number, trials)
        place = int(batches(number // HOSPITALS)[number % HOSPITALS][0])
        true = learner.inputs(bench.theirs.images[place][None])[0].astype(np.float64) + 0.5
        wanted = -vector / learner.RATE
        if mode is not AggregationMode.PLAIN:  # its scale says nothing, so the adversary takes the usual one
            wanted *= usual / np.linalg.norm(wanted)
        found = [invert(wanted, weights, side=SIDE, iterations=ITERATIONS, rng=rng, kind=kind) for kind in Distance]
        evaluations += sum(one.evaluations for one in found)
        best = max((one.picture for one in found), key=lambda picture: psnr(picture, true))
        tried.append(Tried(true, best, whole.mean(axis=0)))
    picture = draw(tried, bench.out / "attacks" / f"{NAME}-{mode.value}.png")
    return Attacked(
        attack=NAME,
        adversary="cloud",
        view=View(mode.value),
        figure=Figure.PRIVACY,
        trials=len(tried),
        successes=sum(one.is_recovered for one in tried),
        figures=likeness(tried) | {"evaluations": evaluations, "pixels": SIDE},
        seed=bench.seed,
        picture=picture,
    )


def likeness(tried: Sequence[Tried]) -> dict[str, object]:
    """Return likeness and perceptual distance of what came out and of both baselines, and the gain over the flat."""
    kinds = {"found": [one.found for one in tried], "flat": [one.flat for one in tried]}
    kinds["mean picture"] = [one.guess for one in tried]
    truths = [one.true for one in tried]
    decibels = {
        kind: np.array([psnr(one, true) for one, true in zip(pictures, truths, strict=True)])
        for kind, pictures in kinds.items()
    }
    figures: dict[str, object] = {f"psnr {kind}": mean_interval(values) for kind, values in decibels.items()}
    if min(truths[0].shape[:2]) >= SIDE:
        true_looks = looks_of(truths)
        for kind, pictures in kinds.items():
            alike = np.array([ssim(one, true) for one, true in zip(pictures, truths, strict=True)])
            figures[f"ssim {kind}"] = mean_interval(alike)
            figures[f"perceptual {kind}"] = mean_interval(apart(looks_of(pictures), true_looks))
    figures["gain over flat, dB"] = mean_interval(decibels["found"] - decibels["flat"])
    figures["share above flat"] = float((decibels["found"] > decibels["flat"]).mean())
    return figures


def draw(tried: Sequence[Tried], path: Path) -> str:
    """Write a picture, true ones of the first trials above what came out, and return its name."""
    rows = [np.concatenate([getattr(one, name) for one in tried[:_SHOWN]], axis=1) for name in ("true", "found")]
    pixels = np.clip(np.rint(np.concatenate(rows) * 255), 0, 255).astype(np.uint8)
    side = (len(tried[:_SHOWN]) * _SHOWN_SIDE, 2 * _SHOWN_SIDE)
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(encode_png(np.ascontiguousarray(cv2.resize(pixels, side, interpolation=cv2.INTER_NEAREST))))
    return path.name


def _one(bench: Bench, learner: SmoothLearner, place: int) -> tuple[NDArray[np.float32], Floats]:
    """Inputs and target of one of the adversary's own pictures."""
    return learner.inputs(bench.own.images[place][None]), learner.targets(bench.own.labels[place][None])
