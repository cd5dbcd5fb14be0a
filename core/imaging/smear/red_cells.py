"""Red cells, platelets and dirt: what lies around the white cell in a synthetic smear. Works in optical densities."""

import numpy as np
from numpy.typing import NDArray

from core.imaging.smear.fields import Grid, blob, cover, noise
from core.imaging.smear.style import SmearStyle

Density = NDArray[np.float32]

RED_CELL = np.array([0.37, 0.66, 0.47], np.float32)  # optical density of the rim to red, green, blue light
PLATELET = np.array([0.36, 0.60, 0.24], np.float32)
OVERLAPS = 0.15  # share of red cells that may lie over others
RED_CELL_UM = 3.65  # radius; 6.2-8.2 um is the normal range of the diameter


def paint_red_cells(
    density: Density,
    rng: np.random.Generator,
    style: SmearStyle,
    scale: float,
    keep_off: list[tuple[float, float, float]],
) -> None:
    """Add red cells to optical densities float32[side, side, 3].

    Cells are biconcave discs: a thick rim, a pale centre of about a third of the diameter. They may overlap one
    another (densities add, as in transmitted light) but keep off the given circles.

    Args:
        density: changed in place.
        rng: source of all chance.
        style: colours and crowding.
        scale: pixels per micrometre.
        keep_off: circles (x, y, radius) of white cells, which red cells touch at most.
    """
    side = density.shape[0]
    colour = RED_CELL * np.array(style.red_cell_tint, np.float32) * np.float32(style.eosin)
    wanted = int(rng.poisson(style.crowding))
    pallor_of_slide = rng.uniform(0.35, 0.8)
    placed: list[tuple[float, float, float]] = []
    for _ in range(8 * wanted):
        if len(placed) >= wanted:
            break
        radius = RED_CELL_UM * scale * float(np.clip(rng.normal(1, 0.07), 0.8, 1.2))
        x, y = rng.uniform(-0.6 * radius, side + 0.6 * radius, 2)
        if any(np.hypot(x - cx, y - cy) < cr + 0.9 * radius for cx, cy, cr in keep_off):
            continue
        closest = 0.85 if rng.random() < OVERLAPS else 1.9  # in radii: a few overlap, most at least nearly touch
        if any(np.hypot(x - cx, y - cy) < closest * radius for cx, cy, _ in placed):
            continue
        placed.append((x, y, radius))
        _paint_red_cell(density, rng, (x, y, radius), colour=colour, pallor=pallor_of_slide)


def _paint_red_cell(
    density: Density,
    rng: np.random.Generator,
    circle: tuple[float, float, float],
    *,
    colour: NDArray[np.float32],
    pallor: float,
) -> None:
    """Add one red cell at (x, y, radius)."""
    centre, radius = circle[:2], circle[2]
    grid = Grid.around(centre, radius * 1.35 + 2, density.shape[0])
    if 0 in grid.shape:
        return
    body = blob(grid, rng, centre, radius, stretch=1 + abs(rng.normal(0, 0.13)), wobble=0.035)
    offset = rng.normal(0, 0.06 * radius, 2)
    middle = (centre[0] + offset[0], centre[1] + offset[1])
    depth = float(np.clip(pallor + rng.normal(0, 0.18), 0, 0.95))
    width = radius * rng.uniform(0.30, 0.48)
    pale = depth * cover(blob(grid, rng, middle, width, stretch=1.1), rng.uniform(0.5, 0.95) * radius)
    rim = 1 + 0.16 * np.exp(-((body - np.float32(0.16 * radius)) ** 2) / np.float32(0.02 * radius**2 + 1))
    thickness = cover(body, 2.0) * rim * (1 - pale) * np.float32(rng.uniform(0.86, 1.12))
    density[grid.window] += thickness[..., None] * colour


def paint_platelets(density: Density, rng: np.random.Generator, style: SmearStyle, scale: float) -> None:
    """Add a few platelets (granular purple, 2-3 um) and now and then a speck of stain."""
    side = density.shape[0]
    colour = PLATELET * np.array(style.azure_tint, np.float32) * np.float32(style.azure)
    for _ in range(int(rng.poisson(0.8))):
        centre = (float(rng.uniform(0, side)), float(rng.uniform(0, side)))
        radius = scale * float(rng.uniform(0.8, 1.5))
        grid = Grid.around(centre, radius * 2 + 2, side)
        if 0 in grid.shape:
            continue
        body = cover(blob(grid, rng, centre, radius, stretch=1.3, wobble=0.12), 2.0)
        grains = np.clip(0.75 + 0.45 * noise(rng, grid.shape, 1.0), 0.15, 1.8)
        density[grid.window] += (body * grains)[..., None] * colour
    if rng.random() < 0.12:  # noqa: PLR2004 - one picture in eight
        centre = (float(rng.uniform(0, side)), float(rng.uniform(0, side)))
        grid = Grid.around(centre, 6, side)
        speck = cover(blob(grid, rng, centre, float(rng.uniform(0.6, 1.6)), wobble=0.2), 1.2)
        density[grid.window] += speck[..., None] * np.float32(1.3)
