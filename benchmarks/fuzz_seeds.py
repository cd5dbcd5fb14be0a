"""Files that the decoder's fuzzing starts from: sound pictures of every kind, and hostile files."""

import io
import struct
import zlib
from collections.abc import Callable
from typing import Any

import numpy as np
from PIL import Image
from PIL.PngImagePlugin import PngInfo
from pydicom import uid
from pydicom.dataset import Dataset
from pydicom.sequence import Sequence

from tests.unit.imaging.dicom_files import LOSSLESS, LOSSY, PLAIN, dataset_of, written
from tests.unit.imaging.pictures import encoded, png_that_declares

HUGE = 6_320  # times itself: just under the limit of pixels


def sound_files(seed: int) -> dict[str, list[bytes]]:
    """Return small sound files by kind: PNG, JPEG, TIFF, BMP, DICOM."""
    rng = np.random.default_rng(seed)
    y, x = np.mgrid[:40, :56]
    deep = ((x * 60 + y * 31 + rng.integers(0, 300, x.shape)) % 4096).astype(np.uint16)
    grey = (deep >> 4).astype(np.uint8)
    colour = np.stack([grey, grey[::-1], grey[:, ::-1]], axis=-1)
    layered = np.dstack([colour, grey])
    note = PngInfo()
    note.add_text("Comment", "a comment " * 20, zip=True)
    palette = Image.fromarray(colour).quantize(16)
    exif = Image.Exif()
    exif[0x0112] = 6

    def saved(image: Image.Image, kind: str, **options: Any) -> bytes:
        buffer = io.BytesIO()
        image.save(buffer, kind, **options)
        return buffer.getvalue()

    pages = [Image.fromarray(grey), Image.fromarray(colour)]
    return {
        "PNG": [
            encoded(colour, pnginfo=note),
            encoded(grey),
            encoded(layered, exif=exif),
            encoded(deep),
            saved(palette, "PNG", transparency=3),
            saved(Image.fromarray(grey).convert("1"), "PNG"),
        ],
        "JPEG": [
            encoded(colour, "JPEG", exif=exif),
            encoded(grey, "JPEG", quality=40),
            encoded(colour, "JPEG", progressive=True),
            saved(Image.fromarray(colour).convert("CMYK"), "JPEG"),
        ],
        "TIFF": [
            *(encoded(colour, "TIFF", compression=how) for how in (None, "tiff_lzw", "tiff_adobe_deflate", "packbits")),
            encoded(colour, "TIFF", compression="jpeg"),
            encoded(deep, "TIFF"),
            encoded(deep.astype(np.float32), "TIFF", compression="tiff_lzw"),
            saved(Image.fromarray(grey).convert("1"), "TIFF", compression="group4"),
            saved(pages[0], "TIFF", save_all=True, append_images=pages[1:]),
            saved(palette, "TIFF"),
        ],
        "BMP": [encoded(colour, "BMP"), encoded(grey, "BMP"), saved(palette, "BMP"), _run_length_bmp()],
        "DICOM": [*_dicom_files(deep, grey, colour)],
    }


def hostile_files() -> dict[str, Callable[[], bytes]]:
    """Return makers of files that cost time or memory, or that lie, by name."""
    return {
        "png of 60,000 x 60,000": lambda: png_that_declares(60_000, 60_000),
        "png just under the limit": lambda: png_that_declares(HUGE, HUGE),
        "png with a bomb of text": _png_with_a_bomb,
        "png of white with transparency, just under the limit": lambda: _blank("PNG", "RGBA"),
        "png of 16 bits, just under the limit": lambda: _blank("PNG", "I;16"),
        "jpeg just under the limit, progressive": lambda: _tall_jpeg(progressive=True),
        "jpeg just under the limit": lambda: _tall_jpeg(progressive=False),
        "jpeg in four colours, progressive, just under the limit": lambda: _tall_jpeg(progressive=True, mode="CMYK"),
        "tiff with thousands of directories": lambda: _directories(5_000, loop=False),
        "tiff whose directories form a ring": lambda: _directories(3, loop=True),
        "tiff of floats, just under the limit": lambda: _blank("TIFF", "F", compression="tiff_adobe_deflate"),
        "tiff with one enormous strip": lambda: _lying_tiff({278: 0x7FFFFFFF}),
        "tiff with enormous tiles": lambda: _lying_tiff({322: 0x7FFF0000, 323: 0x7FFF0000, 324: 8, 325: 64}),
        "tiff of 2^31 samples": lambda: _lying_tiff({277: 65535}),
        "bmp of negative size": lambda: _bmp(-40, -40),
        "bmp of 2^31 columns": lambda: _bmp(0x7FFFFFFF, 1),
        "bmp of runs, just under the limit": lambda: _run_length_bmp(HUGE),
        "dicom of 60,000 x 60,000": lambda: written(dataset_of(_grey(), Rows=60_000, Columns=60_000)),
        "dicom of 2^31 frames": lambda: written(dataset_of(_grey(), NumberOfFrames=2**31 - 1)),
        "dicom, deflated bomb": lambda: written(
            dataset_of(np.zeros((20_000, 10_000), np.uint8)), uid.DeflatedExplicitVRLittleEndian
        ),
        "dicom, bomb of runs": _bomb_of_runs,
        "dicom with 2,000 sequences in each other": lambda: _nested(2_000),
        "dicom with a million empty items": lambda: _many_items(1_000_000),
        "dicom with two million elements": lambda: _many_elements(2_000_000),
        "dicom in JPEG 2000 that declares more than the header": _lying_j2k,
        "dicom with a palette that lies": _lying_palette,
        "dicom with a table that lies": _lying_table,
        "dicom of 16 bits in colour, just under the limit": lambda: written(
            dataset_of(np.zeros((4_000, 4_000, 3), np.uint16), photometric="RGB"), uid.DeflatedExplicitVRLittleEndian
        ),
    }


