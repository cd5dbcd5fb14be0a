"""Sealed objects: who can open them, and that nothing but the whole, unchanged object in its context ever opens."""

import hashlib
from collections.abc import Callable
from dataclasses import replace
from datetime import datetime, timedelta
from typing import Any

import pytest
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from hypothesis import given, settings
from hypothesis import strategies as st

from security.certificates import Trust
from security.context import Context, Purpose
from security.encoding import decode, encode
from security.errors import CertificateRefused, SealBroken, SecurityError
from security.sealed_core import CHUNK_BYTES, TAG_BYTES, in_pieces, keys_of, wrapped_for
from security.sealed_format import Sealed, core_message, entries, recipients_message, recipients_of, wrap_info
from security.sealing import open_sealed, rewrap, seal
from tests.unit.security.conftest import NOW, World

NODE = "north.serving"
OTHER: dict[str, Any] = {
    "purpose": Purpose.RESULT,
    "study": "other",
    "object_id": "case-2",
    "run": "run-1",
    "round": 1,
    "attempt": "attempt-1",
}
Open = Callable[..., bytes]


@pytest.fixture
def sealed(world: World, context: Context) -> bytes:
    return seal(b"a small body", sender=world["app"], recipients=world.box(NODE, "authority"), context=context)


@pytest.fixture
def opening(world: World, context: Context) -> Open:
    """Open as the node, with what the test changes."""

    def opening(data: bytes, **changes: object) -> bytes:
        asked: dict = {"recipient": world[NODE], "trust": world.trust, "context": context, "sender": "app", "at": NOW}
        return open_sealed(data, **(asked | changes))

    return opening


def refused(opening: Open, data: bytes, **changes: object) -> None:
    """Hold that the object does not open, with the one error that shows no cause."""
    with pytest.raises(SealBroken) as caught:
        opening(data, **changes)
    assert str(caught.value) == "the sealed object could not be opened"
    assert caught.value.__cause__ is None
    assert caught.value.__context__ is None


