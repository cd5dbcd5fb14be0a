"""The polynomial hash against plain integer arithmetic, and what it finds."""

import itertools

import numpy as np
import pytest
from Crypto.Hash import SHA256
from Crypto.Protocol.KDF import HKDF
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from benchmarks.blind_primitives import change_trials
from security.encoding import framed
from security.point_hash import BLOCK, BUFFER, MOST_CARRY, PRIME, ROWS, WIDTH, PointHash, draw_point

WORD_TYPES = tuple(np.dtype(name) for name in ("uint8", "uint16", "uint32", "uint64"))
points = st.integers(1, PRIME - 1)
EDGES = (WIDTH - 1, WIDTH, WIDTH + 1, 2 * WIDTH - 1, 2 * WIDTH, 4225)
lengths = st.integers(0, 40) | st.sampled_from(EDGES)


def direct(point: int, values: list[int]) -> int:
    value = 0
    for word in reversed(values):
        value = (value + word) * point % PRIME
    return value


def vector(seed: int, length: int, dtype: np.dtype) -> NDArray[np.unsignedinteger]:
    rng = np.random.default_rng(seed)
    return rng.integers(0, np.iinfo(dtype).max, length, dtype=dtype, endpoint=True)


@settings(max_examples=60)
@given(point=points, length=lengths, dtype=st.sampled_from(WORD_TYPES), seed=st.integers(0, 2**32 - 1))
def test_the_hash_is_what_plain_integers_give(point: int, length: int, dtype: np.dtype, seed: int) -> None:
    words = vector(seed, length, dtype)
    assert PointHash(point, length).of(words) == direct(point, words.tolist())


@pytest.mark.parametrize("dtype", WORD_TYPES, ids=str)
@pytest.mark.parametrize(
    "length", [0, 1, 2, *EDGES, BUFFER - 1, BUFFER, BUFFER + 1, BLOCK - 1, BLOCK, BLOCK + 1, 2 * BLOCK + WIDTH + 1]
)
def test_the_largest_words_are_hashed_exactly_at_the_edges_of_blocks(dtype: np.dtype, length: int) -> None:
    """Equal words make a geometric series, whose sum is known without adding it up."""
    largest, point = np.iinfo(dtype).max, PRIME - 1 - (1 << 90)
    series = point * (pow(point, length, PRIME) - 1) * pow(point - 1, -1, PRIME)
    words = np.full(length, largest, dtype)
    assert PointHash(point, length).of(words) == int(largest) * series % PRIME


def test_no_partial_sum_can_reach_what_float64_cannot_count() -> None:
    """With every byte of the powers, every word and every carry at their largest, the products are still exact."""
    word = MOST_CARRY * 2**32 + 2**32 - 1
    table, largest = np.full((WIDTH, 1), 255.0), np.full((1, WIDTH), float(word))
    assert int((largest @ table).item()) == WIDTH * 255 * word < 2**53
    assert 16 * ROWS * 255 * (2**27 - 1) < 2**53


@pytest.mark.parametrize("most", [0, 1, MOST_CARRY - 1, MOST_CARRY, MOST_CARRY + 1, 255])
@pytest.mark.parametrize("length", [1, WIDTH + 1, BUFFER + 1, BLOCK + WIDTH + 1])
def test_the_largest_sums_are_hashed_exactly_whatever_they_carry(length: int, most: int) -> None:
    point = PRIME - 1 - (1 << 90)
    series = point * (pow(point, length, PRIME) - 1) * pow(point - 1, -1, PRIME)
    low, carry = np.full(length, 2**32 - 1, np.uint32), np.full(length, most, np.uint8)
    assert PointHash(point, length).of_sum(low, carry) == (most * 2**32 + 2**32 - 1) * series % PRIME


@pytest.mark.parametrize("dtype", WORD_TYPES, ids=str)
@pytest.mark.parametrize("point", [1, 2, PRIME - 1])
def test_special_points_are_no_exception(dtype: np.dtype, point: int) -> None:
    words = vector(3, 4100, dtype)
    assert PointHash(point, len(words)).of(words) == direct(point, words.tolist())


