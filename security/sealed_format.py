"""The layout of sealed objects: their parts and what is signed of them. Nothing here opens or trusts anything.

Layout, version 1 (every part behind its length, 4 bytes big endian, but the body):

    version byte, suite name
    core                  canonical CBOR: sender, context digest, nonce prefix, body length, key commitment,
                          SHA-256 of all encrypted chunks
    sender's certificate, sender's signature of core and context
    recipients            canonical CBOR: per recipient the certificate's serial, HPKE encapsulation, wrapped DEK
    wrapper's certificate, wrapper's signature of recipients, core and context
    body                  1 MiB chunks, each AES-256-GCM with nonce = prefix (7) || counter (4) || last flag (1)

What is done with them is in `security.sealing`.
"""

import contextlib
import hashlib
from dataclasses import dataclass
from typing import Self

from security.certificates import Certificate
from security.context import Context
from security.encoding import Reader, decode, encode, expect_header, framed, header
from security.errors import SealBroken, SecurityError
from security.signing import MAX_CERTIFICATE, MAX_SIGNATURE

VERSION = 1
SUITE = "HEMASEAL-SEALED/DHKEM-P256-HKDF-SHA256/AES-256-GCM/ECDSA-P256-SHA256"
MAX_CORE = 1024
MAX_RECIPIENTS_BLOCK = 2**20
MAX_FRONT = MAX_RECIPIENTS_BLOCK + MAX_CORE + 2 * (MAX_CERTIFICATE + MAX_SIGNATURE) + 1024
"""No more than this lies before the body."""


@dataclass(frozen=True)
class Sealed:
    """The parts of a sealed object, as they lie in it."""

    core: bytes
    sender_certificate: Certificate
    sender_signature: bytes
    recipients: bytes
    wrapper_certificate: Certificate
    wrapper_signature: bytes
    body: memoryview

    @classmethod
    def parse(cls, sealed: bytes) -> Self:
        """Take an object apart.

        Raises:
            ValueError, TypeError, SecurityError: not a sealed object.
        """
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

    def front(self) -> bytes:
        """Put together what lies before the body."""
        fields = framed(
            self.core,
            self.sender_certificate.der,
            self.sender_signature,
            self.recipients,
            self.wrapper_certificate.der,
            self.wrapper_signature,
        )
        return header(VERSION, SUITE) + fields

    def join(self) -> bytes:
        """Put all parts together."""
        return b"".join((self.front(), self.body))


def parsed(sealed: bytes) -> Sealed:
    """Return the parts of an object.

    Raises:
        SealBroken: not a sealed object.
    """
    parts: Sealed | None = None
    with contextlib.suppress(ValueError, TypeError, SecurityError):
        parts = Sealed.parse(sealed)
    if parts is None:
        raise SealBroken
    return parts


def signers_of(sealed: bytes) -> tuple[Certificate, Certificate]:
    """Return the certificates of whoever signed core and recipients. Claims until somebody opens the object.

    Raises:
        SealBroken: not a sealed object.
    """
    parts = parsed(sealed)
    return parts.sender_certificate, parts.wrapper_certificate


def recipients_of(sealed: bytes) -> list[str]:
    """Return the certificate serials (hex) that a sealed object names. A claim until somebody opens the object.

    Raises:
        SealBroken: not a sealed object.
    """
    block, serials = parsed(sealed).recipients, None
    with contextlib.suppress(ValueError, TypeError):
        serials = list(entries(block))
    if serials is None:
        raise SealBroken
    return serials


def front_length(sealed: bytes) -> int:
    """Return how many bytes lie before the body of a sealed object; all that leads to its DEK is among them.

    Raises:
        SealBroken: not a sealed object.
    """
    return len(sealed) - len(parsed(sealed).body)


def entries(block: bytes) -> dict[str, tuple[bytes, bytes]]:
    """Return by certificate serial (hex) the encapsulation and the wrapped DEK of each recipient of a block.

    Raises:
        ValueError, TypeError: not such a block.
    """
    listed = decode(block)
    by_serial = {str(serial): (bytes(enc), bytes(wrapped)) for serial, enc, wrapped in listed}
    if len(by_serial) != len(listed):
        raise ValueError("a recipient is named twice")
    return by_serial


def wrap_info(core: bytes, context: Context) -> bytes:
    """Return what the wrapping of a DEK is bound to."""
    return encode([SUITE, "dek", context.encode(), hashlib.sha256(core).digest()])


def core_message(core: bytes, certificate: bytes, context: Context) -> bytes:
    """Return what the sender signs: core and context, with the certificate (DER) that it signs by."""
    return encode([SUITE, "core", context.encode(), hashlib.sha256(certificate).digest(), core])


def recipients_message(block: bytes, core: bytes, certificate: bytes, context: Context) -> bytes:
    """Return what the wrapper signs: the block of recipients, core and context, with its own certificate (DER)."""
    digests = [hashlib.sha256(part).digest() for part in (certificate, core, block)]
    return encode([SUITE, "recipients", context.encode(), *digests])
