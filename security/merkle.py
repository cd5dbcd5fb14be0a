"""The hash tree of RFC 9162, 2.1.1: leaf and node hashes, and a frontier that grows by one leaf in O(log n)."""

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Self

HASH_BYTES = 32
EMPTY_ROOT = hashlib.sha256(b"").digest()


def leaf_hash(entry: bytes) -> bytes:
    """Return SHA-256(0x00 || entry)."""
    return hashlib.sha256(b"\x00" + entry).digest()


def node_hash(left: bytes, right: bytes) -> bytes:
    """Return SHA-256(0x01 || left || right)."""
    return hashlib.sha256(b"\x01" + left + right).digest()


def tree_root(leaves: Sequence[bytes]) -> bytes:
    """Return the root over all leaf hashes, straight from the definition; `Frontier` gives the same step by step."""
    if not leaves:
        return EMPTY_ROOT
    if len(leaves) == 1:
        return leaves[0]
    split = 1 << ((len(leaves) - 1).bit_length() - 1)  # the largest power of two smaller than the number of leaves
    return node_hash(tree_root(leaves[:split]), tree_root(leaves[split:]))


@dataclass(frozen=True)
class Frontier:
    """The roots of the full subtrees that make up a tree, largest (left) first: all that an append needs to know.

    Attributes:
        size: number of leaves.
        hashes: one hash per 1 in the binary form of `size`.
    """

    size: int = 0
    hashes: tuple[bytes, ...] = ()

    def __post_init__(self) -> None:
        """Refuse what cannot be a frontier."""
        if self.size < 0 or len(self.hashes) != self.size.bit_count():
            raise ValueError(f"{self.size} leaves need {self.size.bit_count()} hashes, got {len(self.hashes)}")
        if any(len(digest) != HASH_BYTES for digest in self.hashes):
            raise ValueError(f"hashes of {HASH_BYTES} bytes expected")

    @classmethod
    def from_hex(cls, size: int, hashes: Sequence[str]) -> Self:
        """Read a stored frontier.

        Raises:
            ValueError: not hex, or not as many hashes as `size` needs.
        """
        return cls(size, tuple(bytes.fromhex(digest) for digest in hashes))

    def to_hex(self) -> list[str]:
        """Return the hashes for storing, left first."""
        return [digest.hex() for digest in self.hashes]

    def append(self, leaf: bytes) -> "Frontier":
        """Return the frontier with one more leaf hash: every full pair on the right is joined."""
        hashes, size = [*self.hashes, leaf], self.size
        while size & 1:
            right = hashes.pop()
            hashes.append(node_hash(hashes.pop(), right))
            size >>= 1
        return Frontier(self.size + 1, tuple(hashes))

    def root(self) -> bytes:
        """Return the root of the whole tree."""
        if not self.hashes:
            return EMPTY_ROOT
        root = self.hashes[-1]
        for left in reversed(self.hashes[:-1]):
            root = node_hash(left, root)
        return root
