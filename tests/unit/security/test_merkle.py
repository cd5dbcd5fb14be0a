"""The tree of RFC 9162 and its proofs: published values, and its recursive definitions for every small tree."""

import random
from collections.abc import Sequence

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from security.merkle import Frontier, consistency_ranges, inclusion_ranges, roots_of
from security.verify_audit import (
    EMPTY_ROOT,
    Log,
    grow,
    join,
    leaf_hash,
    node_hash,
    root_of_inclusion,
    roots_of_consistency,
)

# The test tree of RFC 6962 implementations (certificate-transparency, merkle_tree_test), with its published proofs.
PUBLISHED = ["", "00", "10", "2021", "3031", "40414243", "5051525354555657", "606162636465666768696a6b6c6d6e6f"]
INCLUSION = {
    (0, 1): [],
    (0, 8): ["96a296d2", "5f083f0a", "6b47aaf2"],
    (5, 8): ["bc1a0643", "ca854ea1", "d37ee418"],
    (2, 3): ["fac54203"],
    (1, 5): ["6e340b9c", "5f083f0a", "bc1a0643"],
}
CONSISTENCY = {
    (1, 1): [],
    (1, 8): ["96a296d2", "5f083f0a", "6b47aaf2"],
    (6, 8): ["0ebc5d34", "ca854ea1", "d37ee418"],
    (2, 5): ["5f083f0a", "bc1a0643"],
}
SIZES = range(1, 65)


def leaves_of(size: int) -> list[bytes]:
    return [leaf_hash(number.to_bytes(4)) for number in range(size)]


def tree_root(leaves: Sequence[bytes]) -> bytes:
    """MTH(D[n]) of RFC 9162, 2.1.1, word for word."""
    if not leaves:
        return EMPTY_ROOT
    if len(leaves) == 1:
        return leaves[0]
    split = _split(len(leaves))
    return node_hash(tree_root(leaves[:split]), tree_root(leaves[split:]))


def inclusion_path(index: int, leaves: Sequence[bytes]) -> list[bytes]:
    """PATH(m, D[n]) of RFC 9162, 2.1.3.1, word for word."""
    if len(leaves) == 1:
        return []
    split = _split(len(leaves))
    if index < split:
        return [*inclusion_path(index, leaves[:split]), tree_root(leaves[split:])]
    return [*inclusion_path(index - split, leaves[split:]), tree_root(leaves[:split])]


def consistency_path(old: int, leaves: Sequence[bytes], *, whole: bool = True) -> list[bytes]:
    """SUBPROOF(m, D[n], b) of RFC 9162, 2.1.4.1, word for word."""
    if old == len(leaves):
        return [] if whole else [tree_root(leaves)]
    split = _split(len(leaves))
    if old <= split:
        return [*consistency_path(old, leaves[:split], whole=whole), tree_root(leaves[split:])]
    return [*consistency_path(old - split, leaves[split:], whole=False), tree_root(leaves[:split])]


def _split(size: int) -> int:
    return max(2**power for power in range(size.bit_length()) if 2**power < size)


@pytest.mark.parametrize("size", range(20))
def test_the_frontier_gives_the_root_of_the_definition(size: int) -> None:
    leaves = leaves_of(size)
    frontier, log = Frontier(), list[bytes]()
    for number, leaf in enumerate(leaves):
        frontier = frontier.append(leaf)
        grow(log, number, leaf)
    assert frontier.root() == join(log) == tree_root(leaves)
    assert Frontier.from_hex(frontier.size, frontier.to_hex()) == frontier
    assert len(frontier.hashes) <= max(1, size.bit_length())
    assert Log().root() == EMPTY_ROOT


def test_hashes_are_the_published_ones() -> None:
    assert EMPTY_ROOT.hex() == "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855"
    assert leaf_hash(b"").hex() == "6e340b9cffb37a989ca544e6bb780a2c78901d3fb33738768511a30617afa01d"
    hashes = [leaf_hash(bytes.fromhex(leaf)) for leaf in PUBLISHED]
    assert tree_root(hashes[:2]).hex() == "fac54203e7cc696cf0dfcb42c92a1d9dbaf70ad9e621f4bd8d98662f00e3c125"
    assert tree_root(hashes).hex() == "5dc9da79a70659a9ad559cb701ded9a2ab9d823aad2f4960cfe370eff4604328"


@pytest.mark.parametrize(("place", "path"), INCLUSION.items())
def test_inclusion_proofs_are_the_published_ones(place: tuple[int, int], path: list[str]) -> None:
    hashes = [leaf_hash(bytes.fromhex(leaf)) for leaf in PUBLISHED[: place[1]]]
    assert [digest.hex()[:8] for digest in roots_of(inclusion_ranges(*place), hashes)] == path


@pytest.mark.parametrize(("sizes", "path"), CONSISTENCY.items())
def test_consistency_proofs_are_the_published_ones(sizes: tuple[int, int], path: list[str]) -> None:
    hashes = [leaf_hash(bytes.fromhex(leaf)) for leaf in PUBLISHED[: sizes[1]]]
    assert [digest.hex()[:8] for digest in roots_of(consistency_ranges(*sizes), hashes)] == path


