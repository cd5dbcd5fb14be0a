"""Fixed point mod 2^W: sums are exact, what is lost is bounded and stated, and nothing wraps around."""

import math
from fractions import Fraction
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray

from core.learning.run_events import FailureCode
from federated.aggregation.blind.fixed_point import Encoding
from federated.failures import Refused

MEMBERS = st.one_of(st.integers(1, 12), st.sampled_from([64, 128, 129, 500, 1000, 1024, 1025]))
CLIPS = st.floats(1e-6, 1e6)
WORD = st.sampled_from([None, 32, 64])
BLOCK_AND_MORE = 33_000


def encoding_of(members: int, clip: float, word: int | None) -> Encoding:
    return Encoding.for_members(members, clip=clip, word=word)


def words_of(encoding: Encoding, values: NDArray[Any], weight: float) -> NDArray[Any]:
    out = np.empty(len(values), encoding.dtype)
    assert encoding.quantise(values, weight, out) == 0
    return out


@given(MEMBERS, CLIPS, WORD, st.integers(0, 2**32 - 1), st.sampled_from([np.float32, np.float64]))
def test_a_sum_of_words_is_the_weighted_sum_within_the_stated_error(
    members: int, clip: float, word: int | None, seed: int, kind: type
) -> None:
    encoding = encoding_of(members, clip, word)
    rng = np.random.default_rng(seed)
    total, exact, weights = np.zeros(3, encoding.dtype), [Fraction(0)] * 3, Fraction(0)
    for _ in range(members):
        values: NDArray[Any] = (rng.uniform(-clip, clip, 3) * (1 - 1e-7)).astype(kind)
        weight = float(rng.choice([1.0, 1e-9, rng.uniform(1e-3, 1)]))
        total += words_of(encoding, values, weight)
        exact = [one + Fraction(float(value)) * Fraction(weight) for one, value in zip(exact, values, strict=True)]
        weights += Fraction(weight)
    got = encoding.dequantise(total)
    most = Fraction(encoding.mean_error(float(weights)) * (1 + 1e-12)) * weights
    assert all(abs(Fraction(float(a)) - b) <= most for a, b in zip(got, exact, strict=True))


@given(MEMBERS, CLIPS, WORD, st.sampled_from([-1, 1]))
def test_the_largest_sums_do_not_wrap_around(members: int, clip: float, word: int | None, sign: int) -> None:
    encoding = encoding_of(members, clip, word)
    words = words_of(encoding, np.full(2, sign * clip), 1.0)
    total = np.zeros(2, encoding.dtype)
    for _ in range(members):
        total += words
    got = encoding.dequantise(total)
    assert np.all(np.abs(got - sign * clip * members) <= encoding.mean_error(members) * members)


@given(MEMBERS, CLIPS, WORD)
def test_the_scale_is_the_largest_power_of_two_that_fits(members: int, clip: float, word: int | None) -> None:
    encoding = encoding_of(members, clip, word)
    room = 2 ** min(encoding.word - 1 - encoding.guard, 50)
    assert math.frexp(encoding.scale)[0] == 0.5
    assert members * (round(clip * encoding.scale) + 1) < room <= members * (round(clip * encoding.scale * 2) + 1)


@pytest.mark.parametrize(
    ("members", "word", "guard"), [(1, 32, 0), (2, 32, 1), (10, 32, 4), (128, 32, 7), (129, 64, 8)]
)
def test_words_are_wide_enough_for_sixteen_bits_of_each_value(members: int, word: int, guard: int) -> None:
    encoding = Encoding.for_members(members, clip=1.0)
    assert (encoding.word, encoding.guard) == (word, guard)


@given(MEMBERS, WORD, st.integers(0, 2**32 - 1))
def test_guard_bits_are_zero_so_that_the_group_mask_hides_all_others(members: int, word: int | None, seed: int) -> None:
    encoding = encoding_of(members, 1.0, word)
    words = words_of(encoding, np.random.default_rng(seed).uniform(-1, 1, 50), 0.5)
    assert not np.any(words & encoding.dtype.type((1 << encoding.guard) - 1))
    assert all(survivors & -survivors <= 1 << encoding.guard for survivors in range(1, members + 1))


def test_halves_are_rounded_to_even() -> None:
    encoding = Encoding.for_members(4, clip=1.0)
    values = np.array([0.5, 1.5, 2.5, -0.5, -1.5, -2.5]) / encoding.scale
    assert list(encoding.dequantise(words_of(encoding, values, 1.0)) * encoding.scale) == [0, 2, 2, 0, -2, -2]


