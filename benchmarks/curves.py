"""What privacy, bytes and differing hospitals cost in AUC: three curves on the user's own data, with intervals.

    python -m benchmarks.curves --data DIR --out OUT [--study STUDY] [--seeds 0,1,2] [--picture FILE]

Definitions, numbers of trials and what came out: docs/results.md, "Curves". Each point is one step of `OUT/steps`, with
the answers to the test images beside it; a run that was stopped goes on, and one with fewer seeds shows what it has.
"""

import json
import time
from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
from enum import StrEnum
from pathlib import Path
from typing import Annotated, Any

import numpy as np
import typer

from benchmarks.curves_picture import picture_of
from core.errors import DatasetRefused
from core.evaluation.answers import thinned
from core.evaluation.held_out import Images, Rule, centralised, federated, judged_arrays, judged_from
from core.evaluation.tables.environment import commit, data_sha256
from core.evaluation.tables.intervals import difference, drawn, with_intervals
from core.evaluation.tables.workbook import Workbook, whole_file
from core.imaging.datasets import (
    Assignment,
    Part,
    Record,
    assign_to_hospitals,
    load_arrays,
    patient_stains,
    read_index,
    split_by_patient,
)
from core.learning.metrics import Floats, as_json
from core.learning.privacy import epsilon_by_round, units_of
from core.learning.private_training import PrivateTrainer
from core.learning.run_choices import DEFAULT_CLIP, PrivacyOptions
from core.learning.training import TrainingOptions
from core.learning.weights import Weights
from core.studies import STUDIES, Study

HOSPITALS, IMAGES, SIDE = 4, 900, 48
NETWORK, FEATURES = "groupnorm-small", "efficientnet-lite0-linear"
RATES = {NETWORK: 2e-3, FEATURES: 2e-2}
"""Highest learning rates; the linear head's is higher, since it starts from features that are already there."""
SAMPLING, CLIP_NORM, DELTA = 0.25, 1.0, 1e-5
NOISE = {FEATURES: (0.01, 0.7, 1.0, 1.45, 2.5, 5.0), NETWORK: (0.01, 1.45)}
EPOCHS = 12
"""Passes over the training images of every point without privacy."""
KEYS = ("auc", "balanced_accuracy", "dri")


class Curve(StrEnum):
    """Which curve a point is on."""

    PRIVACY = "privacy"
    BYTES = "bytes"
    HOSPITALS = "hospitals"


@dataclass(frozen=True, kw_only=True)
class Point:
    """One way to train.

    Attributes:
        curve: which curve it is on.
        name: unique on the curve.
        architecture: the network.
        rounds: of federated averaging; 0 for one place.
        noise: noise multiplier of DP-SGD; 0 for ordinary training.
        word: bits of a word of an update; 0 leaves updates as they are.
        assignment: how patients go to hospitals.
        alpha: of the assignments by Dirichlet.
    """

    curve: Curve
    name: str
    architecture: str = NETWORK
    rounds: int = 6
    noise: float = 0.0
    word: int = 0
    assignment: Assignment = "patients"
    alpha: float = 0.5

    @property
    def epochs(self) -> int:
        """Epochs of a round; private training draws its own batches, and takes 60 steps in all at every hospital."""
        return EPOCHS // max(1, self.rounds) if not self.noise else 3

    @property
    def privacy(self) -> PrivacyOptions:
        """The options of private training."""
        return PrivacyOptions(
            noise_multiplier=self.noise, sampling_rate=SAMPLING, clip_norm=CLIP_NORM, delta=DELTA, budget_epsilon=1e9
        )

    def step(self, seed: int) -> str:
        """Name of the step that trains it; points of several curves that are trained alike share one."""
        how = [f"{self.rounds}x{self.epochs}", self.assignment]
        if self.assignment in {"dirichlet", "quantity"}:
            how.append(f"{self.alpha:g}")
        if self.noise:
            how.append(f"noise-{self.noise:g}")
        if self.word:
            how.append(f"{self.word}-bits")
        return "-".join([self.architecture, *how, str(seed)])