@pytest.mark.parametrize("length", [0, 1, CHUNK_BYTES - 1, CHUNK_BYTES, CHUNK_BYTES + 1, 3 * CHUNK_BYTES])
def test_a_body_of_any_length_comes_back(world: World, context: Context, opening: Open, length: int) -> None:
    body = bytes(range(256)) * (length // 256 + 1)
    body = body[:length]
    data = seal(memoryview(body), sender=world["app"], recipients=world.box(NODE), context=context)
    assert opening(data) == body
    chunks = max(1, -(-length // CHUNK_BYTES))
    assert len(Sealed.parse(data).body) == length + chunks * TAG_BYTES


@settings(max_examples=25)
@given(body=st.binary(max_size=300))
def test_any_body_comes_back_and_does_not_show(world: World, body: bytes) -> None:
    context = Context(purpose=Purpose.RESULT, study="leukemia", sender=NODE, object_id="1")
    data = seal(body, sender=world[NODE], recipients=world.box("app"), context=context)
    opened = open_sealed(data, recipient=world["app"], trust=world.trust, context=context, sender=NODE, at=NOW)
    assert opened == body
    assert len(body) < 8 or body not in data


def test_each_recipient_opens_it_and_nobody_else(world: World, sealed: bytes, opening: Open, impostor: World) -> None:
    for party in (NODE, "authority"):
        assert opening(sealed, recipient=world[party]) == b"a small body"
    assert recipients_of(sealed) == [c.serial for c in world.box(NODE, "authority")]
    for outsider in (world["app"], world["north.training"], impostor[NODE]):
        refused(opening, sealed, recipient=outsider)


def test_sealing_the_same_twice_gives_nothing_in_common_but_the_names(world: World, context: Context) -> None:
    one, two = (
        Sealed.parse(seal(bytes(100), sender=world["app"], recipients=world.box(NODE), context=context))
        for _ in range(2)
    )
    assert bytes(one.body)[:16] != bytes(two.body)[:16]
    assert one.core != two.core


@pytest.mark.filterwarnings("ignore:Parsed a serial number")
def test_every_changed_bit_of_header_and_body_is_refused(sealed: bytes, opening: Open) -> None:
    for bit in range(8 * len(sealed)):
        changed = bytearray(sealed)
        changed[bit // 8] ^= 1 << bit % 8
        with pytest.raises(SealBroken):
            opening(bytes(changed))


def test_every_truncation_and_any_extension_are_refused(sealed: bytes, opening: Open) -> None:
    for length in range(len(sealed)):
        with pytest.raises(SealBroken):
            opening(sealed[:length])
    for extension in (b"\0", bytes(TAG_BYTES), bytes(CHUNK_BYTES + TAG_BYTES)):
        refused(opening, sealed + extension)
    refused(opening, b"\0" + sealed)


@settings(max_examples=50)
@given(data=st.binary(max_size=200))
def test_rubbish_is_refused(world: World, data: bytes) -> None:
    context = Context(purpose=Purpose.IMAGE, study="", sender="app", object_id="1")
    with pytest.raises(SealBroken):
        open_sealed(data, recipient=world["app"], trust=world.trust, context=context, sender="app", at=NOW)
    with pytest.raises(SealBroken):
        recipients_of(data)


def test_chunks_cannot_be_swapped_repeated_or_dropped(world: World, context: Context, opening: Open) -> None:
    body = b"".join(bytes((number,)) * CHUNK_BYTES for number in range(3))
    data = seal(body, sender=world["app"], recipients=world.box(NODE), context=context)
    head = data[: -3 * (CHUNK_BYTES + TAG_BYTES)]
    size = CHUNK_BYTES + TAG_BYTES
    chunks = [data[len(head) + number * size :][:size] for number in range(3)]
    assert opening(head + b"".join(chunks)) == body
    for order in ((1, 0, 2), (0, 2, 1), (0, 0, 2), (0, 1), (0, 1, 2, 2), (2,), ()):
        refused(opening, head + b"".join(chunks[number] for number in order))


def test_the_chunk_cipher_itself_binds_place_and_end() -> None:
    """Holds without the digest in the core: every chunk has its own nonce, and only the last one the last flag."""
    pieces = list(in_pieces(b"prefix7", memoryview(bytes(10)), 4))
    assert [nonce for nonce, _ in pieces] == [
        b"prefix7\0\0\0\0\0",
        b"prefix7\0\0\0\1\0",
        b"prefix7\0\0\0\2\1",
    ]
    assert [len(piece) for _, piece in pieces] == [4, 4, 2]
    assert [(nonce, len(piece)) for nonce, piece in in_pieces(b"prefix7", memoryview(b""), 4)] == [
        (b"prefix7\0\0\0\0\1", 0)
    ]


@pytest.mark.parametrize("field", OTHER)
def test_another_context_is_refused(sealed: bytes, opening: Open, context: Context, field: str) -> None:
    refused(opening, sealed, context=replace(context, **{field: OTHER[field]}))


def test_another_sender_is_refused(world: World, sealed: bytes, opening: Open, context: Context) -> None:
    refused(opening, sealed, sender="north.training")
    refused(opening, sealed, context=replace(context, sender="north.training"))
    refused(opening, sealed, sender="north.training", context=replace(context, sender="north.training"))
    theirs = replace(context, sender="north.training")
    data = seal(b"body", sender=world["north.training"], recipients=world.box(NODE), context=theirs)
    refused(opening, data)


def test_parts_of_two_objects_cannot_be_mixed(world: World, sealed: bytes, opening: Open, context: Context) -> None:
    other = seal(b"another body", sender=world["app"], recipients=world.box(NODE, "authority"), context=context)
    here, there = Sealed.parse(sealed), Sealed.parse(other)
    assert opening(here.join()) == b"a small body"
    for names in (
        ("core",),
        ("core", "sender_signature"),
        ("core", "sender_signature", "recipients", "wrapper_signature"),
        ("recipients",),
        ("recipients", "wrapper_signature"),
        ("body",),
        ("body", "core", "sender_signature"),
    ):
        refused(opening, replace(here, **{name: getattr(there, name) for name in names}).join())


def test_a_recipient_cannot_be_exchanged_within_the_object(world: World, sealed: bytes, opening: Open) -> None:
    parts = Sealed.parse(sealed)
    wrapped = entries(parts.recipients)
    names = list(wrapped)
    swapped = encode([[names[0], *wrapped[names[1]]], [names[1], *wrapped[names[0]]]])
    refused(opening, replace(parts, recipients=swapped).join())
    fewer = encode([[names[0], *wrapped[names[0]]]])
    refused(opening, replace(parts, recipients=fewer).join())


def test_a_recipient_cannot_put_its_own_body_in_the_senders_name(
    world: World, sealed: bytes, opening: Open, context: Context
) -> None:
    parts, node = Sealed.parse(sealed), world[NODE]
    enc, wrapped = entries(parts.recipients)[node.sealing_certificate.serial]
    serial = node.sealing_certificate.serial.encode()
    dek = node.sealing_key.unwrap(enc, wrapped, info=wrap_info(parts.core, context), aad=serial)
    nonce, _ = next(in_pieces(decode(parts.core)["prefix"], memoryview(b""), CHUNK_BYTES))
    forged = AESGCM(keys_of(dek, context)[0]).encrypt(nonce, b"a forgedbody", None)
    assert len(forged) == len(parts.body)
    refused(opening, replace(parts, body=memoryview(forged)).join())


def test_a_sender_cannot_wrap_another_key_for_one_recipient(
    world: World, sealed: bytes, opening: Open, context: Context
) -> None:
    parts, app = Sealed.parse(sealed), world["app"]
    block = wrapped_for(bytes(32), world.box(NODE), parts.core, context)
    signature = app.signing_key.sign(recipients_message(block, parts.core, app.signing_certificate.der, context))
    refused(opening, replace(parts, recipients=block, wrapper_signature=signature).join())


def test_a_revoked_expired_or_foreign_sender_is_refused(
    world: World, sealed: bytes, opening: Open, impostor: World, context: Context
) -> None:
    revoked = [(world["app"].signing_certificate.serial, NOW + timedelta(days=1), "superseded")]
    refused(opening, sealed, trust=world.trust.with_crl(world.authority.revocation_list(revoked, number=1, now=NOW)))
    refused(opening, sealed, at=NOW + timedelta(days=400))
    refused(opening, sealed, trust=impostor.trust)
    forged = seal(b"body", sender=impostor["app"], recipients=world.box(NODE), context=context)
    refused(opening, forged)
    assert opening(forged, trust=impostor.trust) == b"body"


def test_a_sealing_certificate_does_not_vouch_for_a_sender(world: World, sealed: bytes, opening: Open) -> None:
    parts = Sealed.parse(sealed)
    refused(opening, replace(parts, sender_certificate=world["app"].sealing_certificate).join())


def test_seal_refuses_what_nobody_could_open(world: World, context: Context) -> None:
    app = world["app"]
    with pytest.raises(ValueError, match="at least one recipient"):
        seal(b"", sender=app, recipients=[], context=context)
    with pytest.raises(SecurityError, match="'seal' expected"):
        seal(b"", sender=app, recipients=[world[NODE].signing_certificate], context=context)
    with pytest.raises(ValueError, match="the sender is 'app'"):
        seal(b"", sender=app, recipients=world.box(NODE), context=replace(context, sender=NODE))
    doubled = seal(b"", sender=app, recipients=world.box(NODE, NODE), context=context)
    assert len(recipients_of(doubled)) == 1


def test_a_time_without_zone_is_a_mistake_of_the_caller(sealed: bytes, opening: Open) -> None:
    with pytest.raises(ValueError, match="zone"):
        opening(sealed, at=datetime(2026, 1, 5))  # noqa: DTZ001


@pytest.mark.parametrize("holder", ["authority", "app"])
def test_the_authority_or_the_sender_rewraps_and_the_body_stays(
    world: World, opening: Open, context: Context, holder: str
) -> None:
    data = seal(b"body", sender=world["app"], recipients=world.box(NODE, "authority", "app"), context=context)
    again = _rewrap(world, data, holder, context, "aggregation")
    assert opening(again, recipient=world["aggregation"]) == b"body"
    for former in (NODE, "authority", "app"):
        refused(opening, again, recipient=world[former])
    before, after = Sealed.parse(data), Sealed.parse(again)
    assert bytes(before.body) == bytes(after.body)
    assert (before.core, before.sender_signature) == (after.core, after.sender_signature)
    assert recipients_of(again) == [world["aggregation"].sealing_certificate.serial]
    assert opening(_rewrap(world, data, "authority", context, NODE)) == b"body"


def test_nobody_else_may_rewrap(world: World, sealed: bytes, opening: Open, context: Context) -> None:
    with pytest.raises(SecurityError, match="may not re-wrap"):
        _rewrap(world, sealed, NODE, context, "aggregation")
    parts, node = Sealed.parse(sealed), world[NODE]
    enc, wrapped = entries(parts.recipients)[node.sealing_certificate.serial]
    dek = node.sealing_key.unwrap(
        enc,
        wrapped,
        info=wrap_info(parts.core, context),
        aad=node.sealing_certificate.serial.encode(),
    )
    block = wrapped_for(dek, world.box("aggregation"), parts.core, context)
    signature = node.signing_key.sign(recipients_message(block, parts.core, node.signing_certificate.der, context))
    forged = replace(parts, recipients=block, wrapper_certificate=node.signing_certificate, wrapper_signature=signature)
    refused(opening, forged.join(), recipient=world["aggregation"])


def test_rewrap_refuses_what_cannot_be_opened_and_who_is_revoked(world: World, sealed: bytes, context: Context) -> None:
    with pytest.raises(SealBroken):
        _rewrap(world, sealed, "app", context, NODE)  # the sender did not seal it to itself
    with pytest.raises(SealBroken):
        _rewrap(world, sealed[:-1], "authority", context, NODE)
    with pytest.raises(SealBroken):
        _rewrap(world, sealed, "authority", replace(context, run="another"), NODE)
    serial = world["aggregation"].sealing_certificate.serial
    crl = world.authority.revocation_list([(serial, NOW, "unspecified")], number=3, now=NOW)
    with pytest.raises(CertificateRefused, match="revoked"):
        _rewrap(world, sealed, "authority", context, "aggregation", trust=world.trust.with_crl(crl))


def test_the_senders_signature_is_not_accepted_as_the_wrappers(
    world: World, sealed: bytes, opening: Open, context: Context
) -> None:
    parts, app = Sealed.parse(sealed), world["app"]
    assert core_message(parts.core, app.signing_certificate.der, context) != recipients_message(
        parts.recipients, parts.core, app.signing_certificate.der, context
    )
    refused(opening, replace(parts, wrapper_signature=parts.sender_signature).join())
    refused(opening, replace(parts, sender_signature=parts.wrapper_signature).join())


def test_the_core_says_nothing_of_the_body_but_its_length(sealed: bytes) -> None:
    core = Sealed.parse(sealed).core
    assert hashlib.sha256(b"a small body").digest() not in core
    assert len(core) < 300


def _rewrap(
    world: World, data: bytes, holder: str, context: Context, *recipients: str, trust: Trust | None = None
) -> bytes:
    return rewrap(
        data,
        holder=world[holder],
        recipients=world.box(*recipients),
        trust=trust or world.trust,
        context=context,
        sender="app",
        at=NOW,
    )
