"""Seeded ways to damage a file: bits, cuts, splices, and lies in the fields that say how long or large something is."""

import struct
import zlib
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

HOSTILE_NUMBERS = {
    1: (0x00, 0x01, 0x7F, 0x80, 0xFE, 0xFF),
    2: (0, 1, 2, 8, 12, 255, 256, 0x7FFF, 0x8000, 0xFFFE, 0xFFFF),
    4: (0, 1, 2, 16, 6_000, 65_535, 65_536, 2**24, 2**31 - 1, 2**31, 2**32 - 2, 2**32 - 1),
}
CHANCES = (0.2, 0.12, 0.13, 0.25, 0.06, 0.08, 0.08, 0.08)
REPAIRED = 0.7  # share of PNG files whose check sums are made right again, so that damage gets past them
SHORTEST = 16
NEAR = 512
PNG_HEADER = 8
DICOM_LONG = (b"OB", b"OW", b"UN", b"SQ", b"UT", b"OF", b"OD")
Field = tuple[int, int, str]  # place, bytes, byte order


def mutated(rng: np.random.Generator, files: Sequence[bytes], kind: str) -> bytes:
    """Return one of the files with one to four kinds of damage."""
    damage = Damage(rng, files, kind)
    ways = (
        damage.flip_bits,
        damage.set_bytes,
        damage.set_number,
        damage.lie,
        damage.cut,
        damage.remove,
        damage.repeat,
        damage.splice,
    )
    data = bytearray(files[int(rng.integers(len(files)))])
    for _ in range(1 + min(int(rng.geometric(0.6)) - 1, 3)):
        data = ways[int(rng.choice(len(ways), p=CHANCES))](data)
    if kind == "PNG" and rng.random() < REPAIRED:
        _repair_sums(data)
    return bytes(data)


def fields_of(data: bytes | bytearray, kind: str) -> list[Field]:
    """Return the fields of a sound file that state lengths, sizes, counts or types."""
    if kind == "BMP":
        return [*((place, 4, "<") for place in (2, 10, 14, 18, 22, 30, 34, 46)), (26, 2, "<"), (28, 2, "<")]
    return {"PNG": _png, "JPEG": _jpeg, "TIFF": _tiff, "DICOM": _dicom}[kind](data)


@dataclass(frozen=True)
class Damage:
    """Ways to damage a file; each takes the bytes and returns them damaged.

    Attributes:
        rng: where all chance comes from.
        files: sound files of the same kind, to splice from.
        kind: which fields there are to lie about.
    """

    rng: np.random.Generator
    files: Sequence[bytes]
    kind: str

    def flip_bits(self, data: bytearray) -> bytearray:
        """Flip up to 16 bits."""
        for _ in range(self._up_to(16)):
            data[self._place(data)] ^= 1 << int(self.rng.integers(8))
        return data

    def set_bytes(self, data: bytearray) -> bytearray:
        """Set up to 8 bytes to values at the ends of a range."""
        for _ in range(self._up_to(8)):
            data[self._place(data)] = int(self.rng.choice(HOSTILE_NUMBERS[1]))
        return data

    def set_number(self, data: bytearray) -> bytearray:
        """Write a hostile number of two or four bytes anywhere."""
        size, order = int(self.rng.choice((2, 4))), str(self.rng.choice(("<", ">")))
        return self._write(data, (self._place(data), size, order))

    def lie(self, data: bytearray) -> bytearray:
        """Write hostile numbers into up to three fields that state lengths or sizes."""
        try:
            fields = fields_of(data, self.kind)
        except (struct.error, IndexError, ValueError):  # an earlier damage made it unreadable
            return data
        for _ in range(self._up_to(3)):
            data = self._write(data, fields[int(self.rng.integers(len(fields)))]) if fields else data
        return data

    def cut(self, data: bytearray) -> bytearray:
        """Keep the beginning."""
        return data[: max(int(self.rng.integers(len(data))), SHORTEST)]

    def remove(self, data: bytearray) -> bytearray:
        """Take out up to 64 bytes."""
        start = self._place(data)
        del data[start : start + self._up_to(64)]
        return data or bytearray(SHORTEST)

    def repeat(self, data: bytearray) -> bytearray:
        """Repeat up to 256 bytes up to 8 times."""
        start = self._place(data)
        data[start:start] = data[start : start + self._up_to(256)] * self._up_to(8)
        return data

    def splice(self, data: bytearray) -> bytearray:
        """Put in, or write over, up to 2,048 bytes of another file."""
        other = self.files[int(self.rng.integers(len(self.files)))]
        start, place = int(self.rng.integers(len(other))), self._place(data)
        piece = other[start : start + self._up_to(2048)]
        data[place : place + len(piece) * int(self.rng.integers(2))] = piece
        return data

    def _up_to(self, most: int) -> int:
        return int(self.rng.integers(1, most + 1))

    def _place(self, data: bytearray) -> int:
        """Return a place, half of the time near the beginning, where the headers are."""
        end = len(data)
        return int(self.rng.integers(min(end, NEAR) if self.rng.integers(2) else end))

    def _write(self, data: bytearray, field: Field) -> bytearray:
        place, size, order = field
        number = int(self.rng.choice(np.array(HOSTILE_NUMBERS[size], np.uint64)))
        data[place : place + size] = number.to_bytes(size, "little" if order == "<" else "big")
        return data


