"""The hash of what has megabytes: BLAKE3, 256 bits, which takes a third of the time of SHA-256 where that is fastest.

Everything small (statements, keys, lineages) is hashed with SHA-256 and nothing here changes that. BLAKE3 names a
vector that travels behind a signed message: what it must resist is a second vector with the same name, 2^128 work by
its authors' claim (https://github.com/BLAKE3-team/BLAKE3-specs).
"""

from blake3 import blake3

BLAKE3_BYTES = 32


def blake3_of(data: bytes | bytearray | memoryview) -> bytes:
    """Return the BLAKE3 hash of `data`, 32 bytes; computed by the caller's thread alone."""
    return blake3(memoryview(data).cast("B")).digest()
