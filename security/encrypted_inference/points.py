"""Points of P-256 as encrypted inference uses them, by PyCryptodome: strict bytes, scalars, multiples.

A point that travels is 64 bytes, x and y, each 32 bytes big endian. Only points on the curve are read; the neutral
element is none of them. P-256 has cofactor 1, so a point on the curve is a point of the group.
"""

import secrets

from Crypto.Math.Numbers import Integer
from Crypto.PublicKey import ECC
from Crypto.PublicKey.ECC import EccPoint  # type: ignore[attr-defined]  # its documented place

from security.errors import CiphertextRefused

Point = EccPoint
"""A point of the curve. ``+=`` and ``double`` change it in place."""

CURVE = "P-256"
PRIME = 2**256 - 2**224 + 2**192 + 2**96 - 1
ORDER = 0xFFFFFFFF00000000FFFFFFFFFFFFFFFFBCE6FAADA7179E84F3B9CAC2FC632551
"""SP 800-186, 3.2.1.3."""
ENCODED_BYTES = 64
_COORDINATE_BYTES = 32


def random_scalar() -> int:
    """Return a uniformly random number from 1 to the order less one."""
    return secrets.randbelow(ORDER - 1) + 1


def neutral() -> Point:
    """Return a new neutral element (PyCryptodome writes it as the coordinates 0, 0)."""
    return Point(0, 0, curve=CURVE)


def of_number(number: int) -> Point:
    """Return a new point, `number` times the generator; negative numbers and zero too."""
    reduced = number % ORDER
    return ECC.construct(curve=CURVE, d=reduced).pointQ if reduced else neutral()


def times(point: Point, secret: int) -> Point:
    """Return a new point, `secret` times `point`, in a time that does not depend on the number.

    Args:
        point: any point.
        secret: from 1 to the order less one.
    """
    return point * Integer(secret)  # type: ignore[operator]  # an Integer is as long for every number, an int is not


def encode_point(point: Point) -> bytes:
    """Return the 64 bytes of a point that is not the neutral element."""
    x, y = point.xy
    return int(x).to_bytes(_COORDINATE_BYTES) + int(y).to_bytes(_COORDINATE_BYTES)


def decode_point(data: bytes) -> Point:
    """Read what `encode_point` wrote.

    Raises:
        CiphertextRefused: another length, a coordinate that is not reduced, the neutral element, or off the curve.
    """
    if len(data) != ENCODED_BYTES:
        raise CiphertextRefused(f"a point of {ENCODED_BYTES} bytes expected, got {len(data)}")
    x, y = int.from_bytes(data[:_COORDINATE_BYTES]), int.from_bytes(data[_COORDINATE_BYTES:])
    if x >= PRIME or y >= PRIME or x == y == 0:  # PyCryptodome would reduce the first two and take the last
        raise CiphertextRefused("a point of P-256 other than the neutral element expected")
    try:
        return Point(x, y, curve=CURVE)
    except ValueError:
        raise CiphertextRefused("the point is not on P-256") from None


def decode_points(data: bytes, count: int) -> tuple[Point, ...]:
    """Read `count` points that stand one after the other.

    Raises:
        CiphertextRefused: another length, or one of them is none (`decode_point`).
    """
    if len(data) != count * ENCODED_BYTES:
        raise CiphertextRefused(f"{count} points of {ENCODED_BYTES} bytes expected, got {len(data)} bytes")
    return tuple(decode_point(data[at : at + ENCODED_BYTES]) for at in range(0, len(data), ENCODED_BYTES))
