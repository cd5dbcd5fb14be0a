"""What a picture looks like, as a few dozen numbers made by hand: colour, stained blobs, texture, edges and layout.

No network and nothing learned: the same pixels give the same numbers. `core.imaging.foreign` judges by them.
"""

import cv2
import numpy as np
from numpy.typing import NDArray

Pixels = NDArray[np.uint8]
Floats = NDArray[np.float32]

SIDE = 160
"""Pictures are judged at this side; larger squares are made smaller, smaller ones larger."""
GRID = 4
BANDS = 4
TINY = 1e-3
_LEVELS = (0.02, 0.10, 0.25, 0.50, 0.75, 0.90, 0.98)
_COLOUR_LEVELS = (0.02, 0.25, 0.75, 0.98)
_SMALLEST_BLOB = 20
_LEAST_AZURE = 0.10
_LEAST_VIOLET = 0.33
_AXIS = np.cos(np.deg2rad(8))
"""An edge within 8 degrees of the picture's sides counts as along them."""

NAMES: tuple[str, ...] = (
    *(f"light {level:g}" for level in _LEVELS),
    *(f"green to red {level:g}" for level in _COLOUR_LEVELS),
    *(f"blue to yellow {level:g}" for level in _COLOUR_LEVELS),
    *(f"texture {band}" for band in range(BANDS)),
    *(f"colour texture {band}" for band in range(BANDS)),
    "edge sparseness",
    "edges along sides",
    "grain",
    "dark share",
    "white share",
    "mirror",
    *(f"layout {row}.{column}" for row in range(GRID) for column in range(GRID // 2)),
    "stained share",
    "largest stained",
    "solidity",
    "stained blobs",
    "off centre",
    "stain depth",
    "stain green to red",
    "stain blue to yellow",
    "glass share",
)


def measure_looks(square: Pixels) -> Floats:
    """Measure a picture.

    Args:
        square: uint8[SIDE, SIDE, 3], RGB.

    Returns:
        float32[len(NAMES)], finite; lightness and colours in CIE L*a*b* of 8 bits, textures as logarithms of standard
        deviations, shares in 0..1.
    """
    lab = cv2.cvtColor(square, cv2.COLOR_RGB2LAB)
    light, red, yellow = (np.ascontiguousarray(lab[..., channel], np.uint8) for channel in range(3))
    parts = [
        _quantiles(light, _LEVELS),
        _quantiles(red, _COLOUR_LEVELS),
        _quantiles(yellow, _COLOUR_LEVELS),
        _textures(light),
        _textures(red),
        _edges(light),
        _layout(light),
        _stain(square, light, red, yellow),
    ]
    return np.concatenate(parts).astype(np.float32)


def _quantiles(channel: Pixels, levels: tuple[float, ...]) -> NDArray[np.float64]:
    """Return quantiles of an 8-bit channel by its histogram: exact, and faster than sorting."""
    counts = np.cumsum(np.bincount(channel.ravel(), minlength=256))
    return np.searchsorted(counts, np.array(levels) * counts[-1]).astype(np.float64)


def _textures(channel: Pixels) -> NDArray[np.float64]:
    """Return the logarithms of the standard deviations of the bands of a Laplacian pyramid, finest first."""
    level = channel.astype(np.float32)
    bands = []
    for _ in range(BANDS):
        smaller = cv2.pyrDown(level)
        bands.append(np.log(cv2.meanStdDev(level - cv2.pyrUp(smaller, dstsize=level.shape[::-1]))[1].item() + 0.1))
        level = np.asarray(smaller, np.float32)
    return np.array(bands)


def _edges(light: Pixels) -> NDArray[np.float64]:
    """Return how sparse edges are, their share along the sides, the grain, and the shares of black and of white."""
    values = cv2.GaussianBlur(light, (0, 0), 1).astype(np.float32)
    across, down = cv2.Sobel(values, cv2.CV_32F, 1, 0), cv2.Sobel(values, cv2.CV_32F, 0, 1)
    strength = cv2.magnitude(across, down)
    total = float(strength.sum()) + 1.0
    sparse = np.log(float((strength**2).mean()) + 1.0) - 2 * np.log(total / strength.size + TINY)
    along = float((strength * (np.maximum(np.abs(across), np.abs(down)) >= _AXIS * strength)).sum()) / total
    grain = np.median(np.abs(light.astype(np.float32) - values))
    mirrored = light[:, ::-1].astype(np.float32)
    plain = light.astype(np.float32)
    spread = float(plain.var()) + 1.0
    mirror = float(((plain - plain.mean()) * (mirrored - plain.mean())).mean()) / spread
    return np.array([sparse, along, np.log(grain + 0.1), (light < 8).mean(), (light > 250).mean(), mirror])  # noqa: PLR2004  of 255


def _layout(light: Pixels) -> NDArray[np.float64]:
    """Return mean lightnesses on a coarse grid, left and right taken together, less their mean."""
    grid = cv2.resize(light.astype(np.float32), (GRID, GRID), interpolation=cv2.INTER_AREA)
    folded = (grid[:, : GRID // 2] + grid[:, : GRID // 2 - 1 : -1]) / 2
    return np.asarray((folded - folded.mean()).ravel(), np.float64)


def _densities(channel: Pixels) -> Floats:
    """Return optical densities of an 8-bit channel against its 95th percentile, in tens (Beer-Lambert)."""
    glass = _quantiles(channel, (0.95,))[0]
    table = np.log10((glass + 1) / (np.arange(256) + 1)).astype(np.float32)
    return np.asarray(cv2.LUT(np.ascontiguousarray(channel), table), np.float32)


def _stain(square: Pixels, light: Pixels, red: Pixels, yellow: Pixels) -> NDArray[np.float64]:
    """Return share, shape, place, depth and colour of what azure stains, and the share of empty glass.

    Azure takes green far more than blue (`core.imaging.cells`), measured against the picture's own glass.
    """
    glass = float(_quantiles(light, (0.95,))[0])
    green, blue = (_densities(square[..., channel]) for channel in (1, 2))
    mask = ((green - blue > _LEAST_AZURE) & (green - blue > _LEAST_VIOLET * green)).astype(np.uint8)
    mask = np.asarray(cv2.morphologyEx(mask, cv2.MORPH_OPEN, np.ones((3, 3), np.uint8)), np.uint8)
    count, labels, blobs, centres = cv2.connectedComponentsWithStats(mask)
    areas = blobs[1:, cv2.CC_STAT_AREA]
    area = mask.size
    near_glass = float((light >= 0.93 * glass).mean())
    if count < 2 or areas.max() < _SMALLEST_BLOB:  # noqa: PLR2004  the background alone
        return np.array([0, 0, 0, 0, 1, 0, 0, 0, near_glass], np.float64)
    largest = int(np.argmax(areas)) + 1
    points = cv2.findNonZero((labels == largest).astype(np.uint8))
    hull = cv2.contourArea(cv2.convexHull(points)) + 1.0
    inside = labels == largest
    away = np.hypot(*(centres[largest] - (SIDE - 1) / 2)) / (SIDE / 2)
    return np.array(
        [
            np.sqrt(mask.mean()),
            np.sqrt(areas.max() / area),
            min(1.0, areas.max() / hull),
            np.log1p((areas >= _SMALLEST_BLOB).sum()),
            away,
            1 - float(light[inside].mean()) / (glass + 1.0),
            float(red[inside].mean()) - 128,
            float(yellow[inside].mean()) - 128,
            near_glass,
        ]
    )
