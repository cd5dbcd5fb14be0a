"""Paints the white cells that `recipes` describes: outline, nucleus, chromatin, nucleoli, granules, vacuoles."""

import itertools

import numpy as np
from numpy.typing import NDArray

from core.imaging.smear.fields import Field, Grid, blob, capsule, cover, cut, join, noise
from core.imaging.smear.recipes import RECIPES, CellKind, NucleusShape, Recipe
from core.imaging.smear.style import SmearStyle

Density = NDArray[np.float32]


def radius_of(rng: np.random.Generator, kind: CellKind, scale: float) -> float:
    """Draw a cell's radius in pixels."""
    return float(rng.uniform(*RECIPES[kind].radius_um)) * scale


def paint_white_cell(
    density: Density,
    rng: np.random.Generator,
    kind: CellKind,
    *,
    centre: tuple[float, float],
    radius: float,
    scale: float,
    style: SmearStyle,
) -> None:
    """Lay one white cell over optical densities float32[side, side, 3].

    Args:
        density: changed in place; what the cell covers is replaced, not added to.
        rng: source of all chance.
        kind: which recipe.
        centre: (x, y) in pixels.
        radius: in pixels.
        scale: pixels per micrometre.
        style: strength and tint of the stain.
    """
    recipe = RECIPES[kind]
    grid = Grid.around(centre, radius * 1.35 + 4, density.shape[0])
    if 0 in grid.shape:
        return
    body = blob(grid, rng, centre, radius, stretch=1 + abs(rng.normal(0, 0.10)), wobble=recipe.wobble)
    nucleus = cut_to(_nucleus(grid, rng, recipe, centre, radius), body, 0.03 * radius)
    inside, core = cover(body, 1.6), cover(nucleus, 1.5)
    tint = np.array(style.azure_tint, np.float32) * np.float32(style.azure)
    cytoplasm = _cytoplasm(grid, rng, recipe, (body, nucleus), scale)
    chromatin = _chromatin(grid, rng, recipe, nucleus, scale)
    layer = cytoplasm * (1 - core)[..., None] + chromatin * core[..., None]
    if recipe.granules is not None:
        where = np.ones_like(core) if recipe.granules_over_nucleus else 1 - core
        amount = _granules(grid, rng, recipe, scale) * where * cover(body - 0.04 * radius, 2.0)
        if recipe.granules_over_nucleus:
            amount *= 1 - 0.6 * core
        layer += amount[..., None] * np.array(recipe.granules, np.float32)
    if kind is CellKind.BLAST and rng.random() < 0.05:  # noqa: PLR2004 - Auer rods are rare
        layer += _auer_rod(grid, rng, centre, radius, scale)[..., None] * np.array((0.25, 0.75, 0.25), np.float32)
    window = density[grid.window]
    window *= (1 - inside)[..., None]
    window += layer * inside[..., None] * tint


def cut_to(field: Field, outline: Field, margin: float) -> Field:
    """Keep a shape inside an outline, `margin` pixels away from it."""
    return np.minimum(field, outline - np.float32(margin))


def _nucleus(grid: Grid, rng: np.random.Generator, recipe: Recipe, centre: tuple[float, float], radius: float) -> Field:
    """Distance field of the nucleus, somewhat off the cell's centre."""
    size = radius * rng.uniform(*recipe.nucleus_share)
    turn, slack = rng.uniform(0, 2 * np.pi), (radius - size) * rng.uniform(0.1, 0.75)
    middle = (centre[0] + slack * np.cos(turn), centre[1] + slack * np.sin(turn))
    if recipe.shape is NucleusShape.LOBED:
        return _lobes(grid, rng, middle, size, int(rng.integers(recipe.lobes[0], recipe.lobes[1] + 1)))
    stretch, wobble = 1 + abs(rng.normal(0, 0.10)), 0.03
    notch = rng.random() < 0.25  # noqa: PLR2004 - a quarter of round nuclei is indented
    if recipe.shape is NucleusShape.KIDNEY:
        stretch, wobble, notch = rng.uniform(1.1, 1.45), 0.07, True
    field = blob(grid, rng, middle, size, stretch=stretch, wobble=wobble)
    if notch:
        deep = rng.uniform(0.75, 1.15) if recipe.shape is NucleusShape.KIDNEY else rng.uniform(1.05, 1.3)
        away = rng.uniform(0, 2 * np.pi)
        hole = (middle[0] + deep * size * np.cos(away), middle[1] + deep * size * np.sin(away))
        field = cut(field, blob(grid, rng, hole, size * rng.uniform(0.3, 0.5), wobble=0.08), 0.06 * size + 0.5)
    return field


