"""Telling DICOM by its bytes, without parsing more than its first elements; nothing here can be made slow or large."""

import struct

PREAMBLE = 128
_MAGIC = b"DICM"
_STANDARD_UID = b"1.2.840.10008."
_TELLING = {(0x0002, 0x0002), (0x0002, 0x0010), (0x0008, 0x0016)}  # class, transfer syntax, class of the data set
_FIRST_GROUPS = (0x0002, 0x0008)
_MOST_ELEMENTS = 16  # before SOP Class UID come at most a dozen
_LONG = (b"OB", b"OW", b"UN", b"SQ", b"UT", b"OF", b"OD", b"OL", b"OV", b"UC", b"UR", b"SV", b"UV")


def is_dicom(data: bytes) -> bool:
    """Tell whether these bytes are DICOM: the magic word after the preamble, or, without it, a clear beginning.

    Clear means: ascending elements of group 0002 or 0008 whose lengths fit, among them a class or transfer syntax of
    the standard.
    """
    if data[PREAMBLE : PREAMBLE + len(_MAGIC)] == _MAGIC:
        return True
    return any(_begins_clearly(data, order, explicit=explicit) for order in "<>" for explicit in (True, False))


def _begins_clearly(data: bytes, order: str, *, explicit: bool) -> bool:
    """Walk the first elements under one encoding."""
    place, last = 0, (0, 0)
    for _ in range(_MOST_ELEMENTS):
        if place + 12 > len(data):
            return False
        tag = struct.unpack_from(f"{order}HH", data, place)
        if tag <= last or tag[0] not in _FIRST_GROUPS:
            return False
        if explicit:
            kind = data[place + 4 : place + 6]
            if not (kind.isalpha() and kind.isupper()):
                return False
            long = kind in _LONG
            form, header = (f"{order}I", 12) if long else (f"{order}H", 8)
            (length,) = struct.unpack_from(form, data, place + header - struct.calcsize(form))
        else:
            (length,), header = struct.unpack_from(f"{order}I", data, place + 4), 8
        value = data[place + header : place + header + length] if length <= len(data) else b""
        if len(value) != length:
            return False
        if tag in _TELLING and value.startswith(_STANDARD_UID):
            return True
        place, last = place + header + length, tag
    return False
