"""The parts of the benchmark scripts that reckon: updates, errors, critical path, fitted line."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from benchmarks.line_chart import fit, ticks
from benchmarks.rivals.measuring import Inputs, Stopwatch, largest_error
from benchmarks.secure_aggregation import blind_mean, draw
from core.learning.run_choices import DEFAULT_CLIP
from federated.aggregation.blind.fixed_point import Encoding


def test_rivals_get_the_updates_that_bench_hands_out_every_time() -> None:
    first, again = draw(3, 1000), draw(3, 1000)
    assert first.updates.shape == (3, 1000)
    assert first.updates.dtype == np.float32
    assert np.array_equal(first.updates, again.updates)
    assert np.array_equal(first.images, again.images)
    assert not np.array_equal(first.updates[0], first.updates[1])


def test_the_blind_mean_is_within_the_stated_quantisation_error() -> None:
    inputs = draw(5, 2000)
    bound = Encoding.for_members(5, clip=DEFAULT_CLIP).mean_error(inputs.images.sum() / inputs.images.max())
    assert 0 < largest_error(inputs, blind_mean(inputs)) <= bound


def test_the_largest_error_is_that_of_the_worst_coordinate() -> None:
    inputs = Inputs(np.array([[1, 2], [3, 6]], np.float32), np.array([1, 3]))
    assert largest_error(inputs, np.array([2.5, 4.75])) == pytest.approx(0.25)


def test_the_critical_path_takes_the_slowest_party_of_each_step() -> None:
    watch = Stopwatch()
    watch.laps["mask"] |= {"node 0": 1.0, "node 1": 3.0}
    watch.laps["add"]["server"] += 0.5
    assert watch.phases() == {"mask": 4.0, "add": 0.5}
    assert watch.critical() == pytest.approx(3.5)


@given(st.floats(-10, 10), st.floats(-10, 10))
def test_points_on_a_line_give_that_line(slope: float, intercept: float) -> None:
    x = [3.0, 5.0, 7.0, 10.0]
    found = fit(x, [intercept + slope * value for value in x])
    assert (found.slope, found.intercept) == pytest.approx((slope, intercept), abs=1e-9)


@given(st.floats(1e-6, 1e6))
def test_ticks_reach_the_highest_value_in_few_steps(highest: float) -> None:
    marks = ticks(highest)
    assert marks[0] == 0
    assert marks[-2] < highest <= marks[-1] * (1 + 1e-9)
    assert 3 <= len(marks) <= 6