def _lobes(grid: Grid, rng: np.random.Generator, middle: tuple[float, float], size: float, count: int) -> Field:
    """Distance field of `count` lobes along a bent path, joined by thin threads."""
    lobe = size * {2: 0.52, 3: 0.43, 4: 0.38, 5: 0.34}[count]
    arc = {2: 2.3, 3: 3.6, 4: 4.6, 5: 5.2}[count] * rng.uniform(0.85, 1.1)
    start = rng.uniform(0, 2 * np.pi)
    path = size * 0.60
    centres = []
    for number in range(count):
        angle = start + arc * number / (count - 1) + rng.normal(0, 0.12)
        away = path * rng.uniform(0.85, 1.1)
        centres.append((middle[0] + away * np.cos(angle), middle[1] + away * np.sin(angle)))
    parts = [
        blob(grid, rng, c, lobe * rng.uniform(0.85, 1.15), stretch=rng.uniform(1, 1.5), wobble=0.07) for c in centres
    ]
    threads = [
        capsule(grid, first, second, lobe * rng.uniform(0.16, 0.5)) for first, second in itertools.pairwise(centres)
    ]
    return join([*parts, *threads], 0.07 * lobe + 0.3)


def _chromatin(grid: Grid, rng: np.random.Generator, recipe: Recipe, nucleus: Field, scale: float) -> Density:
    """Density of the nucleus: fine and even, or clumped with pale gaps; a darker membrane; pale nucleoli."""
    clumps = rng.uniform(*recipe.clumps)
    coarse = np.tanh(1.6 * noise(rng, grid.shape, 0.46 * scale))
    middle = noise(rng, grid.shape, 0.24 * scale)
    fine = noise(rng, grid.shape, 0.13 * scale)
    texture = 0.30 * clumps * coarse + (0.07 + 0.03 * clumps) * middle + 0.075 * fine
    membrane = 0.14 * np.exp(-((nucleus - 1.0) ** 2) / 2.2)
    shade = 1 + texture + membrane
    for _ in range(int(rng.integers(recipe.nucleoli[0], recipe.nucleoli[1] + 1))):
        rows, columns = np.nonzero(nucleus > 1.1 * scale)
        if not len(rows):
            break
        pick = int(rng.integers(len(rows)))
        spot = (float(grid.x[rows[pick], columns[pick]]), float(grid.y[rows[pick], columns[pick]]))
        field = blob(grid, rng, spot, scale * rng.uniform(0.45, 1.0), stretch=1.2, wobble=0.1)
        shade = shade * (1 - rng.uniform(0.18, 0.36) * cover(field, 2.4)) + 0.10 * np.exp(-((field + 0.8) ** 2) / 1.5)
    colour = np.array(recipe.nucleus, np.float32) * rng.normal(1, 0.05)
    return np.asarray(np.clip(shade, 0.3, 1.7)[..., None] * colour, np.float32)


def _cytoplasm(
    grid: Grid, rng: np.random.Generator, recipe: Recipe, fields: tuple[Field, Field], scale: float
) -> Density:
    """Density of the cytoplasm: mottled, darker at the rim, paler beside the nucleus, vacuoles nearly empty."""
    body, nucleus = fields
    shade = 1 + 0.07 * noise(rng, grid.shape, 0.2 * scale) + 0.10 * noise(rng, grid.shape, 1.0 * scale)
    shade += recipe.rim * np.exp(-np.maximum(body, 0) / (0.45 * scale))
    shade -= 0.18 * np.exp(-((nucleus + 0.5 * scale) ** 2) / (0.5 * scale**2))
    vacuoles = int(rng.integers(0, recipe.vacuoles + 1)) if rng.random() < 0.6 else 0  # noqa: PLR2004
    rows, columns = np.nonzero((body > 0.8 * scale) & (nucleus < -0.2 * scale))
    for _ in range(vacuoles if len(rows) else 0):
        pick = int(rng.integers(len(rows)))
        spot = (float(grid.x[rows[pick], columns[pick]]), float(grid.y[rows[pick], columns[pick]]))
        hole = blob(grid, rng, spot, scale * rng.uniform(0.25, 0.65))
        shade *= 1 - 0.85 * cover(hole, 1.6)
    colour = np.array(recipe.cytoplasm, np.float32) * rng.lognormal(0, 0.10)
    return np.asarray(np.clip(shade, 0.05, 2.2)[..., None] * colour, np.float32)


def _granules(grid: Grid, rng: np.random.Generator, recipe: Recipe, scale: float) -> Field:
    """Coverage 0..1 by granules: the peaks of smooth noise above the level that leaves `granule_share`."""
    field = noise(rng, grid.shape, recipe.granule_grain * scale / 4.6)
    level = np.quantile(field, 1 - recipe.granule_share * rng.uniform(0.7, 1.2))
    return cover(field - np.float32(level), 1.7)


def _auer_rod(grid: Grid, rng: np.random.Generator, centre: tuple[float, float], radius: float, scale: float) -> Field:
    """Coverage by a thin rod in the cytoplasm."""
    angle = rng.uniform(0, 2 * np.pi)
    middle = (centre[0] + 0.8 * radius * np.cos(angle), centre[1] + 0.8 * radius * np.sin(angle))
    half, turn = scale * rng.uniform(0.9, 1.6), angle + np.pi / 2 + rng.normal(0, 0.25)
    step = (half * np.cos(turn), half * np.sin(turn))
    start, end = (middle[0] - step[0], middle[1] - step[1]), (middle[0] + step[0], middle[1] + step[1])
    return cover(capsule(grid, start, end, 0.16 * scale), 1.2)
