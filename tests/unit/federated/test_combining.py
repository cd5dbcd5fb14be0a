"""Combining rules as arithmetic, with properties."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from core.errors import RunRefused
from core.learning.run_choices import Combining, CombiningRule
from core.learning.run_events import FailureCode
from federated.aggregation.combining import Combined, combine
from federated.aggregation.contributions import Update
from federated.failures import Refused

SHAPES = {"a": (2, 3), "b": (4,)}
MEAN = Combining()
MEDIAN = Combining(rule=CombiningRule.MEDIAN)
ROBUST = (
    MEDIAN,
    Combining(rule=CombiningRule.TRIMMED_MEAN, malicious=1),
    Combining(rule=CombiningRule.KRUM, malicious=1),
    Combining(rule=CombiningRule.MULTI_KRUM, malicious=1),
)
BOUNDED = Combining(rule=CombiningRule.NORM_BOUNDED, norm_bound=0.5)


def update(seed: int, images: int = 1, *, scale: float = 1.0) -> Update:
    rng = np.random.default_rng(seed)
    return Update(
        delta={name: rng.normal(0, scale, shape).astype(np.float32) for name, shape in SHAPES.items()}, images=images
    )


def updates_of(count: int) -> dict[str, Update]:
    return {f"p{number}": update(number, number + 1) for number in range(count)}


def flat(arrays: Combined) -> np.ndarray:
    return np.concatenate([array.ravel() for array in arrays.values()])


def rows(updates: dict[str, Update]) -> np.ndarray:
    return np.stack(
        [np.concatenate([a.astype(np.float64).ravel() for a in updates[p].delta.values()]) for p in sorted(updates)]
    )


def of_values(*values: float) -> dict[str, Update]:
    """Updates of one coordinate."""
    return {
        f"p{number}": Update(delta={"w": np.array([value], np.float32)}, images=1)
        for number, value in enumerate(values)
    }


def norm(arrays: Combined) -> float:
    return float(np.linalg.norm(flat(arrays)))


@given(st.lists(st.tuples(st.integers(0, 2**31), st.integers(1, 10_000)), min_size=1, max_size=6))
def test_the_mean_is_weighted_by_images_in_double_precision(parties: list[tuple[int, int]]) -> None:
    updates = {f"p{number}": update(seed, images) for number, (seed, images) in enumerate(parties)}
    exact = np.average(rows(updates), axis=0, weights=[images for _, images in parties])
    np.testing.assert_allclose(flat(combine(updates, MEAN)), exact, rtol=1e-6, atol=1e-7)


def test_the_mean_of_two_is_what_one_works_out_by_hand() -> None:
    updates = {
        "b": Update(delta={"w": np.array([1, 2, 3], np.float32)}, images=30),
        "a": Update(delta={"w": np.array([5, 6, 7], np.float32)}, images=10),
    }
    assert np.array_equal(combine(updates, MEAN)["w"], np.array([2.0, 3.0, 4.0]))


@pytest.mark.parametrize("combining", [MEAN, BOUNDED, *ROBUST], ids=lambda combining: combining.rule)
@given(order=st.permutations(range(7)))
def test_the_order_of_arrival_changes_no_bit(combining: Combining, order: list[int]) -> None:
    updates = updates_of(7)
    parties = list(updates)
    turned = combine({parties[place]: updates[parties[place]] for place in order}, combining)
    straight = combine(updates, combining)
    assert all(turned[name].tobytes() == array.tobytes() for name, array in straight.items())
    assert all(array.dtype == np.float64 for array in straight.values())


@pytest.mark.parametrize("count", [1, 2, 5, 6])
def test_the_median_is_taken_of_each_coordinate_whatever_the_weights(count: int) -> None:
    updates = updates_of(count)
    assert np.array_equal(flat(combine(updates, MEDIAN)), np.median(rows(updates), axis=0))


@given(st.integers(0, 2), st.integers(5, 9))
def test_the_trimmed_mean_leaves_out_the_largest_and_smallest_of_each_coordinate(cut: int, count: int) -> None:
    updates = updates_of(count)
    kept = np.sort(rows(updates), axis=0)[cut : count - cut]
    trimmed = combine(updates, Combining(rule=CombiningRule.TRIMMED_MEAN, malicious=cut))
    np.testing.assert_allclose(flat(trimmed), kept.mean(axis=0), rtol=1e-12)


def test_krum_takes_the_update_that_is_nearest_to_its_neighbours() -> None:
    updates = of_values(0.0, 1.0, 1.25, 1.75, 9.0)  # two neighbours count: scores 4.0625+, 0.0625+0.5625, 0.0625+0.25
    combined = combine(updates, Combining(rule=CombiningRule.KRUM, malicious=1))
    assert combined["w"][0] == 1.25


def test_multi_krum_averages_all_but_as_many_as_may_be_malicious() -> None:
    combined = combine(of_values(0.0, 1.0, 1.25, 1.75, 9.0), Combining(rule=CombiningRule.MULTI_KRUM, malicious=1))
    assert combined["w"][0] == 1.0


def test_of_updates_with_equal_scores_krum_takes_the_first_by_name() -> None:
    updates = of_values(3.0, 3.0, 3.0, 3.0, 3.0)
    updates["p0"] = Update(delta={"w": np.array([3.0], np.float32)}, images=99)
    assert combine(updates, Combining(rule=CombiningRule.KRUM, malicious=1))["w"][0] == 3.0


@given(st.lists(st.floats(1e-3, 1e6), min_size=1, max_size=6), st.floats(1e-3, 10))
def test_no_update_moves_the_bounded_mean_by_more_than_its_share_of_the_bound(
    scales: list[float], bound: float
) -> None:
    updates = {f"p{number}": update(number, scale=scale) for number, scale in enumerate(scales)}
    combined = combine(updates, Combining(rule=CombiningRule.NORM_BOUNDED, norm_bound=bound))
    assert norm(combined) <= bound * (1 + 1e-6)


def test_updates_within_the_bound_are_averaged_unchanged() -> None:
    updates = {f"p{number}": update(number, number + 1, scale=1e-3) for number in range(4)}
    bounded = combine(updates, BOUNDED)
    assert all(bounded[name].tobytes() == array.tobytes() for name, array in combine(updates, MEAN).items())


@pytest.mark.parametrize("combining", [*ROBUST, BOUNDED], ids=lambda combining: combining.rule)
@given(size=st.floats(1e3, 1e30), seed=st.integers(0, 1000))
def test_one_huge_update_ruins_the_mean_and_no_robust_rule(combining: Combining, size: float, seed: int) -> None:
    honest = {f"p{number}": update(1000 * seed + number, scale=0.1) for number in range(6)}
    huge = {name: np.full(shape, size, np.float32) for name, shape in SHAPES.items()}
    poisoned = {**honest, "evil": Update(delta=huge, images=1)}
    assert norm(combine(poisoned, MEAN)) > 100
    assert norm(combine(poisoned, combining)) < 1.0


@pytest.mark.parametrize(
    ("rule", "malicious", "least"),
    [
        (CombiningRule.KRUM, 1, 5),
        (CombiningRule.MULTI_KRUM, 2, 7),
        (CombiningRule.TRIMMED_MEAN, 2, 5),
        (CombiningRule.MEDIAN, 0, 1),
    ],
)
def test_a_rule_is_not_followed_with_fewer_updates_than_it_needs(
    rule: CombiningRule, malicious: int, least: int
) -> None:
    combining = Combining(rule=rule, malicious=malicious)
    assert combining.least_updates == least
    combine(updates_of(least), combining)
    with pytest.raises(Refused) as refused:
        combine(updates_of(least - 1), combining)
    assert refused.value.code is FailureCode.TOO_FEW


def test_a_bound_is_needed_for_bounding() -> None:
    with pytest.raises(RunRefused):
        Combining(rule=CombiningRule.NORM_BOUNDED)
