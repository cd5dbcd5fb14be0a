"""Squares of a decoded picture, cut out to be looked at one by one."""

from collections.abc import Sequence

import cv2
import numpy as np
from numpy.typing import NDArray

from core.diagnosis.result import Box
from core.imaging.cells import CellBox, crop

CROP_PX = 160


def squares_beside(pixels: NDArray[np.uint8], boxes: Sequence[Box]) -> NDArray[np.uint8]:
    """Return squares of a picture beside each other: uint8 [CROP_PX, CROP_PX * boxes, 3].

    Args:
        pixels: uint8 [height, width, 3].
        boxes: left, top and side of each, in pixels; it may reach over the edge.

    Raises:
        ValueError: a square lies outside of the picture, or is far larger.
    """
    return np.hstack([_square(pixels, box) for box in boxes])


def _square(pixels: NDArray[np.uint8], box: Box) -> NDArray[np.uint8]:
    left, top, side = box
    height, width = pixels.shape[:2]
    inside = -side < 2 * left < 2 * width - side and -side < 2 * top < 2 * height - side
    if not (0 < side <= 2 * max(height, width) and inside):
        raise ValueError(f"a square within {width} x {height} pixels expected, got {box}")
    cut = crop(pixels, CellBox(left, top, side, left + side / 2, top + side / 2, 0.0))
    how = cv2.INTER_AREA if side > CROP_PX else cv2.INTER_CUBIC
    return np.asarray(cv2.resize(cut, (CROP_PX, CROP_PX), interpolation=how), np.uint8)
