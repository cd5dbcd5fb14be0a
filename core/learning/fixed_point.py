"""The format of the words that blind sums are made of: which values fit, and how finely.

Quantising and adding is the matter of `federated.aggregation.blind.fixed_point`; whoever only tells people what a
hospital sends needs no more than this.
"""

import math
from dataclasses import dataclass
from typing import Self

WORDS = (32, 64)
"""Widths of a word in bits."""
FIGURES_WORD = 64
"""Width of the words of metric sums, of which a member has few."""
_LEAST_VALUE_BITS = 16
"""A 32-bit word must leave one member's value this many bits beside its sign."""
_SUM_BITS = 50
"""A sum of values stays below 2^50 units, so that float64 holds it, and each step on the way to it, exactly."""


@dataclass(frozen=True)
class WordFormat:
    """How the members of one blind sum write a real number as a word; the same for all of them.

    A word is ``(round(value * weight * scale) << guard) mod 2^word``. The low `guard` bits are zero in every word and
    so in every sum of words: as many times the group mask as there are survivors hides all other bits, because no
    number of survivors up to `members` is divisible by a higher power of two than ``2^guard``.

    Attributes:
        members: most vectors that a sum has.
        clip: largest magnitude of a value before its weight; what is beyond is clipped.
        word: bits of a word, 32 or 64.
        guard: low bits that are zero, ``ceil(log2(members))``.
        scale: units per 1.0, a power of two; the largest with
            ``members * (round(clip * scale) + 1) < 2^min(word - 1 - guard, 50)``, so no sum wraps around.
    """

    members: int
    clip: float
    word: int
    guard: int
    scale: float

    @classmethod
    def for_members(cls, members: int, *, clip: float, word: int | None = None) -> Self:
        """Return the finest format for sums of up to `members` vectors.

        Without `word`, 32 bits are taken where they leave each value 16 bits beside its sign (up to 128 members).
        """
        if members < 1 or not (math.isfinite(clip) and clip > 0) or word not in (None, *WORDS):
            raise ValueError(f"cannot encode sums of {members} vectors, clip {clip}, in words of {word} bits")
        guard = (members - 1).bit_length()
        if word is None:
            word = 32 if 31 - 2 * guard >= _LEAST_VALUE_BITS else 64
        limit = 2.0 ** min(word - 1 - guard, _SUM_BITS)
        if members >= limit:
            raise ValueError(f"words of {word} bits hold no sum of {members} vectors")
        exponent = math.frexp(limit / clip)[1]
        while members * (round(math.ldexp(clip, exponent)) + 1) >= limit:
            exponent -= 1
        return cls(members, clip, word, guard, math.ldexp(1.0, exponent))
