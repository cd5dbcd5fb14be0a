"""Accounting of differential privacy, against closed forms, the library itself and published numbers."""

import math

import dp_accounting
import pytest
from dp_accounting import pld
from hypothesis import given
from hypothesis import strategies as st
from scipy.special import log_ndtr

from core.learning.privacy import (
    LARGE_EPSILON,
    PrivacyUnit,
    StepBlock,
    block_of,
    epsilon_by_round,
    epsilon_of,
    steps_an_epoch,
    units_of,
)
from core.learning.run_choices import PrivacyOptions

DELTA = 1e-5


def block(noise: float, rate: float, steps: int) -> StepBlock:
    return StepBlock(noise_multiplier=noise, sampling_rate=rate, steps=steps)


def exact_delta(mu: float, epsilon: float) -> float:
    """Delta of a Gaussian mechanism with sensitivity `mu` deviations (Balle and Wang 2018, theorem 8)."""
    return math.exp(log_ndtr(mu / 2 - epsilon / mu)) - math.exp(epsilon + log_ndtr(-mu / 2 - epsilon / mu))


@pytest.mark.parametrize(("noise", "steps"), [(1.4, 1), (2.0, 10), (5.0, 100)])
def test_without_sampling_epsilon_is_that_of_the_exact_gaussian_mechanism(noise: float, steps: int) -> None:
    epsilon = epsilon_of([block(noise, 1.0, steps)], DELTA)

    mu = math.sqrt(steps) / noise
    assert exact_delta(mu, epsilon) <= DELTA
    assert exact_delta(mu, epsilon * 0.98 - 0.01) > DELTA


def test_the_example_of_abadi_et_al_stays_below_their_bound() -> None:
    # section 3.2: sampling 0.01, noise 4, 10,000 steps, delta 1e-5: epsilon 1.26 by the moments accountant
    assert 0.9 < epsilon_of([block(4.0, 0.01, 10_000)], DELTA) < 1.26


def test_epsilon_is_what_the_library_gives() -> None:
    accountant = pld.PLDAccountant(value_discretization_interval=5e-4)
    accountant.compose(dp_accounting.PoissonSampledDpEvent(0.1, dp_accounting.GaussianDpEvent(1.4)), 150)

    assert epsilon_of([block(1.4, 0.1, 150)], DELTA) == pytest.approx(accountant.get_epsilon(DELTA))


def test_blocks_compose_whatever_their_order_and_division() -> None:
    whole = epsilon_of([block(1.4, 0.1, 60), block(2.0, 0.2, 10)], DELTA)
    parts = epsilon_of([block(2.0, 0.2, 10), *[block(1.4, 0.1, 20)] * 3], DELTA)

    assert parts == whole


def test_nothing_done_costs_nothing_and_no_noise_costs_everything() -> None:
    assert epsilon_of([], DELTA) == 0
    assert epsilon_of([block(1.4, 0.1, 60), block(0.0, 1.0, 1)], DELTA) == math.inf


def test_hardly_any_noise_is_counted_without_exhausting_memory() -> None:
    assert epsilon_of([block(0.02, 1.0, 10_000)], DELTA) > LARGE_EPSILON


def test_each_round_of_a_plan_costs_more_than_the_one_before() -> None:
    plan = epsilon_by_round(PrivacyOptions(noise_multiplier=1.4, sampling_rate=0.25), epochs=3, rounds=5)

    assert plan == sorted(plan)
    assert plan[-1] == epsilon_of([block(1.4, 0.25, 60)], DELTA)


@given(st.floats(1e-4, 1))
def test_an_epoch_draws_every_unit_once_in_expectation(rate: float) -> None:
    assert steps_an_epoch(rate) - 1 < 1 / rate <= steps_an_epoch(rate) * (1 + 1e-9)


def test_a_round_has_its_epochs_steps() -> None:
    options = PrivacyOptions(noise_multiplier=1.4, sampling_rate=0.1)

    assert block_of(options, epochs=3) == block(1.4, 0.1, 30)


@pytest.mark.parametrize("values", [(-1.0, 0.1, 1), (math.nan, 0.1, 1), (1.0, 0.0, 1), (1.0, 1.1, 1), (1.0, 0.1, 0)])
def test_impossible_blocks_are_refused(values: tuple[float, float, int]) -> None:
    with pytest.raises(ValueError, match="noise"):
        block(*values)


@given(st.lists(st.sampled_from("abcdef"), min_size=1))
def test_units_are_patients_numbered_without_gaps(patients: list[str]) -> None:
    units, unit = units_of(patients)

    assert sorted(set(units.tolist())) == list(range(len(set(patients))))
    assert len({*zip(patients, units.tolist(), strict=True)}) == len(set(patients))
    assert (unit is PrivacyUnit.IMAGE) == (len(set(patients)) == len(patients))
