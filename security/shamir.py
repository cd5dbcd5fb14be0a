"""Shamir's secret sharing over a prime field, and hash commitments by which a corrupted share is found.

Source: Shamir, "How to share a secret", 1979. The field has the smallest prime above 2^256, so each secret of 32 bytes
is an element and each share takes 33 bytes. Fewer than `threshold` shares say nothing about the secret; a wrong share
gives a wrong secret without a sign, so shares travel with commitments that `check` is asked about first.

The arithmetic is that of Python integers and **not constant-time**. That is acceptable for what is shared here:
secrets live for one attempt of one round, each is split once and put together at most once, and nobody can make a
party repeat either with inputs of their choice while timing it. It would not be for a long-lived key.
"""

import functools
import hashlib
import hmac
import secrets
from collections.abc import Mapping, Sequence

from security.encoding import framed
from security.errors import ShareBroken

PRIME = 2**256 + 297
SECRET_BYTES = 32
SHARE_BYTES = 33
SALT_BYTES = 16
_SPARE_BYTES = 16  # a coefficient is drawn with 128 bits more than the prime has: its bias is below 2^-128
_POINT_BYTES = 8
_LABEL = b"hemaseal/share-commitment/1"


def split(secret: bytes, *, threshold: int, points: Sequence[int]) -> dict[int, bytes]:
    """Return a share of 33 bytes (big endian) for each point; any `threshold` of them give `secret` again.

    Raises:
        ValueError: `secret` has not 32 bytes, points are not distinct whole numbers of 1 to 2^64 - 1, or `threshold`
            is not from 1 to the number of points.
    """
    if len(secret) != SECRET_BYTES:
        raise ValueError(f"a secret of {SECRET_BYTES} bytes expected, got {len(secret)}")
    if len(set(points)) != len(points) or not all(_is_point(point) for point in points):
        raise ValueError("distinct points of 1 to 2^64 - 1 expected")
    if not 1 <= threshold <= len(points):
        raise ValueError(f"a threshold of 1 to {len(points)} expected, got {threshold}")
    size = SHARE_BYTES + _SPARE_BYTES
    random = secrets.token_bytes(size * (threshold - 1))
    coefficients = [int.from_bytes(random[at : at + size]) % PRIME for at in range(0, len(random), size)]
    coefficients.append(int.from_bytes(secret))
    shares = {}
    for point in points:
        value = 0
        for coefficient in coefficients:  # points are small, so one reduction at the end costs least
            value = value * point + coefficient
        shares[point] = (value % PRIME).to_bytes(SHARE_BYTES)
    return shares


def combine(shares: Mapping[int, bytes], *, threshold: int) -> bytes:
    """Return the secret of 32 bytes from shares by point; where there are more, those of the lowest points count.

    Raises:
        ShareBroken: fewer than `threshold` shares, a point or share that none can be, or shares that do not belong
            together and happen to show it (check commitments first: most such mixtures give a wrong secret silently).
        ValueError: `threshold` is below 1.
    """
    if threshold < 1:
        raise ValueError(f"a threshold from 1 expected, got {threshold}")
    if len(shares) < threshold:
        raise ShareBroken(f"{threshold} shares needed, got {len(shares)}")
    if not all(_is_point(point) for point in shares):
        raise ShareBroken("a share is at a point that no share has")
    if not all(len(share) == SHARE_BYTES and int.from_bytes(share) < PRIME for share in shares.values()):
        raise ShareBroken("a share is malformed")
    points = tuple(sorted(shares)[:threshold])
    terms = zip(points, _weights_at_zero(points), strict=True)
    value = sum(int.from_bytes(shares[point]) * weight for point, weight in terms) % PRIME
    if value >> (8 * SECRET_BYTES):
        raise ShareBroken("the shares do not belong together")
    return value.to_bytes(SECRET_BYTES)


def commit(share: bytes, *, salt: bytes, point: int, context: bytes) -> bytes:
    """Return a hiding and binding commitment (SHA-256, 32 bytes) to the share at `point`; point 0 has the secret.

    Args:
        share: what is committed to.
        salt: 16 random bytes, used for this commitment only; they travel with the share.
        point: where the share lies, from 0.
        context: whose secret of which attempt this is; a commitment does not hold elsewhere.

    Raises:
        ValueError: `salt` has not 16 bytes, or `point` is not from 0 to 2^64 - 1.
    """
    if len(salt) != SALT_BYTES:
        raise ValueError(f"a salt of {SALT_BYTES} bytes expected, got {len(salt)}")
    if not (point == 0 or _is_point(point)):
        raise ValueError(f"a point from 0 to 2^64 - 1 expected, got {point!r}")
    return hashlib.sha256(framed(_LABEL, context, point.to_bytes(_POINT_BYTES), salt, share)).digest()


def check(share: bytes, commitment: bytes, *, salt: bytes, point: int, context: bytes) -> None:
    """Compare a share with the commitment to it; see `commit`.

    Raises:
        ShareBroken: it is not the share, salt, point or context that was committed to.
    """
    try:
        expected = commit(share, salt=salt, point=point, context=context)
    except ValueError:
        expected = b""
    if not hmac.compare_digest(expected, commitment) or not expected:
        raise ShareBroken("a share is not the one committed to")


def _is_point(point: object) -> bool:
    return type(point) is int and 1 <= point < 2 ** (8 * _POINT_BYTES)


@functools.lru_cache(maxsize=256)  # many secrets are shared to the same points; points are no secret
def _weights_at_zero(points: tuple[int, ...]) -> tuple[int, ...]:
    """Return the Lagrange weights at zero: for each x_i, the product over j of x_j / (x_j - x_i), mod `PRIME`.

    The denominators are inverted together: one inverse of their product, and running products from both ends.
    """
    below = []  # products of the denominators before each
    running, all_points = 1, 1
    denominators = []
    for point in points:
        product = point  # the x_i that the product of all points has too much
        for other in points:
            if other != point:
                product *= other - point
        denominators.append(product % PRIME)
        all_points *= point
    for denominator in denominators:
        below.append(running)
        running = running * denominator % PRIME
    inverse = pow(running, -1, PRIME) * all_points % PRIME
    weights = []
    for denominator, before in zip(reversed(denominators), reversed(below), strict=True):
        weights.append(inverse * before % PRIME)
        inverse = inverse * denominator % PRIME
    return tuple(reversed(weights))
