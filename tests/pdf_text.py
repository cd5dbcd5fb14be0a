"""Reads the text of a PDF as our writer makes it: compressed streams, maps to Unicode, two bytes a glyph."""

import re
import zlib

_STREAM = re.compile(rb"(\d+) 0 obj\s*<<(?:(?!endobj).)*?stream\r?\n(.*?)\r?\nendstream", re.DOTALL)
_FONT = re.compile(rb"/(F\d+) (\d+) 0 R")
_SHOWN = re.compile(rb"/(F\d+) [\d.]+ Tf|\(((?:[^\\()]|\\.)*)\) Tj", re.DOTALL)


def text_of(pdf: bytes) -> str:
    """Return all text of a PDF, with a space where a piece or a line ends."""
    streams = {int(number): _unpacked(data) for number, data in _STREAM.findall(pdf)}
    maps = {name: _map_of(pdf, int(number), streams) for name, number in _FONT.findall(pdf)}
    lines: list[str] = []
    font: dict[int, str] = {}
    for _, data in sorted(streams.items()):
        for name, shown in _SHOWN.findall(data):
            if name:
                font = maps.get(name, {})
            else:
                plain = re.sub(rb"\\(.)", _unescaped, shown, flags=re.DOTALL)
                lines.append("".join(font.get(code, "") for code in _pairs(plain)))
    return " ".join(lines)


def _unpacked(data: bytes) -> bytes:
    try:
        return zlib.decompressobj().decompress(data)  # its last byte may look like the end of a line
    except zlib.error:
        return data


def _map_of(pdf: bytes, number: int, streams: dict[int, bytes]) -> dict[int, str]:
    found = re.search(rb"(?:^|\n)%d 0 obj(.*?)endobj" % number, pdf, re.DOTALL)
    place = re.search(rb"/ToUnicode (\d+) 0 R", found[1] if found else b"")
    pairs = re.findall(rb"<([0-9A-F]{4})> <([0-9A-F]{4,8})>", streams[int(place[1])] if place else b"")
    return {int(code, 16): bytes.fromhex(text.decode()).decode("utf-16-be") for code, text in pairs}


def _unescaped(found: re.Match[bytes]) -> bytes:
    return {b"n": b"\n", b"r": b"\r", b"t": b"\t"}.get(found[1], found[1])


def _pairs(data: bytes) -> list[int]:
    return [int.from_bytes(data[at : at + 2], "big") for at in range(0, len(data), 2)]
