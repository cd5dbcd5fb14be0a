"""Judge a checkpoint on an ``index.csv`` folder the way serving does: decode, preprocess, LiteRT, threshold.

Beside the figures stands what they must be compared with: colour alone, each modality by itself, the coverage that
was promised, and how many of the images the gate would have refused.
"""

import json
import math
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from core.diagnosis.bundle import ModelManifest, ServingModel
from core.diagnosis.predictor import Outcome
from core.errors import DatasetRefused, ImageBroken, ImageTooLarge, ImageTypeRefused
from core.evaluation.answers import Answer, Progress, answers, judged_of, read_pixels, thinned
from core.evaluation.colour_baseline import colours, judged_by_colour
from core.imaging.datasets import Part, Record, read_index
from core.learning.conformal import Coverage, coverage_of
from core.learning.metric_sums import PSEUDO_PATIENT_CELLS
from core.learning.metrics import Figure, areas_by_modality, confusion_matrix, false_alarm_rate, figures
from core.studies import STUDIES, Study

PSEUDO_PATIENTS = 10_000


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
        gate_refused: share of the judged images that the gate would refuse; they are judged all the same.
        coverage: what the prediction sets are worth.
        by_modality: modality -> area of the positive probability, positive against other images of that modality.
        baseline: the figures of colour alone (`colour_baseline`) on the same images; empty without patients to fit on.
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
    gate_refused: float
    coverage: Coverage
    by_modality: dict[str, Figure]
    baseline: dict[str, Figure]


def evaluate(
    model: ServingModel,
    folder: Path,
    *,
    patients: Sequence[str] | None = None,
    colour_patients: Sequence[str] = (),
    most: int = 0,
    progress: Progress = lambda _done, _total: None,
) -> Evaluation:
    """Judge every image of a folder.

    Args:
        model: the checkpoint.
        folder: holds ``index.csv`` and images.
        patients: only these patients; None takes all.
        colour_patients: other patients of the folder, on whom the colour baseline is fitted; none leaves it out.
        most: judge every n-th image, so that no more than these remain; 0 judges all.
        progress: called with (done, total) after each image.

    Raises:
        DatasetRefused: the index cannot be used, or none of its images.
        CheckpointRefused: the network cannot be loaded.
    """
    study = STUDIES[model.manifest.study]
    everything = read_index(folder, study)
    records = thinned(everything if patients is None else _of_patients(everything, patients), most)
    if not records:
        raise DatasetRefused("none of the patients of the split is in the index")
    if set(colour_patients) & {record.patient for record in records}:
        raise ValueError("the colour baseline must not be fitted on patients that are judged")
    given, rejected = answers(model, folder, records, progress)
    manifest = model.manifest
    judged = judged_of(given, manifest)
    sets = np.zeros(judged.probabilities.shape, bool)
    for row, answer in zip(sets, given, strict=True):
        row[list(answer.prediction.prediction_set)] = True
    positive = np.isin(judged.labels, study.positive_indices)
    return Evaluation(
        manifest=manifest,
        figures=figures(judged, study, alarm_rate=manifest.alarm_rate),
        confusion=confusion_matrix(judged, len(study.classes)),
        images=len(given),
        patients=len(set(judged.patients)),
        positive_patients=len({p for p, is_positive in zip(judged.patients, positive, strict=True) if is_positive}),
        uncertain=sum(answer.prediction.outcome is Outcome.UNCERTAIN for answer in given) / len(given),
        false_alarm_rate=false_alarm_rate(
            judged.alarming[~positive],
            alarm_rate=manifest.alarm_rate,
            cells=PSEUDO_PATIENT_CELLS,
            draws=PSEUDO_PATIENTS,
        ),
        response_ms=np.array([answer.took_ms for answer in given]),
        rejected=rejected,
        gate_refused=sum(bool(answer.refused) for answer in given) / len(given),
        coverage=coverage_of(sets, judged.labels),
        by_modality=areas_by_modality(
            np.array([answer.prediction.positive_probability for answer in given]),
            positive,
            judged.patients,
            [answer.record.modality for answer in given],
        ),
        baseline=_baseline(given, folder, _of_patients(everything, colour_patients), study),
    )


def _of_patients(records: Sequence[Record], patients: Sequence[str]) -> list[Record]:
    chosen = set(patients)
    return [record for record in records if record.patient in chosen]


def _baseline(given: Sequence[Answer], folder: Path, fitted_on: Sequence[Record], study: Study) -> dict[str, Figure]:
    """Return the figures of colour alone; empty where there are not at least two classes to fit on."""
    features, labels = [], []
    for record in fitted_on:
        try:
            features.append(colours(read_pixels(folder, record)))
        except (DatasetRefused, ImageBroken, ImageTooLarge, ImageTypeRefused):
            continue
        labels.append(record.label_index)
    if len(set(labels)) < 2:  # noqa: PLR2004  one class cannot be told from another
        return {}
    judged = judged_by_colour(
        (np.array(features), np.array(labels)),
        np.array([answer.colours for answer in given]),
        np.array([answer.record.label_index for answer in given]),
        tuple(answer.record.patient for answer in given),
        classes=len(study.classes),
    )
    return figures(judged, study, alarm_rate=1.0)


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
