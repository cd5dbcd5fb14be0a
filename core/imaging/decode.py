"""Bytes from a stranger to pixels, and pixels back to bytes. Formats are told by content, never by name.

Only decoded pixels leave this module: metadata (EXIF, GPS, comments, colour profiles, DICOM attributes, further
frames) is dropped. DICOM is decoded in a process of its own (`core.imaging.dicom_process`).
"""

import atexit
import io
from collections.abc import Iterator
from dataclasses import dataclass
from enum import StrEnum
from functools import cache
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray
from PIL import ExifTags, Image

from core.errors import HemaSealError, ImageBroken, ImageTooLarge, ImageTypeRefused
from core.imaging.dicom_process import DicomProcess
from core.imaging.dicom_sniff import is_dicom

Pixels = NDArray[np.uint8]
DEEP_MODES = frozenset({"I", "I;16", "I;16B", "I;16L", "I;16N", "F"})
MAX_HELD_SAMPLES = 80_000_000  # of a JPEG that is unpacked only when all of it was read, two bytes each
ONLY_PIXELS = "only the picture is kept: names, numbers, dates and all else in the DICOM file are dropped"
STRIP_ROWS = 64  # converted at a time, so that a large picture needs little more than itself


class ImageFormat(StrEnum):
    """Formats that are accepted."""

    PNG = "PNG"
    JPEG = "JPEG"
    TIFF = "TIFF"
    BMP = "BMP"
    DICOM = "DICOM"


SIGNATURES: tuple[tuple[bytes, ImageFormat], ...] = (
    (b"\x89PNG\r\n\x1a\n", ImageFormat.PNG),
    (b"\xff\xd8\xff", ImageFormat.JPEG),
    (b"II*\x00", ImageFormat.TIFF),
    (b"MM\x00*", ImageFormat.TIFF),
    (b"II+\x00", ImageFormat.TIFF),
    (b"MM\x00+", ImageFormat.TIFF),
    (b"BM", ImageFormat.BMP),
)


@dataclass(frozen=True)
class DecodedImage:
    """A picture without its file.

    Attributes:
        pixels: uint8[h, w, 3], RGB, upright.
        format: what the bytes were.
        frames: number of frames of a DICOM file; 1 for other formats, whose further frames are not looked at.
        notes: how a DICOM file's pixels were made of its stored values, in plain words, without names.
        burned_in: why text may be written into the pixels of a DICOM file; "" when nothing speaks for it.
    """

    pixels: Pixels
    format: ImageFormat
    frames: int = 1
    notes: tuple[str, ...] = ()
    burned_in: str = ""


def sniff_format(data: bytes) -> ImageFormat:
    """Tell the format from the first bytes.

    Raises:
        ImageTypeRefused: none of the accepted formats starts like this.
    """
    if is_dicom(data):  # first, since what comes before its magic word may be the head of a TIFF
        return ImageFormat.DICOM
    for signature, image_format in SIGNATURES:
        if data.startswith(signature):
            return image_format
    raise ImageTypeRefused


def decode_upload(data: bytes, *, max_bytes: int, max_pixels: int, frame: int | None = None) -> DecodedImage:
    """Decode an untrusted file into upright 8-bit RGB.

    Sizes are checked before anything is unpacked, so that a small file that declares a huge picture costs nothing.
    Grey becomes three equal channels, transparency is laid on white, 16-bit and floating-point pictures are scaled
    from their own lowest to their own highest value, and of several frames the first is taken. DICOM is rescaled and
    windowed as the file says; of its frames the middle one is taken.

    Args:
        data: the whole file.
        max_bytes: largest accepted file.
        max_pixels: largest accepted width times height.
        frame: which frame of a DICOM file, from 0; the middle one when None.

    Raises:
        ImageTypeRefused: not a PNG, JPEG, TIFF, BMP or DICOM picture by content, or of a kind that is not supported.
        ImageTooLarge: too many bytes or pixels.
        ImageBroken: truncated or damaged.
    """
    if len(data) > max_bytes:
        raise ImageTooLarge(f"{len(data) / 2**20:.1f} MiB, at most {max_bytes / 2**20:.0f} MiB")
    image_format = sniff_format(data)
    if image_format is ImageFormat.DICOM:
        found = _dicom().decode(data, max_pixels=max_pixels, frame=frame)
        pixels = found.pixels if found.pixels.ndim == 3 else np.repeat(found.pixels[:, :, None], 3, axis=2)  # noqa: PLR2004
        return DecodedImage(pixels, image_format, found.frames, (*found.notes, ONLY_PIXELS), found.burned_in)
    try:
        file = io.BytesIO(data)
        with Image.open(file, formats=(image_format.value,)) as image:
            _check_size(image, max_pixels)
            if image_format is ImageFormat.JPEG:
                _check_held(image, in_scan=data[file.tell() + 2])  # it was read up to the first scan's header
            image.load()
            turn = _orientation(image)
            pixels = _to_rgb(image)
    except (Image.DecompressionBombError, Image.DecompressionBombWarning):
        raise ImageTooLarge(f"at most {max_pixels / 1e6:.0f} megapixels") from None
    except HemaSealError:
        raise
    except Exception as error:  # a parser of hostile bytes may fail in any way; for the person all are one
        raise ImageBroken from error
    return DecodedImage(np.ascontiguousarray(_turned(pixels, turn)), image_format)


