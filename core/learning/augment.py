"""Random changes to training images that a microscope or a scanner could have made; a few milliseconds a batch.

Everything here takes and returns pictures uint8, as serving sees them, so that normalisation is the same afterwards.
What is allowed follows from the subject: a smear has no top and no scale that is beyond doubt, its stain and lamp
differ from laboratory to laboratory; a scan has a top, and its grey values mean something.
"""

import math
from dataclasses import dataclass, replace

import cv2
import numpy as np
from numpy.typing import NDArray

from core.studies.study import Subject

Images = NDArray[np.uint8]

HED = np.array([[0.65, 0.70, 0.29], [0.07, 0.99, 0.11], [0.27, 0.57, 0.78]], np.float32)
"""Optical densities of haematoxylin, eosin and a third, residual stain, a row each (Ruifrok and Johnston 2001)."""
_TO_RGB = HED / np.linalg.norm(HED, axis=1, keepdims=True)
_TO_STAINS = np.linalg.inv(_TO_RGB)
_DENSITY = -np.log((np.arange(256, dtype=np.float32) + 1) / 256)
"""Optical density of a pixel value; one is added so that black has one."""


@dataclass(frozen=True, kw_only=True)
class Changes:
    """The largest changes of one kind of picture.

    Attributes:
        degrees: rotation to either side; 180 allows all.
        zoom: relative change of scale.
        shift: of the picture's side, in each direction.
        flips_across: whether left and right may change places.
        flips_down: whether top and bottom may.
        stain: relative change of the amount of each stain (optical density), 0 for pictures without stain.
        lamp: relative change of each colour channel's light.
        contrast: change of the exponent of the grey scale (gamma), to either side, in natural logarithm.
        camera: how much of each colour channel's optical density is mixed into each other one, to either side: two
            cameras' filters let through different colours.
        sharp: share of the images that are moved by quarter turns (where all rotations are allowed) and mirrors only,
            so that their pixels stay what they were: interpolation smooths, and serving does not interpolate.
    """

    degrees: float
    zoom: float
    shift: float
    flips_across: bool
    flips_down: bool
    stain: float = 0.0
    lamp: float = 0.0
    contrast: float = 0.0
    camera: float = 0.0
    sharp: float = 0.5


_CELL = Changes(
    degrees=180,
    zoom=0.30,
    shift=0.05,
    flips_across=True,
    flips_down=True,
    stain=0.35,
    lamp=0.15,
    contrast=0.25,
    camera=0.10,
)
"""Wide, since the next laboratory stains, lights and frames otherwise."""
_FIELD = replace(_CELL, zoom=0.12, stain=0.15, lamp=0.06, contrast=0.10, camera=0.0)
"""Narrower: in a field as a whole the stain is half of what there is to see."""
CHANGES = {
    Subject.CELL: _CELL,
    Subject.FIELD: _FIELD,
    # Labels of the scans here do not depend on the side of the body; up and down stay what they are.
    Subject.SCAN: Changes(
        degrees=15, zoom=0.20, shift=0.07, flips_across=True, flips_down=False, contrast=0.30, sharp=0.25
    ),
}


def augmented(images: Images, subject: Subject, rng: np.random.Generator) -> Images:
    """Return a changed copy of uint8 [n, s, s, 3]: moved, then in another light and stain."""
    changes = CHANGES[subject]
    moved = move(images, changes, rng)
    return restain(moved, changes, rng) if changes.stain else recontrast(moved, changes, rng)


