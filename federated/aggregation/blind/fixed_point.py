"""Real numbers as words mod 2^W whose sums are exact: fixed point with guard bits below and room for the sum above."""

import math
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from core.learning.fixed_point import WordFormat
from core.learning.run_events import FailureCode
from federated.failures import Refused

_BLOCK = 32768
"""Values that are worked on at once: their buffers stay in a core's own cache."""
_ROUNDER = 1.5 * 2.0**52
"""Added to a float64 below 2^51, leaves its nearest integer (half to even), in two's complement, in the low bits."""
_ROUNDER_BITS = np.float64(_ROUNDER).view(np.uint64)
_ROUNDER_FREE = 32
"""So many low bits of `_ROUNDER_BITS` are zero."""


@dataclass(frozen=True)
class Encoding(WordFormat):
    """Values to words of a format, and sums of words back to values."""

    @property
    def dtype(self) -> "np.dtype[Any]":
        """The unsigned integer type of a word."""
        return np.dtype(f"u{self.word // 8}")

    @property
    def exact_integers(self) -> bool:
        """Whether integers up to `clip` come back exactly when they are added with weight 1: a scale of at least 1.

        So counts among metric sums are exact. Losses among them are rounded to ``1 / scale`` like any other value; a
        caller who wants them fine takes 64-bit words.
        """
        return self.scale >= 1

    def mean_error(self, total_weight: float) -> float:
        """Return the largest error of one coordinate of the weighted mean of `members` unclipped values.

        Each value is off by half a unit at most, and by the float64 rounding of ``value * weight`` before.
        """
        unit = 0.5 + self.clip * self.scale * 2.0**-53
        return self.members * unit / self.scale / total_weight

    def quantise(self, values: NDArray[Any], weight: float, out: NDArray[Any]) -> int:
        """Write the words of ``values * weight`` into `out`; return how many values were beyond `clip`.

        Args:
            values: vector of float32 or float64.
            weight: of this member, in (0, 1].
            out: contiguous vector of the same length, of `dtype`. Holds nothing usable when this raises.

        Raises:
            Refused: `WEIGHT` for another weight, `NOT_FINITE` where a value is not a finite number.
        """
        if not 0 < weight <= 1:
            raise Refused(FailureCode.WEIGHT)
        if values.ndim != 1 or values.shape != out.shape or out.dtype != self.dtype:
            raise ValueError(f"{values.shape} values do not fit {out.shape} words of {out.dtype}")
        factor = weight * self.scale
        buffer, clipped = np.empty(min(_BLOCK, values.size)), 0
        for start in range(0, values.size, _BLOCK):
            block = values[start : start + _BLOCK]
            real = buffer[: block.size]
            low, high = float(block.min()), float(block.max())
            if low >= -self.clip and high <= self.clip:
                real[:] = block
            elif math.isfinite(low) and math.isfinite(high):
                clipped += int(np.count_nonzero(np.abs(block, dtype=np.float64) > self.clip))
                np.clip(block, -self.clip, self.clip, out=real, dtype=np.float64)
            else:
                raise Refused(FailureCode.NOT_FINITE)
            real *= factor
            real += _ROUNDER
            whole = real.view(np.uint64)
            if self.word > _ROUNDER_FREE:
                whole -= _ROUNDER_BITS
            whole <<= self.guard
            out[start : start + _BLOCK] = whole  # the low bits of each
        buffer.fill(0)
        return clipped

    def dequantise(self, words: NDArray[Any], *, factor: float = 1.0) -> NDArray[np.float64]:
        """Return `factor` times what a sum of words, mod 2^word, stands for: float64 of the same length.

        Raises:
            Refused: `SUM` when a guard bit is not zero: the group mask is not off, or the sum is not one of words.
        """
        if words.ndim != 1 or words.dtype != self.dtype:
            raise ValueError(f"{words.shape} of {words.dtype} is no vector of {self.dtype}")
        signed = words.view(f"i{self.word // 8}")
        out, unit = np.empty(words.size), math.ldexp(factor / self.scale, -self.guard)
        for start in range(0, words.size, _BLOCK):
            block = signed[start : start + _BLOCK]
            if int(np.bitwise_or.reduce(block)) & ((1 << self.guard) - 1):
                raise Refused(FailureCode.SUM)
            real = out[start : start + _BLOCK]
            real[:] = block  # exact: a sum has at most 50 bits above its guard bits
            real *= unit
        return out

    def count(self, value: int) -> int:
        """Return the word of an exact integer, such as a number of images; `counted` reads the sum of such words.

        Raises:
            Refused: `WEIGHT` when it is negative, or when `members` times it would not fit into a word.
        """
        if value < 0 or self.members * value >= 1 << (self.word - 1 - self.guard):
            raise Refused(FailureCode.WEIGHT)
        return value << self.guard

    def counted(self, word: int) -> int:
        """Return the integer that a sum of `count` words, mod 2^word, stands for.

        Raises:
            Refused: `SUM` when a guard bit is not zero or the sum is negative.
        """
        word = int(word)
        if word & ((1 << self.guard) - 1) or word >> (self.word - 1):
            raise Refused(FailureCode.SUM)
        return word >> self.guard
