"""Bytes from a stranger to pixels, and pixels back to bytes. Formats are told by content, never by name.

Only decoded pixels leave this module: metadata (EXIF, GPS, comments, colour profiles, further frames) is dropped.
"""

import io
from dataclasses import dataclass
from enum import StrEnum
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageOps

from core.errors import ImageBroken, ImageTooLarge, ImageTypeRefused

Pixels = NDArray[np.uint8]
DEEP_MODES = frozenset({"I", "I;16", "I;16B", "I;16L", "I;16N", "F"})


class ImageFormat(StrEnum):
    """Formats that are accepted."""

    PNG = "PNG"
    JPEG = "JPEG"
    TIFF = "TIFF"
    BMP = "BMP"


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
    """

    pixels: Pixels
    format: ImageFormat


def sniff_format(data: bytes) -> ImageFormat:
    """Tell the format from the first bytes.

    Raises:
        ImageTypeRefused: none of the accepted formats starts like this.
    """
    for signature, image_format in SIGNATURES:
        if data.startswith(signature):
            return image_format
    raise ImageTypeRefused


def decode_upload(data: bytes, *, max_bytes: int, max_pixels: int) -> DecodedImage:
    """Decode an untrusted file into upright 8-bit RGB.

    Sizes are checked before anything is unpacked, so that a small file that declares a huge picture costs nothing.
    Grey becomes three equal channels, transparency is laid on white, 16-bit and floating-point pictures are scaled
    from their own lowest to their own highest value, and of several frames the first is taken.

    Args:
        data: the whole file.
        max_bytes: largest accepted file.
        max_pixels: largest accepted width times height.

    Raises:
        ImageTypeRefused: not a PNG, JPEG, TIFF or BMP by content.
        ImageTooLarge: too many bytes or pixels.
        ImageBroken: truncated or damaged.
    """
    if len(data) > max_bytes:
        raise ImageTooLarge(f"{len(data) / 2**20:.1f} MiB, at most {max_bytes / 2**20:.0f} MiB")
    image_format = sniff_format(data)
    try:
        with Image.open(io.BytesIO(data), formats=(image_format.value,)) as image:
            _check_size(image.size, max_pixels)
            image.load()
            pixels = _to_rgb(_upright(image))
    except (Image.DecompressionBombError, Image.DecompressionBombWarning):
        raise ImageTooLarge(f"at most {max_pixels / 1e6:.0f} megapixels") from None
    except ImageTooLarge:
        raise
    except Exception as error:  # a parser of hostile bytes may fail in any way; for the person all are one
        raise ImageBroken from error
    return DecodedImage(pixels=pixels, format=image_format)


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


def _check_size(size: tuple[int, int], max_pixels: int) -> None:
    """Raise ImageTooLarge when a declared (width, height) is over the limit."""
    width, height = size
    if width * height > max_pixels:
        raise ImageTooLarge(f"{width} x {height} pixels, at most {max_pixels / 1e6:.0f} megapixels")


def _upright(image: Image.Image) -> Image.Image:
    """Apply the EXIF orientation; a damaged EXIF block is no reason to refuse sound pixels."""
    try:
        return ImageOps.exif_transpose(image)
    except Exception:  # noqa: BLE001 - EXIF parsers fail in many ways, and what they read is dropped anyway
        return image


def _to_rgb(image: Image.Image) -> Pixels:
    """Convert any Pillow mode to uint8[h, w, 3]."""
    if image.mode in DEEP_MODES:
        deep: NDArray[Any] = np.nan_to_num(np.asarray(image, dtype=np.float64))
        low, high = float(deep.min()), float(deep.max())
        grey = np.rint((deep - low) * (255.0 / (high - low) if high > low else 0.0)).astype(np.uint8)
        return np.repeat(grey[:, :, None], 3, axis=2)
    if image.mode in {"RGBA", "LA", "PA", "RGBa", "La"} or "transparency" in image.info:
        layered = image.convert("RGBA")
        canvas = Image.new("RGBA", layered.size, (255, 255, 255, 255))
        image = Image.alpha_composite(canvas, layered)
    return np.array(image.convert("RGB"), dtype=np.uint8)
