"""Sealed objects: encrypted once, openable by each recipient, signed by the sender, bound to a context.

The layout is that of `security.sealed_format`. One random 256-bit DEK per object is wrapped by HPKE (RFC 9180, base
mode, DHKEM(P-256, HKDF-SHA256), HKDF-SHA256, AES-256-GCM). HKDF splits it into the body key and a commitment: AES-GCM
alone does not commit to its key, so without it a sender could make one body that opens differently for two recipients.
Chunking follows STREAM (Hoang et al. 2015). The wrapper is the sender or, after `rewrap`, the authority; the body is
never encrypted again. Re-wrapping keeps a former recipient from opening the new object; it does not cure a DEK or key
that has leaked.
A recipient's revocation counts when somebody seals or re-wraps for it, a sender's at every opening.

Of what is stored (`Trust.for_stored`) core and recipients may also be signed by the recipient itself, which vouches to
nobody but itself that it has verified them, and a global model's or a node's figures by the authority (`renewed`).
"""

import contextlib
import hashlib
import hmac
import secrets
from collections.abc import Iterator, Sequence
from dataclasses import replace
from datetime import datetime

from cryptography.hazmat.primitives.ciphers.aead import AESGCM

from security.certificates import Certificate, Trust
from security.context import Context, Purpose
from security.encoding import decode, encode
from security.errors import SealBroken, SecurityError
from security.identity import Identity
from security.keys import KEY_BYTES, KeyUse, hkdf, wrap
from security.sealed_format import SUITE, Sealed, core_message, entries, parsed, recipients_message, wrap_info
from security.signing import verify_signature

CHUNK_BYTES = 2**20
TAG_BYTES = 16
PREFIX_BYTES = 7
COMMITMENT_BYTES = 32
AUTHORITY = "authority"  # the one party that may re-wrap what it did not seal
VOUCHED = frozenset({Purpose.CHECKPOINT, Purpose.NODE_METRICS})
"""What members seal for several recipients, and the authority vouches for once their certificates are revoked."""
_CORE_KEYS = frozenset({"ciphertext", "commitment", "context", "length", "prefix", "sender"})


def seal(body: bytes | memoryview, *, sender: Identity, recipients: Sequence[Certificate], context: Context) -> bytes:
    """Seal `body` (any length, zero included) so that each of `recipients` can open it, and sign it as `sender`.

    The caller checks the recipients' certificates (`Trust.check`) where they come from.

    Raises:
        ValueError: no recipients, or `context.sender` is not the sender.
        CertificateRefused: a recipient's certificate is malformed.
        SecurityError: a recipient's certificate is not for sealing.
    """
    if context.sender != sender.party:
        raise ValueError(f"context.sender is '{context.sender}' but the sender is '{sender.party}'")
    plain = memoryview(body).cast("B")
    dek, prefix = secrets.token_bytes(KEY_BYTES), secrets.token_bytes(PREFIX_BYTES)
    body_key, commitment = _split(dek, context)
    cipher, digest, chunks = AESGCM(body_key), hashlib.sha256(), []
    for nonce, piece in _pieces(prefix, plain, CHUNK_BYTES):
        chunk = cipher.encrypt(nonce, piece, None)
        digest.update(chunk)
        chunks.append(chunk)
    core = encode(
        {
            "ciphertext": digest.digest(),
            "commitment": commitment,
            "context": hashlib.sha256(context.encode()).digest(),
            "length": len(plain),
            "prefix": prefix,
            "sender": sender.party,
        }
    )
    block = _wrapped(dek, recipients, core, context)
    parts = _signed(core, block, memoryview(b""), signer=sender, context=context)
    return b"".join((parts.front(), *chunks))


def open_sealed(
    sealed: bytes, *, recipient: Identity, trust: Trust, context: Context, sender: str, at: datetime
) -> bytes:
    """Return the body that `sender` sealed to `recipient` for exactly this `context`.

    Raises:
        SealBroken: it cannot be opened, whatever the cause; nothing of the body is returned before all is checked.
        ValueError: `at` has no time zone.
    """
    _require_zone(at)
    opened: bytes | None = None
    try:
        parts = Sealed.parse(sealed)
        core, dek = _authenticate(parts, recipient, trust=trust, context=context, sender=sender, at=at)
        body_key, _ = _split(dek, context)
        cipher = AESGCM(body_key)
        chunks = [
            cipher.decrypt(nonce, piece, None)
            for nonce, piece in _pieces(core["prefix"], parts.body, CHUNK_BYTES + TAG_BYTES)
        ]
        opened = chunks[0] if len(chunks) == 1 else b"".join(chunks)
    except Exception:  # noqa: BLE001, S110 - one error for every cause, raised below so that it carries no trace of it
        pass
    if opened is None:
        raise SealBroken
    return opened


