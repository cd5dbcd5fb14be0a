"""Sealed objects: encrypted once, openable by each recipient, signed by the sender, bound to a context.

Layout, version 1 (every part behind its length, 4 bytes big endian, but the body):

    version byte, suite name
    core                  canonical CBOR: sender, context digest, nonce prefix, body length, key commitment,
                          SHA-256 of all encrypted chunks
    sender's certificate, sender's signature of core and context
    recipients            canonical CBOR: per recipient the certificate's serial, HPKE encapsulation, wrapped DEK
    wrapper's certificate, wrapper's signature of recipients, core and context
    body                  1 MiB chunks, each AES-256-GCM with nonce = prefix (7) || counter (4) || last flag (1)

One random 256-bit DEK per object is wrapped by HPKE (RFC 9180, base mode, DHKEM(P-256, HKDF-SHA256), HKDF-SHA256,
AES-256-GCM). HKDF splits it into the body key and a commitment: AES-GCM alone does not commit to its key, so without it
a sender could make one body that opens differently for two recipients. Chunking follows STREAM (Hoang et al. 2015).
The wrapper is the sender or, after `rewrap`, the authority; the body is never encrypted again. Re-wrapping keeps a
former recipient from opening the new object; it does not cure a DEK or key that has leaked.
A recipient's revocation counts when somebody seals or re-wraps for it, a sender's at every opening.
"""

import contextlib
import hashlib
import hmac
import secrets
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import datetime

from cryptography.hazmat.primitives.ciphers.aead import AESGCM

from security.certificates import Certificate, Trust
from security.context import Context
from security.encoding import Reader, decode, encode, expect_header, framed, header
from security.errors import SealBroken, SecurityError
from security.identity import Identity
from security.keys import KEY_BYTES, KeyUse, hkdf, wrap
from security.signing import MAX_CERTIFICATE, MAX_SIGNATURE, verify_signature

VERSION = 1
SUITE = "HEMASEAL-SEALED/DHKEM-P256-HKDF-SHA256/AES-256-GCM/ECDSA-P256-SHA256"
CHUNK_BYTES = 2**20
TAG_BYTES = 16
PREFIX_BYTES = 7
COMMITMENT_BYTES = 32
MAX_CORE = 1024
MAX_RECIPIENTS_BLOCK = 2**20
AUTHORITY = "authority"  # the one party that may re-wrap what it did not seal
_CORE_KEYS = frozenset({"ciphertext", "commitment", "context", "length", "prefix", "sender"})


@dataclass(frozen=True)
class _Sealed:
    """The parts of a sealed object, as they lie in it."""

    core: bytes
    sender_certificate: Certificate
    sender_signature: bytes
    recipients: bytes
    wrapper_certificate: Certificate
    wrapper_signature: bytes
    body: memoryview

    @classmethod
    def parse(cls, sealed: bytes) -> "_Sealed":
        reader = Reader(sealed)
        expect_header(reader, VERSION, SUITE)
        return cls(
            core=reader.field(limit=MAX_CORE),
            sender_certificate=Certificate(reader.field(limit=MAX_CERTIFICATE)),
            sender_signature=reader.field(limit=MAX_SIGNATURE),
            recipients=reader.field(limit=MAX_RECIPIENTS_BLOCK),
            wrapper_certificate=Certificate(reader.field(limit=MAX_CERTIFICATE)),
            wrapper_signature=reader.field(limit=MAX_SIGNATURE),
            body=reader.rest(),
        )

    def join(self) -> bytes:
        fields = framed(
            self.core,
            self.sender_certificate.der,
            self.sender_signature,
            self.recipients,
            self.wrapper_certificate.der,
            self.wrapper_signature,
        )
        return b"".join((header(VERSION, SUITE), fields, self.body))


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
    certificate = sender.signing_certificate.der
    fields = framed(
        core,
        certificate,
        sender.signing_key.sign(_core_message(core, certificate, context)),
        block,
        certificate,
        sender.signing_key.sign(_recipients_message(block, core, certificate, context)),
    )
    return b"".join((header(VERSION, SUITE), fields, *chunks))


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
        parts = _Sealed.parse(sealed)
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
) -> bytes:
    """Return the block with which `holder`, any recipient, hands an object on to others; it counts nothing by itself.

    Whoever may wrap the object has to put it there (`with_recipients`), and never sees the DEK for that.

    Raises:
        SealBroken: `holder` cannot open it, whatever the cause.
        CertificateRefused: a new recipient's certificate does not hold at `at`.
        ValueError: no recipients, or `at` has no time zone.
    """
    _require_zone(at)
    for certificate in recipients:
        trust.check(certificate, party=None, use=KeyUse.SEAL, at=at)
    opened: tuple[_Sealed, bytes] | None = None
    try:
        parts = _Sealed.parse(sealed)
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
    parts: _Sealed | None = None
    with contextlib.suppress(ValueError, TypeError, SecurityError):
        if _entries(block).keys() == {certificate.serial for certificate in recipients}:
            parts = _Sealed.parse(sealed)
    if parts is None:
        raise SealBroken
    certificate = wrapper.signing_certificate
    signature = wrapper.signing_key.sign(_recipients_message(block, parts.core, certificate.der, context))
    return _Sealed(
        core=parts.core,
        sender_certificate=parts.sender_certificate,
        sender_signature=parts.sender_signature,
        recipients=block,
        wrapper_certificate=certificate,
        wrapper_signature=signature,
        body=parts.body,
    ).join()


