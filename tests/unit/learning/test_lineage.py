"""Lineages that several members signed: what they stated travels once, and each signature holds or nothing does."""

from dataclasses import replace
from typing import Any

import pytest

from core.errors import CheckpointRefused
from core.learning.lineage import (
    Lineage,
    is_vouched_for,
    join_lineages,
    read_lineage,
    sealer_of,
    sha256_of_lineage,
    sign_lineage,
    signers_of,
    statement_of,
    vouch_for,
)
from security.encoding import decode, encode
from tests.unit.security.conftest import NOW, World, build_world

PARTIES = ("north.training", "app", "north.serving")
LINEAGE = Lineage(
    study="s01",
    run="r",
    round=1,
    attempt="a",
    weights_sha256="ab" * 32,
    parent="",
    mode="blind",
    members=PARTIES,
    metrics={},
    order="cd" * 32,
    at=NOW.isoformat(),
)


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> World:
    """Who signs."""
    return build_world(tmp_path_factory.mktemp("world"))


def read(world: World, signed: bytes) -> Lineage:
    """What a signed lineage proves."""
    return read_lineage(signed, study="s01", weights_sha256="ab" * 32, trust=world.trust, at=NOW)


@pytest.fixture
def single(world: World) -> list[bytes]:
    """Each member's own lineage."""
    return [sign_lineage(LINEAGE, signer=world[party]) for party in PARTIES]


def test_joined_lineages_state_once_what_all_signed(world: World, single: list[bytes]) -> None:
    joined = join_lineages(single)
    assert read(world, joined) == LINEAGE
    assert (signers_of(joined), sealer_of(joined)) == (PARTIES, PARTIES[0])
    assert joined.count(statement_of(joined)) == 1


def test_lineages_that_were_joined_as_whole_envelopes_are_still_read(world: World, single: list[bytes]) -> None:
    before = encode(single)
    assert read(world, before) == LINEAGE
    assert signers_of(before) == PARTIES
    assert statement_of(before) == statement_of(join_lineages(single))


def test_members_that_stated_different_lineages_are_not_joined(world: World, single: list[bytes]) -> None:
    other = sign_lineage(replace(LINEAGE, attempt="b"), signer=world["app"])
    for refused in (lambda: join_lineages([single[0], other]), lambda: read(world, encode([single[0], other]))):
        with pytest.raises(CheckpointRefused):
            refused()


@pytest.mark.parametrize("field", [0, 1, 2])
def test_a_joined_lineage_with_one_wrong_name_certificate_or_signature_is_refused(
    world: World, single: list[bytes], field: int
) -> None:
    payload, signatures = decode(join_lineages(single))
    signatures[1][field], signatures[2][field] = signatures[2][field], signatures[1][field]
    with pytest.raises(CheckpointRefused):
        read(world, encode([payload, signatures]))


def test_a_joined_lineage_in_which_a_party_signs_twice_is_refused(world: World, single: list[bytes]) -> None:
    payload, signatures = decode(join_lineages(single))
    with pytest.raises(CheckpointRefused):
        read(world, encode([payload, [*signatures[:2], signatures[0]]]))


@pytest.mark.parametrize(
    "signed", [b"", b"x", encode([]), encode([b"x", []]), encode([b"x", [["app", b""]]]), encode({})]
)
def test_what_is_no_lineage_is_refused(world: World, signed: bytes) -> None:
    with pytest.raises(CheckpointRefused):
        read(world, signed)
    with pytest.raises(CheckpointRefused):
        signers_of(signed)


def vouched(world: World, signed: bytes, signer: str = "authority") -> bytes:
    return vouch_for(signed, study="s01", weights_sha256="ab" * 32, authority=world[signer])


def test_a_lineage_that_the_authority_vouches_for_holds_after_its_signers_were_revoked(
    world: World, single: list[bytes]
) -> None:
    joined = join_lineages(single)
    entries = [(world[party].signing_certificate.serial, NOW, "keyCompromise") for party in PARTIES]
    trust = world.trust.with_crl(world.authority.revocation_list(entries, number=5, now=NOW))
    which: dict[str, Any] = {"study": "s01", "weights_sha256": "ab" * 32, "trust": trust, "at": NOW}
    with pytest.raises(CheckpointRefused):
        read_lineage(joined, **which)
    known = vouched(world, joined)
    assert read_lineage(known, **which) == LINEAGE
    assert is_vouched_for(known)
    assert not is_vouched_for(joined)
    # its name, its signers and who sealed the weights are as before: a child still names it as its parent
    assert sha256_of_lineage(known) == sha256_of_lineage(joined)
    assert (signers_of(known), sealer_of(known)) == (PARTIES, PARTIES[0])
    assert vouched(world, known)[:200] == known[:200]  # one word at a time


def test_nobody_but_the_authority_vouches_and_its_word_is_for_one_lineage(world: World, single: list[bytes]) -> None:
    joined, other = join_lineages(single), join_lineages([*single[1:], single[0]])
    for impostor in ("app", "north.training"):
        with pytest.raises((CheckpointRefused, ValueError)):
            read(world, vouched(world, joined, impostor))
    mark, _, word = decode(vouched(world, joined))
    with pytest.raises(CheckpointRefused):
        read(world, encode([mark, other, word]))
    with pytest.raises(CheckpointRefused):
        read_lineage(vouched(world, joined), study="s02", weights_sha256="ab" * 32, trust=world.trust, at=NOW)
    unsigned = sign_lineage(replace(LINEAGE, members=("app", "north.serving")), signer=world["app"])
    with pytest.raises(CheckpointRefused, match="may not, or by too few"):  # vouching does not lower how many must sign
        read(world, vouched(world, unsigned))
