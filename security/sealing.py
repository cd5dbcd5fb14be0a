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
import secrets
from collections.abc import Sequence
from dataclasses import replace
from datetime import datetime

from cryptography.hazmat.primitives.ciphers.aead import AESGCM

from security.certificates import Certificate, Trust
from security.context import Context
from security.errors import SealBroken, SecurityError
from security.identity import Identity
from security.keys import KEY_BYTES, KeyUse
from security.sealed_core import (
    AUTHORITY,
    CHUNK_BYTES,
    PREFIX_BYTES,
    TAG_BYTES,
    Body,
    authenticate,
    front_of,
    in_pieces,
    keys_of,
    require_zone,
    signed_parts,
    wrapped_for,
)
from security.sealed_format import Sealed, entries, parsed, recipients_message


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
    cipher, digest, chunks = AESGCM(keys_of(dek, context)[0]), hashlib.sha256(), []
    for nonce, piece in in_pieces(prefix, plain, CHUNK_BYTES):
        chunk = cipher.encrypt(nonce, piece, None)
        digest.update(chunk)
        chunks.append(chunk)
    front = front_of(
        dek,
        prefix=prefix,
        ciphertext=digest.digest(),
        length=len(plain),
        sender=sender,
        recipients=recipients,
        context=context,
    )
    return b"".join((front, *chunks))


def open_sealed(
    sealed: bytes, *, recipient: Identity, trust: Trust, context: Context, sender: str, at: datetime
) -> bytes:
    """Return the body that `sender` sealed to `recipient` for exactly this `context`.

    Raises:
        SealBroken: it cannot be opened, whatever the cause; nothing of the body is returned before all is checked.
        ValueError: `at` has no time zone.
    """
    require_zone(at)
    opened: bytes | None = None
    try:
        parts = Sealed.parse(sealed)
        core, dek = authenticate(parts, recipient, trust=trust, context=context, sender=sender, at=at)
        body_key, _ = keys_of(dek, context)
        cipher = AESGCM(body_key)
        chunks = [
            cipher.decrypt(nonce, piece, None)
            for nonce, piece in in_pieces(core["prefix"], parts.body, CHUNK_BYTES + TAG_BYTES)
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
    body: Body | None = None,
) -> bytes:
    """Return the block with which `holder`, any recipient, hands an object on to others; it counts nothing by itself.

    Whoever may wrap the object has to put it there (`with_recipients`), and never sees the DEK for that. The new
    recipients are checked by `new_trust` where the object was sealed under another root than theirs. Of an object whose
    `body` lies elsewhere `sealed` is what comes before it (`sealed_files.replace_front`).

    Raises:
        SealBroken: `holder` cannot open it, whatever the cause.
        CertificateRefused: a new recipient's certificate does not hold at `at`.
        ValueError: no recipients, or `at` has no time zone.
    """
    require_zone(at)
    for certificate in recipients:
        (new_trust or trust).for_now().check(certificate, party=None, use=KeyUse.SEAL, at=at)
    opened: tuple[Sealed, bytes] | None = None
    try:
        parts = Sealed.parse(sealed)
        opened = parts, authenticate(parts, holder, trust=trust, context=context, sender=sender, at=at, body=body)[1]
    except Exception:  # noqa: BLE001, S110 - as in open_sealed
        pass
    if opened is None:
        raise SealBroken
    return wrapped_for(opened[1], recipients, opened[0].core, context)


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
    return signed_parts(parts.core, block, parts.body, signer=signer, context=context).join()


def _fitting(sealed: bytes, block: bytes, recipients: Sequence[Certificate]) -> Sealed:
    """Return the parts of an object whose recipients shall be those of `block`."""
    named: set[str] = set()
    with contextlib.suppress(ValueError, TypeError):
        named |= entries(block).keys()
    if named != {certificate.serial for certificate in recipients}:
        raise SealBroken
    return parsed(sealed)


def _may_wrap(wrapper: Identity, sender: str) -> None:
    if wrapper.party not in (sender, AUTHORITY):
        raise SecurityError(f"'{wrapper.party}' may not re-wrap what '{sender}' sealed")