def recipients_of(sealed: bytes) -> list[str]:
    """Return the certificate serials (hex) that a sealed object names. A claim until somebody opens the object.

    Raises:
        SealBroken: not a sealed object.
    """
    serials: list[str] | None = None
    with contextlib.suppress(ValueError, TypeError):
        serials = list(_entries(_Sealed.parse(sealed).recipients))
    if serials is None:
        raise SealBroken
    return serials


def front_length(sealed: bytes) -> int:
    """Return how many bytes lie before the body of a sealed object; all that leads to its DEK is among them.

    Raises:
        SealBroken: not a sealed object.
    """
    length: int | None = None
    with contextlib.suppress(ValueError, TypeError, SecurityError):
        length = len(sealed) - len(_Sealed.parse(sealed).body)
    if length is None:
        raise SealBroken
    return length


def _authenticate(
    parts: _Sealed, recipient: Identity, *, trust: Trust, context: Context, sender: str, at: datetime
) -> tuple[dict, bytes]:
    """Check everything but the chunks' own tags; return the core and the DEK."""
    if context.sender != sender:
        raise ValueError("the context names another sender")
    trust.check(parts.sender_certificate, party=sender, use=KeyUse.SIGN, at=at)
    verify_signature(
        parts.sender_certificate,
        parts.sender_signature,
        _core_message(parts.core, parts.sender_certificate.der, context),
    )
    wrapper = trust.check(parts.wrapper_certificate, party=None, use=KeyUse.SIGN, at=at)
    if wrapper.party not in (sender, AUTHORITY):
        raise ValueError("wrapped by somebody who may not")
    verify_signature(
        wrapper, parts.wrapper_signature, _recipients_message(parts.recipients, parts.core, wrapper.der, context)
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
    serial = recipient.sealing_certificate.serial
    enc, wrapped = _entries(parts.recipients)[serial]
    dek = recipient.sealing_key.unwrap(enc, wrapped, info=_wrap_info(parts.core, context), aad=serial.encode())
    if not hmac.compare_digest(_split(dek, context)[1], core["commitment"]):
        raise ValueError("another key than the one committed to")
    return core, dek


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
    info, entries = _wrap_info(core, context), []
    for serial, certificate in by_serial.items():
        if certificate.key_use is not KeyUse.SEAL:
            raise SecurityError(f"a certificate for '{KeyUse.SEAL}' expected, got one for '{certificate.key_use}'")
        entries.append([serial, *wrap(dek, certificate.public_key, info=info, aad=serial.encode())])
    return encode(entries)


def _entries(block: bytes) -> dict[str, tuple[bytes, bytes]]:
    entries = decode(block)
    by_serial = {str(serial): (bytes(enc), bytes(wrapped)) for serial, enc, wrapped in entries}
    if len(by_serial) != len(entries):
        raise ValueError("a recipient is named twice")
    return by_serial


def _wrap_info(core: bytes, context: Context) -> bytes:
    return encode([SUITE, "dek", context.encode(), hashlib.sha256(core).digest()])


def _core_message(core: bytes, certificate: bytes, context: Context) -> bytes:
    return encode([SUITE, "core", context.encode(), hashlib.sha256(certificate).digest(), core])


def _recipients_message(block: bytes, core: bytes, certificate: bytes, context: Context) -> bytes:
    digests = [hashlib.sha256(part).digest() for part in (certificate, core, block)]
    return encode([SUITE, "recipients", context.encode(), *digests])


def _may_wrap(wrapper: Identity, sender: str) -> None:
    if wrapper.party not in (sender, AUTHORITY):
        raise SecurityError(f"'{wrapper.party}' may not re-wrap what '{sender}' sealed")


def _require_zone(at: datetime) -> None:
    if at.tzinfo is None:
        raise ValueError("a time with its zone expected")