def points() -> list[Point]:
    """Return all points, the slowest last; the first of a curve and network is what the others are compared with."""
    private = [
        Point(
            curve=Curve.PRIVACY,
            name=f"{architecture}, noise {noise:g}" if noise else f"{architecture}, not private",
            architecture=architecture,
            rounds=5 if noise else 6,
            noise=noise,
        )
        for architecture in (FEATURES, NETWORK)
        for noise in (0.0, *NOISE[architecture])
    ]
    rounds = [
        Point(curve=Curve.BYTES, name="1 round" if count == 1 else f"{count} rounds", rounds=count)
        for count in (6, 1, 2, 3, 12)
    ]
    words = [Point(curve=Curve.BYTES, name=f"6 rounds, {bits} bits", word=bits) for bits in (16, 12, 8)]
    shares: tuple[tuple[str, Assignment, float], ...] = (
        ("alike", "patients", 0.5),
        *((f"by class, alpha {alpha:g}", "dirichlet", alpha) for alpha in (10.0, 1.0, 0.3, 0.1)),
        *((f"by number, alpha {alpha:g}", "quantity", alpha) for alpha in (1.0, 0.3)),
        ("by stain", "stain", 0.5),
        ("by site", "site", 0.5),
    )
    differing = [Point(curve=Curve.HOSPITALS, name=name, assignment=how, alpha=alpha) for name, how, alpha in shares]
    one_place = Point(curve=Curve.HOSPITALS, name="one place", rounds=0)
    quick = [point for point in private if point.architecture == FEATURES]
    slow = [point for point in private if point.architecture != FEATURES]
    return [*quick, *differing, one_place, *rounds, *words, *slow]


@dataclass(frozen=True, eq=False, kw_only=True)
class Material:
    """The images of one seed: the same test patients for all points."""

    folder: Path
    training: list[Record]
    images: Images
    validation: Images
    test: Images
    seed: int

    def shares(self, point: Point) -> list[Images]:
        """Return each hospital's training images.

        Raises:
            DatasetRefused: the data do not allow this assignment.
        """
        stains = patient_stains(self.training, self.folder, seed=self.seed) if point.assignment == "stain" else {}
        groups = assign_to_hospitals(
            self.training, HOSPITALS, how=point.assignment, alpha=point.alpha, seed=self.seed, stains=stains
        )
        return [self.images.of(group) for group in groups]