def rewrap(
    sealed: bytes,
    *,
    holder: Identity,
    recipients: Sequence[Certificate],
    trust: Trust,
    context: Context,
    sender: str,
    at: datetime,
) -> bytes:
    """Return the object with new recipients and the same body; `holder` must be a recipient and may be left out.

    Raises:
        SealBroken: `holder` cannot open it, whatever the cause.
        SecurityError: `holder` is neither the sender nor the authority, so that nobody would accept its wrapping.
        CertificateRefused: a new recipient's certificate does not hold at `at`.
        ValueError: no recipients, or `at` has no time zone.
    """
    _may_wrap(holder, sender)
    block = handed_over(
        sealed, holder=holder, recipients=recipients, trust=trust, context=context, sender=sender, at=at
    )
    return with_recipients(sealed, block, wrapper=holder, recipients=recipients, context=context, sender=sender)


def handed_over(
    sealed: bytes,
    *,
    holder: Identity,
    recipients: Sequence[Certificate],
    trust: Trust,
    context: Context,
    sender: str,
    at: datetime,
    new_trust: Trust | None = None,
) -> bytes:
    """Return the block with which `holder`, any recipient, hands an object on to others; it counts nothing by itself.

    Whoever may wrap the object has to put it there (`with_recipients`), and never sees the DEK for that. The new
    recipients are checked by `new_trust` where the object was sealed under another root than theirs.

    Raises:
        SealBroken: `holder` cannot open it, whatever the cause.
        CertificateRefused: a new recipient's certificate does not hold at `at`.
        ValueError: no recipients, or `at` has no time zone.
    """
    _require_zone(at)
    for certificate in recipients:
        (new_trust or trust).for_now().check(certificate, party=None, use=KeyUse.SEAL, at=at)
    opened: tuple[Sealed, bytes] | None = None
    try:
        parts = Sealed.parse(sealed)
        opened = parts, _authenticate(parts, holder, trust=trust, context=context, sender=sender, at=at)[1]
    except Exception:  # noqa: BLE001, S110 - as in open_sealed
        pass
    if opened is None:
        raise SealBroken
    return _wrapped(opened[1], recipients, opened[0].core, context)


def with_recipients(
    sealed: bytes,
    block: bytes,
    *,
    wrapper: Identity,
    recipients: Sequence[Certificate],
    context: Context,
    sender: str,
) -> bytes:
    """Return the object with the block of `handed_over` in the place of its own, signed by `wrapper`.

    Whether the block leads to the DEK shows only where a new recipient opens the object: try that before the old one
    is thrown away.

    Raises:
        SecurityError: `wrapper` is neither the sender nor the authority, so that nobody would accept its wrapping.
        SealBroken: not a sealed object, or the block is none for exactly these recipients.
    """
    _may_wrap(wrapper, sender)
    parts = _fitting(sealed, block, recipients)
    certificate = wrapper.signing_certificate
    signature = wrapper.signing_key.sign(recipients_message(block, parts.core, certificate.der, context))
    return replace(parts, recipients=block, wrapper_certificate=certificate, wrapper_signature=signature).join()


def renewed(
    sealed: bytes, block: bytes, *, signer: Identity, recipients: Sequence[Certificate], context: Context
) -> bytes:
    """Return the object with the block of `handed_over`, all of it signed anew by `signer`; the body stays.

    For stored objects whose signers got other keys. `handed_over` has verified what is vouched for here. It opens only
    where `signer` is the sender, or, under `Trust.for_stored`, the recipient itself, or for `VOUCHED` the authority.

    Raises:
        SealBroken: not a sealed object, or the block is none for exactly these recipients.
    """
    parts = _fitting(sealed, block, recipients)
    return _signed(parts.core, block, parts.body, signer=signer, context=context).join()


def _fitting(sealed: bytes, block: bytes, recipients: Sequence[Certificate]) -> Sealed:
    """Return the parts of an object whose recipients shall be those of `block`."""
    named: set[str] = set()
    with contextlib.suppress(ValueError, TypeError):
        named |= entries(block).keys()
    if named != {certificate.serial for certificate in recipients}:
        raise SealBroken
    return parsed(sealed)