@pytest.mark.parametrize("kind", [np.float32, np.float64])
@pytest.mark.parametrize("members", [10, 1000])
def test_blocks_with_and_without_clipped_values_agree(members: int, kind: type) -> None:
    encoding = Encoding.for_members(members, clip=0.1)
    values = np.random.default_rng(members).normal(size=3 * BLOCK_AND_MORE).astype(kind) * kind(0.05)
    values[: 2 * BLOCK_AND_MORE] = np.clip(values[: 2 * BLOCK_AND_MORE], -0.0999, 0.0999)
    out = np.empty(len(values), encoding.dtype)
    assert encoding.quantise(values, 0.3, out) == np.count_nonzero(np.abs(values.astype(np.float64)) > 0.1) > 0
    expected = np.rint(np.clip(values.astype(np.float64), -0.1, 0.1) * (0.3 * encoding.scale)) / encoding.scale
    np.testing.assert_array_equal(encoding.dequantise(out), expected)


@given(st.sampled_from([math.nan, math.inf, -math.inf]), st.integers(0, BLOCK_AND_MORE - 1), st.booleans())
def test_what_is_not_a_finite_number_is_refused_anywhere(value: float, place: int, beyond: bool) -> None:
    values = np.zeros(BLOCK_AND_MORE, np.float32)
    values[-1] = 5.0 if beyond else 0.5
    values[place] = value
    with pytest.raises(Refused) as refused:
        Encoding.for_members(4, clip=1.0).quantise(values, 1.0, np.empty(BLOCK_AND_MORE, np.uint32))
    assert refused.value.code == FailureCode.NOT_FINITE


@pytest.mark.parametrize("weight", [0.0, -0.5, 1.0000001, math.nan, math.inf])
def test_a_weight_outside_zero_to_one_is_refused(weight: float) -> None:
    with pytest.raises(Refused) as refused:
        Encoding.for_members(4, clip=1.0).quantise(np.zeros(2), weight, np.empty(2, np.uint32))
    assert refused.value.code == FailureCode.WEIGHT


@given(MEMBERS.filter(lambda members: members > 1), WORD, st.integers(0, 40), st.data())
def test_a_guard_bit_that_is_set_is_refused(members: int, word: int | None, place: int, data: st.DataObject) -> None:
    encoding = encoding_of(members, 1.0, word)
    words = words_of(encoding, np.linspace(-1, 1, 41), 1.0)
    words[place] |= encoding.dtype.type(data.draw(st.integers(1, (1 << encoding.guard) - 1)))
    for read in (lambda: encoding.dequantise(words), lambda: encoding.counted(int(words[place]))):
        with pytest.raises(Refused) as refused:
            read()
        assert refused.value.code == FailureCode.SUM


@given(MEMBERS, WORD, st.data())
def test_numbers_of_images_add_up_exactly(members: int, word: int | None, data: st.DataObject) -> None:
    encoding = encoding_of(members, 1.0, word)
    most = ((1 << (encoding.word - 1 - encoding.guard)) - 1) // members
    counts = data.draw(st.lists(st.integers(0, most), min_size=1, max_size=members))
    for one in (counts, [most] * members):
        total = sum(encoding.count(value) for value in one) % 2**encoding.word
        assert encoding.counted(total) == sum(one)
    for wrong in (most + 1, -1):
        with pytest.raises(Refused) as refused:
            encoding.count(wrong)
        assert refused.value.code == FailureCode.WEIGHT


@given(st.integers(3, 1000), st.integers(1, 10**6), st.integers(0, 2**32 - 1))
def test_metric_counts_come_back_exactly_beside_losses(members: int, images: int, seed: int) -> None:
    encoding = Encoding.for_members(members, clip=64.0 * images, word=64)
    assert encoding.exact_integers
    rng = np.random.default_rng(seed)
    total, exact = np.zeros(5, encoding.dtype), np.zeros(5)
    for _ in range(min(10, members)):
        counts = rng.integers(0, images, 5, endpoint=True).astype(np.float64)
        total += words_of(encoding, counts, 1.0)
        exact += counts
    np.testing.assert_array_equal(encoding.dequantise(total), exact)


@pytest.mark.parametrize(
    ("members", "clip", "word"), [(0, 1.0, None), (4, 0.0, None), (4, math.inf, None), (4, 1.0, 16), (70_000, 1.0, 32)]
)
def test_encodings_that_cannot_be_are_errors(members: int, clip: float, word: int | None) -> None:
    with pytest.raises(ValueError, match="sum"):
        Encoding.for_members(members, clip=clip, word=word)


def test_vectors_of_another_shape_or_type_are_errors() -> None:
    encoding = Encoding.for_members(4, clip=1.0)
    with pytest.raises(ValueError, match="do not fit"):
        encoding.quantise(np.zeros(3), 1.0, np.empty(2, np.uint32))
    with pytest.raises(ValueError, match="do not fit"):
        encoding.quantise(np.zeros(2), 1.0, np.empty(2, np.uint64))
    with pytest.raises(ValueError, match="no vector"):
        encoding.dequantise(np.zeros(2, np.uint64))
