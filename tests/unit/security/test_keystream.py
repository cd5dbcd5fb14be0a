"""Keystreams as words: published answers, another library, and arithmetic."""

import numpy as np
import pytest
from Crypto.Cipher import AES
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from security import keystream
from security.keystream import BLOCK_BYTES, Masked, apply_masks, masked_blocks, subtract_multiple

WORD_TYPES = (np.dtype(np.uint32), np.dtype(np.uint64))
both_word_sizes = pytest.mark.parametrize("dtype", WORD_TYPES, ids=["32 bits", "64 bits"])
seeds = st.binary(min_size=32, max_size=32)
word_types = st.sampled_from(WORD_TYPES)


def stream(seed: bytes, count: int, dtype: np.dtype = WORD_TYPES[0]) -> NDArray[np.uint32 | np.uint64]:
    words = np.zeros(count, dtype)
    apply_masks(words, plus=[seed])
    return words


def reference(seed: bytes, count: int, dtype: np.dtype) -> NDArray[np.uint32 | np.uint64]:
    cipher = AES.new(seed, AES.MODE_CTR, nonce=b"", initial_value=0)
    return np.frombuffer(cipher.encrypt(bytes(count * dtype.itemsize)), dtype.newbyteorder("<"))


def vector(seed: int, count: int, dtype: np.dtype) -> NDArray[np.uint32 | np.uint64]:
    rng = np.random.default_rng(seed)
    return rng.integers(0, np.iinfo(dtype).max, count, dtype=dtype, endpoint=True)