def _png(data: bytes | bytearray) -> list[Field]:
    found: list[Field] = [(16, 4, ">"), (20, 4, ">"), *((place, 1, ">") for place in range(24, 29))]
    place = PNG_HEADER
    while place + 12 <= len(data):
        found.append((place, 4, ">"))
        place += 12 + int(struct.unpack_from(">I", data, place)[0])
    return found


def _jpeg(data: bytes | bytearray) -> list[Field]:
    found: list[Field] = []
    place = 2
    while place + 4 <= len(data) and data[place] == 0xFF:  # noqa: PLR2004 - markers
        marker = data[place + 1]
        found += [(place + 1, 1, ">"), (place + 2, 2, ">")]
        if 0xC0 <= marker <= 0xCF and marker not in {0xC4, 0xC8, 0xCC}:  # noqa: PLR2004 - start of frame
            found += [(place + 4, 1, ">"), (place + 5, 2, ">"), (place + 7, 2, ">")]
            found += [(place + at, 1, ">") for at in range(9, 19)]
        place += 2 + int(struct.unpack_from(">H", data, place + 2)[0])
    return found


def _tiff(data: bytes | bytearray) -> list[Field]:
    order = "<" if data[:1] == b"I" else ">"
    (start,) = struct.unpack_from(f"{order}I", data, 4)
    (count,) = struct.unpack_from(f"{order}H", data, start)
    found: list[Field] = [(4, 4, order), (start, 2, order), (start + 2 + 12 * count, 4, order)]
    for entry in range(start + 2, min(start + 2 + 12 * count, len(data) - 12), 12):
        found += [(entry, 2, order), (entry + 2, 2, order), (entry + 4, 4, order), (entry + 8, 4, order)]
    return found


def _dicom(data: bytes | bytearray) -> list[Field]:
    """Lengths of all elements, and the values of the image pixel module, as far as they are in explicit VR."""
    found: list[Field] = []
    place = 132 if data[128:132] == b"DICM" else 0
    order = "<"
    while place + 12 <= len(data):
        group, element = struct.unpack_from(f"{order}HH", data, place)
        if group == 0x0800:  # noqa: PLR2004 - group 0008 in big endian
            order = ">"
            continue
        kind = bytes(data[place + 4 : place + 6])
        long = kind in DICOM_LONG
        field = (place + 8, 4, order) if long else (place + 6, 2, order)
        (length,) = struct.unpack_from(f"{order}{'I' if long else 'H'}", data, field[0])
        found.append(field)
        if group in {0x0028, 0x0002}:
            if kind == b"US":
                found.append((place + 8, 2, order))
            elif not long and length:
                found.append((place + 8, 1, order))
        if (group, element) == (0x7FE0, 0x0010):
            found += [(at, 4, "<") for at in range(place + 12, min(place + 44, len(data) - 4), 4)]
            break
        place += (12 if long else 8) + int(length)
    return found


def _repair_sums(data: bytearray) -> None:
    place = PNG_HEADER
    while place + 12 <= len(data):
        end = place + 8 + int(struct.unpack_from(">I", data, place)[0])
        if end + 4 > len(data):
            return
        data[end : end + 4] = struct.pack(">I", zlib.crc32(data[place + 4 : end]))
        place = end + 4
