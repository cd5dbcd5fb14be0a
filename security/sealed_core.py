"""What makes and checks the parts of a sealed object, whether its body lies in memory or in a file.

The layout is that of `security.sealed_format`; what is promised, and how, is in `security.sealing`.
"""

import hashlib
import hmac
from collections.abc import Callable, Iterator, Sequence
from datetime import datetime
from typing import NamedTuple

from security.certificates import Certificate, Trust
from security.context import Context, Purpose
from security.encoding import decode, encode
from security.errors import SecurityError
from security.identity import Identity
from security.keys import KEY_BYTES, KeyUse, hkdf, wrap
from security.sealed_format import SUITE, Sealed, core_message, entries, recipients_message, wrap_info
from security.signing import verify_signature

CHUNK_BYTES = 2**20
TAG_BYTES = 16
PREFIX_BYTES = 7
COMMITMENT_BYTES = 32
AUTHORITY = "authority"  # the one party that may re-wrap what it did not seal
VOUCHED = frozenset({Purpose.CHECKPOINT, Purpose.NODE_METRICS})
"""What members seal for several recipients, and the authority vouches for once their certificates are revoked."""
_CORE_KEYS = frozenset({"ciphertext", "commitment", "context", "length", "prefix", "sender"})


class Body(NamedTuple):
    """An encrypted body that lies elsewhere: its length in bytes, and what works out the SHA-256 of it."""

    length: int
    sha256: Callable[[], bytes]


def front_of(
    dek: bytes,
    *,
    prefix: bytes,
    ciphertext: bytes,
    length: int,
    sender: Identity,
    recipients: Sequence[Certificate],
    context: Context,
) -> bytes:
    """Return what lies before the encrypted chunks of an object, signed by its sender.

    Args:
        dek: the object's key.
        prefix: of the chunks' nonces.
        ciphertext: SHA-256 of all encrypted chunks.
        length: of the body, in bytes.
        sender: who seals it.
        recipients: who can open it.
        context: what it is bound to.

    Raises:
        ValueError: no recipients.
        SecurityError: a recipient's certificate is not for sealing.
    """
    core = encode(
        {
            "ciphertext": ciphertext,
            "commitment": keys_of(dek, context)[1],
            "context": hashlib.sha256(context.encode()).digest(),
            "length": length,
            "prefix": prefix,
            "sender": sender.party,
        }
    )
    block = wrapped_for(dek, recipients, core, context)
    return signed_parts(core, block, memoryview(b""), signer=sender, context=context).front()


def authenticate(
    parts: Sealed,
    recipient: Identity,
    *,
    trust: Trust,
    context: Context,
    sender: str,
    at: datetime,
    body: Body | None = None,
) -> tuple[dict, bytes]:
    """Check everything but the chunks' own tags; return the core and the DEK.

    Args:
        parts: the object.
        recipient: who opens it.
        trust: root and revocation list.
        context: what it has to be bound to.
        sender: who has to have sealed it.
        at: now.
        body: of one that lies elsewhere than in `parts`; hashed only once signatures and length hold.

    Raises:
        Exception: of any kind; callers make one error of all of them.
    """
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
    found = body or Body(len(parts.body), lambda: hashlib.sha256(parts.body).digest())
    if found.length != core["length"] + count * TAG_BYTES:
        raise ValueError("another length")
    if found.sha256() != core["ciphertext"]:
        raise ValueError("another body")
    wrappings = entries(parts.recipients)
    serial = next(serial for serial in recipient.openers if serial in wrappings)
    enc, wrapped = wrappings[serial]
    dek = recipient.openers[serial].unwrap(enc, wrapped, info=wrap_info(parts.core, context), aad=serial.encode())
    if not hmac.compare_digest(keys_of(dek, context)[1], core["commitment"]):
        raise ValueError("another key than the one committed to")
    return core, dek


def signed_parts(core: bytes, block: bytes, body: memoryview, *, signer: Identity, context: Context) -> Sealed:
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


def nonce(prefix: bytes, number: int, *, last: bool) -> bytes:
    """Return the nonce of a chunk (STREAM)."""
    return prefix + number.to_bytes(4, "big") + bytes((last,))


def in_pieces(prefix: bytes, data: memoryview, size: int) -> Iterator[tuple[bytes, memoryview]]:
    """Yield (nonce, piece) for each `size` bytes of `data`, at least one; the last flag is set on the last."""
    count = max(1, -(-len(data) // size))
    for number in range(count):
        yield nonce(prefix, number, last=number == count - 1), data[number * size : (number + 1) * size]


def keys_of(dek: bytes, context: Context) -> tuple[bytes, bytes]:
    """Return the key of the body and the commitment that a DEK stands for."""
    material = hkdf(dek, info=encode([SUITE, "body", context.encode()]), length=KEY_BYTES + COMMITMENT_BYTES)
    return material[:KEY_BYTES], material[KEY_BYTES:]


def wrapped_for(dek: bytes, recipients: Sequence[Certificate], core: bytes, context: Context) -> bytes:
    """Return the block that lets each recipient have the DEK.

    Raises:
        ValueError: no recipients.
        SecurityError: a recipient's certificate is not for sealing.
    """
    by_serial = {certificate.serial: certificate for certificate in recipients}
    if not by_serial:
        raise ValueError("at least one recipient expected")
    info, wrappings = wrap_info(core, context), []
    for serial, certificate in by_serial.items():
        if certificate.key_use is not KeyUse.SEAL:
            raise SecurityError(f"a certificate for '{KeyUse.SEAL}' expected, got one for '{certificate.key_use}'")
        wrappings.append([serial, *wrap(dek, certificate.public_key, info=info, aad=serial.encode())])
    return encode(wrappings)


def require_zone(at: datetime) -> None:
    """Refuse a time without its zone.

    Raises:
        ValueError: `at` has no time zone.
    """
    if at.tzinfo is None:
        raise ValueError("a time with its zone expected")
