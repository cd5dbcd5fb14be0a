"""The board: where a sum's masked uploads are published, signed, so that anybody can add them again."""

import mmap
import shutil
from contextlib import suppress
from pathlib import Path
from typing import Protocol

STATEMENT = ".statement"
VECTOR = ".vector"
SUM = "sum" + VECTOR
RECORD = "record.cbor"


class Board(Protocol):
    """Published uploads of one sum, and in the end the sum."""

    def publish(self, party: str, statement: bytes, vector: memoryview) -> None:
        """Publish a signed `Upload` and its masked vector."""
        ...

    def vector(self, party: str) -> memoryview:
        """Return the published vector of a party."""
        ...

    def close(self, record: bytes, total: memoryview) -> None:
        """Publish the unreduced sum, and the record of what opens the uploads (`aggregation.blind.record`)."""
        ...


class MemoryBoard:
    """A board that lives as long as its object."""

    def __init__(self) -> None:
        self._uploads: dict[str, memoryview] = {}

    def publish(self, party: str, statement: bytes, vector: memoryview) -> None:  # noqa: ARG002 - only vectors are read back
        """See `Board.publish`."""
        self._uploads[party] = vector

    def vector(self, party: str) -> memoryview:
        """See `Board.vector`."""
        return self._uploads[party]

    def close(self, record: bytes, total: memoryview) -> None:
        """See `Board.close`; nobody could read it here."""


class FileBoard:
    """A board in a folder: ``<party>.statement`` and ``<party>.vector`` for each upload, the sum and its record.

    The record is written last: a folder that has one is complete. Anybody can check it (`aggregation.blind.published`).
    Vectors stay in memory as well as long as they are `keep` bytes or fewer, so that they need not be read back.
    """

    def __init__(self, folder: Path, *, keep: int = 16 * 2**20) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        self._folder = folder
        self._left = keep
        self._kept: dict[str, memoryview] = {}

    def publish(self, party: str, statement: bytes, vector: memoryview) -> None:
        """See `Board.publish`."""
        (self._folder / (party + STATEMENT)).write_bytes(statement)
        _overwrite(self._folder / (party + VECTOR), vector)
        if vector.nbytes <= self._left:
            self._left -= vector.nbytes
            self._kept[party] = vector

    def vector(self, party: str) -> memoryview:
        """See `Board.vector`."""
        kept = self._kept.get(party)
        if kept is not None:
            return kept
        with (self._folder / (party + VECTOR)).open("rb") as file:
            return memoryview(mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ))

    def close(self, record: bytes, total: memoryview) -> None:
        """See `Board.close`."""
        _overwrite(self._folder / SUM, total)
        for left in self._folder.glob("*" + VECTOR):
            if left.name != SUM and not left.with_suffix(STATEMENT).exists():
                left.unlink()  # of the attempt whose files these were, by a party that uploaded nothing this time
        (self._folder / RECORD).write_bytes(record)


def file_board(folder: Path, attempt: str, name: str, *, last: str) -> FileBoard:
    """Return the board of a sum of a run's attempt; of other attempts than the `last` finished one nothing stays.

    The files of an attempt that goes are this one's from now on and are overwritten in place: a file's new pages cost
    a multiple of the bytes that are written to them. What cannot be deleted waits for the next time.

    Args:
        folder: the run's, with one folder for each attempt.
        attempt: the attempt in hand.
        name: of its sum.
        last: id of the attempt that finished last; empty if there is none.
    """
    leaving = sorted(published_attempts(folder) - {attempt, last})
    if leaving and not (folder / attempt).exists():
        with suppress(OSError):
            _empty(folder / leaving[0]).rename(folder / attempt)
    for other in leaving:
        shutil.rmtree(folder / other, ignore_errors=True)
    return FileBoard(folder / attempt / name)


def _empty(folder: Path) -> Path:
    """Delete all but the vectors, records first: what has none counts for nothing."""
    for path in sorted(folder.rglob("*"), key=lambda path: path.name != RECORD):
        if path.is_file() and path.suffix != VECTOR:
            path.unlink()
    return folder


def _overwrite(path: Path, data: memoryview) -> None:
    with path.open("r+b" if path.exists() else "wb") as file:
        file.write(data)
        file.truncate()


def published_attempts(folder: Path) -> set[str]:
    """Return the attempts that a run's folder has something of."""
    return {entry.name for entry in folder.iterdir() if entry.is_dir()} if folder.is_dir() else set()
