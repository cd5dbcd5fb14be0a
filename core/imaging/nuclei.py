"""From a mask of azure-stained pixels to nuclei: touching ones parted at their necks, lobes of one put together.

Lengths are in pixels of the mask; what is large or small is told in diameters of the picture's red cells.
"""

import heapq
import math
from dataclasses import dataclass

import cv2
import numpy as np
from numpy.typing import NDArray

Mask = NDArray[np.uint8]
Floats = NDArray[np.float32]

# In red-cell diameters. A lymphocyte's nucleus is about one wide, a platelet up to 0.4, a giant one 0.6.
SMALLEST, GREATEST = 0.62, 3.2
LOBE = 1.0
"""Of two parts that are put together one at least is no wider."""
TOGETHER, MASS = 2.05, 1.5
"""Lobes of one nucleus lie in a circle of this diameter, and as one disc they would be no wider than that."""
NUCLEUS = 0.36
"""Radius from which a part can be a nucleus by itself."""
NECK, NECK_OF_NUCLEI = 0.65, 0.80
"""Two peaks are parted if the neck between them is narrower than this share of the lower peak; the latter if both can
be nuclei by themselves. Chosen, like the lengths, on fields drawn and composed apart from those that are reported."""
LEVELS = 33
MAX_PARTS = 1500
"""A picture with more parts is one of specks or noise, not of cells."""
_FAINT = 1.25


@dataclass(frozen=True, eq=False)
class Nucleus:
    """A nucleus, or a lobe of one.

    Attributes:
        x, y: centre of its pixels.
        area: in pixels.
        hull: int32[n, 2], the corners (x, y) of its convex hull.
        azure: mean strength of the stain.
        is_cut: it reaches the border of the picture.
    """

    x: float
    y: float
    area: float
    hull: NDArray[np.int32]
    azure: float
    is_cut: bool

    @property
    def diameter(self) -> float:
        """Diameter of a disc of this area."""
        return math.sqrt(4 * self.area / math.pi)

    @property
    def circle(self) -> tuple[float, float, float]:
        """Centre and diameter of the smallest circle around it."""
        (x, y), radius = cv2.minEnclosingCircle(self.hull)
        return float(x), float(y), 2 * float(radius)


def find_nuclei(mask: Mask, azure: Floats, *, threshold: float, red_cell: float) -> list[Nucleus]:
    """Find nuclei; platelets, large clumps of stain and what is hardly stained are left out.

    Args:
        mask: uint8[h, w], 255 where azure is above `threshold`.
        azure: float32[h, w], strength of the stain.
        threshold: what made the mask.
        red_cell: diameter of the red cells.
    """
    solid = _solid(mask, red_cell)
    nuclei = _together(_parts(solid, azure, red_cell), red_cell)
    return [
        nucleus
        for nucleus in nuclei
        if SMALLEST * red_cell <= nucleus.diameter <= GREATEST * red_cell and nucleus.azure > _FAINT * threshold
    ]


def _solid(mask: Mask, red_cell: float) -> Mask:
    """Close the gaps of chromatin, drop specks and threads, fill small holes."""
    size = max(3, round(0.12 * red_cell) | 1)
    kernel = cv2.getStructuringElement(cv2.MORPH_ELLIPSE, (size, size))
    solid = cv2.morphologyEx(cv2.morphologyEx(mask, cv2.MORPH_CLOSE, kernel), cv2.MORPH_OPEN, kernel)
    contours, levels = cv2.findContours(solid, cv2.RETR_CCOMP, cv2.CHAIN_APPROX_SIMPLE)
    for number, contour in enumerate(contours):
        is_hole = levels[0][number][3] >= 0
        if is_hole and cv2.contourArea(contour) < 0.15 * red_cell**2:
            cv2.drawContours(solid, contours, number, 255, cv2.FILLED)
    return np.asarray(solid, np.uint8)


def _parts(mask: Mask, azure: Floats, red_cell: float) -> list[Nucleus]:
    """Cut the mask at the necks between the peaks of its distance transform; nothing of a picture of mere specks."""
    depth = np.asarray(cv2.distanceTransform(mask, cv2.DIST_L2, 5), np.float32)
    smooth = cv2.GaussianBlur(depth, (0, 0), max(0.05 * red_cell, 0.5))
    reach = max(3, round(0.45 * red_cell) | 1)
    around = cv2.dilate(smooth, cv2.getStructuringElement(cv2.MORPH_ELLIPSE, (reach, reach)))
    peaks = ((smooth >= around - 1e-6) & (depth > 0.12 * red_cell)).astype(np.uint8)
    many, seeds = cv2.connectedComponents(peaks)
    count, components, boxes, _ = cv2.connectedComponentsWithStats(mask)
    if max(many, count) > MAX_PARTS:
        return []
    parts: list[Nucleus] = []
    for number in range(1, count):
        left, top, width, height, area = (int(value) for value in boxes[number])
        if area < 0.03 * red_cell**2:
            continue
        window = (slice(top, top + height), slice(left, left + width))
        own = components[window] == number
        labels = _labels(own, np.where(own, seeds[window], 0), depth[window], red_cell)
        parts += _regions(labels, azure[window], (left, top), mask.shape)
    return parts


