"""A data set, ready for training: the images of its records, decoded, squared, checked for leaks."""

import hashlib
import os
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import NamedTuple, Protocol

import numpy as np
from numpy.typing import NDArray

from core.errors import DatasetRefused, HemaSealError
from core.imaging.decode import ImageFormat, decode_upload
from core.imaging.index import Record
from core.imaging.preprocess import preprocess
from core.imaging.sources import ImageSource, as_source
from core.imaging.splits import Part
from core.imaging.squares import Squares
from core.studies import Study

Progress = Callable[[int, int], None]

MAX_IMAGE_BYTES = 20 * 2**20
MAX_IMAGE_PIXELS = 40_000_000
KEPT_AT_ONCE = 128


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
        images: uint8[n, s, s, 3], RGB, after `core.imaging.preprocess.preprocess`; in memory, or where they lie.
        labels: int64[n], indices into the study's classes.
        patients: n pseudonyms; none is in two parts.
        parts: uint8[n], positions in `Part`, ascending.
    """

    images: Squares
    labels: NDArray[np.int64]
    patients: tuple[str, ...]
    parts: NDArray[np.uint8]

    def __post_init__(self) -> None:
        """Refuse arrays that do not belong together or that divide a patient.

        Raises:
            DatasetRefused: shapes or types differ from the description, or a patient is in two parts.
        """
        count = len(self.labels)
        side = self.images.shape[1] if len(self.images.shape) == 4 else 0  # noqa: PLR2004
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


@dataclass(frozen=True)
class Acquired:
    """What the images of a data set were, beside what they show.

    Attributes:
        dicom: number of images that came as DICOM; of such files only the pixels are kept.
        burned_in: number of images for each reason why text may be burned into their pixels.
        resumed: number of files that an earlier, interrupted import had read already.
    """

    dicom: int = 0
    burned_in: tuple[tuple[str, int], ...] = ()
    resumed: int = 0


class Outcome(NamedTuple):
    """What came of one file.

    Attributes:
        square: uint8[s, s, 3], or None where `reason` says why there is none.
        digest: SHA-256 of the file, by which doubles are found; b"" without a square.
        reason: why the file is left out, or "".
        dicom: whether it was DICOM.
        burned_in: why text may be burned into it, or "".
    """

    square: NDArray[np.uint8] | None
    digest: bytes = b""
    reason: str = ""
    dicom: bool = False
    burned_in: str = ""


class KeptOutcomes(Protocol):
    """Where the outcomes of an import lie until it is whole: it can be interrupted, and memory holds no pictures."""

    def load(self) -> Iterator[Outcome]:
        """Yield what was kept, from the first file on without gaps."""
        ...

    def add(self, outcomes: Sequence[Outcome]) -> None:
        """Keep the next outcomes."""
        ...

    def squares(self, places: NDArray[np.intp]) -> Squares:
        """Return some of all squares that were kept, by their numbers among these, while this lies there."""
        ...


def load_arrays(
    records: Mapping[Part, Sequence[Record]],
    folder: Path | ImageSource,
    study: Study,
    progress: Progress | None = None,
) -> tuple[DatasetArrays, list[Rejected]]:
    """Decode and square the images of all parts; see `import_arrays`."""
    arrays, rejected, _ = import_arrays(records, folder, study, progress)
    return arrays, rejected


def import_arrays(
    records: Mapping[Part, Sequence[Record]],
    folder: Path | ImageSource,
    study: Study,
    progress: Progress | None = None,
    kept: KeptOutcomes | None = None,
) -> tuple[DatasetArrays, list[Rejected], Acquired]:
    """Decode and square the images of all parts.

    A file that is missing, damaged, not an image, too small, outside the folder (through a link) or the same bytes
    as an earlier one is left out and listed; it never stops the import.

    Args:
        records: by part, as `split_by_patient` returns them; ``{Part.TEST: records}`` loads a whole folder.
        folder: the records' paths are relative to it; a path or another source.
        study: gives the side of the squares and the smallest accepted side.
        progress: called with (done, total) after each image.
        kept: outcomes of an import of the same records that was interrupted; it is given each `KEPT_AT_ONCE` new ones.

    Returns:
        The arrays, the rejected files, and what is known of the others.

    Raises:
        DatasetRefused: no image could be read.
    """
    listed = [(index, record) for index, part in enumerate(Part) for record in records.get(part, ())]
    taken: list[tuple[int, Record]] = []
    places: list[int] = []
    whole = _Memory(len(listed), study.input_size) if kept is None else kept
    rejected: list[Rejected] = []
    seen: dict[bytes, Record] = {}
    dicom, burned_in, squares = 0, Counter[str](), 0
    outcomes = _Outcomes(whole, [record for _, record in listed], folder, study)
    for done, ((index, record), outcome) in enumerate(zip(listed, outcomes, strict=True), 1):
        if outcome.square is None:
            rejected.append(Rejected(record.path, outcome.reason, record.line))
        elif (twin := seen.setdefault(outcome.digest, record)) is not record:
            rejected.append(Rejected(record.path, f"the same picture as line {twin.line}", record.line))
        else:
            places.append(squares)
            taken.append((index, record))
            dicom += outcome.dicom
            if outcome.burned_in:
                burned_in[outcome.burned_in] += 1
        squares += outcome.square is not None
        if progress is not None:
            progress(done, len(listed))
    if not taken:
        raise DatasetRefused(f"none of {len(listed)} images could be read; the first: {rejected[0].reason}")
    arrays = DatasetArrays(
        images=whole.squares(np.array(places, np.intp)),
        labels=np.array([record.label_index for _, record in taken], np.int64),
        patients=tuple(record.patient for _, record in taken),
        parts=np.array([index for index, _ in taken], np.uint8),
    )
    return arrays, rejected, Acquired(dicom, tuple(burned_in.most_common()), outcomes.finished)


class _Memory:
    """Keeps the squares of an import in memory; see `KeptOutcomes`."""

    def __init__(self, most: int, side: int) -> None:
        self._squares = np.empty((most, side, side, 3), np.uint8)
        self._count = 0

    def load(self) -> Iterator[Outcome]:
        return iter(())

    def add(self, outcomes: Sequence[Outcome]) -> None:
        for outcome in outcomes:
            if outcome.square is not None:
                self._squares[self._count] = outcome.square
                self._count += 1

    def squares(self, places: NDArray[np.intp]) -> NDArray[np.uint8]:
        return self._squares[: self._count] if len(places) == self._count else self._squares[places]


class _Outcomes:
    """The outcome of each record: those that are kept, then new ones, which are kept in bundles.

    Attributes:
        finished: how many were there already.
    """

    def __init__(self, kept: KeptOutcomes, records: Sequence[Record], folder: Path | ImageSource, study: Study) -> None:
        self._kept, self._records, self._source, self._study = kept, records, as_source(folder), study
        self.finished = 0

    def __iter__(self) -> Iterator[Outcome]:
        for outcome in islice(self._kept.load(), len(self._records)):
            self.finished += 1
            yield outcome
        with ThreadPoolExecutor(max_workers=min(4, os.cpu_count() or 1)) as pool:
            for start in range(self.finished, len(self._records), KEPT_AT_ONCE):
                bundle = self._records[start : start + KEPT_AT_ONCE]  # no more than one of them waits in memory
                fresh = []
                for outcome in pool.map(lambda record: _load_image(self._source, record, self._study), bundle):
                    fresh.append(outcome)
                    yield outcome
                self._kept.add(fresh)


def _load_image(source: ImageSource, record: Record, study: Study) -> Outcome:
    """Return the square and the digest of a file, or the reason why there is none."""
    try:
        data = source.read(record.path, MAX_IMAGE_BYTES)
        found = decode_upload(data, max_bytes=MAX_IMAGE_BYTES, max_pixels=MAX_IMAGE_PIXELS)
        height, width = found.pixels.shape[:2]
        if min(height, width) < study.min_side:
            return Outcome(None, reason=f"{width} x {height} pixels; the smaller side must be {study.min_side} or more")
        square = preprocess(found.pixels, study.input_size, study.preprocessing)
    except FileNotFoundError:
        return Outcome(None, reason="there is no such file")
    except OSError:
        return Outcome(None, reason="the file cannot be read")
    except HemaSealError as error:
        detail = f" ({error.detail})" if error.detail else ""
        return Outcome(None, reason=f"{error.text}{detail} [{error.code}]")
    return Outcome(
        square, hashlib.sha256(data).digest(), dicom=found.format is ImageFormat.DICOM, burned_in=found.burned_in
    )