def encode_png(pixels: Pixels) -> bytes:
    """Encode uint8[h, w, 3] RGB as a PNG that holds the pixels exactly and nothing else.

    Raises:
        ValueError: not uint8[h, w, 3].
    """
    if pixels.dtype != np.uint8 or pixels.ndim != 3 or pixels.shape[2] != 3:  # noqa: PLR2004
        raise ValueError(f"expected uint8[h, w, 3], got {pixels.dtype}{list(pixels.shape)}")
    done, buffer = cv2.imencode(".png", cv2.cvtColor(pixels, cv2.COLOR_RGB2BGR))
    if not done:
        raise ValueError("the picture could not be encoded")
    return bytes(buffer)


@cache
def _dicom() -> DicomProcess:
    """Return the one process that decodes DICOM for this one; it starts with the first file and ends with this one."""
    process = DicomProcess()
    atexit.register(process.stop)
    return process


def _check_size(image: Image.Image, max_pixels: int) -> None:
    """Raise ImageTooLarge when the declared size is over the limit."""
    width, height = image.size
    if width * height > max_pixels:
        raise ImageTooLarge(f"{width} x {height} pixels, at most {max_pixels / 1e6:.0f} megapixels")


def _check_held(image: Image.Image, *, in_scan: int) -> None:
    """Raise ImageTooLarge for a large JPEG in several scans: all its coefficients are held until the last one.

    Args:
        image: opened, not yet loaded.
        in_scan: number of components in its first scan; fewer than it has mean that further scans follow.
    """
    components = len(image.getbands())
    held = "progressive" in image.info or in_scan < components
    if held and image.width * image.height * components > MAX_HELD_SAMPLES:
        most = MAX_HELD_SAMPLES / components / 1e6
        raise ImageTooLarge(f"a progressive JPEG may have {most:.0f} megapixels at most; save it as a baseline JPEG")


def _orientation(image: Image.Image) -> int:
    """Return the EXIF orientation, 1 to 8; a damaged EXIF block is no reason to refuse sound pixels."""
    try:
        return int(image.getexif().get(ExifTags.Base.Orientation, 1))
    except Exception:  # noqa: BLE001 - EXIF parsers fail in many ways, and what they read is dropped anyway
        return 1


def _turned(pixels: Pixels, orientation: int) -> Pixels:
    """Return a view of the pixels as they are to be seen (EXIF 2.32, table 6)."""
    if orientation >= 5:  # noqa: PLR2004 - rows and columns are exchanged
        pixels = pixels.transpose(1, 0, 2)
    flipped = {2: (1,), 3: (0, 1), 4: (0,), 6: (1,), 7: (0, 1), 8: (0,)}.get(orientation, ())
    return np.flip(pixels, flipped) if flipped else pixels


def _to_rgb(image: Image.Image) -> Pixels:
    """Convert any Pillow mode to uint8[h, w, 3], strip by strip."""
    pixels = np.empty((image.height, image.width, 3), np.uint8)
    if image.mode in DEEP_MODES:
        ends = [(float(deep.min()), float(deep.max())) for _, strip in _strips(image) for deep in [_deep(strip)]]
        low, high = min(low for low, _ in ends), max(high for _, high in ends)
        scale = 255.0 / (high - low) if high > low else 0.0
        for row, strip in _strips(image):
            grey = np.rint((_deep(strip) - low) * scale).astype(np.uint8)
            pixels[row : row + len(grey)] = grey[:, :, None]
        return pixels
    layered = image.mode in {"RGBA", "LA", "PA", "RGBa", "La"} or "transparency" in image.info
    for row, strip in _strips(image):
        part = strip
        if layered:
            part = strip.convert("RGBA")
            part = Image.alpha_composite(Image.new("RGBA", part.size, (255, 255, 255, 255)), part)
        pixels[row : row + part.height] = np.asarray(part.convert("RGB"))
    return pixels


def _strips(image: Image.Image) -> Iterator[tuple[int, Image.Image]]:
    """Yield the first row and the picture of each strip."""
    for row in range(0, image.height, STRIP_ROWS):
        yield row, image.crop((0, row, image.width, min(row + STRIP_ROWS, image.height)))


def _deep(strip: Image.Image) -> NDArray[Any]:
    """Return float64[h, w] of a strip of more than 8 bits."""
    return np.nan_to_num(np.asarray(strip, dtype=np.float64))
