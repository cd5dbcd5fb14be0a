"""The hash tree of RFC 9162 from the side that writes it: a frontier that grows, and the proofs of 2.1.3 and 2.1.4.

A proof is a list of subtree roots. Which subtrees they are follows from the sizes alone, so one pass over the leaves,
in their order, gives all of them: nothing but a few hashes is held. `security.verify_audit` has the hashes and checks.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Self

from security.verify_audit import EMPTY_ROOT, HASH_BYTES, grow, join, leaf_hash, node_hash

__all__ = [
    "EMPTY_ROOT",
    "HASH_BYTES",
    "Frontier",
    "consistency_ranges",
    "inclusion_ranges",
    "leaf_hash",
    "node_hash",
    "roots_of",
]


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
        hashes = [*self.hashes]
        grow(hashes, self.size, leaf)
        return Frontier(self.size + 1, tuple(hashes))

    def root(self) -> bytes:
        """Return the root of the whole tree."""
        return join(self.hashes)


def inclusion_ranges(index: int, size: int) -> list[range]:
    """Return the leaves under each node of PATH(index, D[size]) of RFC 9162, 2.1.3.1, the node next to the leaf first.

    Raises:
        ValueError: a tree of `size` leaves has no leaf `index` (from 0).
    """
    if not 0 <= index < size:
        raise ValueError(f"a leaf from 0 to {size - 1} expected, got {index}")
    path, begin, end = [], 0, size
    while end - begin > 1:
        split = begin + _split(end - begin)
        if index < split:
            path.append(range(split, end))
            end = split
        else:
            path.append(range(begin, split))
            begin = split
    return path[::-1]


def consistency_ranges(old: int, new: int) -> list[range]:
    """Return the leaves under each node of PROOF(old, D[new]) of RFC 9162, 2.1.4.1, in the order of the proof.

    Raises:
        ValueError: `old` is not from 1 to `new`.
    """
    if not 0 < old <= new:
        raise ValueError(f"a tree of 1 to {new} leaves expected, got {old}")
    path, begin, end = [], 0, new
    while old < end:
        split = begin + _split(end - begin)
        if old <= split:
            path.append(range(split, end))
            end = split
        else:
            path.append(range(begin, split))
            begin = split
    if begin:  # the old tree is no full subtree of the new one, so its last part is needed as well
        path.append(range(begin, end))
    return path[::-1]


def roots_of(ranges: Sequence[range], leaves: Iterable[bytes]) -> list[bytes]:
    """Return the root over each range of leaf hashes, from one pass over all leaves; ranges do not overlap.

    Raises:
        ValueError: there are fewer leaves than the ranges need.
    """
    in_order = iter(sorted(ranges, key=lambda one: one.start))
    found: dict[range, bytes] = {}
    wanted, hashes = next(in_order, None), list[bytes]()
    for number, leaf in enumerate(leaves):
        if wanted is None:
            break
        if number < wanted.start:
            continue
        grow(hashes, number - wanted.start, leaf)
        if number + 1 == wanted.stop:
            found[wanted] = join(hashes)
            wanted, hashes = next(in_order, None), []
    if wanted is not None:
        raise ValueError(f"the leaves end before leaf {wanted.stop - 1}")
    return [found[one] for one in ranges]


def _split(size: int) -> int:
    """Return the largest power of two smaller than `size`."""
    return 1 << ((size - 1).bit_length() - 1)
