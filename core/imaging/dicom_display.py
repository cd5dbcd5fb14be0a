"""From stored DICOM values to what a screen shows: modality transformation, window or VOI table, palettes, colour.

Grey and palette pictures have at most 65,536 different values, so the whole chain (DICOM PS3.3 C.11.1, C.11.2,
C.7.6.3.1.5) is worked out once for each value, in a table, and the picture is looked up in it.
"""

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray
from pydicom.dataset import Dataset
from pydicom.pixels.processing import convert_color_space

from core.errors import ImageBroken, ImageTypeRefused

Table = NDArray[np.uint8]
Values = NDArray[np.float64]

PERCENTILES = (0.5, 99.5)  # of the picture's own values, where the file states no window
_STRIP_ROWS = 256
_DEEP = 8


def show(
    dataset: Dataset, stored: NDArray[Any], photometric: str, *, bits: int, frame: int
) -> tuple[NDArray[np.uint8], tuple[str, ...]]:
    """Return a frame as uint8[h, w] grey or uint8[h, w, 3] RGB, and notes on how it was made.

    Args:
        dataset: where the transformations are described; per frame, shared or at the top.
        stored: integer[h, w] or [h, w, 3].
        photometric: the colour space that `stored` has.
        bits: stored bits of a value, 8 to 16.
        frame: number of the frame, from 0.

    Raises:
        ImageBroken: the description contradicts itself.
        ImageTypeRefused: segmented palettes.
    """
    codes = stored.astype(stored.dtype.newbyteorder("="), copy=False).view(f"u{stored.dtype.itemsize}")
    if photometric == "PALETTE COLOR":
        return _palette(dataset, bits)[_masked(codes, bits)], ("colours from the file's palette",)
    if codes.ndim == 3:  # noqa: PLR2004
        return _colour(codes, photometric, bits), ()
    if photometric not in {"MONOCHROME1", "MONOCHROME2"}:
        raise ImageBroken("the picture inside the DICOM file is not in the stated colours")
    codes = _masked(codes, bits)
    table, note = _grey_table(dataset, codes, bits=bits, frame=frame)
    if photometric == "MONOCHROME1":
        table = 255 - table
    return table[codes], (note,)


def _masked(codes: NDArray[Any], bits: int) -> NDArray[Any]:
    """Return the stored bits alone: what lies above them (overlays of old files) is no picture."""
    return codes if codes.dtype.itemsize * 8 == bits else codes & codes.dtype.type((1 << bits) - 1)


def _colour(codes: NDArray[Any], photometric: str, bits: int) -> NDArray[np.uint8]:
    """Return 8-bit RGB of three samples, converted in strips so that it takes little memory."""
    shallow = codes if bits == _DEEP and codes.dtype == np.uint8 else (_masked(codes, bits) >> (bits - _DEEP))
    pixels = np.array(shallow, np.uint8)
    if photometric in {"YBR_FULL", "YBR_FULL_422"}:
        for row in range(0, len(pixels), _STRIP_ROWS):
            strip = pixels[row : row + _STRIP_ROWS]
            strip[...] = convert_color_space(strip, "YBR_FULL", "RGB")
    elif photometric != "RGB":
        raise ImageBroken("the picture inside the DICOM file is not in the stated colours")
    return pixels


def _grey_table(dataset: Dataset, codes: NDArray[Any], *, bits: int, frame: int) -> tuple[Table, str]:
    """Return the grey level of each stored code (uint8[2**bits]) and how it was found."""
    numbers = np.arange(1 << bits, dtype=np.int64)
    if dataset.get("PixelRepresentation") == 1:
        numbers[1 << (bits - 1) :] -= 1 << bits
    values, rescaled = _modality_values(dataset, numbers, frame)
    if "VOILUTSequence" in dataset and len(dataset.VOILUTSequence):
        entries, first, depth = _table_of(dataset, dataset.VOILUTSequence[0], "LUTDescriptor", "LUTData")
        shown = entries[np.clip(np.rint(values).astype(np.int64) - first, 0, len(entries) - 1)]
        return _to_bytes(shown, 0, (1 << depth) - 1), "contrast from the file's table"
    window = _window(dataset, frame)
    if window is not None:
        centre, width, function = window
        return _windowed(values, centre, width, function), f"contrast from the file's window {centre:g} / {width:g}"
    if bits == _DEEP and not rescaled and dataset.get("PixelRepresentation") != 1:
        return numbers.astype(np.uint8), "grey levels as they are stored"
    low, high = _percentiles(dataset, codes, values)
    return _to_bytes(values, low, high), "the file states no window: contrast from the picture's own values"


def _modality_values(dataset: Dataset, numbers: NDArray[np.int64], frame: int) -> tuple[Values, bool]:
    """Apply the modality table or the rescale (PS3.3 C.11.1); tell whether there was one."""
    if "ModalityLUTSequence" in dataset and len(dataset.ModalityLUTSequence):
        entries, first, _ = _table_of(dataset, dataset.ModalityLUTSequence[0], "LUTDescriptor", "LUTData")
        return entries[np.clip(numbers - first, 0, len(entries) - 1)].astype(np.float64), True
    place = _place_of("RescaleSlope", "PixelValueTransformationSequence", dataset, frame)
    if place is None:
        return numbers.astype(np.float64), False
    slope, intercept = _first(place, "RescaleSlope"), _first(place, "RescaleIntercept") or 0.0
    if slope is None or slope == 0:
        raise ImageBroken("the DICOM rescale slope is no number that can be used")
    return numbers.astype(np.float64) * slope + intercept, (slope, intercept) != (1.0, 0.0)


