"""Bytes in memory that are read like a file."""

from typing import NamedTuple


class Held(NamedTuple):
    """See `core.imaging.tensor_file.Readable`."""

    data: bytes

    @property
    def length(self) -> int:
        """Number of bytes."""
        return len(self.data)

    def read(self, start: int, count: int) -> bytes:
        """Return some of them."""
        if not 0 <= start <= start + count <= len(self.data):
            raise ValueError("so many bytes are not there")
        return self.data[start : start + count]
