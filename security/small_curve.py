"""A curve small enough to draw, on which an agreement can be followed step by step. For explaining, never for secrets.

This is tinyec's second and last use beside the self-test (`security.selftest`): its points here come from a field of 61
numbers, so whoever looks finds every private number by trying.
"""

from dataclasses import dataclass

from tinyec.ec import Curve, Point, SubGroup

P, A, B, GENERATOR, ORDER = 61, 5, 1, (0, 1), 67
"""y^2 = x^3 + 5x + 1 over 61 numbers has 66 points and one at infinity: 67, a prime, so every point generates all."""

_CURVE = Curve(A, B, SubGroup(P, GENERATOR, ORDER, 1), "y² = x³ + 5x + 1 mod 61")

Place = tuple[int, int]


@dataclass(frozen=True)
class Agreement:
    """Two private numbers, the public points that they make, and the point that both sides arrive at.

    Attributes:
        own, other: private numbers, 1 to ORDER - 1.
        own_public, other_public: that many times the generator.
        seen_by_own, seen_by_other: the shared point, as each side computes it from the other's public point.
    """

    own: int
    other: int
    own_public: Place
    other_public: Place
    seen_by_own: Place
    seen_by_other: Place


def points() -> list[Place]:
    """Return the multiples of the generator, from 1 to ORDER - 1 times: every point but the one at infinity."""
    return [_place(number * _CURVE.g) for number in range(1, ORDER)]


def agree(own: int, other: int) -> Agreement:
    """Return the Diffie-Hellman agreement of two private numbers.

    Raises:
        ValueError: a number is not from 1 to ORDER - 1.
    """
    if not (0 < own < ORDER and 0 < other < ORDER):
        raise ValueError(f"private numbers from 1 to {ORDER - 1} expected")
    own_public, other_public = own * _CURVE.g, other * _CURVE.g
    return Agreement(
        own=own,
        other=other,
        own_public=_place(own_public),
        other_public=_place(other_public),
        seen_by_own=_place(own * other_public),
        seen_by_other=_place(other * own_public),
    )


def _place(point: Point) -> Place:
    return int(point.x), int(point.y)