def _window(dataset: Dataset, frame: int) -> tuple[float, float, str] | None:
    """Return centre, width and function of the first window that can be used; of several the first is the default."""
    place = _place_of("WindowCenter", "FrameVOILUTSequence", dataset, frame)
    if place is None:
        return None
    centre, width = _first(place, "WindowCenter"), _first(place, "WindowWidth")
    function = str(place.get("VOILUTFunction", "LINEAR")).strip().upper() or "LINEAR"
    if centre is None or width is None or width < (1.0 if function == "LINEAR" else 1e-9):
        return None
    return centre, width, function


def _windowed(values: Values, centre: float, width: float, function: str) -> Table:
    """Apply a window (PS3.3 C.11.2.1.2 and C.11.2.1.3): LINEAR, LINEAR_EXACT or SIGMOID."""
    if function == "SIGMOID":
        return _to_bytes(1 / (1 + np.exp(np.clip(-4 * (values - centre) / width, -700, 700))), 0, 1)
    if function == "LINEAR_EXACT":
        return _to_bytes(values, centre - width / 2, centre + width / 2)
    low = centre - 0.5 - (width - 1) / 2
    return _to_bytes(values, low, low + (width - 1))


def _percentiles(dataset: Dataset, codes: NDArray[Any], values: Values) -> tuple[float, float]:
    """Return the range that holds nearly all values of the picture; the padding around it does not count."""
    counts = np.bincount(codes.reshape(-1), minlength=len(values)).astype(np.float64)
    padding = dataset.get("PixelPaddingValue")
    if isinstance(padding, int) and counts[padding % len(counts)] < codes.size:
        counts[padding % len(counts)] = 0
    order = np.argsort(values, kind="stable")
    share = np.cumsum(counts[order]) / counts.sum() * 100
    low, high = (values[order[np.searchsorted(share, limit)]] for limit in PERCENTILES)
    return float(low), float(high)


def _to_bytes(values: NDArray[Any], low: float, high: float) -> Table:
    """Map low..high to 0..255; with an empty range what lies above `low` is white."""
    if high <= low:
        return np.where(values > low, 255, 0).astype(np.uint8)
    return np.rint(np.clip((values - low) / (high - low), 0, 1) * 255).astype(np.uint8)


def _palette(dataset: Dataset, bits: int) -> Table:
    """Return uint8[2**bits, 3]: the colour of each stored code."""
    if any(f"Segmented{name}PaletteColorLookupTableData" in dataset for name in ("Red", "Green", "Blue")):
        raise ImageTypeRefused("segmented DICOM palettes are not supported")
    columns = []
    for name in ("Red", "Green", "Blue"):
        stem = f"{name}PaletteColorLookupTable"
        entries, first, depth = _table_of(dataset, dataset, f"{stem}Descriptor", f"{stem}Data")
        numbers = np.clip(np.arange(1 << bits) - first, 0, len(entries) - 1)
        columns.append(_to_bytes(entries[numbers], 0, (1 << depth) - 1))
    return np.stack(columns, axis=1)


def _table_of(dataset: Dataset, place: Dataset, descriptor: str, entries: str) -> tuple[NDArray[np.uint16], int, int]:
    """Return entries (uint16[n]), first mapped value and bits of an entry of a lookup table in `place`.

    Raises:
        ImageBroken: fewer entries than the descriptor says, or entries of other than 8 to 16 bits.
    """
    data = place[entries].value
    length, first, depth = (int(number) for number in place[descriptor].value)
    length = length or 1 << 16
    if not _DEEP <= depth <= 2 * _DEEP:
        raise ImageBroken("a table of the DICOM file has entries of an impossible size")
    if isinstance(data, bytes):
        packed = depth == _DEEP and len(data) < 2 * length
        words = "<u2" if dataset.original_encoding[1] is not False else ">u2"
        table = np.frombuffer(data[: len(data) & ~1], np.uint8 if packed else words).astype(np.uint16)
    else:
        table = np.atleast_1d(np.asarray(data)).astype(np.uint16)
    if len(table) < length:
        raise ImageBroken("a table of the DICOM file is shorter than it says")
    return table[:length], first, depth


def _place_of(keyword: str, group: str, dataset: Dataset, frame: int) -> Dataset | None:
    """Return the data set that describes a frame: its own functional group, the shared one, or the top."""
    for name, number in (("PerFrameFunctionalGroupsSequence", frame), ("SharedFunctionalGroupsSequence", 0)):
        groups = dataset.get(name) or []
        if number < len(groups) and len(found := groups[number].get(group) or []) and keyword in found[0]:
            return found[0]
    return dataset if keyword in dataset else None


def _first(place: Dataset, keyword: str) -> float | None:
    """Return the first value of an attribute as a finite number, or None."""
    value = place.get(keyword)
    if isinstance(value, Sequence) and not isinstance(value, str):
        value = value[0] if value else None
    try:
        number = float(value)
    except (TypeError, ValueError):
        return None
    return number if np.isfinite(number) else None
