"""Stored objects signed anew: who may vouch for what to whom, and what an ended or revoked certificate is worth."""

from dataclasses import replace
from datetime import timedelta
from typing import Any

import pytest

from security.certificates import Trust
from security.context import Context, Purpose
from security.errors import CertificateRefused, SealBroken
from security.keys import KeyUse
from security.sealed_format import signers_of
from security.sealing import handed_over, open_sealed, renewed, seal
from tests.unit.security.conftest import NOW, World

NODE, TRAINER, AUTHORITY = "north.serving", "north.training", "authority"
LATER = NOW + timedelta(days=500)


def again(world: World, sealed: bytes, context: Context, *, holder: str, signer: str, to: tuple[str, ...]) -> bytes:
    block = handed_over(
        sealed,
        holder=world[holder],
        recipients=world.box(*to),
        trust=world.trust,
        context=context,
        sender=context.sender,
        at=NOW,
    )
    return renewed(sealed, block, signer=world[signer], recipients=world.box(*to), context=context)


def revoking(world: World, *parties: str) -> Trust:
    entries = [(world[party].signing_certificate.serial, NOW, "keyCompromise") for party in parties]
    return world.trust.with_crl(world.authority.revocation_list(entries, number=9, now=NOW))


def opens(world: World, data: bytes, context: Context, trust: Trust, recipient: str) -> bool:
    try:
        open_sealed(data, recipient=world[recipient], trust=trust, context=context, sender=context.sender, at=NOW)
    except SealBroken:
        return False
    return True


def test_the_sender_signs_anew_for_everybody(world: World, context: Context) -> None:
    sealed = seal(b"body", sender=world["app"], recipients=world.box(NODE), context=context)
    data = again(world, sealed, context, holder=NODE, signer="app", to=(NODE, AUTHORITY))
    for recipient in (NODE, AUTHORITY):
        for trust in (world.trust, world.trust.for_stored()):
            assert opens(world, data, context, trust, recipient)
    assert data[-20:] == sealed[-20:]
    assert {one.party for one in signers_of(data)} == {"app"}


def test_a_recipient_vouches_to_itself_and_only_for_what_is_stored(world: World, context: Context) -> None:
    sealed = seal(b"body", sender=world["app"], recipients=world.box(NODE, TRAINER), context=context)
    data = again(world, sealed, context, holder=NODE, signer=NODE, to=(NODE, TRAINER))
    trust = revoking(world, "app")
    assert not opens(world, sealed, context, trust.for_stored(), NODE)
    assert opens(world, data, context, trust.for_stored(), NODE)
    assert not opens(world, data, context, trust, NODE)  # as what comes over the line
    assert not opens(world, data, context, trust.for_stored(), TRAINER)
    assert not opens(world, data, context, world.trust.for_stored(), TRAINER)


@pytest.mark.parametrize("purpose", list(Purpose))
def test_the_authority_vouches_for_models_and_figures_of_members_and_for_nothing_else(
    world: World, purpose: Purpose
) -> None:
    context = Context(purpose=purpose, study="s", sender=TRAINER, object_id="1")
    sealed = seal(b"body", sender=world[TRAINER], recipients=world.box(NODE, AUTHORITY), context=context)
    data = again(world, sealed, context, holder=AUTHORITY, signer=AUTHORITY, to=(NODE, AUTHORITY))
    trust = revoking(world, TRAINER)
    vouched = purpose in {Purpose.CHECKPOINT, Purpose.NODE_METRICS}
    assert opens(world, data, context, trust.for_stored(), NODE) is vouched
    assert not opens(world, data, context, trust, NODE)


@pytest.mark.parametrize("purpose", [Purpose.CHECKPOINT, Purpose.IMAGE])
def test_nobody_else_vouches(world: World, purpose: Purpose) -> None:
    context = Context(purpose=purpose, study="s", sender="app", object_id="1")
    sealed = seal(b"body", sender=world["app"], recipients=world.box(NODE, TRAINER), context=context)
    for impostor in (TRAINER, "aggregation"):
        data = again(world, sealed, context, holder=TRAINER, signer=impostor, to=(NODE, TRAINER))
        assert not opens(world, data, context, world.trust.for_stored(), NODE)


def test_who_vouches_cannot_say_that_somebody_else_sealed_it(world: World, context: Context) -> None:
    sealed = seal(b"body", sender=world["app"], recipients=world.box(NODE), context=context)
    data = again(world, sealed, context, holder=NODE, signer=NODE, to=(NODE,))
    other = replace(context, sender=TRAINER)
    assert not opens(world, data, other, world.trust.for_stored(), NODE)
    assert not opens(world, data, replace(context, object_id="another"), world.trust.for_stored(), NODE)


def test_an_ended_certificate_counts_for_what_is_stored_and_never_for_what_comes(
    world: World, context: Context
) -> None:
    sealed = seal(b"body", sender=world["app"], recipients=world.box(NODE), context=context)
    asked: dict[str, Any] = {"recipient": world[NODE], "context": context, "sender": "app", "at": LATER}
    assert open_sealed(sealed, trust=world.trust.for_stored(), **asked) == b"body"
    with pytest.raises(SealBroken):
        open_sealed(sealed, trust=world.trust, **asked)
    with pytest.raises(SealBroken):
        open_sealed(sealed, trust=revoking(world, "app").for_stored(), **asked)


def test_a_stored_object_is_no_way_to_use_a_certificate_before_its_time_or_after_the_roots(world: World) -> None:
    certificate, trust = world["app"].signing_certificate, world.trust.for_stored()
    assert trust.check(certificate, party="app", use=KeyUse.SIGN, at=LATER)
    for wrong in (NOW - timedelta(days=1), NOW + timedelta(days=4000)):
        with pytest.raises(CertificateRefused, match="not valid"):
            trust.check(certificate, party="app", use=KeyUse.SIGN, at=wrong)
    with pytest.raises(CertificateRefused):
        trust.check(certificate, party="app", use=KeyUse.SEAL, at=LATER)


def test_a_list_that_was_superseded_does_not_replace_the_newer_one(world: World) -> None:
    stale = world.authority.revocation_list([], number=8, now=NOW)
    with pytest.raises(CertificateRefused, match="older"):
        revoking(world, "app").with_crl(stale)
    assert revoking(world, "app").for_stored().is_revoked(world["app"].signing_certificate.serial)
