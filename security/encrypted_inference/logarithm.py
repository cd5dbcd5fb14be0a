"""From a multiple of the generator back to its number, when that is known to be small: baby steps and giant steps.

After Shanks. The table knows the multiples 1 to `BABY_STEPS` by their coordinates; a point and its negative share x,
so it answers for -BABY_STEPS to BABY_STEPS. A wider interval is crossed in giant steps of that many numbers. All of
them are taken, wherever the number lies, so the time tells the width of the interval and not the number.
"""

import functools

import numpy as np
from numpy.typing import NDArray

from security.encrypted_inference.points import Point, encode_point, neutral, of_number
from security.errors import CiphertextRefused

BABY_STEPS = 2**16
SPAN = 2 * BABY_STEPS + 1
_HALF = 32
_PREFIX = ">u8"


class _BabySteps:
    """The multiples 1 to `BABY_STEPS` of the generator, sorted by the first eight bytes of x."""

    def __init__(self) -> None:
        """Compute them: 17 microseconds each."""
        one, current = of_number(1), neutral()
        encoded = bytearray()
        for _ in range(BABY_STEPS):
            current += one
            encoded += encode_point(current)
        points = np.frombuffer(bytes(encoded), np.uint8).reshape(BABY_STEPS, 2 * _HALF)
        prefixes = _prefixes(points)
        order = np.argsort(prefixes)
        self._prefixes = prefixes[order]
        if (self._prefixes[1:] == self._prefixes[:-1]).any():
            raise AssertionError("two baby steps share their first eight bytes")
        self._numbers = order + 1
        self._x = points[order, :_HALF]
        self._odd = points[order, -1] & 1

    def find(self, points: NDArray[np.uint8]) -> list[tuple[int, int]]:
        """Return (row, number) of those points uint8 [n, 64] that are in the table; zeros are the neutral element."""
        at = np.minimum(np.searchsorted(self._prefixes, _prefixes(points)), BABY_STEPS - 1)
        same = (self._x[at] == points[:, :_HALF]).all(axis=1)
        numbers = np.where(self._odd[at] == points[:, -1] & 1, self._numbers[at], -self._numbers[at])
        numbers = np.where(points.any(axis=1), numbers, 0)
        return [(int(row), int(numbers[row])) for row in np.flatnonzero(same | ~points.any(axis=1))]


def _prefixes(points: NDArray[np.uint8]) -> NDArray[np.uint64]:
    return np.ascontiguousarray(points[:, :8]).view(_PREFIX)[:, 0].astype(np.uint64)


@functools.cache
def baby_steps() -> _BabySteps:
    """Return the table, which is made at the first call: a second of work, 3 MB."""
    return _BabySteps()


@functools.lru_cache(maxsize=512)
def _offset(number: int) -> Point:
    """Return a multiple that is needed again and again; nobody changes it."""
    return of_number(number)


def logarithm(point: Point, low: int, high: int) -> int:
    """Return the number from `low` to `high` of which `point` is the multiple of the generator.

    Raises:
        CiphertextRefused: there is none.
    """
    centre = (low + high) // 2
    steps = max(0, -(-(high - centre - BABY_STEPS) // SPAN))
    current, step = point + _offset(-(centre + steps * SPAN)), _offset(SPAN)
    passed = bytearray()
    for _ in range(2 * steps + 1):
        passed += encode_point(current)
        current += step
    found = baby_steps().find(np.frombuffer(bytes(passed), np.uint8).reshape(-1, 2 * _HALF))
    numbers = [centre + (steps - row) * SPAN + number for row, number in found]
    if len(numbers) != 1 or not low <= numbers[0] <= high:
        raise CiphertextRefused("what was decrypted is no number of the head's range")
    return numbers[0]
