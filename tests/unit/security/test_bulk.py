"""The hash of large things, against the published answers of its authors."""

import numpy as np
import pytest

from security.bulk import BLAKE3_BYTES, blake3_of

PUBLISHED = {
    0: "af1349b9f5f9a1a6a0404dea36dcc9499bcb25c9adc112b7cc9a93cae41f3262",
    1: "2d3adedff11b61f14c886e35afa036736dcd87a74d27b5c1510225d0f592e213",
    1024: "42214739f095a406f3fc83deb889744ac00df831c10daa55189b5d121c855af7",
    1025: "d00278ae47eb27b34faecf67b4fe263f82d5412916c1ffd97c8cb7fb814b8444",
}
"""test_vectors.json of the authors: length of the input, whose bytes are their numbers modulo 251 -> the hash."""


@pytest.mark.parametrize("length", PUBLISHED)
def test_the_hash_is_the_published_one_whatever_holds_the_bytes(length: int) -> None:
    data = bytes(number % 251 for number in range(length))
    for held in (data, bytearray(data), memoryview(data), memoryview(b"odd" + data)[3:]):
        assert blake3_of(held).hex() == PUBLISHED[length]
        assert len(blake3_of(held)) == BLAKE3_BYTES


def test_words_are_hashed_as_the_bytes_that_they_are() -> None:
    words = np.arange(5000, dtype="<u4")
    assert blake3_of(words.data) == blake3_of(words.tobytes())


def test_one_changed_bit_changes_the_hash() -> None:
    data = bytearray(3_000_000)
    before = blake3_of(data)
    data[2_000_000] ^= 1
    assert blake3_of(data) != before
