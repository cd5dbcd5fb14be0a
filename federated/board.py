"""The board: where a sum's masked uploads are published, signed, so that anybody can add them again."""

from pathlib import Path
from typing import Protocol


class Board(Protocol):
    """Published uploads of one sum."""

    def publish(self, party: str, statement: bytes, vector: memoryview) -> None:
        """Publish a signed `Upload` and its masked vector."""
        ...

    def vector(self, party: str) -> memoryview:
        """Return the published vector of a party."""
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


class FileBoard:
    """A board in a folder: ``<party>.statement`` and ``<party>.vector`` for each upload.

    Vectors stay in memory as well as long as they are `keep` bytes or fewer, so that they need not be read back.
    """

    def __init__(self, folder: Path, *, keep: int = 64 * 2**20) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        self._folder = folder
        self._left = keep
        self._kept: dict[str, memoryview] = {}

    def publish(self, party: str, statement: bytes, vector: memoryview) -> None:
        """See `Board.publish`."""
        (self._folder / f"{party}.statement").write_bytes(statement)
        (self._folder / f"{party}.vector").write_bytes(vector)
        if vector.nbytes <= self._left:
            self._left -= vector.nbytes
            self._kept[party] = vector

    def vector(self, party: str) -> memoryview:
        """See `Board.vector`."""
        kept = self._kept.get(party)
        return memoryview((self._folder / f"{party}.vector").read_bytes()) if kept is None else kept
