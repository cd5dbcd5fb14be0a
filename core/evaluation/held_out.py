"""Training in one place or by plain federated averaging, and judging on patients kept apart: for tables and benchmarks.

The averaging is FedAvg in the clear (weights by number of images). Blind and sealed runs give the same weights to
1e-7 (``tests/integration/blind``), so what is said of it here holds for them.
"""

import csv
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from core.imaging.datasets import Record
from core.imaging.sources import INDEX_NAME
from core.learning.class_scores import calibrated_probabilities, log_softmax
from core.learning.metric_sums import Summary, summarise
from core.learning.metrics import Judged
from core.learning.training import Progress, Trainer, TrainingOptions
from core.learning.weights import Weights
from core.studies import Study

Fit = Callable[[Weights, "Images", TrainingOptions], Weights]


@dataclass(frozen=True, eq=False)
class Images:
    """Images with labels and patients: uint8 [n, s, s, 3], int64 [n] and n names."""

    pixels: NDArray[np.uint8]
    labels: NDArray[np.int64]
    patients: NDArray[np.str_]

    def of(self, records: Sequence[Record]) -> "Images":
        """Return the images of the patients of `records`."""
        return self.where(np.isin(self.patients, sorted({record.patient for record in records})))

    def where(self, chosen: NDArray[np.bool_]) -> "Images":
        """Return the chosen images."""
        return Images(self.pixels[chosen], self.labels[chosen], self.patients[chosen])

    def __len__(self) -> int:
        """Number of images."""
        return len(self.labels)


def kinds_of(folder: Path) -> dict[str, str]:
    """Return path -> ``source_label`` of an ``index.csv`` folder: the kind of cell, finer than the class."""
    with (folder / INDEX_NAME).open(encoding="utf-8-sig", newline="") as file:
        return {row["path"]: row["source_label"] for row in csv.DictReader(file)}


def centralised(
    trainer: Trainer,
    images: Images,
    options: TrainingOptions,
    *,
    rounds: int,
    seed: int,
    progress: Progress = lambda _done, _total, _loss: None,
) -> Weights:
    """Train in one place for as many epochs as `rounds` rounds have."""
    whole = options.for_round(1, 1, seed=seed)
    whole = TrainingOptions(**{**vars(whole), "epochs": rounds * options.epochs, "planned_epochs": 0})
    weights, _ = trainer.fit(trainer.initial(seed), images.pixels, images.labels, whole, progress=progress)
    return weights


def federated(
    trainer: Trainer,
    hospitals: Sequence[Images],
    options: TrainingOptions,
    *,
    rounds: int,
    seed: int,
    fit: Fit | None = None,
) -> Weights:
    """Train by federated averaging; `fit` is the local training, `Trainer.fit` by default."""
    weights = trainer.initial(seed)
    for number in range(1, rounds + 1):
        updates = []
        for place, images in enumerate(hospitals):
            own = options.for_round(number, rounds, seed=(seed * 1000 + number) * 100 + place)
            if fit is None:
                updates.append(trainer.fit(weights, images.pixels, images.labels, own)[0])
            else:
                updates.append(fit(weights, images, own))
        weights = mean(updates, [len(images) for images in hospitals])
    return weights


def mean(updates: Sequence[Weights], counts: Sequence[int]) -> Weights:
    """Return the mean of weights, each counting as often as its `counts`, added in float64."""
    total = sum(counts)
    return {
        name: np.sum(
            [update[name].astype(np.float64) * count / total for update, count in zip(updates, counts, strict=True)],
            axis=0,
        ).astype(np.float32)
        for name in updates[0]
    }


@dataclass(frozen=True, eq=False)
class Rule:
    """Weights with the decision rule that the validation part gives them."""

    trainer: Trainer
    weights: Weights
    summary: Summary

    @classmethod
    def chosen_on(cls, trainer: Trainer, weights: Weights, validation: Images) -> "Rule":
        """Choose calibration and threshold on validation images, as a run does."""
        sums = trainer.evaluate(weights, validation.pixels, validation.labels)
        return cls(trainer, weights, summarise(sums, trainer.study))

    def probabilities(self, pixels: NDArray[np.uint8]) -> NDArray[np.float64]:
        """Return calibrated probabilities [n, C]."""
        return calibrated_probabilities(
            self.trainer.logits(self.weights, pixels),
            self.trainer.study,
            temperature=self.summary.temperature,
            positive_temperature=self.summary.positive_temperature,
            positive_offset=self.summary.positive_offset,
        )

    def positive(self, probabilities: NDArray[np.float64]) -> NDArray[np.bool_]:
        """Return which images are called positive, bool [n]."""
        study = self.trainer.study
        return np.asarray(probabilities[:, list(study.positive_indices)].sum(1) >= self.summary.threshold)

    def judged(self, images: Images) -> Judged:
        """Judge images that took no part in anything."""
        probabilities = self.probabilities(images.pixels)
        return Judged(
            labels=images.labels,
            predicted=called(probabilities, self.positive(probabilities), self.trainer.study),
            probabilities=probabilities,
            alarming=np.zeros(len(images), bool),
            patients=tuple(images.patients.tolist()),
        )


def plainly_judged(trainer: Trainer, weights: Weights, images: Images) -> Judged:
    """Judge images without calibration and without a threshold: the most probable class of the softmax is called."""
    probabilities = np.exp(log_softmax(trainer.logits(weights, images.pixels)))
    return Judged(
        labels=images.labels,
        predicted=probabilities.argmax(axis=1),
        probabilities=probabilities,
        alarming=np.zeros(len(images), bool),
        patients=tuple(images.patients.tolist()),
    )


def called(probabilities: NDArray[np.float64], positive: NDArray[np.bool_], study: Study) -> NDArray[np.int64]:
    """Return the most probable class of the side that is called (docs/results.md)."""
    side = np.zeros(len(study.classes), bool)
    side[list(study.positive_indices)] = True
    return np.asarray(np.where(positive[:, None] == side, probabilities, -1.0).argmax(axis=1), np.int64)


def joined(parts: Sequence[Judged]) -> Judged:
    """Return the images of several parts as one."""
    return Judged(
        labels=np.concatenate([part.labels for part in parts]),
        predicted=np.concatenate([part.predicted for part in parts]),
        probabilities=np.concatenate([part.probabilities for part in parts]),
        alarming=np.concatenate([part.alarming for part in parts]),
        patients=tuple(name for part in parts for name in part.patients),
    )


def judged_arrays(judged: Judged) -> dict[str, NDArray[Any]]:
    """Return answers as arrays that can be kept in a file; alarms are left out."""
    return {
        "labels": judged.labels,
        "predicted": judged.predicted,
        "probabilities": judged.probabilities,
        "patients": np.array(judged.patients),
    }


def judged_from(arrays: Mapping[str, NDArray[Any]]) -> Judged:
    """Return what `judged_arrays` took apart; nothing alarms."""
    return Judged(
        labels=arrays["labels"],
        predicted=arrays["predicted"],
        probabilities=arrays["probabilities"],
        alarming=np.zeros(len(arrays["labels"]), bool),
        patients=tuple(arrays["patients"].tolist()),
    )