def move(images: Images, changes: Changes, rng: np.random.Generator) -> Images:
    """Return a copy of uint8 [n, s, s, 3], each image turned, mirrored, zoomed and shifted by chance.

    What comes in from outside is the picture mirrored at its border.
    """
    n, side = len(images), images.shape[1]
    sharp = rng.random(n) < changes.sharp
    quarters = rng.integers(0, 4, n) * (90 if changes.degrees >= 180 else 0)  # noqa: PLR2004  all rotations
    angles = np.radians(np.where(sharp, quarters, rng.uniform(-changes.degrees, changes.degrees, n)))
    scales = np.where(sharp, 1, np.exp(rng.uniform(-1, 1, n) * math.log1p(changes.zoom)))
    shifts = np.where(sharp[:, None], 0, rng.uniform(-changes.shift, changes.shift, (n, 2)) * side)
    across = np.where(changes.flips_across & (rng.random(n) < 1 / 2), -1, 1)
    down = np.where(changes.flips_down & (rng.random(n) < 1 / 2), -1, 1)
    cosines, sines = np.cos(angles) * scales, np.sin(angles) * scales
    turns = np.stack([cosines * across, sines * down, -sines * across, cosines * down], 1).reshape(n, 2, 2)
    middle = np.full(2, (side - 1) / 2)
    offsets = middle + shifts - turns @ middle
    moved = np.empty_like(images)
    for image, turn, offset, out in zip(images, turns, offsets, moved, strict=True):
        matrix = np.column_stack([turn, offset])
        cv2.warpAffine(image, matrix, (side, side), out, cv2.INTER_LINEAR, cv2.BORDER_REFLECT_101)
    return moved


def restain(images: Images, changes: Changes, rng: np.random.Generator) -> Images:
    """Return a copy of uint8 [n, s, s, 3] with other amounts of stain and another lamp.

    In optical density, light that passes two stains is a sum (Beer and Lambert), so a change of the stains' amounts
    is a matrix, so is (nearly) one of the camera's filters; one of the lamp is an offset, and one of the exposure
    curve a factor.
    """
    n = len(images)
    gains = 1 + rng.uniform(-changes.stain, changes.stain, (n, 3))
    lamps = np.log1p(rng.uniform(-changes.lamp, changes.lamp, (n, 3)))
    exponents = np.exp(rng.uniform(-changes.contrast, changes.contrast, n))
    crosstalk = rng.uniform(-changes.camera, changes.camera, (n, 3, 3)) * (1 - np.eye(3))
    mixing = _TO_STAINS @ (gains[:, :, None] * _TO_RGB) @ (np.eye(3) + crosstalk) * exponents[:, None, None]
    matrices = np.concatenate([mixing.transpose(0, 2, 1), lamps[:, :, None]], 2).astype(np.float32)
    out = np.empty_like(images)
    for image, matrix, restained in zip(images, matrices, out, strict=True):
        density = cv2.transform(_DENSITY[image], matrix)
        np.clip(cv2.exp(-density) * 256 - 1, 0, 255, out=restained, casting="unsafe")
    return out


def recontrast(images: Images, changes: Changes, rng: np.random.Generator) -> Images:
    """Return a copy of uint8 [n, s, s, 3] with another exponent of the grey scale in each image."""
    exponents = np.exp(rng.uniform(-changes.contrast, changes.contrast, len(images)))
    scale = np.arange(256) / 255
    out = np.empty_like(images)
    for image, exponent, changed in zip(images, exponents, out, strict=True):
        cv2.LUT(image, np.rint(scale**exponent * 255).astype(np.uint8), changed)
    return out


GAIN = 0.10
"""Largest relative change of a colour channel after normalisation."""
BRIGHTNESS = 0.08
"""Largest change of all channels together after normalisation, on the scale 0..1."""


def recolour(batch: NDArray[np.float32], rng: np.random.Generator) -> NDArray[np.float32]:
    """Change colour and brightness of float32 [n, s, s, 3] in 0..1 IN PLACE and return it, still in 0..1.

    Normalisation takes away what the lamp did to the whole picture, but one dark grain changes it; this makes the
    network indifferent to that.
    """
    n = len(batch)
    gain = rng.uniform(1 - GAIN, 1 + GAIN, (n, 1, 1, 3)).astype(np.float32)
    offset = rng.uniform(-BRIGHTNESS, BRIGHTNESS, (n, 1, 1, 1)).astype(np.float32)
    batch *= gain
    batch += offset
    return np.clip(batch, 0.0, 1.0, out=batch)
