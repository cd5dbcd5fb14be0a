"""The pictures that patients upload: each unlike the others, all with marks that must not be found on the disk."""

import hashlib
import zlib
from functools import lru_cache

import numpy as np

from core.imaging.decode import encode_png
from core.imaging.looks import Pixels
from core.imaging.smear.style import STYLES
from core.imaging.synthetic import generate_cell

WORDS = "Chaos: words from a patient to a doctor"
"""In every message and review."""
HEAD = b"\x89PNG\r\n\x1a\n\0\0\0\rIHDR"
"""How every PNG begins, an uploaded one as well as one that was written anew."""
_TEXT = b"Comment\0Chaos: the file as it was uploaded"
_OWN_ROWS = 24


def pixels_of(key: str) -> Pixels:
    """Return the picture of an upload (224 x 224 x 3, uint8): one cell, with noise of its own at the lower edge."""
    pixels = _cell().copy()
    rng = np.random.default_rng(list(key.encode()))
    noise = rng.integers(-3, 4, (_OWN_ROWS, *pixels.shape[1:]))
    pixels[-_OWN_ROWS:] = np.clip(pixels[-_OWN_ROWS:] + noise, 0, 255)
    return pixels


def upload_of(key: str) -> bytes:
    """Return the file of an upload: a PNG with a comment in it."""
    png = encode_png(pixels_of(key))
    behind_header = 8 + 25
    length = (len(_TEXT)).to_bytes(4, "big")
    comment = b"tEXt" + _TEXT
    return png[:behind_header] + length + comment + zlib.crc32(comment).to_bytes(4, "big") + png[behind_header:]


def digest(pixels: Pixels) -> str:
    """Return what tells pictures apart."""
    return hashlib.sha256(pixels.tobytes()).hexdigest()


def marks() -> list[bytes]:
    """Return what betrays a picture: the head of a file, the comment, and a line of pixels through the cell."""
    middle = _cell()[len(_cell()) // 2].tobytes()
    return [HEAD, _TEXT[8:], *(middle[start : start + 24] for start in range(240, 432, 24))]


@lru_cache(maxsize=1)
def _cell() -> Pixels:
    return generate_cell(np.random.default_rng(7), blast=True, style=STYLES["north"])
