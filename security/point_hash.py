"""Polynomial hash of a vector at a random point, modulo the prime 2^127 - 1, by which a sum is checked.

For words v_0 .. v_{D-1}, taken as unsigned integers, H_r(v) = sum over j of v_j r^(j+1) mod p. It is linear over the
integers, so the hashes of vectors add up to the hash of their sum, provided that the sum has not been reduced. A sum
that differs anywhere (by less than p) has the same hash at no more than D of the p points, so once sums are fixed
before the point is drawn, a wrong one is found but with probability D / p: below 2^-103 for 10^7 words. After the
linearly homomorphic hash of VeriFL (Guo et al., IEEE TIFS 2021), without its group: the point is drawn late instead
of being hidden.

The hash binds nothing once the point is known, and it hides no vector: only masked vectors are hashed.

No word is handled by itself. A row of words times a table of the powers' bytes is one matrix product in float64, exact
because no partial sum reaches 2^53; the rows' sums, in two pieces each, times a second table, of the powers from row to
row, make another one for each block. Blocks are joined by Horner's rule in Python integers.
"""

from collections.abc import Iterable

import numpy as np
from numpy.typing import NDArray

from security.encoding import framed
from security.keys import hkdf

PRIME = 2**127 - 1
PIECE_BITS = 32  # words of 64 bits are taken as two pieces
WIDTH = 2**8  # pieces of a row
ROWS = 2**9  # rows of a block
BLOCK = WIDTH * ROWS
BUFFER = BLOCK // 4  # pieces that are worked on at once: 256 KiB of float64, which stay in a core's own cache
MOST_CARRY = 2**5 - 1  # carries up to it are added to their words before these are hashed
_LIMB_BITS = 8
_LIMBS = 16
_SPLIT_BITS = 26  # what of a first sum is its lower piece
_POINT_BYTES = 48  # 257 bits more than the prime has: the point's bias is below 2^-256
_LABEL = b"hemaseal/hash-point/1"

if (
    WIDTH * ((MOST_CARRY + 1) * 2**PIECE_BITS - 1) * (2**_LIMB_BITS - 1) >= 2**53
    or ROWS * 2 ** (53 - _SPLIT_BITS) * (2**_LIMB_BITS - 1) * _LIMBS >= 2**53
    or PRIME.bit_length() > _LIMBS * _LIMB_BITS
):
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
        self._tables: dict[int, _Tables] = {}

    def of(self, words: NDArray[np.unsignedinteger]) -> int:
        """Return the hash, from 0 to p - 1, of a vector of unsigned words (uint8, uint16, uint32 or uint64)[D].

        Raises:
            ValueError: another type or number of words.
        """
        self._expect(words)
        if words.dtype.itemsize * 8 > PIECE_BITS:
            return self._hash(np.ascontiguousarray(words, "<u8").view("<u4"), 2)
        return self._hash(words, 1)

    def of_sum(self, low: NDArray[np.unsignedinteger], carry: NDArray[np.unsignedinteger]) -> int:
        """Return the hash of an unreduced sum, low + 2^W carry word by word, where W is the width of `low`.

        Raises:
            ValueError: as in `of`, or both are so wide that sums which differ by p, and so hash alike, would fit.
        """
        width = 8 * low.dtype.itemsize
        if width + 8 * carry.dtype.itemsize >= PRIME.bit_length():
            raise ValueError(f"narrower carries than {carry.dtype} expected above {low.dtype}")
        self._expect(low)
        self._expect(carry)
        if width <= PIECE_BITS and carry.max(initial=0) <= MOST_CARRY:
            return self._hash(low, 1, carry=carry, factor=2.0**width)
        return (self.of(low) + (self.of(carry) << width)) % PRIME

    def _expect(self, words: NDArray[np.unsignedinteger]) -> None:
        if words.dtype.kind != "u" or words.shape != (self.length,):
            raise ValueError(f"{self.length} unsigned words expected, got {words.dtype}{list(words.shape)}")

    def _hash(
        self,
        pieces: NDArray[np.unsignedinteger],
        of_word: int,
        *,
        carry: NDArray[np.unsignedinteger] | None = None,
        factor: float = 0.0,
    ) -> int:
        """Return the hash of ``pieces + factor * carry`` with `of_word` pieces to a word."""
        if not len(pieces):
            return 0
        if of_word not in self._tables:
            self._tables[of_word] = _Tables(self.point, of_word, len(pieces))
        return self._tables[of_word].hash(pieces, carry, factor)


