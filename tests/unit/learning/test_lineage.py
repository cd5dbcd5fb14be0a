"""Lineages that several members signed: what they stated travels once, and each signature holds or nothing does."""

from dataclasses import replace

import pytest

from core.errors import CheckpointRefused
from core.learning.lineage import (
    Lineage,
    join_lineages,
    read_lineage,
    sealer_of,
    sign_lineage,
    signers_of,
    statement_of,
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
