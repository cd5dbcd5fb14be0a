"""Specificity on another source: images of normal cells that the model has never seen the like of.

The folder's labels need not be the study's: all images, or those of chosen labels, are taken to be of no positive
class. Nothing is learned from them and no threshold is moved.
"""

import csv
from collections.abc import Collection
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from core.diagnosis.bundle import ServingModel
from core.errors import DatasetRefused
from core.evaluation.answers import Progress, answers
from core.imaging.datasets import Record
from core.imaging.index import is_safe_path
from core.imaging.sources import INDEX_NAME
from core.learning.metrics import Figure, share


@dataclass(frozen=True, kw_only=True)
class External:
    """How a model does on images without a positive class.

    Attributes:
        images: judged images.
        specificity: share of them not called positive, over all and (value only) by label of the folder.
        by_label: label -> (images, specificity).
        gate_refused: share of them that the gate would refuse.
    """

    images: int
    specificity: Figure
    by_label: dict[str, tuple[int, float]]
    gate_refused: float


def judge_external(
    model: ServingModel,
    folder: Path,
    *,
    labels: Collection[str] = (),
    progress: Progress = lambda _done, _total: None,
) -> External:
    """Judge the images of `folder` whose label is among `labels`, all of them by default.

    Raises:
        DatasetRefused: there is no such index, or it names no image of these labels.
        CheckpointRefused: the network cannot be loaded.
    """
    given, _ = answers(model, folder, _negatives(folder, labels), progress)
    threshold = model.manifest.threshold
    quiet = np.array([answer.prediction.positive_probability < threshold for answer in given])
    named = np.array([answer.record.label for answer in given])
    return External(
        images=len(given),
        specificity=share(quiet, [answer.record.patient for answer in given]),
        by_label={
            str(label): (int((named == label).sum()), float(quiet[named == label].mean())) for label in np.unique(named)
        },
        gate_refused=float(np.mean([bool(answer.refused) for answer in given])),
    )


def _negatives(folder: Path, labels: Collection[str]) -> list[Record]:
    try:
        with (folder / INDEX_NAME).open(encoding="utf-8-sig", newline="") as file:
            rows = list(csv.DictReader(file))
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        raise DatasetRefused(f"{INDEX_NAME} of the external folder cannot be read") from error
    if not rows or not {"path", "label", "patient"} <= set(rows[0]):
        raise DatasetRefused(f"{INDEX_NAME} of the external folder lacks lines or the columns path, label, patient")
    records = [
        Record(row["path"], row["label"], -1, row.get("modality") or "", row.get("site") or "", row["patient"])
        for row in rows
        if (not labels or row["label"] in labels) and is_safe_path(row["path"] or "")
    ]
    if not records:
        raise DatasetRefused("the external folder has no image of these labels")
    return records