def _labels(own: NDArray[np.bool_], seeds: NDArray[np.int32], depth: Floats, red_cell: float) -> NDArray[np.int32]:
    """Number the parts of one component from 1: watershed from the seeds that a neck parts from all others."""
    groups = _parted(own, seeds, depth, red_cell)
    if len(groups) < 2:  # noqa: PLR2004
        return own.astype(np.int32)
    table = np.zeros(int(seeds.max()) + 1, np.int32)
    for number, group in enumerate(groups, 1):
        table[group] = number
    markers = table[seeds]
    walls = np.where(own, np.uint8(0), np.uint8(255))  # what lies outside is flooded last
    cv2.watershed(np.repeat(walls[:, :, None], 3, axis=2), markers)
    return np.where(own, np.maximum(markers, 0), 0).astype(np.int32)


def _parted(own: NDArray[np.bool_], seeds: NDArray[np.int32], depth: Floats, red_cell: float) -> list[list[int]]:
    """Group the seeds between which there is no neck: the water falls, and peaks that meet high up are one."""
    rows, columns = np.nonzero(seeds)
    if not len(rows):
        return []
    upwards = np.argsort(depth[rows, columns], kind="stable")
    summit = {int(seeds[rows[n], columns[n]]): (int(rows[n]), int(columns[n])) for n in upwards}
    height = {label: float(depth[place]) for label, place in summit.items()}
    groups = [[label] for label in sorted(height, key=lambda label: -height[label])]  # the highest leads
    if len(groups) < 2:  # noqa: PLR2004
        return groups
    inside = np.where(own, depth, np.float32(0))
    for level in np.linspace(height[groups[0][0]], 0, LEVELS, endpoint=False)[1:]:
        _, land = cv2.connectedComponents((inside > level).astype(np.uint8))
        islands: dict[int, list[int]] = {}
        kept: list[list[int]] = []
        for group in groups:
            lead = group[0]
            island = int(land[summit[lead]])
            neck = NECK_OF_NUCLEI if height[lead] > NUCLEUS * red_cell else NECK
            if island and island in islands and level > neck * height[lead]:
                islands[island] += group
                continue
            kept.append(group)
            if island:
                islands.setdefault(island, group)
        groups = kept
    return groups


def _regions(
    labels: NDArray[np.int32], azure: Floats, corner: tuple[int, int], shape: tuple[int, ...]
) -> list[Nucleus]:
    """Measure the numbered parts of a window of a picture of this shape."""
    rows, columns = np.nonzero(labels)
    if not len(rows):
        return []
    numbers = labels[rows, columns]
    order = np.argsort(numbers, kind="stable")
    starts = np.flatnonzero(np.diff(numbers[order], prepend=0))
    nuclei = []
    for own in np.split(order, starts[1:]):
        y, x = rows[own] + corner[1], columns[own] + corner[0]
        cut = y.min() == 0 or x.min() == 0 or y.max() == shape[0] - 1 or x.max() == shape[1] - 1
        mean = float(azure[rows[own], columns[own]].mean())
        hull = _hull(np.stack([x, y], axis=1))
        nuclei.append(Nucleus(float(x.mean()), float(y.mean()), float(len(own)), hull, mean, bool(cut)))
    return nuclei


def _together(parts: list[Nucleus], red_cell: float) -> list[Nucleus]:
    """Put lobes together, the nearest first, as long as all fit into one nucleus."""
    groups: dict[int, Nucleus] = dict(enumerate(parts))
    reach = TOGETHER * red_cell

    def near(number: int) -> list[tuple[float, int, int]]:
        one = groups[number]
        return [
            (math.hypot(one.x - other.x, one.y - other.y), key, number)
            for key, other in groups.items()
            if key < number and abs(one.x - other.x) < reach and _are_lobes(one, other, red_cell)
        ]

    pairs = [pair for number in groups for pair in near(number)]
    heapq.heapify(pairs)
    following = len(parts)
    while pairs:
        _, first, second = heapq.heappop(pairs)
        if first in groups and second in groups:
            groups[following] = _joined(groups.pop(first), groups.pop(second))
            for pair in near(following):
                heapq.heappush(pairs, pair)
            following += 1
    return list(groups.values())


def _are_lobes(first: Nucleus, second: Nucleus, red_cell: float) -> bool:
    if math.hypot(first.x - second.x, first.y - second.y) > TOGETHER * red_cell:
        return False
    if min(first.diameter, second.diameter) > LOBE * red_cell:
        return False
    if math.hypot(first.diameter, second.diameter) > MASS * red_cell:
        return False
    _, radius = cv2.minEnclosingCircle(np.concatenate([first.hull, second.hull]))
    return 2 * float(radius) <= TOGETHER * red_cell


def _joined(first: Nucleus, second: Nucleus) -> Nucleus:
    area = first.area + second.area
    one, other = first.area / area, second.area / area
    return Nucleus(
        x=one * first.x + other * second.x,
        y=one * first.y + other * second.y,
        area=area,
        hull=_hull(np.concatenate([first.hull, second.hull])),
        azure=one * first.azure + other * second.azure,
        is_cut=first.is_cut or second.is_cut,
    )


def _hull(points: NDArray[np.integer]) -> NDArray[np.int32]:
    return np.asarray(cv2.convexHull(points.astype(np.int32))[:, 0], np.int32)
