"""Random changes to training images that a microscope could have made; plain NumPy, a few milliseconds a batch."""

import numpy as np
from numpy.typing import NDArray

GAIN = 0.10
"""Largest relative change of a colour channel: another stain or lamp."""
BRIGHTNESS = 0.08
"""Largest change of all channels together, on the scale 0..1."""


def turn(images: NDArray[np.uint8], rng: np.random.Generator) -> NDArray[np.uint8]:
    """Return a copy of uint8 [n, s, s, 3] with each image turned and mirrored at random: a smear has no top."""
    turned = np.empty_like(images)
    for i, way in enumerate(rng.integers(0, 8, len(images))):
        image = np.rot90(images[i], way % 4)
        turned[i] = image[:, ::-1] if way >= 4 else image  # noqa: PLR2004  four turns, then the same mirrored
    return turned


def recolour(batch: NDArray[np.float32], rng: np.random.Generator) -> NDArray[np.float32]:
    """Change colour and brightness of float32 [n, s, s, 3] in 0..1 IN PLACE and return it, still in 0..1."""
    n = len(batch)
    gain = rng.uniform(1 - GAIN, 1 + GAIN, (n, 1, 1, 3)).astype(np.float32)
    offset = rng.uniform(-BRIGHTNESS, BRIGHTNESS, (n, 1, 1, 1)).astype(np.float32)
    batch *= gain
    batch += offset
    return np.clip(batch, 0.0, 1.0, out=batch)
