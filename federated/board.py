"""The board: where a sum's masked uploads are published, signed, so that anybody can add them again."""

import mmap
import shutil
from collections.abc import Collection
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
        (self._folder / (party + VECTOR)).write_bytes(vector)
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
        (self._folder / SUM).write_bytes(total)
        (self._folder / RECORD).write_bytes(record)


def keep_only(folder: Path, attempts: Collection[str]) -> None:
    """Delete what was published of a run's other attempts; what cannot be deleted waits for the next time.

    Args:
        folder: the run's, with one folder for each attempt.
        attempts: whose folders stay.
    """
    for attempt in published_attempts(folder) - set(attempts):
        shutil.rmtree(folder / attempt, ignore_errors=True)


def published_attempts(folder: Path) -> set[str]:
    """Return the attempts that a run's folder has something of."""
    return {entry.name for entry in folder.iterdir() if entry.is_dir()} if folder.is_dir() else set()