def _grey() -> np.ndarray[Any, np.dtype[np.uint8]]:
    return np.arange(1600, dtype=np.uint16).astype(np.uint8).reshape(40, 40)


def _dicom_files(deep: Any, grey: Any, colour: Any) -> list[bytes]:
    window: dict[str, Any] = {"bits": 12, "WindowCenter": [2048, 40], "WindowWidth": [4096, 400], "RescaleSlope": 1.5}
    window["RescaleIntercept"] = -1024
    files = [written(dataset_of(deep, **window), syntax) for syntax in (*PLAIN, *LOSSLESS, *LOSSY[1:])]
    files += [written(dataset_of(grey), syntax) for syntax in (*LOSSLESS, *LOSSY)]
    files += [written(dataset_of(colour, photometric="RGB"), syntax) for syntax in (*PLAIN, *LOSSLESS, *LOSSY)]
    files += [
        written(dataset_of(np.stack([grey] * 3), frames=3), syntax)
        for syntax in (PLAIN[0], PLAIN[1], uid.RLELossless, uid.JPEG2000Lossless)
    ]
    table = Dataset()
    table.LUTDescriptor, table.LUTData = [4096, 0, 12], np.arange(4096, dtype="<u2").tobytes()
    files.append(written(dataset_of(deep, bits=12, VOILUTSequence=[table], ModalityLUTSequence=[table])))
    palette = dataset_of(grey, photometric="PALETTE COLOR")
    for name in ("Red", "Green", "Blue"):
        setattr(palette, f"{name}PaletteColorLookupTableDescriptor", [256, 0, 16])
        setattr(palette, f"{name}PaletteColorLookupTableData", np.arange(0, 65536, 256, dtype="<u2").tobytes())
    files.append(written(palette))
    files.append(written(dataset_of(grey))[132:])
    return files


def _blank(kind: str, mode: str, **options: Any) -> bytes:
    buffer = io.BytesIO()
    Image.new(mode, (HUGE, HUGE)).save(buffer, kind, **options)
    return buffer.getvalue()


def _tall_jpeg(*, progressive: bool, mode: str = "RGB") -> bytes:
    buffer = io.BytesIO()
    Image.new(mode, (HUGE, HUGE)).save(buffer, "JPEG", progressive=progressive, subsampling=0)
    return buffer.getvalue()


def _png_with_a_bomb() -> bytes:
    def chunk(name: bytes, data: bytes) -> bytes:
        return struct.pack(">I", len(data)) + name + data + struct.pack(">I", zlib.crc32(name + data))

    bomb = zlib.compress(bytes(200 * 2**20))
    body = b"".join(chunk(name, b"x\0\0" + bomb) for name in (b"zTXt", b"iCCP"))
    header = struct.pack(">IIBBBBB", 8, 8, 8, 0, 0, 0, 0)
    end = chunk(b"IDAT", zlib.compress(bytes(72))) + chunk(b"IEND", b"")
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + body + end


def _directories(count: int, *, loop: bool) -> bytes:
    """A TIFF of `count` directories of one pixel each, one after the other or in a ring."""
    tags = ((256, 1), (257, 1), (258, 8), (259, 1), (262, 1), (273, 8), (277, 1), (278, 1), (279, 1))
    size = 2 + 12 * len(tags) + 4
    parts = [struct.pack("<4sI", b"II*\0", 16), bytes(8)]
    for number in range(count):
        last = number == count - 1
        following = (16 if loop else 0) if last else 16 + (number + 1) * size
        entries = b"".join(struct.pack("<HHII", tag, 4, 1, value) for tag, value in tags)
        parts.append(struct.pack("<H", len(tags)) + entries + struct.pack("<I", following))
    return b"".join(parts)