@settings(max_examples=40)
@given(
    point=points,
    length=st.integers(0, 300),
    nodes=st.integers(1, 6),
    dtype=st.sampled_from(WORD_TYPES[2:]),
    seed=st.integers(0, 2**32 - 1),
)
def test_hashes_add_up_to_the_hash_of_the_unreduced_sum(
    point: int, length: int, nodes: int, dtype: np.dtype, seed: int
) -> None:
    vectors = [vector(seed + node, length, dtype) for node in range(nodes)]
    low, carry = np.zeros(length, dtype), np.zeros(length, np.uint8)
    for words in vectors:
        low += words
        carry += low < words
    point_hash = PointHash(point, length)
    assert sum(point_hash.of(words) for words in vectors) % PRIME == point_hash.of_sum(low, carry)


def test_the_hash_of_a_sum_takes_carries_of_any_type() -> None:
    low, carry = vector(1, 50, WORD_TYPES[2]), vector(2, 50, WORD_TYPES[0])
    hashes = {PointHash(5, 50).of_sum(low, carry.astype(dtype)) for dtype in WORD_TYPES}
    values = (low.astype(object) + (carry.astype(object) << 32)).tolist()
    assert hashes == {direct(5, values)}


def test_a_sum_so_wide_that_it_could_differ_by_the_prime_unseen_is_refused() -> None:
    low = np.array([5], np.uint64)
    true, false = low, low - np.uint64(1)  # 5 and 5 + p = 2^64 * 2^63 + 4
    assert int(false[0]) + (2**63 << 64) == int(true[0]) + PRIME
    with pytest.raises(ValueError, match="narrower carries"):
        PointHash(9, 1).of_sum(false, np.array([2**63], np.uint64))


def test_strided_words_and_the_other_byte_order_are_hashed_by_value() -> None:
    for dtype in WORD_TYPES:
        words = vector(4, 8300, dtype)
        point_hash = PointHash(12345, len(words) // 2)
        expected = direct(12345, words[::2].tolist())
        assert point_hash.of(words[::2]) == expected
        assert point_hash.of(words[::2].astype(dtype.newbyteorder(">"))) == expected


def test_hashing_changes_no_word() -> None:
    words = vector(5, 4097, WORD_TYPES[3])
    before = words.copy()
    PointHash(7, len(words)).of(words)
    np.testing.assert_array_equal(words, before)


@pytest.mark.parametrize(
    "words", [np.zeros(3, np.int32), np.zeros(3), np.zeros(2, np.uint32), np.zeros((3, 1), np.uint32)]
)
def test_vectors_of_another_type_or_length_are_refused(words: NDArray) -> None:
    with pytest.raises(ValueError, match="3 unsigned words expected"):
        PointHash(1, 3).of(words)


def test_a_point_outside_the_field_or_a_negative_length_is_refused() -> None:
    for point in (0, PRIME, -1):
        with pytest.raises(ValueError, match="point"):
            PointHash(point, 1)
    with pytest.raises(ValueError, match="length"):
        PointHash(1, -1)


def test_one_changed_coordinate_is_found_in_every_trial() -> None:
    outcome = change_trials(500, words=300, nodes=3, seed=1)
    assert (outcome.trials, outcome.found, outcome.false_alarms) == (500, 500, 0)


def test_the_point_depends_on_every_contribution_and_not_on_their_order() -> None:
    contributions = [b"north", b"east", b"", b"west"]
    drawn = {draw_point(order) for order in itertools.permutations(contributions)}
    assert len(drawn) == 1
    assert draw_point(contributions[:-1]) not in drawn
    assert draw_point([*contributions, b""]) not in drawn
    assert draw_point([b"north", b"east", b"w", b"est"]) not in drawn
    assert draw_point(contribution for contribution in contributions) in drawn


@given(st.lists(st.binary(max_size=40), min_size=1, max_size=5))
def test_the_point_is_what_another_library_derives_and_lies_in_the_field(contributions: list[bytes]) -> None:
    material = HKDF(framed(*sorted(contributions)), 48, None, SHA256, context=b"hemaseal/hash-point/1")
    point = draw_point(contributions)
    assert point == int.from_bytes(material) % (PRIME - 1) + 1
    assert 1 <= point < PRIME


def test_no_contribution_gives_no_point() -> None:
    with pytest.raises(ValueError, match="at least one"):
        draw_point([])
