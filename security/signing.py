"""Signed envelopes: a payload in clear with its signer's certificate and an ECDSA P-256/SHA-256 signature.

Layout: version byte, suite name, then length-prefixed certificate and signature, then the payload up to the end.
The signature covers suite, context, certificate and payload; the context itself does not travel. Anybody can write an
ECDSA signature in a second way (s as n - s), so tell envelopes apart by what they say, never by their bytes.
"""

import hashlib
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Self

from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec

from security.certificates import Certificate, Trust
from security.context import Context
from security.encoding import Reader, encode, framed, header
from security.errors import SignatureBroken
from security.identity import Identity
from security.keys import KeyUse

VERSION = 1
SUITE = "HEMASEAL-SIGNED/ECDSA-P256-SHA256"
_ECDSA = ec.ECDSA(hashes.SHA256())
_HEADER = header(VERSION, SUITE)
MAX_CERTIFICATE = 4096
MAX_SIGNATURE = 80  # DER of two 256-bit numbers takes at most 72


def sign(payload: bytes, *, signer: Identity, context: Context) -> bytes:
    """Return `payload` in a self-contained signed envelope.

    Raises:
        ValueError: `context.sender` is not the signer.
    """
    if context.sender != signer.party:
        raise ValueError(f"context.sender is '{context.sender}' but the signer is '{signer.party}'")
    certificate = signer.signing_certificate.der
    digest = hashlib.sha256(payload).digest()
    signature = signer.signing_key.sign(_message(digest, signer.signing_certificate.sha256, context))
    return b"".join((_HEADER, framed(certificate, signature), payload))


def verify(envelope: bytes, *, trust: Trust, context: Context, party: str, at: datetime) -> bytes:
    """Return the payload if `party` signed it for exactly this `context`, with a certificate that holds at `at`.

    Raises:
        SignatureBroken: damaged or changed, or for another context.
        CertificateRefused: the signer's certificate does not hold (see `Trust.check`).
        ValueError: `context.sender` is not `party`, or `at` has no time zone.
    """
    if context.sender != party:
        raise ValueError(f"context.sender is '{context.sender}' but '{party}' is expected to have signed")
    certificate, signature, payload = _parse(envelope)
    digest = hashlib.sha256(payload).digest()
    _check(digest, certificate, signature, trust=trust, context=context, party=party, at=at)
    return bytes(payload)


@dataclass(frozen=True)
class Joint:
    """One payload that several parties have signed, each for a context of its own; it travels once.

    Attributes:
        payload: what they signed.
        signatures: of each the party, its certificate (DER) and its signature: claims, until `verify`.
    """

    payload: bytes
    signatures: tuple[tuple[str, bytes, bytes], ...]

    @classmethod
    def of(cls, envelopes: Sequence[bytes]) -> Self:
        """Put envelopes together.

        Raises:
            SignatureBroken: one of them is none, none is there, or their payloads differ.
            CertificateRefused: a certificate does not name a party.
        """
        parts = [_parse(envelope) for envelope in envelopes]
        if len({bytes(payload) for _, _, payload in parts}) != 1:
            raise SignatureBroken
        signatures = tuple((certificate.party, certificate.der, signature) for certificate, signature, _ in parts)
        return cls(bytes(parts[0][2]), signatures)

    def verify(self, *, trust: Trust, context: Callable[[str], Context], at: datetime) -> None:
        """Check that each party signed the payload, for the context that is given for it; see `verify`."""
        digest = hashlib.sha256(self.payload).digest()
        for party, certificate, signature in self.signatures:
            where = context(party)
            _check(digest, Certificate(certificate), signature, trust=trust, context=where, party=party, at=at)


def _check(
    payload_sha256: bytes,
    certificate: Certificate,
    signature: bytes,
    *,
    trust: Trust,
    context: Context,
    party: str,
    at: datetime,
) -> None:
    certificate = trust.check(certificate, party=party, use=KeyUse.SIGN, at=at)
    verify_signature(certificate, signature, _message(payload_sha256, certificate.sha256, context))


def claims_of(envelope: bytes) -> tuple[Certificate, bytes]:
    """Return certificate and payload as an envelope states them. Claims: only `verify` says whether they are true.

    Raises:
        SignatureBroken: not an envelope.
    """
    certificate, _, payload = _parse(envelope)
    return certificate, bytes(payload)


def signer_of(envelope: bytes) -> Certificate:
    """Return the certificate that an envelope carries; a claim, as with `claims_of`.

    Raises:
        SignatureBroken: not an envelope.
    """
    return _parse(envelope)[0]


def verify_signature(certificate: Certificate, signature: bytes, message: bytes) -> None:
    """Check an ECDSA P-256/SHA-256 signature (DER) of `message` by the certificate's key.

    Raises:
        SignatureBroken: it does not hold.
        CertificateRefused: the certificate holds no P-256 key.
    """
    try:
        certificate.public_key.verify(signature, message, _ECDSA)
    except InvalidSignature:
        raise SignatureBroken from None


def _parse(envelope: bytes) -> tuple[Certificate, bytes, memoryview]:
    reader = Reader(envelope)
    try:
        if reader.take(len(_HEADER)) != _HEADER:
            raise SignatureBroken
        certificate = Certificate(reader.field(limit=MAX_CERTIFICATE))
        signature = reader.field(limit=MAX_SIGNATURE)
    except ValueError:
        raise SignatureBroken from None
    return certificate, signature, reader.rest()


def _message(payload_sha256: bytes, certificate_sha256: bytes, context: Context) -> bytes:
    return encode([SUITE, context.encode(), certificate_sha256, payload_sha256])
