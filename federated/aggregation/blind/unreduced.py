"""A running sum of vectors of words that keeps every carry, so that hashes over the integers can be held against it."""

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from core.learning.run_events import FailureCode
from federated.failures import Refused
from security.keystream import BLOCK_BYTES, Masked, masked_blocks

_MOST_MEMBERS = 1 << 16


class UnreducedSum:
    """The sum, as integers, of up to `members` vectors of `length` unsigned words: coordinate = low + carry * 2^word.

    Attributes:
        low: the sum mod 2^word; unsigned integers of `word` bits.
        carry: how often a coordinate wrapped around; uint8 for up to 256 members, uint16 for more.
        members: most vectors that are added.
    """

    def __init__(self, length: int, word: int, members: int, *, data: bytes | memoryview | None = None) -> None:
        """Begin with nothing, or with what `data` had; `Refused` with `SIZE` if that is not as long as it must be."""
        if length < 0 or word not in (32, 64) or not 1 <= members <= _MOST_MEMBERS:
            raise ValueError(f"no sum of {members} vectors of {length} words of {word} bits")
        low, carry = np.dtype(f"<u{word // 8}"), np.dtype("<u1" if members <= 1 << 8 else "<u2")
        size, middle = length * (low.itemsize + carry.itemsize), length * low.itemsize
        if data is not None and len(data) != size:
            raise Refused(FailureCode.SIZE)
        # words amid a message need not be aligned, so they are copied
        self._bytes = np.zeros(size, np.uint8) if data is None else np.frombuffer(data, np.uint8).copy()
        self.low: NDArray[Any] = self._bytes[:middle].view(low)
        self.carry: NDArray[Any] = self._bytes[middle:].view(carry)
        self.members = members
        self._added = 0

    def add(self, words: NDArray[Any]) -> None:
        """Add one vector of `low`'s length and type; `ValueError` for another one, or for more than `members`."""
        self.add_masked([Masked(words)])

    def add_masked(self, vectors: Sequence[Masked]) -> None:
        """Add vectors with their masks applied, block by block; `ValueError` as in `add`."""
        for words in (vector.words for vector in vectors):
            if words.shape != self.low.shape or words.dtype != self.low.dtype:
                raise ValueError(f"{words.shape} of {words.dtype} is not {self.low.shape} of {self.low.dtype}")
        if self._added + len(vectors) > self.members:
            raise ValueError(f"{self._added} vectors of {self.members} have been added already")
        self._added += len(vectors)
        wrapped = np.empty(min(BLOCK_BYTES // self.low.itemsize, self.low.size), bool)
        for start, addend in masked_blocks(vectors):
            part = slice(start, start + addend.size)
            low, carry = self.low[part], self.carry[part]
            np.add(low, addend, out=low)
            over = np.less(low, addend, out=wrapped[: addend.size])
            np.add(carry, over.view(np.uint8), out=carry)

    def reduced(self) -> NDArray[Any]:
        """Return the sum mod 2^word."""
        return self.low

    def data(self) -> memoryview:
        """Return `low`, then `carry`, little endian: the sum's own memory."""
        return self._bytes.data

    @classmethod
    def from_bytes(cls, data: bytes | memoryview, *, length: int, word: int, members: int) -> "UnreducedSum":
        """Read what `data` returned; nothing more can be added to it.

        Raises:
            Refused: `SIZE` for another number of bytes, `SUM` where a carry is more than `members` vectors can leave.
        """
        read = cls(length, word, members, data=data)
        if length and int(read.carry.max()) >= members:
            raise Refused(FailureCode.SUM)
        read._added = members
        return read
