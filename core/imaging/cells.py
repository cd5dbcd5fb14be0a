"""A smear field to its white cells: boxes, and square crops framed as the pictures of single cells are.

Classical segmentation; the same pixels always give the same cells:

1. Optical densities against the picture's own background (Beer-Lambert), so that lamp and glass cancel out.
2. Nuclei: azure takes green far more than blue, which neither red cells nor glass do; Otsu's threshold on
   ``green density - blue density`` among the pixels that are not background, of which at least `_LEAST_VIOLET` of
   the green density must be left (0.6 in nuclei, 0.3 in red cells).
3. Scale: the diameter of this picture's lone red cells. Pictures of single cells are `FRAME` red cells wide, whatever
   the microscope, and so are the crops.
4. `core.imaging.nuclei` parts what touches and puts lobes together. What the border cuts is left out: half a cell
   would be judged wrongly, and its other half is in the next field.

A cell counts as found where the centre of a box lies within half the cell's radius of its centre; how many are, is
measured by ``benchmarks/cells.py`` (docs/results.md).
"""

import math
from dataclasses import dataclass

import cv2
import numpy as np
from numpy.typing import NDArray

from core.imaging.nuclei import Floats, Mask, find_nuclei

Pixels = NDArray[np.uint8]

FRAME = 4.8
"""Side of a crop in red-cell diameters: 160 px pictures of single cells hold red cells of 33 px."""
MAX_CELLS = 300
"""At most so many cells of one picture are returned, the largest nuclei first."""

_WORKING_SIDE = 800
_SMALL_RED_CELL = 20.0
_LEAST_DENSITY = 0.12
_LEAST_AZURE = 0.10
_LEAST_VIOLET = 0.33
_ROOM = 1.5
_SEVERAL = 3
_RED_CELL_PX = (4.0, 120.0)
_LEAST_RED_CELL = 6.0
_NUCLEUS_PER_RED_CELL = 1.15
_LEAST_RED_CELL_PER_NUCLEUS = 0.45


@dataclass(frozen=True)
class CellBox:
    """The square that frames a white cell, in pixels of the picture; it may reach over the border.

    Attributes:
        left, top: its corner.
        side: its side.
        x, y: its centre, not rounded.
        nucleus: diameter of a disc of the nucleus' area.
    """

    left: int
    top: int
    side: int
    x: float
    y: float
    nucleus: float


@dataclass(frozen=True)
class CellsFound:
    """The white cells of a picture.

    Attributes:
        cells: row by row; at most `MAX_CELLS`.
        total: how many there are.
        red_cell: diameter of the red cells in pixels; judged by the nuclei where no lone red cell is seen; 0.0 where
            nothing is stained, or so small that no cell could be judged.
        is_field: the picture has room for several cells beside each other, so it is none of a single cell.
    """

    cells: tuple[CellBox, ...]
    total: int
    red_cell: float
    is_field: bool


def find_cells(pixels: Pixels, *, fields_only: bool = False) -> CellsFound:
    """Find the white cells of a stained smear in uint8[h, w, 3], RGB.

    Shape and stain alone are judged: a smudge of nuclear material can pass for a cell. With `fields_only` a picture
    without room for several cells is not searched, which saves most of the time.
    """
    longer, shorter = max(pixels.shape[:2]), min(pixels.shape[:2])
    zoom = max(1.0, longer / _WORKING_SIDE)
    seen = _see(_resized(pixels, zoom))
    if 0 < seen.red_cell < _SMALL_RED_CELL and 2 * longer <= _WORKING_SIDE:
        zoom = 0.5
        seen = _see(_resized(pixels, zoom))
    if seen.red_cell * zoom < _LEAST_RED_CELL:
        return CellsFound((), 0, 0.0, is_field=False)
    side = FRAME * seen.red_cell * zoom
    if fields_only and shorter <= _ROOM * side:
        return CellsFound((), 0, seen.red_cell * zoom, is_field=False)
    nuclei = find_nuclei(seen.mask, seen.azure, threshold=seen.threshold, red_cell=seen.red_cell)
    boxes = [_box(nucleus.circle, nucleus.diameter, zoom, side) for nucleus in nuclei if not nucleus.is_cut]
    kept = sorted(boxes, key=lambda box: -box.nucleus)[:MAX_CELLS]
    kept.sort(key=lambda box: (round(box.y / side), box.x))
    is_field = shorter > _ROOM * side and (seen.has_red_cells or _are_spread(boxes, shorter))
    return CellsFound(tuple(kept), len(boxes), seen.red_cell * zoom, is_field)


def crop(pixels: Pixels, box: CellBox) -> Pixels:
    """Cut out a cell uint8[side, side, 3]; beyond the border the picture is mirrored."""
    height, width = pixels.shape[:2]
    before = (max(0, -box.top), max(0, -box.left))
    after = (max(0, box.top + box.side - height), max(0, box.left + box.side - width))
    rows = slice(max(0, box.top), min(height, box.top + box.side))
    columns = slice(max(0, box.left), min(width, box.left + box.side))
    inside = pixels[rows, columns]
    if not any((*before, *after)):
        return np.ascontiguousarray(inside)
    mirrored = cv2.copyMakeBorder(inside, before[0], after[0], before[1], after[1], cv2.BORDER_REFLECT)
    return np.asarray(mirrored, np.uint8)


@dataclass(frozen=True, eq=False)
class _Seen:
    """Where azure stains, and the diameter of the red cells, all in working pixels."""

    azure: Floats
    threshold: float
    mask: Mask
    red_cell: float
    has_red_cells: bool


