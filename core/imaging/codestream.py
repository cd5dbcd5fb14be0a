"""Compressed frames without what is not picture: comments and application segments of JPEG, JPEG-LS and JPEG 2000."""

import struct

from core.errors import ImageBroken

_EOI, _SOS, _COM, _APP0, _APP8, _APP14 = 0xD9, 0xDA, 0xFE, 0xE0, 0xE8, 0xEE
_FIRST_MARKER = 0xC0
_J2K_COMMENT, _J2K_TILE, _J2K_DATA = 0xFF64, 0xFF90, 0xFF93


def without_comments(frame: bytes) -> bytes:
    """Return a frame with its picture bit for bit and without comments, EXIF, thumbnails and what follows its end.

    Of application segments those stay that tell how colours were transformed. What is neither JPEG, JPEG-LS nor JPEG
    2000 comes back as it is.

    Raises:
        ImageBroken: its segments cannot be followed, so that it cannot be cleaned.
    """
    try:
        if frame[:2] == b"\xff\xd8":
            return _jpeg(frame)
        if frame[:2] == b"\xff\x4f":
            return _jpeg_2000(frame)
    except (struct.error, IndexError):
        raise ImageBroken("the compressed picture cannot be cleaned: it is cut off") from None
    return frame


def _jpeg(frame: bytes) -> bytes:
    kept, place = [frame[:2]], 2
    while True:
        if frame[place] != 0xFF:  # noqa: PLR2004 - every segment begins with it
            raise ImageBroken("the compressed picture cannot be cleaned: its segments do not fit")
        marker = frame[place + 1]
        if marker == 0xFF:  # noqa: PLR2004 - a fill byte
            place += 1
            continue
        if marker == _EOI:
            return _even(b"".join([*kept, b"\xff\xd9"]))
        (length,) = struct.unpack_from(">H", frame, place + 2)
        segment = frame[place : place + 2 + length]
        if length < 2 or len(segment) != length + 2:  # noqa: PLR2004 - the length counts itself
            raise ImageBroken("the compressed picture cannot be cleaned: its segments do not fit")
        place += len(segment)
        kept.append(_cleaned(marker, segment))
        if marker == _SOS:
            start, place = place, _next_marker(frame, place)
            kept.append(frame[start:place])


def _next_marker(frame: bytes, place: int) -> int:
    """Return where the compressed data of a scan end; restarts and stuffed bytes belong to them."""
    while (place := frame.find(b"\xff", place)) >= 0:
        following = frame[place + 1]
        if following >= _FIRST_MARKER and following != 0xFF and not 0xD0 <= following <= 0xD7:  # noqa: PLR2004
            return place
        place += 1
    raise ImageBroken("the compressed picture cannot be cleaned: it has no end")


def _cleaned(marker: int, segment: bytes) -> bytes:
    """Return what stays of a segment."""
    if marker == _COM:
        return b""
    if _APP0 <= marker <= _APP0 + 15:
        if marker == _APP0 and segment[4:9] == b"JFIF\0" and len(segment) >= 18:  # noqa: PLR2004
            return b"\xff\xe0\x00\x10" + segment[4:16] + b"\0\0"  # without the thumbnail
        if marker == _APP14 and segment[4:9] == b"Adobe":
            return b"\xff\xee\x00\x0e" + segment[4:16]
        if marker == _APP8 and segment[4:8] == b"mrfx":
            return b"\xff\xe8\x00\x07" + segment[4:9]
        return b""
    return segment


def _jpeg_2000(frame: bytes) -> bytes:
    kept, place = [frame[:2]], 2
    while True:
        marker, length = struct.unpack_from(">HH", frame, place)
        if marker == _J2K_TILE:
            break
        if marker != _J2K_COMMENT:
            kept.append(frame[place : place + 2 + length])
        place += 2 + length
    start = place
    while frame[place : place + 2] == b"\xff\x90":
        (part,) = struct.unpack_from(">I", frame, place + 6)
        inner = place + 12
        while True:
            marker, length = struct.unpack_from(">HH", frame, inner)
            if marker == _J2K_DATA:
                break
            if marker == _J2K_COMMENT:
                raise ImageBroken("the compressed picture cannot be cleaned: it has comments inside its tiles")
            inner += 2 + length
        place = len(frame) if part == 0 else place + part
    end = frame.rfind(b"\xff\xd9") if place >= len(frame) else place
    if end < start:
        raise ImageBroken("the compressed picture cannot be cleaned: it has no end")
    return _even(b"".join([*kept, frame[start:end], b"\xff\xd9"]))


def _even(data: bytes) -> bytes:
    return data + b"\0" * (len(data) % 2)
