"""Signed envelopes: what verifies, and that nothing else does."""

from dataclasses import replace
from datetime import timedelta
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from security.context import Context, Purpose
from security.errors import CertificateRefused, SecurityError, SignatureBroken
from security.signing import claims_of, sign, signer_of, verify
from tests.unit.security.conftest import NOW, World

OTHER: dict[str, Any] = {
    "purpose": Purpose.RESULT,
    "study": "other",
    "object_id": "case-2",
    "run": "run-1",
    "round": 1,
    "attempt": "attempt-1",
}


@settings(max_examples=25)
@given(payload=st.binary(max_size=200))
def test_a_signed_payload_comes_back(world: World, payload: bytes) -> None:
    context = Context(purpose=Purpose.REVIEW, study="leukemia", sender="app", object_id="1")
    envelope = sign(payload, signer=world["app"], context=context)
    assert verify(envelope, trust=world.trust, context=context, party="app", at=NOW) == payload
    assert claims_of(envelope) == (world["app"].signing_certificate, payload)
    assert signer_of(envelope).party == "app"


@pytest.mark.filterwarnings("ignore:Parsed a serial number")
def test_every_changed_bit_is_refused(world: World, context: Context) -> None:
    envelope = sign(b"payload", signer=world["app"], context=context)
    for bit in range(8 * len(envelope)):
        changed = bytearray(envelope)
        changed[bit // 8] ^= 1 << bit % 8
        with pytest.raises((SignatureBroken, CertificateRefused)):
            verify(bytes(changed), trust=world.trust, context=context, party="app", at=NOW)


def test_every_truncation_and_an_extension_are_refused(world: World, context: Context) -> None:
    envelope = sign(b"payload", signer=world["app"], context=context)
    for changed in (*(envelope[:length] for length in range(len(envelope))), envelope + b"\0"):
        with pytest.raises((SignatureBroken, CertificateRefused)):
            verify(changed, trust=world.trust, context=context, party="app", at=NOW)


@pytest.mark.parametrize("field", OTHER)
def test_another_context_is_refused(world: World, context: Context, field: str) -> None:
    envelope = sign(b"payload", signer=world["app"], context=context)
    other = replace(context, **{field: OTHER[field]})
    with pytest.raises(SignatureBroken):
        verify(envelope, trust=world.trust, context=other, party="app", at=NOW)


def test_a_signature_of_somebody_else_is_refused(world: World, impostor: World, context: Context) -> None:
    theirs = replace(context, sender="north.training")
    envelope = sign(b"payload", signer=world["north.training"], context=theirs)
    with pytest.raises(CertificateRefused, match="'app' expected"):
        verify(envelope, trust=world.trust, context=context, party="app", at=NOW)
    with pytest.raises(CertificateRefused, match="not issued"):
        verify(
            sign(b"payload", signer=impostor["app"], context=context),
            trust=world.trust,
            context=context,
            party="app",
            at=NOW,
        )


def test_a_certificate_cannot_be_exchanged_for_another_of_the_same_key(world: World, context: Context) -> None:
    app = world["app"]
    envelope = sign(b"payload", signer=app, context=context)
    again = world.authority.issue(app.signing_key.public_key, party="app", use=app.signing_key.use, now=NOW, days=900)
    length = len(app.signing_certificate.der).to_bytes(4, "big")
    changed = envelope.replace(length + app.signing_certificate.der, len(again.der).to_bytes(4, "big") + again.der)
    assert signer_of(changed) == again
    with pytest.raises(SignatureBroken):
        verify(changed, trust=world.trust, context=context, party="app", at=NOW)


def test_an_expired_or_revoked_signer_is_refused(world: World, context: Context) -> None:
    envelope = sign(b"payload", signer=world["app"], context=context)
    with pytest.raises(CertificateRefused, match="not valid"):
        verify(envelope, trust=world.trust, context=context, party="app", at=NOW + timedelta(days=400))
    revoked = [(world["app"].signing_certificate.serial, NOW, "keyCompromise")]
    trust = world.trust.with_crl(world.authority.revocation_list(revoked, number=1, now=NOW))
    with pytest.raises(CertificateRefused, match="revoked"):
        verify(envelope, trust=trust, context=context, party="app", at=NOW)


def test_the_sender_in_the_context_must_be_the_signer(world: World, context: Context) -> None:
    with pytest.raises(ValueError, match="'app' but the signer is 'aggregation'"):
        sign(b"", signer=world["aggregation"], context=context)
    envelope = sign(b"", signer=world["app"], context=context)
    with pytest.raises(ValueError, match="expected to have signed"):
        verify(envelope, trust=world.trust, context=context, party="authority", at=NOW)


@pytest.mark.parametrize("data", [b"", b"rubbish" * 100])
def test_what_is_no_envelope_has_no_signer(data: bytes) -> None:
    with pytest.raises(SecurityError):
        signer_of(data)
