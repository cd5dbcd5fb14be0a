"""Sums that keep their carries, against Python's own integers."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from core.learning.run_events import FailureCode
from federated.aggregation.blind.unreduced import UnreducedSum
from federated.failures import Refused

WORD = st.sampled_from([32, 64])


def exact_of(total: UnreducedSum, word: int) -> list[int]:
    return [int(low) + (int(carry) << word) for low, carry in zip(total.low, total.carry, strict=True)]


@given(WORD, st.integers(1, 300), st.data())
def test_low_and_carry_are_the_sum_of_the_integers(word: int, members: int, data: st.DataObject) -> None:
    vector = st.lists(st.integers(0, 2**word - 1), min_size=4, max_size=4)
    vectors = data.draw(st.lists(vector, max_size=min(members, 12)))
    total = UnreducedSum(4, word, members)
    for one in vectors:
        total.add(np.array(one, f"u{word // 8}"))
    assert exact_of(total, word) == [sum(one[place] for one in vectors) for place in range(4)]
    assert [int(low) for low in total.reduced()] == [one % 2**word for one in exact_of(total, word)]


@pytest.mark.parametrize(("members", "carry"), [(1, np.uint8), (256, np.uint8), (257, np.uint16), (1000, np.uint16)])
@pytest.mark.parametrize("word", [32, 64])
def test_the_largest_sum_of_all_members_fits_into_the_carries(members: int, carry: type, word: int) -> None:
    largest = np.full(3, 2**word - 1, f"u{word // 8}")
    total = UnreducedSum(3, word, members)
    for _ in range(members):
        total.add(largest)
    assert total.carry.dtype == carry
    assert exact_of(total, word) == [members * (2**word - 1)] * 3
    with pytest.raises(ValueError, match="already"):
        total.add(largest)


@given(WORD, st.integers(0, 2**32 - 1))
def test_long_vectors_are_added_block_by_block_like_short_ones(word: int, seed: int) -> None:
    rng = np.random.default_rng(seed)
    vectors = rng.integers(0, 2**word, (3, 40_000), dtype=f"u{word // 8}")
    total = UnreducedSum(40_000, word, 3)
    for vector in vectors:
        total.add(vector)
    wrapped = np.zeros(40_000, int)
    running = vectors[0].copy()
    for vector in vectors[1:]:
        running = running + vector
        wrapped += running < vector
    assert np.array_equal(total.low, running)
    assert np.array_equal(total.carry, wrapped)


@given(WORD, st.integers(1, 600), st.integers(0, 50), st.integers(0, 2**32 - 1))
def test_a_sum_survives_its_journey_and_takes_nothing_more(word: int, members: int, length: int, seed: int) -> None:
    rng = np.random.default_rng(seed)
    total = UnreducedSum(length, word, members)
    for _ in range(min(members, 20)):
        total.add(rng.integers(0, 2**word, length, dtype=f"u{word // 8}"))
    read = UnreducedSum.from_bytes(total.data(), length=length, word=word, members=members)
    assert exact_of(read, word) == exact_of(total, word)
    assert read.data() == total.data()
    with pytest.raises(ValueError, match="already"):
        read.add(np.zeros(length, f"u{word // 8}"))


@given(WORD, st.integers(1, 600), st.integers(0, 20), st.binary(max_size=300))
def test_another_number_of_bytes_is_refused(word: int, members: int, length: int, data: bytes) -> None:
    size = length * (word // 8 + (1 if members <= 256 else 2))
    if len(data) == size:
        data += b"\0"
    with pytest.raises(Refused) as refused:
        UnreducedSum.from_bytes(data, length=length, word=word, members=members)
    assert refused.value.code == FailureCode.SIZE


@pytest.mark.parametrize("members", [1, 4, 255, 300])
def test_a_carry_that_so_many_members_cannot_leave_is_refused(members: int) -> None:
    total = UnreducedSum(2, 32, members)
    total.carry[1] = members
    with pytest.raises(Refused) as refused:
        UnreducedSum.from_bytes(total.data(), length=2, word=32, members=members)
    assert refused.value.code == FailureCode.SUM


def test_vectors_of_another_length_or_type_are_errors() -> None:
    total = UnreducedSum(2, 32, 4)
    for wrong in (np.zeros(3, np.uint32), np.zeros(2, np.uint64), np.zeros(2, np.int32)):
        with pytest.raises(ValueError, match="is not"):
            total.add(wrong)
    for length, word, members in ((-1, 32, 3), (2, 16, 3), (2, 32, 0), (2, 32, 70_000)):
        with pytest.raises(ValueError, match="no sum"):
            UnreducedSum(length, word, members)