def _lying_tiff(lies: dict[int, int]) -> bytes:
    """A TIFF in LZW with other values for some tags."""
    tags = {256: 64, 257: 64, 258: 8, 259: 5, 262: 1, 273: 8, 277: 1, 278: 64, 279: 64, **lies}
    if 322 in lies:  # noqa: PLR2004 - tiles take the place of strips
        for strips in (273, 278, 279):
            del tags[strips]
    entries = b"".join(struct.pack("<HHII", tag, 4, 1, value & 0xFFFFFFFF) for tag, value in sorted(tags.items()))
    return struct.pack("<4sI", b"II*\0", 72) + bytes(64) + struct.pack("<H", len(tags)) + entries + bytes(4)


def _bmp(width: int, height: int) -> bytes:
    body = bytes(40 * 40 * 3)
    head = struct.pack("<IiiHHIIiiII", 40, width, height, 1, 24, 0, len(body), 0, 0, 0, 0)
    return struct.pack("<2sIHHI", b"BM", 54 + len(body), 0, 0, 54) + head + body


def _run_length_bmp(side: int = 40) -> bytes:
    rows = b"".join(bytes((255, 3)) * (side // 255) + bytes((side % 255, 7, 0, 0)) for _ in range(side))
    body = rows + bytes((0, 1))
    head = struct.pack("<IiiHHIIiiII", 40, side, side, 1, 8, 1, len(body), 0, 0, 256, 0)
    return struct.pack("<2sIHHI", b"BM", 1078 + len(body), 0, 0, 1078) + head + bytes(1024) + body


def _bomb_of_runs() -> bytes:
    """RLE whose segment unpacks to far more than the picture: 16 MiB of runs of 128."""
    dataset = dataset_of(_grey())
    dataset.compress(uid.RLELossless, generate_instance_uid=False)
    segment = bytes((129, 0)) * (8 * 2**20)
    frame = struct.pack("<16I", 1, 64, *([0] * 14)) + segment
    dataset.PixelData = struct.pack("<HHIHHI", 0xFFFE, 0xE000, 0, 0xFFFE, 0xE000, len(frame)) + frame
    buffer = io.BytesIO()
    dataset.save_as(buffer, enforce_file_format=True)
    return buffer.getvalue()


def _bare(extra: bytes) -> bytes:
    """A sound file with these encoded elements before its pixels."""
    data = written(dataset_of(_grey()))
    place = data.index(struct.pack("<HH", 0x7FE0, 0x0010))
    return data[:place] + extra + data[place:]


def _nested(depth: int) -> bytes:
    """Sequences of undefined length in each other, in a private group, never closed and closed."""
    opening = struct.pack("<HH2sHI", 0x0029, 0x1010, b"SQ", 0, 0xFFFFFFFF) + struct.pack(
        "<HHI", 0xFFFE, 0xE000, 0xFFFFFFFF
    )
    closing = struct.pack("<HHIHHI", 0xFFFE, 0xE00D, 0, 0xFFFE, 0xE0DD, 0)
    return _bare(opening * depth + closing * depth)


def _many_items(count: int) -> bytes:
    head = struct.pack("<HH2sHI", 0x0040, 0xA730, b"SQ", 0, 0xFFFFFFFF)
    return _bare(head + struct.pack("<HHI", 0xFFFE, 0xE000, 0) * count + struct.pack("<HHI", 0xFFFE, 0xE0DD, 0))


def _many_elements(count: int) -> bytes:
    return _bare(
        b"".join(
            struct.pack("<HH2sH", 0x0029 + 2 * (number >> 16), number & 0xFFFF, b"LO", 0) for number in range(count)
        )
    )


def _lying_j2k() -> bytes:
    data = bytearray(written(dataset_of(_grey()), uid.JPEG2000Lossless))
    size = data.index(b"\xff\x51")  # SIZ: width and height follow its length and profile
    data[size + 6 : size + 14] = struct.pack(">II", 50_000, 50_000)
    data[size + 22 : size + 30] = struct.pack(">II", 50_000, 50_000)
    return bytes(data)


def _lying_palette() -> bytes:
    dataset = dataset_of(_grey(), photometric="PALETTE COLOR")
    for name in ("Red", "Green", "Blue"):
        setattr(dataset, f"{name}PaletteColorLookupTableDescriptor", [0, 65535, 16])
        setattr(dataset, f"{name}PaletteColorLookupTableData", b"\0\1")
    return written(dataset)


def _lying_table() -> bytes:
    table = Dataset()
    table.LUTDescriptor, table.LUTData = [0, 0, 255], b"\0\1"
    return written(dataset_of(_grey(), VOILUTSequence=Sequence([table])))
