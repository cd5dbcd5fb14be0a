"""Ephemeral P-256 key pairs of one attempt at a blind sum: mask keys and transport keys.

Agreement is ECDH (SP 800-56A, 5.7.1.2: the shared point's x) followed by HKDF-SHA256, into which both public keys, in
sorted order, and the caller's `info` are bound; so both ends derive the same and nobody else's keys or attempt fit.
A mask key's scalar is shared out, so that the masks of a member that drops out can be taken off. A transport key's is
not: whoever claims falsely that a member dropped out gets its mask key, and must not be able to open its shares then.
"""

import contextlib
import functools
import secrets
from typing import Self

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.ciphers.aead import AESGCM

from security.encoding import framed
from security.errors import SealBroken, SecurityError
from security.keys import KEY_BYTES, NONCE_BYTES, POINT_BYTES, UNCOMPRESSED, SecretHandle, hkdf

SCALAR_BYTES = 32
SEED_BYTES = 32
BOX_BYTES = NONCE_BYTES + 16
"""What a box adds to a message: nonce and tag."""
_SEED_LABEL = b"hemaseal/mask-seed/1"
_BOX_LABEL = b"hemaseal/share-box/1"


class _EphemeralKey(SecretHandle):
    """A P-256 key pair that agrees with others.

    Attributes:
        public: the public half, an uncompressed point of 65 bytes.
    """

    __slots__ = ("_key", "public")

    def __init__(self, key: ec.EllipticCurvePrivateKey) -> None:
        self._key = key
        self.public = key.public_key().public_bytes(
            serialization.Encoding.X962, serialization.PublicFormat.UncompressedPoint
        )

    @classmethod
    def generate(cls) -> Self:
        """Make a new key pair."""
        return cls(ec.generate_private_key(ec.SECP256R1()))

    def _agree(self, peer_public: bytes, *, label: bytes, info: bytes, length: int) -> bytes:
        """Return `length` bytes that only the holders of both private keys can derive."""
        if peer_public == self.public:
            raise SecurityError("a key was asked to agree with itself")
        shared = self._key.exchange(ec.ECDH(), _load(peer_public))
        return hkdf(shared, info=framed(label, info, *sorted((self.public, peer_public))), length=length)


class MaskKey(_EphemeralKey):
    """The key pair whose agreements are the seeds of pairwise masks."""

    __slots__ = ()

    @classmethod
    def from_scalar(cls, scalar: bytes) -> Self:
        """Return the key pair of a scalar that was put together from its shares; compare `public` before using it.

        Raises:
            SecurityError: not 32 bytes, or not from 1 to the order of the curve less one.
        """
        if len(scalar) != SCALAR_BYTES:
            raise SecurityError(f"a scalar of {SCALAR_BYTES} bytes expected, got {len(scalar)}")
        try:
            key = ec.derive_private_key(int.from_bytes(scalar), ec.SECP256R1())
        except ValueError:
            raise SecurityError("not a scalar of P-256") from None
        return cls(key)

    def scalar(self) -> bytes:
        """Return the private scalar, 32 bytes big endian: for sharing it out, and for nothing else."""
        return self._key.private_numbers().private_value.to_bytes(SCALAR_BYTES)

    def agree(self, peer_public: bytes, *, info: bytes) -> bytes:
        """Return the 32-byte seed that both ends share for `info`; a keystream's seed is used once, so `info` is too.

        Raises:
            SecurityError: `peer_public` is no uncompressed point of P-256, or is this key's own.
        """
        return self._agree(peer_public, label=_SEED_LABEL, info=info, length=SEED_BYTES)


class ShareBox(SecretHandle):
    """What two transport keys agreed on: AES-256-GCM (SP 800-38D) under one key for each direction.

    A sealed message is its random nonce of 12 bytes, the ciphertext, and the tag of 16 bytes.
    """

    __slots__ = ("_incoming", "_outgoing")

    def __init__(self, *, outgoing: bytes, incoming: bytes) -> None:
        self._outgoing = AESGCM(outgoing)
        self._incoming = AESGCM(incoming)

    def seal(self, plain: bytes, *, context: bytes) -> bytes:
        """Encrypt `plain` to the peer and bind it to `context`."""
        nonce = secrets.token_bytes(NONCE_BYTES)
        return nonce + self._outgoing.encrypt(nonce, plain, context)

    def open(self, sealed: bytes, *, context: bytes) -> bytes:
        """Return what the peer sealed for exactly this `context`.

        Raises:
            SealBroken: damaged, changed, from somebody else, of the other direction, or for another context.
        """
        opened: bytes | None = None
        with contextlib.suppress(InvalidTag, ValueError):
            opened = self._incoming.decrypt(sealed[:NONCE_BYTES], sealed[NONCE_BYTES:], context)
        if opened is None:
            raise SealBroken
        return opened


class TransportKey(_EphemeralKey):
    """The key pair under which shares travel; there is no way to its scalar, and none back from one."""

    __slots__ = ()

    def box(self, peer_public: bytes, *, info: bytes) -> ShareBox:
        """Return the box that both ends share for `info`; one agreement serves both directions.

        Raises:
            SecurityError: `peer_public` is no uncompressed point of P-256, or is this key's own.
        """
        material = self._agree(peer_public, label=_BOX_LABEL, info=info, length=2 * KEY_BYTES)
        from_lower, from_higher = material[:KEY_BYTES], material[KEY_BYTES:]
        if self.public < peer_public:
            return ShareBox(outgoing=from_lower, incoming=from_higher)
        return ShareBox(outgoing=from_higher, incoming=from_lower)


def check_public(point: bytes) -> None:
    """Check that somebody can agree on something with this public key.

    Raises:
        SecurityError: no uncompressed point of P-256.
    """
    _load(point)


@functools.lru_cache(maxsize=2048)  # a key that is loaded already agrees in two thirds of the time
def _load(point: bytes) -> ec.EllipticCurvePublicKey:
    if len(point) == POINT_BYTES and point[0] == UNCOMPRESSED:
        with contextlib.suppress(ValueError):
            return ec.EllipticCurvePublicKey.from_encoded_point(ec.SECP256R1(), point)
    raise SecurityError("not an uncompressed point of P-256")
