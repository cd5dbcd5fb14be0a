"""A data set in memory, ready for training: the images of its records, decoded, squared, checked for leaks."""

import hashlib
import os
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from core.errors import DatasetRefused, HemaSealError
from core.imaging.decode import decode_upload
from core.imaging.index import Record
from core.imaging.preprocess import preprocess
from core.imaging.sources import ImageSource, as_source
from core.imaging.splits import Part
from core.studies import Study

Progress = Callable[[int, int], None]

MAX_IMAGE_BYTES = 20 * 2**20
MAX_IMAGE_PIXELS = 40_000_000


class Rejected(NamedTuple):
    """A file that was left out.

    Attributes:
        path: as ``index.csv`` names it; may tell a label or a person, so it is shown and never stored.
        reason: in plain words, without names.
        line: of ``index.csv``.
    """

    path: str
    reason: str
    line: int


@dataclass(frozen=True, eq=False)
class DatasetArrays:
    """Images with labels, ordered training, validation, test, so that a part is a view.

    Attributes:
        images: uint8[n, s, s, 3], RGB, after `core.imaging.preprocess.preprocess`.
        labels: int64[n], indices into the study's classes.
        patients: n pseudonyms; none is in two parts.
        parts: uint8[n], positions in `Part`, ascending.
    """

    images: NDArray[np.uint8]
    labels: NDArray[np.int64]
    patients: tuple[str, ...]
    parts: NDArray[np.uint8]

    def __post_init__(self) -> None:
        """Refuse arrays that do not belong together or that divide a patient.

        Raises:
            DatasetRefused: shapes or types differ from the description, or a patient is in two parts.
        """
        count = len(self.labels)
        side = self.images.shape[1] if self.images.ndim == 4 else 0  # noqa: PLR2004
        if (
            self.images.shape != (count, side, side, 3)
            or self.labels.shape != (count,)
            or self.parts.shape != (count,)
            or len(self.patients) != count
            or (self.images.dtype, self.labels.dtype, self.parts.dtype) != (np.uint8, np.int64, np.uint8)
        ):
            raise DatasetRefused("images, labels, patients and parts do not belong together")
        if count and (np.any(np.diff(self.parts.astype(np.int8)) < 0) or self.parts[-1] >= len(Part)):
            raise DatasetRefused("the parts are out of order")
        if len(set(self.patients)) != len({*zip(self.patients, self.parts.tolist(), strict=True)}):
            raise DatasetRefused("a patient is in two parts")

    def __len__(self) -> int:
        """Number of images."""
        return len(self.labels)

    def part(self, part: Part) -> "DatasetArrays":
        """Return one part; images and labels are views, nothing is copied."""
        start, end = np.searchsorted(self.parts, [position := list(Part).index(part), position + 1])
        return DatasetArrays(
            self.images[start:end], self.labels[start:end], self.patients[start:end], self.parts[start:end]
        )

    def class_counts(self, study: Study) -> dict[str, list[int]]:
        """Return the number of images of each class, in the study's order, by part."""
        return {part.value: np.bincount(self.part(part).labels, minlength=len(study.classes)).tolist() for part in Part}


def load_arrays(
    records: Mapping[Part, Sequence[Record]],
    folder: Path | ImageSource,
    study: Study,
    progress: Progress | None = None,
) -> tuple[DatasetArrays, list[Rejected]]:
    """Decode and square the images of all parts.

    A file that is missing, damaged, not an image, too small, outside the folder (through a link) or the same bytes
    as an earlier one is left out and listed; it never stops the import.

    Args:
        records: by part, as `split_by_patient` returns them; ``{Part.TEST: records}`` loads a whole folder.
        folder: the records' paths are relative to it; a path or another source.
        study: gives the side of the squares and the smallest accepted side.
        progress: called with (done, total) after each image.

    Returns:
        The arrays and the rejected files.

    Raises:
        DatasetRefused: no image could be read.
    """
    listed = [(index, record) for index, part in enumerate(Part) for record in records.get(part, ())]
    source = as_source(folder)
    kept: list[tuple[int, Record]] = []
    images = np.empty((len(listed), study.input_size, study.input_size, 3), np.uint8)
    rejected: list[Rejected] = []
    seen: dict[bytes, Record] = {}
    with ThreadPoolExecutor(max_workers=min(4, os.cpu_count() or 1)) as pool:
        loaded = pool.map(lambda item: _load_image(source, item[1], study), listed)
        for done, ((index, record), outcome) in enumerate(zip(listed, loaded, strict=True), 1):
            if isinstance(outcome, str):
                rejected.append(Rejected(record.path, outcome, record.line))
            elif (twin := seen.setdefault(outcome[1], record)) is not record:
                rejected.append(Rejected(record.path, f"the same picture as line {twin.line}", record.line))
            else:
                images[len(kept)] = outcome[0]
                kept.append((index, record))
            if progress is not None:
                progress(done, len(listed))
    if not kept:
        raise DatasetRefused(f"none of {len(listed)} images could be read; the first: {rejected[0].reason}")
    arrays = DatasetArrays(
        images=images[: len(kept)],
        labels=np.array([record.label_index for _, record in kept], np.int64),
        patients=tuple(record.patient for _, record in kept),
        parts=np.array([index for index, _ in kept], np.uint8),
    )
    return arrays, rejected


def _load_image(source: ImageSource, record: Record, study: Study) -> tuple[NDArray[np.uint8], bytes] | str:
    """Return the square and the digest of the file, or the reason why there is none."""
    try:
        data = source.read(record.path, MAX_IMAGE_BYTES)
        pixels = decode_upload(data, max_bytes=MAX_IMAGE_BYTES, max_pixels=MAX_IMAGE_PIXELS).pixels
        height, width = pixels.shape[:2]
        if min(height, width) < study.min_side:
            return f"{width} x {height} pixels; the smaller side must be {study.min_side} or more"
        return preprocess(pixels, study.input_size, study.preprocessing), hashlib.sha256(data).digest()
    except FileNotFoundError:
        return "there is no such file"
    except OSError:
        return "the file cannot be read"
    except HemaSealError as error:
        return f"{error.text} [{error.code}]"
