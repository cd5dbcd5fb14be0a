"""The node's part: features times an encrypted head, without its key.

A feature from 0 to 255 is two digits of four bits. Of each encrypted weight the multiples 0 to 15 are made once, so a
query is one addition for each digit (Straus 1964 with fixed bases), 16 times the sum of the upper digits, and the sum
of the lower ones. Digits that are zero add the neutral element: the number of additions is the same for all features.
"""

import numpy as np
from numpy.typing import NDArray

from security.encrypted_inference.head import EncryptedHead, EncryptedLogits, Row
from security.encrypted_inference.points import Point, neutral, of_number, random_scalar, times

_DIGIT_BITS = 4
_DIGITS = 2**_DIGIT_BITS


class HeadEvaluator:
    """An encrypted head with its tables: about 0.7 kB for each of 16 multiples of each point."""

    def __init__(self, head: EncryptedHead) -> None:
        self.head = head
        columns = zip(*head.rows, strict=True)  # the randomness, then each class
        self._columns = [([_multiples(point) for point in column[:-1]], column[-1]) for column in columns]

    def logits(self, features: NDArray[np.uint8]) -> EncryptedLogits:
        """Return the encrypted logits of one image, re-randomised.

        Args:
            features: uint8 [features].

        Raises:
            ValueError: another type or shape.
        """
        return self.rerandomised(self.product(features))

    def product(self, features: NDArray[np.uint8]) -> Row:
        """Return the encrypted ``features @ weights + bias`` with randomness that still tells of the features.

        Raises:
            ValueError: another type or shape.
        """
        if features.dtype != np.uint8 or features.shape != (self.head.features,):
            raise ValueError(f"uint8 [{self.head.features}] expected, got {features.dtype} {list(np.shape(features))}")
        digits = [divmod(value, _DIGITS) for value in features.tolist()]
        return tuple(_combined(multiples, bias, digits) for multiples, bias in self._columns)

    def rerandomised(self, row: Row) -> EncryptedLogits:
        """Return the same logits under fresh randomness: whoever encrypted the head learns the logits alone."""
        fresh = random_scalar()
        hidden = (point + times(key, fresh) for point, key in zip(row[1:], self.head.keys, strict=True))
        return EncryptedLogits((row[0] + of_number(fresh), *hidden))


def _multiples(point: Point) -> list[Point]:
    """Return 0 to 15 times a point."""
    multiples = [neutral()]
    for _ in range(_DIGITS - 1):
        multiples.append(multiples[-1] + point)
    return multiples


def _combined(multiples: list[list[Point]], bias: Point, digits: list[tuple[int, int]]) -> Point:
    """Return the sum of each feature times its point, and the bias."""
    upper, lower = neutral(), bias.copy()
    for (high, low), table in zip(digits, multiples, strict=True):
        upper += table[high]
        lower += table[low]
    for _ in range(_DIGIT_BITS):
        upper.double()
    upper += lower
    return upper
