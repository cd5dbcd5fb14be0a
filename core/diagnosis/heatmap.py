"""What is drawn on images: a see-through overlay of a heat map, its colours, and frames around the cells of a field."""

from collections.abc import Sequence

import cv2
import numpy as np
from numpy.typing import NDArray

from core.imaging.preprocess import square_window

OPACITY = 0.6
SCALE = "How strongly this place speaks for an abnormal cell"

_LEVELS = 256
_FRAME, _FRAME_EDGE = (255, 255, 255), (0, 0, 0)
_FAINTEST = 8
"""Least opacity (0-255) that an eye can make out on a picture."""


def overlay_png(heat_map: NDArray[np.float32]) -> bytes:
    """Return a heat map float32 [s, s] in 0..1 as an RGBA PNG of the same size.

    Colours are viridis, which people with any colour blindness read in the right order and which stands out from
    the purples of a stain; opacity grows with the evidence, so that it can be read without colour too.
    """
    level = np.clip(heat_map, 0, 1)
    colours = cv2.applyColorMap(np.rint(level * (_LEVELS - 1)).astype(np.uint8), cv2.COLORMAP_VIRIDIS)
    alpha = np.rint(level * OPACITY * 255).astype(np.uint8)
    return _png(np.dstack([colours, alpha]).astype(np.uint8))


def is_blank(overlay: bytes) -> bool:
    """Tell whether nothing of an overlay PNG can be seen: no place spoke for an abnormal cell.

    Raises:
        ValueError: `overlay` is not an RGBA PNG.
    """
    return int(_decoded(overlay)[:, :, 3].max()) < _FAINTEST


def lay_over(pixels: NDArray[np.uint8], overlay: bytes, *, opacity: float = OPACITY) -> bytes:
    """Return the image uint8 [h, w, 3] RGB with an overlay PNG on the square that the network saw, as PNG.

    Args:
        pixels: the image.
        overlay: what `overlay_png` wrote.
        opacity: of the places with the strongest evidence, in 0..1.

    Raises:
        ValueError: `overlay` is not an RGBA PNG, or the opacity is out of range.
    """
    if not 0 <= opacity <= 1:
        raise ValueError("an opacity in 0..1 expected")
    top, left, side = square_window(*pixels.shape[:2])
    drawn = cv2.resize(_decoded(overlay), (side, side), interpolation=cv2.INTER_LINEAR).astype(np.float32)
    alpha = drawn[:, :, 3:] / 255 * (opacity / OPACITY)
    result = np.asarray(cv2.cvtColor(pixels, cv2.COLOR_RGB2BGR), np.uint8)
    window = result[top : top + side, left : left + side]
    window[:] = np.rint(np.clip(window * (1 - alpha) + drawn[:, :, :3] * alpha, 0, 255)).astype(np.uint8)
    return _png(result)


def with_frames(pixels: NDArray[np.uint8], frames: Sequence[tuple[tuple[int, int, int], str]]) -> bytes:
    """Return the image uint8 [h, w, 3] RGB with squares (left, top, side) drawn on it, as PNG.

    A square with a text is drawn strongly, with the text at its corner; one without a text thinly.
    """
    picture = np.asarray(cv2.cvtColor(pixels, cv2.COLOR_RGB2BGR), np.uint8)
    unit = max(1, round(min(pixels.shape[:2]) / 400))
    for (left, top, side), text in sorted(frames, key=lambda frame: bool(frame[1])):
        inset = side // 5  # a frame holds a cell and its surroundings; the cell is in its middle
        corner, opposite = (left + inset, top + inset), (left + side - inset, top + side - inset)
        cv2.rectangle(picture, corner, opposite, _FRAME_EDGE, (4 if text else 2) * unit)
        cv2.rectangle(picture, corner, opposite, _FRAME, (2 if text else 1) * unit)
        if text:
            tag = (corner[0] + (4 + 10 * len(text)) * unit, corner[1] + 16 * unit)
            cv2.rectangle(picture, corner, tag, _FRAME, cv2.FILLED)
            place = (corner[0] + 2 * unit, corner[1] + 13 * unit)
            cv2.putText(picture, text, place, cv2.FONT_HERSHEY_SIMPLEX, 0.5 * unit, _FRAME_EDGE, unit, cv2.LINE_AA)
    return _png(picture)


def colour_stops(count: int = 6) -> list[tuple[float, str]]:
    """Return (evidence, "#rrggbb") from none to strongest, for a colour bar with its numbers beside it."""
    levels = np.linspace(0, _LEVELS - 1, count).round().astype(np.uint8)
    colours = cv2.applyColorMap(levels[:, np.newaxis], cv2.COLORMAP_VIRIDIS)[:, 0, ::-1]
    values = np.linspace(0.0, 1.0, count)
    return [(float(v), "#{:02x}{:02x}{:02x}".format(*rgb)) for v, rgb in zip(values, colours.tolist(), strict=True)]


def _decoded(overlay: bytes) -> NDArray[np.uint8]:
    """Return uint8 [s, s, 4] of an overlay PNG."""
    drawn = cv2.imdecode(np.frombuffer(overlay, np.uint8), cv2.IMREAD_UNCHANGED)
    if drawn is None or drawn.ndim != 3 or drawn.shape[2] != 4:  # noqa: PLR2004
        raise ValueError("an RGBA PNG expected")
    return np.asarray(drawn, np.uint8)


def _png(picture: NDArray[np.uint8]) -> bytes:
    done, buffer = cv2.imencode(".png", picture)
    if not done:
        raise ValueError("the picture could not be encoded")
    return bytes(buffer)
