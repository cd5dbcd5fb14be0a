"""Polynomial hash of a vector at a random point, modulo the prime 2^127 - 1, by which a sum is checked.

For words v_0 .. v_{D-1}, taken as unsigned integers, H_r(v) = sum over j of v_j r^(j+1) mod p. It is linear over the
integers, so the hashes of vectors add up to the hash of their sum, provided that the sum has not been reduced. A sum
that differs anywhere (by less than p) has the same hash at no more than D of the p points, so once sums are fixed
before the point is drawn, a wrong one is found but with probability D / p: below 2^-103 for 10^7 words. After the
linearly homomorphic hash of VeriFL (Guo et al., IEEE TIFS 2021), without its group: the point is drawn late instead
of being hidden.

The hash binds nothing once the point is known, and it hides no vector: only masked vectors are hashed.

No word is handled by itself: a block of words times a table of the powers' bytes is one matrix product in float64,
exact because no partial sum reaches 2^53; blocks are joined by Horner's rule in Python integers.
"""

import math
from collections.abc import Iterable

import numpy as np
from numpy.typing import NDArray

from security.encoding import framed
from security.keys import hkdf

PRIME = 2**127 - 1
PIECE_BITS = 32  # words of 64 bits are taken as two pieces
MAX_BLOCK = 2**12  # pieces of a block at most
BUFFER = 2**15  # pieces of one matrix product: 256 KiB of float64, which stay in a core's own cache
_LIMB_BITS = 8
_LIMBS = 16
_POINT_BYTES = 48  # 257 bits more than the prime has: the point's bias is below 2^-256
_LABEL = b"hemaseal/hash-point/1"

if MAX_BLOCK * (2**PIECE_BITS - 1) * (2**_LIMB_BITS - 1) >= 2**53 or PRIME.bit_length() > _LIMBS * _LIMB_BITS:
    raise AssertionError("a partial sum could be inexact")


def draw_point(contributions: Iterable[bytes]) -> int:
    """Return the point, from 1 to p - 1, that the contributions determine in whatever order they come.

    It is uniform up to a bias of 2^-256 if one contribution is unpredictable to whoever fixed what is hashed
    (HKDF-SHA256, RFC 5869, over the sorted contributions, each behind its length).

    Raises:
        ValueError: no contributions.
    """
    ordered = sorted(contributions)
    if not ordered:
        raise ValueError("at least one contribution expected")
    return int.from_bytes(hkdf(framed(*ordered), info=_LABEL, length=_POINT_BYTES)) % (PRIME - 1) + 1


class PointHash:
    """The hash at one point for vectors of one length; a table of powers is built when it is first needed.

    Attributes:
        point: r, from 1 to p - 1.
        length: D, the number of words of each vector.
    """

    def __init__(self, point: int, length: int) -> None:
        if not 1 <= point < PRIME:
            raise ValueError("a point from 1 to p - 1 expected")
        if length < 0:
            raise ValueError(f"a length from 0 expected, got {length}")
        self.point = point
        self.length = length
        self._tables: dict[int, _Table] = {}

    def of(self, words: NDArray[np.unsignedinteger]) -> int:
        """Return the hash, from 0 to p - 1, of a vector of unsigned words (uint8, uint16, uint32 or uint64)[D].

        Raises:
            ValueError: another type or number of words.
        """
        if words.dtype.kind != "u" or words.shape != (self.length,):
            raise ValueError(f"{self.length} unsigned words expected, got {words.dtype}{list(words.shape)}")
        if not self.length:
            return 0
        if wide := words.dtype.itemsize * 8 > PIECE_BITS:
            words = np.ascontiguousarray(words, "<u8").view("<u4")
        return self._table(2 if wide else 1).hash(words)

    def of_sum(self, low: NDArray[np.unsignedinteger], carry: NDArray[np.unsignedinteger]) -> int:
        """Return the hash of an unreduced sum, low + 2^W carry word by word, where W is the width of `low`.

        Raises:
            ValueError: as in `of`, or both are so wide that sums which differ by p, and so hash alike, would fit.
        """
        if 8 * (low.dtype.itemsize + carry.dtype.itemsize) >= PRIME.bit_length():
            raise ValueError(f"narrower carries than {carry.dtype} expected above {low.dtype}")
        return (self.of(low) + (self.of(carry) << (8 * low.dtype.itemsize))) % PRIME

    def _table(self, pieces: int) -> "_Table":
        """Return the table for words of that many pieces."""
        if pieces not in self._tables:
            self._tables[pieces] = _Table(self.point, pieces, self.length)
        return self._tables[pieces]


def block_of(pieces: int) -> int:
    """Return how many of a vector's pieces make a block: about the root, so that table and joining cost the same."""
    return min(1 << math.isqrt(pieces).bit_length(), MAX_BLOCK)


class _Table:
    """The bytes of what each piece of a block is multiplied with: r^(j+1), or that and 2^32 r^(j+1) by turns."""

    def __init__(self, point: int, pieces: int, length: int) -> None:
        rows, power = [], 1
        for _ in range(block_of(pieces * length) // pieces):
            power = power * point % PRIME
            rows.append(power.to_bytes(_LIMBS, "little"))
            if pieces > 1:
                rows.append(((power << PIECE_BITS) % PRIME).to_bytes(_LIMBS, "little"))
        self._limbs = np.frombuffer(b"".join(rows), np.uint8).reshape(-1, _LIMBS).astype(np.float64)
        self._step = power  # from one block to the next

    def hash(self, pieces: NDArray[np.unsignedinteger]) -> int:
        """Return the hash of a vector of at least one word, given as its pieces."""
        width = len(self._limbs)
        full, rest = divmod(len(pieces), width)
        sums = np.empty((full + bool(rest), _LIMBS))
        blocks = pieces[: full * width].reshape(full, width)
        height = BUFFER // width
        buffer = np.empty((min(full, height), width))
        for start in range(0, full, height):
            taken = blocks[start : start + height]
            floats = buffer[: len(taken)]
            np.copyto(floats, taken)
            np.matmul(floats, self._limbs, out=sums[start : start + len(taken)])
        if rest:
            np.matmul(pieces[full * width :].astype(np.float64), self._limbs[:rest], out=sums[full])
        value = 0
        for block in reversed(_joined(sums)):
            value = (value * self._step + block) % PRIME
        return value


def _joined(sums: NDArray[np.float64]) -> list[int]:
    """Return, for each row of limbs (each below 2^53), the number that they are to the base 2^8."""
    limbs = sums.T.astype(np.int64, order="C")
    for number in range(1, _LIMBS):
        limbs[number] += limbs[number - 1] >> _LIMB_BITS
    last = limbs[-1].astype("<i8").view(np.uint8).reshape(len(sums), -1)
    rows = np.hstack([(limbs[:-1].T & (2**_LIMB_BITS - 1)).astype(np.uint8), last])
    data, size = rows.tobytes(), rows.shape[1]
    return [int.from_bytes(data[at : at + size], "little") for at in range(0, len(data), size)]
