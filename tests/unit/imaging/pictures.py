"""Pictures and folders that the imaging tests share; all made here, none is anybody's."""

import io
import struct
import zlib
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from core.imaging.decode import Pixels
from core.imaging.synthetic import STYLES, generate_cell

LIMITS = {"max_bytes": 2**20, "max_pixels": 1_000_000}
HEADER = "path,label,modality,site,patient,source_label\n"


def cell(seed: int = 0, *, blast: bool = True, side: int = 160, style: str = "north") -> Pixels:
    """A synthetic cell."""
    return generate_cell(np.random.default_rng(seed), blast=blast, style=STYLES[style], side=side)


def encoded(pixels: NDArray[Any], kind: str = "PNG", **options: object) -> bytes:
    """The picture as a file of a kind."""
    buffer = io.BytesIO()
    Image.fromarray(pixels).save(buffer, kind, **options)
    return buffer.getvalue()


def png_that_declares(width: int, height: int) -> bytes:
    """A PNG of a few bytes whose header promises a picture of any size."""

    def chunk(name: bytes, data: bytes) -> bytes:
        return struct.pack(">I", len(data)) + name + data + struct.pack(">I", zlib.crc32(name + data))

    header = struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)
    body = zlib.compress(bytes(100_000), 9)
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", body) + chunk(b"IEND", b"")


def write_folder(folder: Path, lines: str, *, pictures: int = 0) -> Path:
    """Make a folder with an ``index.csv`` of these lines under the usual header, and pictures 0.png, 1.png, …."""
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "index.csv").write_text(HEADER + lines, encoding="utf-8")
    for number in range(pictures):
        (folder / f"{number}.png").write_bytes(encoded(cell(number, blast=number % 2 == 0, side=96)))
    return folder