def _box(circle: tuple[float, float, float], nucleus: float, zoom: float, side: float) -> CellBox:
    x, y = (circle[0] + 0.5) * zoom, (circle[1] + 0.5) * zoom
    return CellBox(round(x - side / 2), round(y - side / 2), round(side), x, y, nucleus * zoom)


def _are_spread(boxes: list[CellBox], shorter: int) -> bool:
    """Tell whether several nuclei lie all over the picture; the lobes of a single cell lie together."""
    if len(boxes) < _SEVERAL:
        return False
    across = max(box.x for box in boxes) - min(box.x for box in boxes)
    down = max(box.y for box in boxes) - min(box.y for box in boxes)
    return max(across, down) > shorter / 2


def _resized(pixels: Pixels, zoom: float) -> Pixels:
    if zoom == 1:
        return pixels
    size = (max(1, round(pixels.shape[1] / zoom)), max(1, round(pixels.shape[0] / zoom)))
    how = cv2.INTER_AREA if zoom > 1 else cv2.INTER_CUBIC
    return np.asarray(cv2.resize(pixels, size, interpolation=how), np.uint8)


def _see(pixels: Pixels) -> _Seen:
    green, azure = _densities(pixels)
    azure = np.asarray(cv2.GaussianBlur(azure, (0, 0), 1.0), np.float32)
    violet = azure > _LEAST_VIOLET * green
    threshold = _azure_threshold(azure[green > _LEAST_DENSITY])
    mask = np.where((azure > threshold) & violet, np.uint8(255), np.uint8(0))
    red_cell, by_nuclei = _red_cell(green, mask), _red_cell_by_nuclei(mask)
    if red_cell > _LEAST_RED_CELL_PER_NUCLEUS * by_nuclei:
        return _Seen(azure, threshold, mask, red_cell, has_red_cells=True)
    return _Seen(azure, threshold, mask, by_nuclei, has_red_cells=False)


def _densities(pixels: Pixels) -> tuple[Floats, Floats]:
    """Return the green density, and the green less the blue one, float32[h, w], against the brightest tenth."""
    tables = []
    for channel in (1, 2):
        counts = np.bincount(pixels[::2, ::2, channel].ravel(), minlength=256)
        glass = max(int(np.searchsorted(np.cumsum(counts), 0.9 * counts.sum())), 1)
        levels = np.maximum(np.arange(256, dtype=np.float32), 2)
        tables.append(np.log(np.float32(glass) / levels))
    green = np.asarray(cv2.LUT(pixels[:, :, 1], tables[0]), np.float32)
    return green, green - np.asarray(cv2.LUT(pixels[:, :, 2], tables[1]), np.float32)


def _azure_threshold(stained: Floats) -> float:
    """Return Otsu's threshold between red cells and nuclei, never one that is faint."""
    if stained.size == 0:
        return math.inf
    top = max(float(np.percentile(stained, 99.5)), _LEAST_AZURE)
    grey = np.clip(stained * (255 / top), 0, 255).astype(np.uint8)
    level, _ = cv2.threshold(grey[:, None], 0, 255, cv2.THRESH_OTSU)
    return max(float(level) * top / 255, _LEAST_AZURE)


def _red_cell(green: Floats, nuclei: Mask) -> float:
    """Return the usual diameter of the red cells that lie alone and whole; 0.0 where there are none."""
    grey = np.clip(green * (255 / 0.6), 0, 255).astype(np.uint8)
    level, _ = cv2.threshold(grey, 0, 255, cv2.THRESH_OTSU)
    body = np.where(grey > max(0.8 * level, 20), np.uint8(255), np.uint8(0))
    near = cv2.dilate(nuclei, np.ones((5, 5), np.uint8))
    height, width = green.shape
    sizes = []
    for contour in cv2.findContours(body, cv2.RETR_EXTERNAL, cv2.CHAIN_APPROX_SIMPLE)[0]:
        x, y, w, h = cv2.boundingRect(contour)
        longer, shorter = max(w, h), min(w, h)
        if min(x, y) == 0 or x + w == width or y + h == height or longer > 1.6 * shorter:
            continue
        if not _RED_CELL_PX[0] <= shorter <= longer <= _RED_CELL_PX[1]:
            continue
        area = cv2.contourArea(contour)
        is_round = area >= 0.9 * cv2.contourArea(cv2.convexHull(contour))
        if is_round and not near[y : y + h, x : x + w].any():
            sizes.append(math.sqrt(4 * area / math.pi) + 1)
    return _weighted_median(sizes) if len(sizes) > 1 else 0.0


def _red_cell_by_nuclei(mask: Mask) -> float:
    """Return the diameter that red cells have beside nuclei of the usual width, clumps of them included."""
    solid = cv2.morphologyEx(mask, cv2.MORPH_CLOSE, cv2.getStructuringElement(cv2.MORPH_ELLIPSE, (7, 7)))
    depth = cv2.distanceTransform(solid, cv2.DIST_L2, 5)
    count, components = cv2.connectedComponents(solid)
    widest = np.zeros(count)
    inside = solid > 0
    np.maximum.at(widest, np.asarray(components[inside], np.int64), depth[inside])
    return _weighted_median(list(2 * widest[1:])) / _NUCLEUS_PER_RED_CELL


def _weighted_median(sizes: list[float]) -> float:
    """Return the median of diameters, each weighted by its area, so that specks do not count; 0.0 of none."""
    if not sizes:
        return 0.0
    ordered = np.sort(np.array(sizes))
    weights = np.cumsum(ordered**2)
    return float(ordered[np.searchsorted(weights, weights[-1] / 2)])
