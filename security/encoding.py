"""Byte formats shared by every envelope: canonical CBOR (RFC 8949, 4.2.1) that decodes strictly, and length prefixes.

Values are None, truth values, 64-bit whole numbers, floats, text, bytes, times with their zone, lists and maps of them.
Strict means: what does not encode back to the very same bytes is refused, so one value has one encoding and nothing
that a signature leaves out can be changed unseen. All tags but that of a time are refused before they are read: cbor2
would make regular expressions, addresses and huge numbers of them.
"""

from typing import Any, NoReturn

import cbor2

LENGTH_BYTES = 4
MAX_DEPTH = 32
TIME_TAG = 0  # RFC 3339 text


def _refuse_tag(*_: object) -> NoReturn:
    raise ValueError("a CBOR tag")


class _TimesOnly(dict[int, Any]):
    """Decoders for tags: cbor2's own for a time, refusal for whatever else is looked up."""

    def __missing__(self, tag: int) -> Any:
        if tag == TIME_TAG:
            raise KeyError(tag)
        return _refuse_tag


def encode(value: Any) -> bytes:
    """Return the canonical CBOR of `value`."""
    return cbor2.dumps(value, canonical=True)


def encode_sorted(value: dict[str, str | int]) -> bytes:
    """Return the canonical CBOR of a map whose keys come in canonical order already: shorter ones first, then by bytes.

    It takes half the time of `encode`. Nothing is checked: for maps whose keys are written in the code, with a test.
    """
    return cbor2.dumps(value)


def decode(data: bytes | memoryview) -> Any:
    """Decode canonical CBOR.

    Raises:
        ValueError: not CBOR, trailing bytes, a tag but that of a time, or not the canonical encoding of its value.
    """
    raw = bytes(data)
    try:
        value = cbor2.loads(
            raw,
            tag_hook=_refuse_tag,
            semantic_decoders=_TimesOnly(),
            max_depth=MAX_DEPTH,
            allow_indefinite=False,
            allow_duplicate_keys=False,
        )
        again = encode(value)
    except Exception:  # noqa: BLE001 - cbor2 raises many kinds on hostile input; callers need one
        again = None
    if again != raw:
        raise ValueError("not canonical CBOR")
    return value


def framed(*fields: bytes) -> bytes:
    """Return the fields one after the other, each behind its length (4 bytes, big endian)."""
    parts: list[bytes] = []
    for field in fields:
        parts += (len(field).to_bytes(LENGTH_BYTES, "big"), field)
    return b"".join(parts)


class Reader:
    """Reads fields from the front of a buffer without copying it."""

    def __init__(self, data: bytes | memoryview) -> None:
        self._rest = memoryview(data).toreadonly().cast("B")

    def take(self, count: int) -> memoryview:
        """Return the next `count` bytes.

        Raises:
            ValueError: fewer bytes are left.
        """
        if count > len(self._rest):
            raise ValueError(f"{count} bytes expected, {len(self._rest)} left")
        taken, self._rest = self._rest[:count], self._rest[count:]
        return taken

    def field(self, *, limit: int) -> bytes:
        """Return the next length-prefixed field.

        Raises:
            ValueError: the field is longer than `limit` or the buffer ends in it.
        """
        count = int.from_bytes(self.take(LENGTH_BYTES), "big")
        if count > limit:
            raise ValueError(f"a field of at most {limit} bytes expected, {count} announced")
        return bytes(self.take(count))

    def rest(self) -> memoryview:
        """Return everything that is left."""
        return self.take(len(self._rest))


def header(version: int, suite: str) -> bytes:
    """Return what every envelope begins with: version byte, then the suite name behind its length (one byte)."""
    name = suite.encode("ascii")
    return bytes((version, len(name))) + name


def expect_header(reader: Reader, version: int, suite: str) -> None:
    """Read the header.

    Raises:
        ValueError: another version or suite; nothing is negotiated.
    """
    expected = header(version, suite)
    if bytes(reader.take(len(expected))) != expected:
        raise ValueError(f"version {version} of {suite} expected")
