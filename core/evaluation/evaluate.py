"""Judge a checkpoint on an ``index.csv`` folder the way serving does: decode, preprocess, LiteRT, threshold."""

import json
import math
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from core.diagnosis.bundle import ModelManifest, ServingModel
from core.diagnosis.heatmap import overlay_png
from core.diagnosis.predictor import Outcome, Prediction, Predictor
from core.errors import DatasetRefused, ImageBroken, ImageTooLarge, ImageTypeRefused
from core.imaging.datasets import Part, Record, read_index
from core.imaging.decode import decode_upload
from core.learning.metric_sums import PSEUDO_PATIENT_CELLS
from core.learning.metrics import Figure, Judged, confusion_matrix, false_alarm_rate, figures
from core.studies import STUDIES

Progress = Callable[[int, int], None]

MAX_IMAGE_BYTES = 20 * 2**20
MAX_IMAGE_PIXELS = 40_000_000
PSEUDO_PATIENTS = 10_000


@dataclass(frozen=True)
class _Answer:
    record: Record
    prediction: Prediction
    took_ms: float


@dataclass(frozen=True, kw_only=True)
class Evaluation:
    """What came out.

    Attributes:
        manifest: of the model.
        figures: name -> value with interval (``docs/results.md``).
        confusion: counts int64 [C, C].
        images: judged images.
        patients: their patients.
        positive_patients: those with at least one image labelled positive.
        uncertain: share of images answered "uncertain".
        false_alarm_rate: share of pseudo-patients above the alarm rate; `nan` without normal images.
        response_ms: float64 [images], milliseconds from bytes to heat map.
        rejected: files that could not be decoded, with the reason.
    """

    manifest: ModelManifest
    figures: dict[str, Figure]
    confusion: NDArray[np.int64]
    images: int
    patients: int
    positive_patients: int
    uncertain: float
    false_alarm_rate: float
    response_ms: NDArray[np.float64]
    rejected: list[tuple[str, str]]


def evaluate(
    model: ServingModel,
    folder: Path,
    *,
    patients: Sequence[str] | None = None,
    progress: Progress = lambda _done, _total: None,
) -> Evaluation:
    """Judge every image of a folder.

    Args:
        model: the checkpoint.
        folder: holds ``index.csv`` and images.
        patients: only these patients; None takes all.
        progress: called with (done, total) after each image.

    Raises:
        DatasetRefused: the index cannot be used, or none of its images.
        CheckpointRefused: the network cannot be loaded.
    """
    study = STUDIES[model.manifest.study]
    records = read_index(folder, study)
    if patients is not None:
        chosen = set(patients)
        records = [record for record in records if record.patient in chosen]
        if not records:
            raise DatasetRefused("none of the patients of the split is in the index")
    predictor = Predictor(model)
    answers: list[_Answer] = []
    rejected: list[tuple[str, str]] = []
    root = folder.resolve()
    for done, record in enumerate(records, 1):
        try:
            data = _read(root, record.path)
            started = time.perf_counter()
            pixels = decode_upload(data, max_bytes=MAX_IMAGE_BYTES, max_pixels=MAX_IMAGE_PIXELS).pixels
            prediction = predictor.predict(pixels)
            overlay_png(prediction.heat_map)
        except (DatasetRefused, ImageBroken, ImageTooLarge, ImageTypeRefused) as error:
            rejected.append((record.path, error.code))
        else:
            took = (time.perf_counter() - started) * 1e3
            answers.append(_Answer(record, prediction, took))
        progress(done, len(records))
    if not answers:
        raise DatasetRefused("no image of the folder could be read")
    manifest = model.manifest
    judged = Judged(
        labels=np.array([answer.record.label_index for answer in answers]),
        predicted=np.array([answer.prediction.label_index for answer in answers]),
        probabilities=np.array([answer.prediction.probabilities for answer in answers]),
        alarming=np.array([answer.prediction.positive_probability >= manifest.alarm_threshold for answer in answers]),
        patients=tuple(answer.record.patient for answer in answers),
    )
    positive = np.isin(judged.labels, study.positive_indices)
    return Evaluation(
        manifest=manifest,
        figures=figures(judged, study, alarm_rate=manifest.alarm_rate),
        confusion=confusion_matrix(judged, len(study.classes)),
        images=len(answers),
        patients=len(set(judged.patients)),
        positive_patients=len({p for p, is_positive in zip(judged.patients, positive, strict=True) if is_positive}),
        uncertain=sum(answer.prediction.outcome is Outcome.UNCERTAIN for answer in answers) / len(answers),
        false_alarm_rate=false_alarm_rate(
            judged.alarming[~positive],
            alarm_rate=manifest.alarm_rate,
            cells=PSEUDO_PATIENT_CELLS,
            draws=PSEUDO_PATIENTS,
        ),
        response_ms=np.array([answer.took_ms for answer in answers]),
        rejected=rejected,
    )


def read_split(path: Path, part: Part) -> list[str]:
    """Return the patients of one part of a ``split.json`` (part -> patients, as `simulate` writes it).

    Raises:
        DatasetRefused: no such file, or not a split.
    """
    try:
        names = json.loads(path.read_text(encoding="utf-8"))[part.value]
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise DatasetRefused(f"{path.name} is not a split with the part {part.value}") from error
    if not isinstance(names, list) or not all(isinstance(name, str) for name in names):
        raise DatasetRefused(f"{path.name}: {part.value} is not a list of patients")
    return names


def percentile(values: NDArray[np.float64], share: float) -> float:
    """Return a percentile (0..100), `nan` for no values."""
    return float(np.percentile(values, share)) if len(values) else math.nan


def _read(root: Path, name: str) -> bytes:
    """Read a file below `root`; a link that leaves it is refused."""
    path = (root / name).resolve()
    if not path.is_relative_to(root):
        raise DatasetRefused("outside the folder")
    try:
        return path.read_bytes()
    except OSError as error:
        raise DatasetRefused("cannot be read") from error
