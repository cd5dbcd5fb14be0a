"""A safetensors file that is written and read piece by piece, for pictures that do not fit into memory.

The format (https://github.com/huggingface/safetensors): length of the header, 8 bytes little endian; the header, JSON
with type, shape and place of each tensor; the tensors, row by row, little endian. The library writes and reads whole
files only.
"""

import json
from collections.abc import Iterator, Mapping
from math import prod
from typing import Any, NamedTuple, Protocol, Self

import numpy as np
from numpy.typing import NDArray

from core.errors import DatasetRefused
from core.imaging.squares import Pixels, Places, Squares, StoredSquares
from security.errors import SealBroken

LENGTH_BYTES = 8
MAX_HEADER = 64 * 2**20
SQUARES_AT_ONCE = 64
_DTYPES: dict[str, np.dtype[Any]] = {"I64": np.dtype("<i8"), "I32": np.dtype("<i4"), "U8": np.dtype("u1")}


class Readable(Protocol):
    """Bytes of which some can be read (`security.sealed_files.SealedFile`)."""

    @property
    def length(self) -> int:
        """Number of bytes."""
        ...

    def read(self, start: int, count: int) -> bytes:
        """Return `count` bytes from `start` on.

        Raises:
            ValueError: so many are not there.
            SealBroken: they are not what they were.
        """
        ...


def with_squares(small: bytes, name: str, squares: Squares) -> Iterator[bytes]:
    """Yield the pieces of a file with pictures as one more tensor at the end of it, which are fetched bit by bit.

    Args:
        small: a safetensors file.
        name: of the new tensor.
        squares: its rows.

    Raises:
        DatasetRefused: the header would be longer than what is read again.
    """
    length = int.from_bytes(small[:LENGTH_BYTES], "little")
    tensors, data = json.loads(small[LENGTH_BYTES:][:length]), small[LENGTH_BYTES + length :]
    ends = len(data), len(data) + prod(squares.shape)
    tensors[name] = {"dtype": "U8", "shape": squares.shape, "data_offsets": ends}
    header = json.dumps(tensors, separators=(",", ":"), ensure_ascii=False).encode()
    header += b" " * (-len(header) % LENGTH_BYTES)  # the format wants tensors to begin at multiples of eight
    if len(header) > MAX_HEADER:
        raise DatasetRefused("the names of the patients are too long together; use short pseudonyms")
    yield b"".join((len(header).to_bytes(LENGTH_BYTES, "little"), header, data))
    for start in range(0, len(squares), SQUARES_AT_ONCE):
        yield np.asarray(squares[start : start + SQUARES_AT_ONCE]).tobytes()


class TensorFile(NamedTuple):
    """An open file.

    Attributes:
        metadata: texts of the header.
        tensors: type, shape and place of each tensor, as the header says.
    """

    file: Readable
    base: int
    metadata: Mapping[str, str]
    tensors: Mapping[str, Any]

    @classmethod
    def open(cls, file: Readable) -> Self:
        """Read the header.

        Raises:
            ValueError, KeyError, TypeError, RecursionError: it is none.
            SealBroken: the file is not what it was.
        """
        length = int.from_bytes(file.read(0, LENGTH_BYTES), "little")
        if length > MAX_HEADER:
            raise ValueError("the header is too long")
        tensors = dict(json.loads(file.read(LENGTH_BYTES, length)))
        return cls(file, LENGTH_BYTES + length, dict(tensors.pop("__metadata__")), tensors)

    def whole(self, name: str, dtype: str) -> NDArray[Any]:
        """Return a tensor of one dimension and this type.

        Raises:
            ValueError, KeyError, TypeError: there is none, or it is another.
            SealBroken: the file is not what it was.
        """
        (count,), start = self._place(name, dtype)
        kind = _DTYPES[dtype]
        return np.frombuffer(self.file.read(start, count * kind.itemsize), kind)

    def squares(self, name: str) -> StoredSquares:
        """Return a tensor uint8[n, s, s, 3], whose pictures are read when they are asked for.

        These raise `DatasetRefused` where the file is no longer what it was, `OSError` where it cannot be read.

        Raises:
            ValueError, KeyError, TypeError: there is none, or it is another.
        """
        (count, side, *rest), first = self._place(name, "U8")
        if rest != [side, 3] or side < 1:
            raise ValueError("pictures of another shape")
        shape = (side, side, 3)

        def fetch(places: Places) -> Pixels:
            found = np.empty((len(places), *shape), np.uint8)
            try:
                for number, place in enumerate(places):
                    data = self.file.read(first + int(place) * prod(shape), prod(shape))
                    found[number] = np.frombuffer(data, np.uint8).reshape(shape)
            except SealBroken:
                raise DatasetRefused("the sealed file was changed while it was in use") from None
            return found

        return StoredSquares(fetch, np.arange(count), side)

    def _place(self, name: str, dtype: str) -> tuple[tuple[int, ...], int]:
        """Return shape and first byte of a tensor."""
        described = self.tensors[name]
        (start, end), shape = described["data_offsets"], tuple(described["shape"])
        if any(type(number) is not int for number in (start, end, *shape)):
            raise ValueError("not a number of bytes or rows")
        start, end = self.base + start, self.base + end
        size = prod(shape) * _DTYPES[dtype].itemsize
        if described["dtype"] != dtype or min(shape, default=-1) < 0 or end - start != size:
            raise ValueError("another tensor than expected")
        if not self.base <= start <= end <= self.file.length:
            raise ValueError("a tensor outside of the file")
        return shape, start
