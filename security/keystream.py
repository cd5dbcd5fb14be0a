"""Masks of secure aggregation: AES-256-CTR keystreams as words, added to a vector modulo 2^32 or 2^64.

A keystream is AES-256 in counter mode (NIST SP 800-38A, 6.5) from an all-zero counter block under the seed itself,
read as little-endian words. The same seed always gives the same keystream: **a seed masks one vector, once**. Whoever
needs masks for two vectors derives two seeds.
"""

from collections.abc import Iterator, Sequence

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


def apply_masks(target: Words, *, plus: Sequence[bytes] = (), minus: Sequence[bytes] = ()) -> None:
    """Add the keystreams of the seeds in `plus` to `target` and subtract those in `minus`, in place.

    Args:
        target: uint32[D] or uint64[D]; the sums are modulo 2^32 or 2^64.
        plus: seeds of 32 bytes.
        minus: seeds of 32 bytes.

    Raises:
        ValueError: `target` is not such a vector or cannot be written, or a seed has not 32 bytes; nothing is changed.
    """
    for block, number, stream in _blocks(target, [*plus, *minus]):
        if number < len(plus):
            np.add(block, stream, out=block)
        else:
            np.subtract(block, stream, out=block)


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
    multiple = target.dtype.type(factor)
    for block, _, stream in _blocks(target, [seed]):
        np.multiply(stream, multiple, out=stream)
        np.subtract(block, stream, out=block)


def _blocks(target: Words, seeds: Sequence[bytes]) -> Iterator[tuple[Words, int, Words]]:
    """Yield, block by block and for all seeds of a block, the block, the seed's number and its keystream there.

    The keystream lies in one buffer that the next step overwrites.
    """
    if target.ndim != 1 or target.dtype not in _WORDS or not target.flags.writeable:
        raise ValueError(f"a writable vector of uint32 or uint64 expected, got {target.dtype}{list(target.shape)}")
    if any(len(seed) != SEED_BYTES for seed in seeds):
        raise ValueError(f"seeds of {SEED_BYTES} bytes expected")
    ciphers = [Cipher(algorithms.AES(seed), modes.CTR(_FIRST_COUNTER)).encryptor() for seed in seeds]
    size = target.dtype.itemsize
    buffer = memoryview(bytearray(min(target.size * size, BLOCK_BYTES) + _AES_BLOCK - 1))  # what update_into asks for
    for start in range(0, target.size, BLOCK_BYTES // size):
        block = target[start : start + BLOCK_BYTES // size]
        used = block.size * size
        stream = np.frombuffer(buffer[:used], target.dtype.newbyteorder("<"))
        for number, cipher in enumerate(ciphers):
            cipher.update_into(_ZEROS[:used], buffer[: used + _AES_BLOCK - 1])
            yield block, number, stream
