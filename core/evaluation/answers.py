"""The answers of a model for the images of a folder, on the way that serving takes, one after the other."""

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from core.diagnosis.bundle import ModelManifest, ServingModel
from core.diagnosis.heatmap import overlay_png
from core.diagnosis.predictor import Prediction, Predictor
from core.errors import DatasetRefused, ImageBroken, ImageRefused, ImageTooLarge, ImageTypeRefused
from core.evaluation.colour_baseline import colours
from core.imaging.datasets import Record
from core.imaging.decode import Pixels, decode_upload
from core.imaging.quality import check_quality
from core.learning.metrics import Judged
from core.studies import STUDIES

Progress = Callable[[int, int], None]

MAX_IMAGE_BYTES = 20 * 2**20
MAX_IMAGE_PIXELS = 40_000_000


@dataclass(frozen=True, eq=False)
class Answer:
    """One image and what was said of it.

    Attributes:
        record: the image.
        prediction: the model's answer; given for images that the gate refuses too.
        refused: the gate's code, or "" where it lets the image pass.
        colours: features of the colour baseline, float32 [72].
        took_ms: milliseconds from bytes to heat map, without the gate.
    """

    record: Record
    prediction: Prediction
    refused: str
    colours: NDArray[np.float32]
    took_ms: float


def answers(
    model: ServingModel, folder: Path, records: Sequence[Record], progress: Progress
) -> tuple[list[Answer], list[tuple[str, str]]]:
    """Return the answers, and (path, code) of the files that could not be decoded.

    Raises:
        DatasetRefused: no image could be read.
        CheckpointRefused: the network cannot be loaded.
    """
    predictor, study, root = Predictor(model), STUDIES[model.manifest.study], folder.resolve()
    given: list[Answer] = []
    rejected: list[tuple[str, str]] = []
    for done, record in enumerate(records, 1):
        try:
            data = _bytes(root, record.path)
            started = time.perf_counter()
            pixels = decoded(data)
            prediction = predictor.predict(pixels)
            overlay_png(prediction.heat_map)
        except (DatasetRefused, ImageBroken, ImageTooLarge, ImageTypeRefused) as error:
            rejected.append((record.path, error.code))
        else:
            took = (time.perf_counter() - started) * 1e3
            refused = ""
            try:
                check_quality(pixels, study)
            except ImageRefused as error:
                refused = error.code
            given.append(Answer(record, prediction, refused, colours(pixels), took))
        progress(done, len(records))
    if not given:
        raise DatasetRefused("no image of the folder could be read")
    return given, rejected


def thinned(records: Sequence[Record], most: int) -> list[Record]:
    """Return every n-th record, so that at most `most` remain; all for 0."""
    return list(records[:: max(1, -(-len(records) // most))]) if most else list(records)


def judged_of(given: Sequence[Answer], manifest: ModelManifest) -> Judged:
    """Return answers as values to be counted."""
    return Judged(
        labels=np.array([answer.record.label_index for answer in given]),
        predicted=np.array([answer.prediction.label_index for answer in given]),
        probabilities=np.array([answer.prediction.probabilities for answer in given]),
        alarming=np.array([answer.prediction.positive_probability >= manifest.alarm_threshold for answer in given]),
        patients=tuple(answer.record.patient for answer in given),
    )


def read_pixels(folder: Path, record: Record) -> Pixels:
    """Return the decoded image of a record.

    Raises:
        DatasetRefused: the file is outside the folder or cannot be read.
        ImageBroken, ImageTooLarge, ImageTypeRefused: it is no image that can be decoded.
    """
    return decoded(_bytes(folder.resolve(), record.path))


def decoded(data: bytes) -> Pixels:
    """Return the pixels of an image file.

    Raises:
        ImageBroken, ImageTooLarge, ImageTypeRefused: it is no image that can be decoded.
    """
    return decode_upload(data, max_bytes=MAX_IMAGE_BYTES, max_pixels=MAX_IMAGE_PIXELS).pixels


def _bytes(root: Path, name: str) -> bytes:
    """Read a file below `root`; a link that leaves it is refused."""
    path = (root / name).resolve()
    if not path.is_relative_to(root):
        raise DatasetRefused("outside the folder")
    try:
        return path.read_bytes()
    except OSError as error:
        raise DatasetRefused("cannot be read") from error
