"""The curve that people look at is a curve, and its agreement is one."""

import pytest

from security.small_curve import GENERATOR, ORDER, A, B, P, agree, points


def test_the_points_are_all_solutions_of_the_equation() -> None:
    solutions = {(x, y) for x in range(P) for y in range(P) if (y * y - (x**3 + A * x + B)) % P == 0}
    assert set(points()) == solutions
    assert len(points()) == len(solutions) == ORDER - 1
    assert points()[0] == GENERATOR


def test_both_sides_arrive_at_the_same_point_which_is_the_product_of_their_numbers() -> None:
    for own in range(1, ORDER):
        for other in (1, 2, 33, ORDER - 1):
            found = agree(own, other)
            assert found.seen_by_own == found.seen_by_other == points()[own * other % ORDER - 1]


@pytest.mark.parametrize("number", [0, ORDER, -1])
def test_a_number_that_leads_to_infinity_is_refused(number: int) -> None:
    with pytest.raises(ValueError, match="private numbers"):
        agree(number, 5)
    with pytest.raises(ValueError, match="private numbers"):
        agree(5, number)
