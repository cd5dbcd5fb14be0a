"""Synthetic smear fields: several white cells among red cells, with the place of each known, to measure counting by."""

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from core.imaging.smear.fields import noise
from core.imaging.smear.recipes import CellKind
from core.imaging.smear.red_cells import paint_platelets, paint_red_cells
from core.imaging.smear.style import SmearStyle
from core.imaging.smear.white_cells import paint_white_cell, radius_of
from core.imaging.synthetic import REFERENCE_SIDE, photograph

Pixels = NDArray[np.uint8]

_TRIES = 200
_APART = 1.15
_TOUCHING = 0.97


@dataclass(frozen=True)
class PlacedCell:
    """A white cell of a drawn field.

    Attributes:
        x: centre, in pixels from the left.
        y: centre, in pixels from the top.
        radius: in pixels.
        kind: what was drawn.
    """

    x: float
    y: float
    radius: float
    kind: CellKind


@dataclass(frozen=True)
class DrawnField:
    """A picture uint8[height, width, 3], RGB, and the white cells in it."""

    pixels: Pixels
    cells: tuple[PlacedCell, ...]


def generate_field(
    rng: np.random.Generator,
    *,
    kinds: Sequence[CellKind],
    style: SmearStyle,
    height: int,
    width: int,
    zoom: float = 1.0,
    touching: float = 0.25,
) -> DrawnField:
    """Draw a field with a white cell of each of `kinds`; where there is no room left some are left out.

    Args:
        rng: source of all chance; the same state gives the same field.
        kinds: what to draw, in this order.
        style: the laboratory's stain and lamp.
        height: of the picture in pixels.
        width: of the picture in pixels.
        zoom: 1 draws at the scale of the single-cell pictures (`SmearStyle.pixels_per_um`).
        touching: share of the cells that are laid against an earlier one.
    """
    side, scale = max(height, width), style.pixels_per_um * zoom
    cells: list[PlacedCell] = []
    for kind in kinds:
        placed = _place(rng, kind, cells, (height, width), scale=scale, touch=rng.random() < touching)
        if placed is not None:
            cells.append(placed)
    area = (side / (REFERENCE_SIDE * zoom)) ** 2
    density = np.zeros((side, side, 3), np.float32)
    density += (0.006 * noise(rng, (side, side), 6 * zoom))[..., None]
    crowded = replace(style, crowding=style.crowding * area)
    paint_red_cells(density, rng, crowded, scale, [(cell.x, cell.y, cell.radius) for cell in cells])
    for _ in range(round(area)):
        paint_platelets(density, rng, style, scale)
    for cell in cells:
        centre = (cell.x, cell.y)
        paint_white_cell(density, rng, cell.kind, centre=centre, radius=cell.radius, scale=scale, style=style)
    pixels = photograph(density, rng, style, zoom)[:height, :width]
    return DrawnField(np.ascontiguousarray(pixels), tuple(cells))


def _place(
    rng: np.random.Generator,
    kind: CellKind,
    cells: Sequence[PlacedCell],
    shape: tuple[int, int],
    *,
    scale: float,
    touch: bool,
) -> PlacedCell | None:
    """Return a cell that lies whole in the picture, against an earlier one or apart from all; None if none fits."""
    height, width = shape
    for _ in range(_TRIES):
        radius = radius_of(rng, kind, scale)
        if touch and cells:
            beside = cells[int(rng.integers(len(cells)))]
            turn, away = rng.uniform(0, 2 * np.pi), _TOUCHING * (radius + beside.radius)
            x, y = beside.x + away * float(np.cos(turn)), beside.y + away * float(np.sin(turn))
            others = [cell for cell in cells if cell is not beside]
        else:
            x, y = float(rng.uniform(0, width)), float(rng.uniform(0, height))
            others = list(cells)
        inside = radius < x < width - radius and radius < y < height - radius
        if inside and all(np.hypot(x - o.x, y - o.y) > _APART * (radius + o.radius) for o in others):
            return PlacedCell(x, y, radius, kind)
    return None