def _authenticate(
    parts: Sealed, recipient: Identity, *, trust: Trust, context: Context, sender: str, at: datetime
) -> tuple[dict, bytes]:
    """Check everything but the chunks' own tags; return the core and the DEK."""
    if context.sender != sender:
        raise ValueError("the context names another sender")
    vouching = {recipient.party, AUTHORITY} if context.purpose in VOUCHED else {recipient.party}
    may_sign = {sender, *vouching} if trust.stored else {sender}
    signed = trust.check(parts.sender_certificate, party=None, use=KeyUse.SIGN, at=at)
    if signed.party not in may_sign:
        raise ValueError("signed by somebody who may not")
    verify_signature(
        parts.sender_certificate,
        parts.sender_signature,
        core_message(parts.core, parts.sender_certificate.der, context),
    )
    wrapper = trust.check(parts.wrapper_certificate, party=None, use=KeyUse.SIGN, at=at)
    if wrapper.party not in {AUTHORITY, *may_sign}:
        raise ValueError("wrapped by somebody who may not")
    verify_signature(
        wrapper, parts.wrapper_signature, recipients_message(parts.recipients, parts.core, wrapper.der, context)
    )
    core = decode(parts.core)
    if core.keys() != _CORE_KEYS or type(core["length"]) is not int or len(core["prefix"]) != PREFIX_BYTES:
        raise ValueError("malformed core")
    if core["sender"] != sender:
        raise ValueError("another sender")
    if core["context"] != hashlib.sha256(context.encode()).digest():
        raise ValueError("another context")
    count = max(1, -(-core["length"] // CHUNK_BYTES))
    if len(parts.body) != core["length"] + count * TAG_BYTES:
        raise ValueError("another length")
    if hashlib.sha256(parts.body).digest() != core["ciphertext"]:
        raise ValueError("another body")
    wrappings = entries(parts.recipients)
    serial = next(serial for serial in recipient.openers if serial in wrappings)
    enc, wrapped = wrappings[serial]
    dek = recipient.openers[serial].unwrap(enc, wrapped, info=wrap_info(parts.core, context), aad=serial.encode())
    if not hmac.compare_digest(_split(dek, context)[1], core["commitment"]):
        raise ValueError("another key than the one committed to")
    return core, dek


def _signed(core: bytes, block: bytes, body: memoryview, *, signer: Identity, context: Context) -> Sealed:
    """Return an object of which one party signs core and recipients."""
    certificate, sign = signer.signing_certificate, signer.signing_key.sign
    return Sealed(
        core=core,
        sender_certificate=certificate,
        sender_signature=sign(core_message(core, certificate.der, context)),
        recipients=block,
        wrapper_certificate=certificate,
        wrapper_signature=sign(recipients_message(block, core, certificate.der, context)),
        body=body,
    )


def _pieces(prefix: bytes, data: memoryview, size: int) -> Iterator[tuple[bytes, memoryview]]:
    """Yield (nonce, piece) for each `size` bytes of `data`, at least one; the last flag is set on the last."""
    count = max(1, -(-len(data) // size))
    for number in range(count):
        last = bytes((number == count - 1,))
        yield prefix + number.to_bytes(4, "big") + last, data[number * size : (number + 1) * size]


def _split(dek: bytes, context: Context) -> tuple[bytes, bytes]:
    material = hkdf(dek, info=encode([SUITE, "body", context.encode()]), length=KEY_BYTES + COMMITMENT_BYTES)
    return material[:KEY_BYTES], material[KEY_BYTES:]


def _wrapped(dek: bytes, recipients: Sequence[Certificate], core: bytes, context: Context) -> bytes:
    by_serial = {certificate.serial: certificate for certificate in recipients}
    if not by_serial:
        raise ValueError("at least one recipient expected")
    info, wrappings = wrap_info(core, context), []
    for serial, certificate in by_serial.items():
        if certificate.key_use is not KeyUse.SEAL:
            raise SecurityError(f"a certificate for '{KeyUse.SEAL}' expected, got one for '{certificate.key_use}'")
        wrappings.append([serial, *wrap(dek, certificate.public_key, info=info, aad=serial.encode())])
    return encode(wrappings)


def _may_wrap(wrapper: Identity, sender: str) -> None:
    if wrapper.party not in (sender, AUTHORITY):
        raise SecurityError(f"'{wrapper.party}' may not re-wrap what '{sender}' sealed")


def _require_zone(at: datetime) -> None:
    if at.tzinfo is None:
        raise ValueError("a time with its zone expected")