def test_the_example_of_the_rfc_with_seven_leaves() -> None:
    """RFC 9162, 2.1.5: nodes a to l, and which of them each proof names."""
    a, b, c, d, e, f, j = leaves_of(7)
    g, h, i = node_hash(a, b), node_hash(c, d), node_hash(e, f)
    k, m = node_hash(g, h), node_hash(i, j)
    leaves = [a, b, c, d, e, f, j]
    assert tree_root(leaves) == node_hash(k, m)
    for index, path in {0: [b, h, m], 3: [c, g, m], 4: [f, j, k], 6: [i, k]}.items():
        assert roots_of(inclusion_ranges(index, 7), leaves) == path
    for old, path in {3: [c, d, g, m], 4: [m], 6: [i, j, k]}.items():
        assert roots_of(consistency_ranges(old, 7), leaves) == path


@pytest.mark.parametrize("size", SIZES)
def test_every_proof_of_a_small_tree_is_that_of_the_definition_and_leads_to_its_root(size: int) -> None:
    leaves = leaves_of(size)
    root = tree_root(leaves)
    for index in range(size):
        path = roots_of(inclusion_ranges(index, size), leaves)
        assert path == inclusion_path(index, leaves)
        assert root_of_inclusion(leaves[index], index, size, path) == root
    for old in range(1, size + 1):
        path = roots_of(consistency_ranges(old, size), leaves)
        assert path == consistency_path(old, leaves)
        old_root = tree_root(leaves[:old])
        assert roots_of_consistency(old, size, old_root, path) == (old_root, root)


def leads_elsewhere(index: int, size: int, leaf: bytes, path: Sequence[bytes], root: bytes) -> bool:
    """Whether an inclusion proof is refused."""
    try:
        return root_of_inclusion(leaf, index, size, path) != root
    except ValueError:
        return True


def is_no_prefix(old: int, size: int, roots: tuple[bytes, bytes], path: Sequence[bytes]) -> bool:
    """Whether a consistency proof is refused."""
    try:
        return roots_of_consistency(old, size, roots[0], path) != roots
    except ValueError:
        return True


@settings(max_examples=150)
@given(size=st.integers(2, 300), seed=st.integers(0, 2**32))
def test_a_changed_proof_leads_elsewhere(size: int, seed: int) -> None:
    draw = random.Random(seed)
    leaves = leaves_of(size)
    root, index = tree_root(leaves), draw.randrange(size)
    path = roots_of(inclusion_ranges(index, size), leaves)
    assert not leads_elsewhere(index, size, leaves[index], path, root)
    other = draw.choice([number for number in range(size) if number != index])
    assert leads_elsewhere(index, size, leaves[other], path, root)
    assert leads_elsewhere(index, size, leaves[index], [*path, root], root)
    assert leads_elsewhere(index, size, leaves[index], path[:-1], root)
    place = draw.randrange(len(path))
    changed = [*path[:place], node_hash(path[place], root), *path[place + 1 :]]
    assert leads_elsewhere(index, size, leaves[index], changed, root)

    old = draw.randrange(1, size)
    roots = tree_root(leaves[:old]), root
    steps = roots_of(consistency_ranges(old, size), leaves)
    assert not is_no_prefix(old, size, roots, steps)
    assert is_no_prefix(old, size, (leaf_hash(b"another"), root), steps)
    assert is_no_prefix(old, size, (roots[0], leaf_hash(b"another")), steps)
    assert is_no_prefix(old, size, roots, [*steps, root])
    assert is_no_prefix(old, size, roots, steps[:-1])
    forked = leaves_of(size)
    forked[draw.randrange(old)] = leaf_hash(b"written anew")
    assert is_no_prefix(old, size, (roots[0], tree_root(forked)), roots_of(consistency_ranges(old, size), forked))


@pytest.mark.parametrize(("index", "size"), [(-1, 3), (3, 3), (0, 0)])
def test_a_leaf_that_is_not_there_has_no_proof(index: int, size: int) -> None:
    with pytest.raises(ValueError, match="expected"):
        inclusion_ranges(index, size)
    with pytest.raises(ValueError, match="expected"):
        root_of_inclusion(leaf_hash(b""), index, size, [])


@pytest.mark.parametrize(("old", "new"), [(0, 3), (4, 3), (-1, 3)])
def test_a_log_that_is_no_earlier_one_has_no_proof(old: int, new: int) -> None:
    with pytest.raises(ValueError, match="expected"):
        consistency_ranges(old, new)
    with pytest.raises(ValueError, match="expected"):
        roots_of_consistency(old, new, EMPTY_ROOT, [])


def test_a_proof_between_logs_of_one_size_is_empty_and_nothing_else() -> None:
    root = tree_root(leaves_of(5))
    assert roots_of_consistency(5, 5, root, []) == (root, root)
    with pytest.raises(ValueError, match="no proof"):
        roots_of_consistency(5, 5, root, [root])
    for old in (3, 4):
        with pytest.raises(ValueError, match="too short"):
            roots_of_consistency(old, 5, root, [])


def test_too_few_leaves_are_noticed() -> None:
    with pytest.raises(ValueError, match="leaf 7"):
        roots_of(inclusion_ranges(0, 8), leaves_of(7))


def test_a_leaf_is_never_taken_for_a_node() -> None:
    left, right = leaf_hash(b"a"), leaf_hash(b"b")
    assert leaf_hash(left + right) != node_hash(left, right)


@pytest.mark.parametrize(
    ("size", "hashes"), [(3, ["00" * 32]), (1, ["00" * 31]), (1, ["xy"]), (-1, []), (0, ["00" * 32])]
)
def test_a_frontier_that_cannot_be_is_refused(size: int, hashes: list[str]) -> None:
    with pytest.raises(ValueError, match=r"."):
        Frontier.from_hex(size, hashes)
