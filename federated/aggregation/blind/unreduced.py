"""A running sum of vectors of words that keeps every carry, so that hashes over the integers can be held against it."""

from typing import Any

import numpy as np
from numpy.typing import NDArray

from core.learning.run_events import FailureCode
from federated.failures import Refused

_BLOCK = 16384
"""Words that are added at once: their buffers stay in a core's own cache."""
_MOST_MEMBERS = 1 << 16


class UnreducedSum:
    """The sum, as integers, of up to `members` vectors of `length` unsigned words: coordinate = low + carry * 2^word.

    Attributes:
        low: the sum mod 2^word; unsigned integers of `word` bits.
        carry: how often a coordinate wrapped around; uint8 for up to 256 members, uint16 for more.
        members: most vectors that are added.
    """

    def __init__(self, length: int, word: int, members: int) -> None:
        if length < 0 or word not in (32, 64) or not 1 <= members <= _MOST_MEMBERS:
            raise ValueError(f"no sum of {members} vectors of {length} words of {word} bits")
        self.low: NDArray[Any] = np.zeros(length, f"<u{word // 8}")
        self.carry: NDArray[Any] = np.zeros(length, _carry_type(members))
        self.members = members
        self._added = 0

    def add(self, words: NDArray[Any]) -> None:
        """Add one vector of `low`'s length and type; `ValueError` for another one, or for more than `members`."""
        if words.shape != self.low.shape or words.dtype != self.low.dtype:
            raise ValueError(f"{words.shape} of {words.dtype} is not {self.low.shape} of {self.low.dtype}")
        if self._added == self.members:
            raise ValueError(f"{self.members} vectors have been added already")
        self._added += 1
        wrapped = np.empty(min(_BLOCK, words.size), bool)
        for start in range(0, words.size, _BLOCK):
            part = slice(start, start + _BLOCK)
            low, addend, carry = self.low[part], words[part], self.carry[part]
            np.add(low, addend, out=low)
            over = np.less(low, addend, out=wrapped[: addend.size])
            np.add(carry, over.view(np.uint8), out=carry)

    def reduced(self) -> NDArray[Any]:
        """Return the sum mod 2^word."""
        return self.low

    def to_bytes(self) -> bytes:
        """Return `low`, then `carry`, little endian."""
        return self.low.tobytes() + self.carry.tobytes()

    @classmethod
    def from_bytes(cls, data: bytes | memoryview, *, length: int, word: int, members: int) -> "UnreducedSum":
        """Read what `to_bytes` wrote; nothing more can be added to it.

        Raises:
            Refused: `SIZE` for another number of bytes, `SUM` where a carry is more than `members` vectors can leave.
        """
        read = cls(length, word, members)
        if len(data) != read.low.nbytes + read.carry.nbytes:
            raise Refused(FailureCode.SIZE)
        read.low = np.frombuffer(data, read.low.dtype, length).copy()  # words amid a message need not be aligned
        read.carry = np.frombuffer(data, read.carry.dtype, length, offset=read.low.nbytes)
        if length and int(read.carry.max()) >= members:
            raise Refused(FailureCode.SUM)
        read._added = members
        return read


def _carry_type(members: int) -> str:
    return "<u1" if members <= 1 << 8 else "<u2"
