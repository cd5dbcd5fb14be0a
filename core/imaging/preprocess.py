"""The one way from pixels to network input, for training and for serving alike.

`preprocess` makes the square that is stored for training; `normalise` is the last step before the network.
"""

import cv2
import numpy as np
from numpy.typing import NDArray

from core.imaging.stain_norm import normalise_stain
from core.studies import Preprocessing

Pixels = NDArray[np.uint8]

DEFAULT = Preprocessing()


def square_window(height: int, width: int) -> tuple[int, int, int]:
    """Return (top, left, side) of the largest centred square: the part of a picture that the network sees."""
    side = min(height, width)
    return (height - side) // 2, (width - side) // 2, side


def preprocess(pixels: Pixels, size: int, options: Preprocessing = DEFAULT) -> Pixels:
    """Cut the centred square, resize it and, where switched on, enhance and filter it.

    Args:
        pixels: uint8[h, w, 3], RGB.
        size: side of the result in pixels.
        options: which further steps are on; they are done at the side of the result.

    Returns:
        uint8[size, size, 3], RGB.
    """
    top, left, side = square_window(*pixels.shape[:2])
    square = pixels[top : top + side, left : left + side]
    if side != size:
        how = cv2.INTER_AREA if side > size else cv2.INTER_CUBIC
        square = np.asarray(cv2.resize(square, (size, size), interpolation=how), np.uint8)
    square = normalise_stain(square, options.stain)
    if options.clahe:
        square = apply_clahe(square, clip_limit=options.clip_limit)
    if options.bilateral:
        square = apply_bilateral(square, sigma_colour=options.sigma_colour, sigma_space=options.sigma_space)
    if options.guided:
        square = apply_guided(square, radius=options.guided_radius, edge=options.guided_edge)
    return np.ascontiguousarray(square)


def normalise(batch: Pixels, options: Preprocessing = DEFAULT) -> NDArray[np.float32]:
    """Stretch each image to [0, 1] over all its pixels and channels (second paper, equation 1).

    Args:
        batch: uint8[n, s, s, 3].
        options: without `minmax`, values are divided by 255 instead.

    Returns:
        float32[n, s, s, 3]; an image of one single value becomes zeros.
    """
    if not options.minmax:
        return batch.astype(np.float32) / np.float32(255)
    low = batch.min(axis=(1, 2, 3), keepdims=True).astype(np.float32)
    span = batch.max(axis=(1, 2, 3), keepdims=True).astype(np.float32) - low
    scale = np.divide(np.float32(1), span, out=np.zeros_like(span), where=span > 0)
    result: NDArray[np.float32] = batch.astype(np.float32)
    result -= low
    result *= scale
    return result


def apply_clahe(pixels: Pixels, *, clip_limit: float = 2.0, tiles: int = 8) -> Pixels:
    """Equalise the lightness of uint8[h, w, 3] RGB locally (CLAHE, Zuiderveld 1994) and leave its colour alone."""
    lab = cv2.cvtColor(pixels, cv2.COLOR_RGB2LAB)
    lab[:, :, 0] = cv2.createCLAHE(clipLimit=clip_limit, tileGridSize=(tiles, tiles)).apply(lab[:, :, 0])
    return np.asarray(cv2.cvtColor(lab, cv2.COLOR_LAB2RGB), np.uint8)


def apply_bilateral(pixels: Pixels, *, sigma_colour: float = 20.0, sigma_space: float = 2.0) -> Pixels:
    """Smooth uint8[h, w, 3] RGB but keep its edges (bilateral filter, Tomasi and Manduchi 1998)."""
    return np.asarray(cv2.bilateralFilter(np.ascontiguousarray(pixels), -1, sigma_colour, sigma_space), np.uint8)


def apply_guided(pixels: Pixels, *, radius: int = 2, edge: float = 12.0) -> Pixels:
    """Smooth uint8[h, w, 3] RGB but keep its edges (guided filter, He et al. 2013, each channel its own guide).

    In each window a channel is replaced by a line in itself, `a` times the value plus `b` (their equations 5 and 6);
    `a` is near 1 where the window varies by more than `edge` grey levels and near 0 where it varies by less.
    """
    window = (2 * radius + 1, 2 * radius + 1)
    values = pixels.astype(np.float32)
    mean = cv2.blur(values, window)
    variance = np.maximum(cv2.blur(values * values, window) - mean * mean, 0)
    slope = variance / (variance + np.float32(edge * edge))
    offset = mean - slope * mean
    smoothed = cv2.blur(slope, window) * values + cv2.blur(offset, window)
    return np.clip(np.rint(smoothed), 0, 255).astype(np.uint8)
