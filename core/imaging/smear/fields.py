"""Shapes as signed distance fields and textures as smooth noise: the geometry of the synthetic smear, no colours.

A distance field is float32[h, w] in pixels, positive inside. Everything is drawn from the generator that is handed in.
"""

import math
from dataclasses import dataclass

import cv2
import numpy as np
from numpy.typing import NDArray

Field = NDArray[np.float32]


@dataclass(frozen=True)
class Grid:
    """Pixel centres of a rectangle of a picture.

    Attributes:
        x: float32[h, w], columns of the whole picture.
        y: float32[h, w], rows of the whole picture.
        window: slices of the rectangle in the whole picture.
    """

    x: Field
    y: Field
    window: tuple[slice, slice]

    @classmethod
    def around(cls, centre: tuple[float, float], reach: float, side: int) -> "Grid":
        """Return the part of a side x side picture within `reach` pixels of `centre` (x, y); may be empty."""
        left, right = (int(np.clip(centre[0] + sign * reach, 0, side)) for sign in (-1, 1))
        top, bottom = (int(np.clip(centre[1] + sign * reach, 0, side)) for sign in (-1, 1))
        y, x = np.mgrid[top:bottom, left:right].astype(np.float32)
        return cls(x, y, (slice(top, bottom), slice(left, right)))

    @property
    def shape(self) -> tuple[int, int]:
        """Height and width."""
        height, width = self.x.shape
        return height, width


def blob(
    grid: Grid,
    rng: np.random.Generator,
    centre: tuple[float, float],
    radius: float,
    *,
    stretch: float = 1.0,
    wobble: float = 0.0,
) -> Field:
    """Distance field of a rounded outline: a turned ellipse with low harmonics of relative size `wobble`."""
    turn = rng.uniform(0, math.pi)
    dx, dy = grid.x - np.float32(centre[0]), grid.y - np.float32(centre[1])
    root = math.sqrt(stretch)
    cosine, sine = np.float32(math.cos(turn)), np.float32(math.sin(turn))
    u = (dx * cosine + dy * sine) / np.float32(root)
    v = (dy * cosine - dx * sine) * np.float32(root)
    away = np.sqrt(u * u + v * v)
    distance = np.float32(radius) - away
    if wobble:
        direction = (u + np.complex64(1j) * v) / np.maximum(away, np.float32(1e-6))
        harmonic = direction  # its powers turn k times as fast: cheaper than a cosine for each order
        for order in range(2, 6):
            harmonic = harmonic * direction
            size, phase = radius * wobble * rng.normal() / (order - 1), rng.uniform(0, 2 * math.pi)
            distance += np.float32(size * math.cos(phase)) * harmonic.real
            distance -= np.float32(size * math.sin(phase)) * harmonic.imag
    return np.asarray(distance, np.float32)


def capsule(grid: Grid, start: tuple[float, float], end: tuple[float, float], radius: float) -> Field:
    """Distance field of a straight rod with round ends."""
    dx, dy = end[0] - start[0], end[1] - start[1]
    along = ((grid.x - np.float32(start[0])) * np.float32(dx) + (grid.y - np.float32(start[1])) * np.float32(dy)) / (
        np.float32(max(dx * dx + dy * dy, 1e-6))
    )
    along = np.clip(along, 0, 1)
    away = np.hypot(
        grid.x - np.float32(start[0]) - along * np.float32(dx), grid.y - np.float32(start[1]) - along * np.float32(dy)
    )
    return np.asarray(radius - away, np.float32)


def join(fields: list[Field], softness: float) -> Field:
    """Union of shapes with rounded joints (`softness` in pixels)."""
    total = np.sum([np.exp(np.clip(field / softness, -40, 40)) for field in fields], axis=0)
    return np.asarray(softness * np.log(np.maximum(total, 1e-12)), np.float32)


def cut(field: Field, hole: Field, softness: float) -> Field:
    """Take `hole` out of a shape, with rounded edges."""
    return -join([-field, hole], softness)


def cover(field: Field, width: float = 1.2) -> Field:
    """Turn distances into coverage 0..1 with an edge `width` pixels wide."""
    t = np.clip(field / np.float32(width) + np.float32(0.5), 0, 1)
    return np.asarray(t * t * (3 - 2 * t), np.float32)


def noise(rng: np.random.Generator, shape: tuple[int, int], grain: float) -> Field:
    """Gaussian noise of mean 0 and standard deviation 1 with grains of about `grain` pixels (0 leaves it white)."""
    white = rng.standard_normal(shape, dtype=np.float32)
    if grain <= 0 or 0 in shape:
        return white
    smooth = cv2.GaussianBlur(white, (0, 0), grain)
    return np.asarray(smooth * np.float32(max(2 * np.sqrt(np.pi) * grain, 1.0)), np.float32)
