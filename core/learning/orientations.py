"""The eight orientations of a square picture: four quarter turns, and the same mirrored. A smear has no top.

A study may ask for the mean answer over all of them, or over the picture and its mirror image (`Study.orientations`);
training figures and the exported network then do the same, so that thresholds fit. The first orientation is the
picture as it is.
"""

from typing import TypeVar

import numpy as np
from numpy.typing import NDArray

Value = TypeVar("Value", bound=np.generic)

_QUARTERS = 4
WAYS = {1: (0,), 2: (0, _QUARTERS), 8: tuple(range(2 * _QUARTERS))}
"""By how many orientations a study asks for: which of them (`turn`)."""


def turn(images: NDArray[Value], way: int) -> NDArray[Value]:
    """Return images [n, s, s, c] in orientation `way`: turned by way % 4 quarters, then mirrored from way 4 on."""
    turned = np.rot90(images, way % _QUARTERS, (1, 2))
    return np.ascontiguousarray(turned[:, :, ::-1] if way >= _QUARTERS else turned)
