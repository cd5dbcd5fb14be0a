"""Stained smears brought to one reference stain: Reinhard's statistics of colour, or Macenko's two dyes.

Both leave a picture as it is where there is too little stain to learn from: a blank slide, a grey scan. The same
pixels always give the same pixels; nothing is drawn at random. The references are medians over the training patients
of the Johns Hopkins cells (one laboratory; numbers only, no image) and part of `Preprocessing.version`: whoever
changes them must change `REFERENCE_VERSION`, since equal versions mean equal pixels.
"""

import cv2
import numpy as np
from numpy.typing import NDArray

from core.studies.preprocessing import REFERENCE_VERSION, StainNormalisation

Pixels = NDArray[np.uint8]
Floats = NDArray[np.float32]

__all__ = ["REFERENCE_VERSION", "measure_macenko", "measure_reinhard", "normalise_stain"]

LEAST_DENSITY = 0.15
"""Optical density (natural logarithm) from which a pixel counts as stained (Macenko et al. 2009)."""
LEAST_STAINED = 0.01
"""Share of stained pixels below which a picture stays as it is."""
LEAST_SPREAD = 1.0
"""Standard deviation of lightness or colour (8-bit CIE L*a*b*) below which a channel is shifted, not stretched."""
MOST_STRETCH = 2.0
"""A channel is stretched at most by this, and at least by its inverse, so that noise is never blown up."""
EXTREMES = (1.0, 99.0)
MOST = 99.0

REFERENCE_MEAN = np.array([139.5, 152.2, 118.8], np.float32)
REFERENCE_SPREAD = np.array([30.7, 7.8, 15.1], np.float32)
REFERENCE_DYES = np.array([[0.515, 0.835, 0.158], [0.394, 0.755, 0.539]], np.float32)
REFERENCE_AMOUNTS = np.array([2.015, 0.830], np.float32)


def normalise_stain(pixels: Pixels, how: StainNormalisation) -> Pixels:
    """Bring uint8[h, w, 3] RGB to the reference stain; the result is of the same shape and type."""
    if how is StainNormalisation.REINHARD:
        return _reinhard(pixels)
    if how is StainNormalisation.MACENKO:
        return _macenko(pixels)
    return pixels


def measure_reinhard(pixels: Pixels) -> tuple[Floats, Floats] | None:
    """Return mean and standard deviation, float32[3] each, of the stained pixels in 8-bit CIE L*a*b*; None if few."""
    stained = _densities(pixels).mean(axis=2) > LEAST_DENSITY
    if stained.mean() < LEAST_STAINED:
        return None
    mean, spread = cv2.meanStdDev(cv2.cvtColor(pixels, cv2.COLOR_RGB2LAB), mask=stained.astype(np.uint8))
    return mean.ravel().astype(np.float32), spread.ravel().astype(np.float32)


def measure_macenko(pixels: Pixels) -> tuple[Floats, Floats] | None:
    """Return the two dyes and how much there is of them, or None where there is too little stain.

    The dyes are the directions, near the extremes of angle, in the plane of the two largest principal components of
    the optical densities of stained pixels (Macenko et al. 2009, section 2).

    Returns:
        float32[2, 3], unit vectors of optical density in RGB, the one that absorbs less blue first (azure, which
        nuclei take), and float32[2], the 99th percentiles of their amounts.
    """
    density = _densities(pixels).reshape(-1, 3)
    stained = density[density.mean(axis=1) > LEAST_DENSITY]
    if len(stained) < LEAST_STAINED * len(density):
        return None
    values, vectors = np.linalg.eigh(np.cov(stained.T.astype(np.float64)))
    if values[1] < 1e-6 * values[2] or values[2] < 1e-6:  # noqa: PLR2004  one dye or none: no plane
        return None
    plane = vectors[:, [2, 1]] * np.sign(vectors[:, [2, 1]].sum(axis=0) + 1e-12)
    angles = np.arctan2(stained @ plane[:, 1], stained @ plane[:, 0])
    low, high = np.percentile(angles, EXTREMES)
    dyes = np.stack([plane @ [np.cos(angle), np.sin(angle)] for angle in (low, high)])
    if dyes.min() < -0.2 or high - low < 0.05:  # noqa: PLR2004  no dye emits light, and two dyes differ
        return None
    dyes = np.clip(dyes, 0, None)
    dyes /= np.linalg.norm(dyes, axis=1, keepdims=True)
    if dyes[0, 2] > dyes[1, 2]:
        dyes = dyes[::-1]
    amounts = np.percentile(_amounts(stained, dyes), MOST, axis=0)
    return dyes.astype(np.float32), np.maximum(amounts, LEAST_DENSITY).astype(np.float32)


def _reinhard(pixels: Pixels) -> Pixels:
    """Give the stained pixels the reference's mean and spread of L*a*b* (Reinhard et al. 2001); glass shifts along."""
    found = measure_reinhard(pixels)
    if found is None:
        return pixels
    mean, spread = found
    stretch = np.clip(REFERENCE_SPREAD / np.maximum(spread, LEAST_SPREAD), 1 / MOST_STRETCH, MOST_STRETCH)
    stretch[spread < LEAST_SPREAD] = 1
    steps = np.arange(256, dtype=np.float32)[:, None]
    table = np.clip(np.rint((steps - mean) * stretch + REFERENCE_MEAN), 0, 255).astype(np.uint8)[None]
    return np.asarray(
        cv2.cvtColor(cv2.LUT(cv2.cvtColor(pixels, cv2.COLOR_RGB2LAB), table), cv2.COLOR_LAB2RGB), np.uint8
    )


def _macenko(pixels: Pixels) -> Pixels:
    """Take the picture apart into its two dyes and put it together from the reference's."""
    found = measure_macenko(pixels)
    if found is None:
        return pixels
    dyes, most = found
    amounts = _amounts(_densities(pixels).reshape(-1, 3), dyes)
    wanted = REFERENCE_DYES * (REFERENCE_AMOUNTS / most)[:, None]
    light = cv2.exp(-(amounts @ wanted).astype(np.float32)) * np.float32(255)
    return np.clip(np.rint(light), 0, 255).astype(np.uint8).reshape(pixels.shape)


def _densities(pixels: Pixels) -> Floats:
    """Return optical densities -ln(I / I0) of uint8[h, w, 3] against the 95th percentile of each channel, >= 0."""
    tables = []
    for channel in range(3):
        counts = np.cumsum(np.bincount(pixels[..., channel].ravel(), minlength=256))
        glass = float(np.searchsorted(counts, 0.95 * counts[-1]))
        tables.append(np.maximum(np.log((glass + 1) / (np.arange(256) + 1)), 0))
    return np.asarray(cv2.LUT(pixels, np.stack(tables, axis=-1)[None].astype(np.float32)), np.float32)


def _amounts(density: Floats, dyes: NDArray[np.floating]) -> Floats:
    """Return how much of each dye is in densities float32[n, 3]: least squares, not negative, float32[n, 2]."""
    return np.maximum(density @ np.linalg.pinv(dyes.astype(np.float64)).astype(np.float32), 0)