class _Tables:
    """The bytes of a point's powers, with which the pieces of a row, and then the rows of a block, are multiplied."""

    def __init__(self, point: int, of_word: int, length: int) -> None:
        """Prepare for `length` pieces, `of_word` to a word."""
        rows = -(-length // WIDTH)
        powers = _powers(point, point, WIDTH // of_word)
        within = [(power << PIECE_BITS * piece) % PRIME for power in powers for piece in range(of_word)]
        between = _powers(1, powers[-1], min(ROWS, rows) + 1)
        self._within = _limbs_of(within)
        self._between = np.ascontiguousarray(_limbs_of(between[:-1]).T)
        self._step = between[-1]  # from one block to the next

    def hash(
        self, pieces: NDArray[np.unsignedinteger], carry: NDArray[np.unsignedinteger] | None, factor: float
    ) -> int:
        """Return the hash of ``pieces + factor * carry``, whole numbers below ``(MOST_CARRY + 1) << PIECE_BITS``."""
        blocks = -(-len(pieces) // BLOCK)
        sums = np.empty((blocks, 2, _LIMBS, _LIMBS))
        floats, above = np.empty((2, BUFFER))
        first, low, high = np.empty((3, ROWS, _LIMBS))
        for number in range(blocks):
            rows = 0
            for start in range(number * BLOCK, min((number + 1) * BLOCK, len(pieces)), BUFFER):
                taken = pieces[start : start + BUFFER]
                size, full = len(taken), -(-len(taken) // WIDTH)
                floats[:size] = taken
                if carry is not None:
                    above[:size] = carry[start : start + BUFFER]
                    above[:size] *= factor
                    floats[:size] += above[:size]
                floats[size : full * WIDTH] = 0
                np.matmul(floats[: full * WIDTH].reshape(full, WIDTH), self._within, out=first[rows : rows + full])
                rows += full
            _split(first[:rows], low[:rows], high[:rows])
            np.matmul(self._between[:, :rows], low[:rows], out=sums[number, 0])
            np.matmul(self._between[:, :rows], high[:rows], out=sums[number, 1])
        value = 0
        for block in reversed(_joined(sums)):
            value = (value * self._step + block) % PRIME
        return value


def _powers(first: int, factor: int, count: int) -> list[int]:
    """Return `first` times the powers of `factor` from 0 on, modulo the prime."""
    powers = [first]
    for _ in range(count - 1):
        powers.append(powers[-1] * factor % PRIME)
    return powers


def _limbs_of(values: list[int]) -> NDArray[np.float64]:
    """Return the bytes of each value, the lowest first: float64[values, 16]."""
    data = b"".join(value.to_bytes(_LIMBS, "little") for value in values)
    return np.frombuffer(data, np.uint8).reshape(-1, _LIMBS).astype(np.float64)


def _split(sums: NDArray[np.float64], low: NDArray[np.float64], high: NDArray[np.float64]) -> None:
    """Write the lowest 26 bits of whole numbers into `low` and the others into `high`."""
    np.floor(np.multiply(sums, 2.0**-_SPLIT_BITS, out=high), out=high)
    np.subtract(sums, np.multiply(high, 2.0**_SPLIT_BITS, out=low), out=low)


def _places() -> NDArray[np.float64]:
    """Return what adds up the entries of two limbs' table by the sum of their places: float64[16 * 16, 32]."""
    places = np.zeros((_LIMBS, _LIMBS, 2 * _LIMBS))
    for one in range(_LIMBS):
        for other in range(_LIMBS):
            places[one, other, one + other] = 1
    return places.reshape(_LIMBS * _LIMBS, 2 * _LIMBS)


_PLACES = _places()


def _joined(sums: NDArray[np.float64]) -> list[int]:
    """Return the number that each block's sums make.

    Args:
        sums: whole numbers, float64[blocks, lower and higher piece, limb of the power, limb of the first sum].
    """
    limbs = (sums.reshape(-1, _LIMBS * _LIMBS) @ _PLACES).astype("<i8")
    fields = np.ascontiguousarray(limbs.reshape(len(limbs), -1, 8).swapaxes(1, 2))  # every eighth limb: none overlap
    data, size = fields.tobytes(), 2 * _LIMBS
    numbers = [int.from_bytes(data[at : at + size], "little") for at in range(0, len(data), size)]
    joined = [sum(numbers[at + place] << _LIMB_BITS * place for place in range(8)) for at in range(0, len(numbers), 8)]
    return [low + (high << _SPLIT_BITS) for low, high in zip(joined[::2], joined[1::2], strict=True)]