@both_word_sizes
def test_the_keystream_is_the_published_one_for_the_published_counter(
    dtype: np.dtype, monkeypatch: pytest.MonkeyPatch
) -> None:
    """NIST SP 800-38A, F.5.5, CTR-AES256.Encrypt: ciphertext xor plaintext."""
    monkeypatch.setattr(keystream, "_FIRST_COUNTER", bytes.fromhex("f0f1f2f3f4f5f6f7f8f9fafbfcfdfeff"))
    key = bytes.fromhex("603deb1015ca71be2b73aef0857d77811f352c073b6108d72d9810a30914dff4")
    plain = bytes.fromhex(
        "6bc1bee22e409f96e93d7e117393172aae2d8a571e03ac9c9eb76fac45af8e51"
        "30c81c46a35ce411e5fbc1191a0a52eff69f2445df4f9b17ad2b417be66c3710"
    )
    encrypted = bytes.fromhex(
        "601ec313775789a5b7a7f504bbf3d228f443e3ca4d62b59aca84e990cacaf5c5"
        "2b0930daa23de94ce87017ba2d84988ddfc9c58db67aada613c2dd08457941a6"
    )
    expected = bytes(one ^ other for one, other in zip(plain, encrypted, strict=True))
    assert stream(key, 64 // dtype.itemsize, dtype).astype(dtype.newbyteorder("<")).tobytes() == expected


@both_word_sizes
def test_the_keystream_starts_at_a_zero_counter_and_counts_up(dtype: np.dtype) -> None:
    """Zero key, counters 0, 1 and 2: GCM specification, test cases 13 and 14 (H, E(K, Y_0), ciphertext)."""
    expected = "dc95c078a2408989ad48a21492842087530f8afbc74536b9a963b4f1c4cb738bcea7403d4d606b6e074ec5d3baf39d18"
    assert stream(bytes(32), 48 // dtype.itemsize, dtype).astype(dtype.newbyteorder("<")).tobytes().hex() == expected


@both_word_sizes
@pytest.mark.parametrize("extra", [-1, 0, 1, 3, BLOCK_BYTES // 4 + 5])
def test_another_library_gives_the_same_words_across_blocks(dtype: np.dtype, extra: int) -> None:
    seed, count = bytes(range(32)), BLOCK_BYTES // dtype.itemsize + extra
    np.testing.assert_array_equal(stream(seed, count, dtype), reference(seed, count, dtype))


@given(
    plus=st.lists(seeds, max_size=3),
    minus=st.lists(seeds, max_size=3),
    count=st.integers(0, 70),
    dtype=word_types,
    start=st.integers(0, 2**32 - 1),
)
def test_masks_are_added_and_subtracted_modulo_the_word_size(
    plus: list[bytes], minus: list[bytes], count: int, dtype: np.dtype, start: int
) -> None:
    words = vector(start, count, dtype)
    expected = words.copy()
    for seed in plus:
        expected += reference(seed, count, dtype)
    for seed in minus:
        expected -= reference(seed, count, dtype)
    apply_masks(words, plus=plus, minus=minus)
    np.testing.assert_array_equal(words, expected)


@settings(max_examples=20)
@given(
    masks=st.lists(seeds, max_size=4),
    count=st.integers(0, 3) | st.integers(BLOCK_BYTES // 8 - 2, BLOCK_BYTES // 8 + 2) | st.integers(0, 100_000),
    dtype=word_types,
    start=st.integers(0, 2**32 - 1),
)
def test_masks_cancel_at_every_length(masks: list[bytes], count: int, dtype: np.dtype, start: int) -> None:
    before = vector(start, count, dtype)
    words = before.copy()
    apply_masks(words, plus=masks)
    if count > 8 and len(set(masks)) == len(masks) > 0:
        assert np.any(words != before)
    apply_masks(words, minus=masks[::-1])
    np.testing.assert_array_equal(words, before)


@settings(max_examples=30)
@given(seed=seeds, factor=st.integers(0, 2**32 - 1), count=st.integers(0, 40_000), dtype=word_types)
def test_a_multiple_of_a_mask_is_subtracted_at_once(seed: bytes, factor: int, count: int, dtype: np.dtype) -> None:
    before = vector(factor, count, dtype)
    words = before.copy()
    subtract_multiple(words, seed, factor)
    np.testing.assert_array_equal(words, before - dtype.type(factor) * reference(seed, count, dtype))


@both_word_sizes
def test_what_many_parties_added_comes_off_in_one_go(dtype: np.dtype) -> None:
    words = np.arange(1000, dtype=dtype)
    for _ in range(7):
        apply_masks(words, plus=[bytes(32)])
    subtract_multiple(words, bytes(32), 7)
    np.testing.assert_array_equal(words, np.arange(1000))


def test_a_slice_of_a_vector_can_be_masked_where_it_lies() -> None:
    words = np.zeros(100, np.uint32)
    apply_masks(words[10:20], plus=[bytes(32)])
    apply_masks(words[50::2], plus=[bytes(32)])
    np.testing.assert_array_equal(words[10:20], stream(bytes(32), 10))
    np.testing.assert_array_equal(words[50::2], stream(bytes(32), 25))
    assert not words[:10].any()
    assert not words[51::2].any()


@pytest.mark.parametrize(
    "target",
    [np.zeros(4, np.int32), np.zeros(4, np.uint16), np.zeros((2, 2), np.uint32), np.zeros(4, ">u4"), np.zeros(4)],
    ids=["signed", "16 bits", "a matrix", "the other byte order", "floats"],
)
def test_what_is_no_vector_of_words_is_refused(target: NDArray) -> None:
    with pytest.raises(ValueError, match="vector of uint32 or uint64"):
        apply_masks(target, plus=[bytes(32)])
    with pytest.raises(ValueError, match="vector of uint32 or uint64"):
        subtract_multiple(target, bytes(32), 1)
    assert not target.any()


def test_a_vector_that_cannot_be_written_is_refused() -> None:
    words = np.zeros(4, np.uint32)
    words.flags.writeable = False
    with pytest.raises(ValueError, match="writable"):
        apply_masks(words, plus=[bytes(32)])


@pytest.mark.parametrize("seed", [b"", bytes(16), bytes(31), bytes(33)])
def test_a_seed_of_another_length_changes_nothing(seed: bytes) -> None:
    words = np.zeros(4, np.uint32)
    for refused in ({"plus": [bytes(32), seed]}, {"minus": [seed]}):
        with pytest.raises(ValueError, match="32 bytes"):
            apply_masks(words, **refused)
    assert not words.any()


@both_word_sizes
def test_a_factor_that_does_not_fit_a_word_is_refused(dtype: np.dtype) -> None:
    for factor in (-1, int(np.iinfo(dtype).max) + 1):
        with pytest.raises(ValueError, match="factor"):
            subtract_multiple(np.zeros(4, dtype), bytes(32), factor)


@settings(max_examples=30)
@given(
    masks=st.lists(st.tuples(st.lists(seeds, max_size=2), st.lists(seeds, max_size=2)), min_size=1, max_size=4),
    count=st.integers(0, 70) | st.integers(BLOCK_BYTES // 8 - 2, BLOCK_BYTES // 8 + 2) | st.just(100_000),
    dtype=word_types,
)
def test_vectors_walked_block_by_block_are_what_masking_each_gives(
    masks: list[tuple[list[bytes], list[bytes]]], count: int, dtype: np.dtype
) -> None:
    vectors = [vector(number, count, dtype) for number in range(len(masks))]
    before = [words.copy() for words in vectors]
    walked = [np.zeros(count, dtype) for _ in vectors]
    seen = [0] * len(vectors)
    blocks = masked_blocks([Masked(words, *both) for words, both in zip(vectors, masks, strict=True)])
    for step, (start, words) in enumerate(blocks):
        number = step % len(vectors)
        assert start == seen[number]
        seen[number] += len(words)
        walked[number][start : start + len(words)] = words
    assert seen == [count] * len(vectors)
    for words, (plus, minus), old, new in zip(vectors, masks, before, walked, strict=True):
        np.testing.assert_array_equal(words, old)
        apply_masks(words, plus=plus, minus=minus)
        np.testing.assert_array_equal(words, new)


@both_word_sizes
def test_a_vector_can_be_what_comes_out_of_the_one_before(dtype: np.dtype) -> None:
    count = BLOCK_BYTES // dtype.itemsize + 3
    words, first, second = vector(1, count, dtype), np.zeros(count, dtype), np.zeros(count, dtype)
    before, added, taken = words.copy(), bytes(32), bytes(range(32))
    chain = [Masked(words, out=first), Masked(first, [added], out=first), Masked(first, [], [taken], out=second)]
    for _ in masked_blocks(chain):
        pass
    np.testing.assert_array_equal(words, before)
    np.testing.assert_array_equal(first, words + stream(added, count, dtype))
    np.testing.assert_array_equal(second, first - stream(taken, count, dtype))


def test_words_that_lie_amid_other_bytes_are_walked_too() -> None:
    words = vector(1, 50_000, WORD_TYPES[0])
    amid = np.frombuffer(b"odd" + words.tobytes(), np.uint32, len(words), offset=3)
    walked = np.concatenate([block.copy() for _, block in masked_blocks([Masked(amid, [bytes(32)])])])
    np.testing.assert_array_equal(walked, words + stream(bytes(32), len(words)))


def test_vectors_of_several_lengths_or_types_are_not_walked_together() -> None:
    one, longer, wider = np.zeros(3, np.uint32), np.zeros(4, np.uint32), np.zeros(3, np.uint64)
    short = Masked(one, out=longer)
    for vectors in ([], [Masked(one), Masked(longer)], [Masked(one), Masked(wider)], [short]):
        with pytest.raises(ValueError, match="one length and type"):
            list(masked_blocks(vectors))
    with pytest.raises(ValueError, match="vector of uint32 or uint64"):
        list(masked_blocks([Masked(np.zeros(3))]))  # type: ignore[arg-type]
    with pytest.raises(ValueError, match="32 bytes"):
        list(masked_blocks([Masked(one, [bytes(31)])]))
