"""Masks of secure aggregation: AES-256-CTR keystreams as words, added to a vector modulo 2^32 or 2^64.

A keystream is AES-256 in counter mode (NIST SP 800-38A, 6.5) from an all-zero counter block under the seed itself,
read as little-endian words. The same seed always gives the same keystream: **a seed masks one vector, once**. Whoever
needs masks for two vectors derives two seeds.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from cryptography.hazmat.primitives.ciphers import Cipher, algorithms, modes
from numpy.typing import NDArray

SEED_BYTES = 32
BLOCK_BYTES = 2**17  # a block of target, of keystream and of zeros together stay in a core's own cache
_AES_BLOCK = 16
_FIRST_COUNTER = bytes(_AES_BLOCK)
_ZEROS = memoryview(bytes(BLOCK_BYTES))
_WORDS = (np.dtype(np.uint32), np.dtype(np.uint64))

Words = NDArray[np.uint32 | np.uint64]


@dataclass(frozen=True)
class Masked:
    """A vector, and the masks that shall be added to it and subtracted from it.

    Attributes:
        words: uint32[D] or uint64[D]; is not changed, unless it is `out` as well.
        plus: seeds of 32 bytes.
        minus: seeds of 32 bytes.
        out: where the masked vector is to be written, if anywhere; like `words`, and writable.
    """

    words: Words
    plus: Sequence[bytes] = ()
    minus: Sequence[bytes] = ()
    out: Words | None = None


def apply_masks(target: Words, *, plus: Sequence[bytes] = (), minus: Sequence[bytes] = ()) -> None:
    """Add the keystreams of the seeds in `plus` to `target` and subtract those in `minus`, in place.

    Args:
        target: uint32[D] or uint64[D]; the sums are modulo 2^32 or 2^64.
        plus: seeds of 32 bytes.
        minus: seeds of 32 bytes.

    Raises:
        ValueError: `target` is not such a vector or cannot be written, or a seed has not 32 bytes; nothing is changed.
    """
    _expect_writable(target)
    for _ in masked_blocks([Masked(target, plus, minus, out=target)]):
        pass


def masked_blocks(vectors: Sequence[Masked]) -> Iterator[tuple[int, Words]]:
    """Yield the vectors with their masks applied: the first block of each in turn, then the next block of each.

    A block is the number of its first word, and its words. They may lie in a buffer that the next step overwrites. So a
    vector may be what comes `out` of one before it: while a block is in a core's own cache, all that it needs is done.

    Raises:
        ValueError: not vectors of words of one length and type, or a seed has not 32 bytes.
    """
    arrays = [words for vector in vectors for words in (vector.words, vector.out) if words is not None]
    shapes = {(words.shape, words.dtype) for words in arrays}
    if len(shapes) != 1:
        raise ValueError(f"vectors of one length and type expected, got {shapes}")
    like = vectors[0].words
    _expect_words(like)
    streams = _Streams([seed for vector in vectors for seed in (*vector.plus, *vector.minus)], like.dtype, like.size)
    size = BLOCK_BYTES // like.dtype.itemsize
    buffer = np.empty(min(size, like.size), like.dtype)
    operations = [[np.add] * len(vector.plus) + [np.subtract] * len(vector.minus) for vector in vectors]
    for start in range(0, like.size, size):
        part, number = slice(start, start + size), 0
        for vector, signed in zip(vectors, operations, strict=True):
            words = vector.words[part]
            out = buffer[: words.size] if vector.out is None else vector.out[part]
            for operation in signed:
                words = operation(words, streams.next(number, words.size), out=out)
                number += 1
            if vector.out is not None and not signed:
                out[:] = words
            yield start, words


def subtract_multiple(target: Words, seed: bytes, factor: int) -> None:
    """Subtract `factor` times the keystream of `seed` from `target`, in place; for a mask that many parties added.

    Args:
        target: uint32[D] or uint64[D]; the sums are modulo 2^32 or 2^64.
        seed: 32 bytes.
        factor: how many times, from 0 to the largest word.

    Raises:
        ValueError: as in `apply_masks`, or `factor` is out of range; nothing is changed.
    """
    if not 0 <= factor < 2 ** (8 * target.dtype.itemsize):
        raise ValueError(f"a factor that fits a word expected, got {factor}")
    _expect_writable(target)
    multiple, size = target.dtype.type(factor), BLOCK_BYTES // target.dtype.itemsize
    streams = _Streams([seed], target.dtype, len(target))
    for start in range(0, len(target), size):
        block = target[start : start + size]
        stream = streams.next(0, len(block))
        np.multiply(stream, multiple, out=stream)
        np.subtract(block, stream, out=block)


class _Streams:
    """The keystreams of some seeds, each taken piece by piece from its beginning."""

    def __init__(self, seeds: Sequence[bytes], dtype: "np.dtype[Any]", length: int) -> None:
        if any(len(seed) != SEED_BYTES for seed in seeds):
            raise ValueError(f"seeds of {SEED_BYTES} bytes expected")
        ciphers = [Cipher(algorithms.AES(seed), modes.CTR(_FIRST_COUNTER)).encryptor() for seed in seeds]
        self._write = [cipher.update_into for cipher in ciphers]
        self._size = dtype.itemsize
        room = min(length * self._size, BLOCK_BYTES)
        self._buffer = bytearray(room + _AES_BLOCK - 1)  # what update_into asks for
        self._words: Words = np.frombuffer(self._buffer, dtype.newbyteorder("<"), room // self._size)

    def next(self, number: int, count: int) -> Words:
        """Return the next words of the seed of this number; they lie in a buffer that the next call overwrites."""
        self._write[number](_ZEROS[: count * self._size], self._buffer)
        return self._words[:count]


def _expect_words(words: Words) -> None:
    if words.ndim != 1 or words.dtype not in _WORDS:
        raise ValueError(f"a vector of uint32 or uint64 expected, got {words.dtype}{list(words.shape)}")


def _expect_writable(words: Words) -> None:
    _expect_words(words)
    if not words.flags.writeable:
        raise ValueError("a writable vector expected")