def trained(point: Point, material: Material, trainer: PrivateTrainer) -> tuple[Weights, dict[str, Any]]:
    """Train a point; return weights and how it came about.

    Raises:
        DatasetRefused: the data do not allow the assignment.
    """
    options = TrainingOptions(epochs=point.epochs, learning_rate=RATES[point.architecture])
    if not point.rounds:
        training = material.images.of(material.training)
        return centralised(trainer, training, options, rounds=EPOCHS // options.epochs, seed=material.seed), {}
    shares = material.shares(point)
    most = max(len(own) for own in shares)

    def fit(weights: Weights, own: Images, local: TrainingOptions) -> Weights:
        if point.noise:
            units, _ = units_of(own.patients.tolist())
            return trainer.fit_privately(weights, own.pixels, own.labels, units, local, privacy=point.privacy)[0]
        found = trainer.fit(weights, own.pixels, own.labels, local)[0]
        return in_words(weights, found, bits=point.word, weight=len(own) / most) if point.word else found

    weights = federated(trainer, shares, options, rounds=point.rounds, seed=material.seed, fit=fit)
    size = sum(array.size for array in weights.values())
    facts: dict[str, Any] = {
        "images": [len(own) for own in shares],
        "patients": [len(set(own.patients.tolist())) for own in shares],
        "positive": [round(float(np.isin(own.labels, trainer.study.positive_indices).mean()), 3) for own in shares],
        "weights": size,
        "bytes": point.rounds * size * (point.word or 32) // 8,
    }
    if point.noise:
        facts["epsilon"] = epsilon_by_round(point.privacy, epochs=point.epochs, rounds=point.rounds)[-1]
    return weights, facts


def in_words(before: Weights, after: Weights, *, bits: int, weight: float) -> Weights:
    """Return weights as they arrive when the update travels in words of so many bits (`WordFormat`, any width)."""
    guard = (HOSPITALS - 1).bit_length()
    unit = HOSPITALS * DEFAULT_CLIP / 2.0 ** (bits - 1 - guard)
    return {
        name: (
            array + np.rint(np.clip(after[name] - array, -DEFAULT_CLIP, DEFAULT_CLIP) * weight / unit) * unit / weight
        ).astype(np.float32)
        for name, array in before.items()
    }


def summed_up(workbook: Workbook, study: Study, seeds: Sequence[int], replicates: int) -> list[dict[str, Any]]:
    """Return every point with its figures over the seeds that are finished, and its difference to its curve's first."""
    rows: list[dict[str, Any]] = []
    firsts: dict[tuple[str, str], Point] = {}

    def values_of(point: Point, of: Sequence[int]) -> dict[str, Floats]:
        return drawn([judged_from(workbook.arrays(point.step(seed))) for seed in of], study, replicates=replicates)

    for point in points():
        first = firsts.setdefault((point.curve, point.architecture), point)
        done = [seed for seed in seeds if workbook.has(point.step(seed))]
        facts = [workbook.read(point.step(seed)) for seed in done]
        row: dict[str, Any] = {**asdict(point), "epochs": point.epochs, "seeds": done}
        rows.append(row)
        refused = [one["refused"] for one in facts if "refused" in one]
        if refused or not done:
            row["refused"] = refused[0] if refused else "not run"
            continue
        row["figures"] = as_json(with_intervals(values_of(point, done)), KEYS)
        row |= {key: facts[0][key] for key in ("bytes", "weights", "epsilon") if key in facts[0]}
        row["shares"] = [{key: one[key] for key in ("images", "patients", "positive") if key in one} for one in facts]
        common = [seed for seed in done if workbook.has(first.step(seed))]
        if first is not point and common:
            found = difference(values_of(point, common)["auc"], values_of(first, common)["auc"])
            row["auc_minus_first"] = {**asdict(found.figure), "p": found.p, "verdict": found.verdict.value}
    return rows


def main(  # noqa: PLR0917 - typer makes them options
    data: Annotated[Path, typer.Option(exists=True, file_okay=False, help="Folder with index.csv.")],
    out: Annotated[Path, typer.Option(help="Folder of the points; what is there is not trained again.")],
    study_name: Annotated[str, typer.Option("--study")] = "leukemia",
    seeds: Annotated[str, typer.Option(help="Each is a split and first weights.")] = "0,1,2",
    replicates: Annotated[int, typer.Option(help="Of each bootstrap.")] = 1000,
    picture: Annotated[Path | None, typer.Option(help="Draw the curves here, as SVG.")] = None,
    show: Annotated[bool, typer.Option("--show", help="Train nothing; show what is there.")] = False,
) -> None:
    """Train what is not trained yet, print and write the curves."""
    study = replace(STUDIES[study_name], input_size=SIDE)
    records = thinned(read_index(data, study), IMAGES)
    question = {"data_sha256": data_sha256(data, records), "study": study.name, "images": len(records), "side": SIDE}
    workbook, numbers = Workbook(out, question), [int(seed) for seed in seeds.split(",")]
    images: Images | None = None
    trainers: dict[str, PrivateTrainer] = {}
    for seed in () if show else numbers:
        for point in points():
            if workbook.has(point.step(seed)):
                continue
            if images is None:
                arrays, _ = load_arrays({Part.TEST: records}, data, study)
                images = Images(np.asarray(arrays.images), arrays.labels, np.array(arrays.patients))
            parts = split_by_patient(records, seed=seed)
            material = Material(
                folder=data,
                training=parts[Part.TRAINING],
                images=images,
                validation=images.of(parts[Part.VALIDATION]),
                test=images.of(parts[Part.TEST]),
                seed=seed,
            )
            name, begun = point.architecture, time.process_time()
            trainer = trainers[name] = trainers.get(name) or PrivateTrainer(name, study, threads=1)
            try:
                weights, facts = trained(point, material, trainer)
            except DatasetRefused as error:
                workbook.write(point.step(seed), {"refused": error.detail or error.text})
                continue
            judged = Rule.chosen_on(trainer, weights, material.validation).judged(material.test)
            facts |= {"processor_s": round(time.process_time() - begun, 1), "commit": commit()}
            workbook.write(point.step(seed), facts, judged_arrays(judged))
            print(point.step(seed), facts.get("epsilon", ""), facts["processor_s"], flush=True)
    rows = summed_up(workbook, study, numbers, replicates)
    whole_file(out / "curves.json", (json.dumps({**question, "points": rows}, indent=1) + "\n").encode())
    for row in rows:
        print(row["curve"], row["name"], json.dumps(row.get("figures", row.get("refused"))))
    if picture is not None:
        picture.write_text(picture_of(rows), encoding="utf-8")


if __name__ == "__main__":
    typer.run(main)
