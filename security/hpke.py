"""HPKE in base mode with one suite (RFC 9180): DHKEM(P-256, HKDF-SHA256), HKDF-SHA256, AES-256-GCM; one message each.

The steps of the RFC over the library's ECDH, HMAC and AES-GCM, since the library's own HPKE takes no associated data.
Another library's HPKE and the published vectors answer for it, in the tests and in the power-on self-test.
"""

import hmac

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.ciphers.aead import AESGCM

_HASH = "sha256"
_HASH_BYTES = 32
_KEM = b"KEM\x00\x10"
_SUITE = b"HPKE\x00\x10\x00\x01\x00\x02"
_BASE_MODE = b"\x00"
_KEY_BYTES, _NONCE_BYTES = 32, 12
_POINT_BYTES, _UNCOMPRESSED = 65, 4


def _extract(salt: bytes, label: bytes, secret: bytes, suite: bytes) -> bytes:
    """LabeledExtract (RFC 9180, 4)."""
    return hmac.digest(salt or bytes(_HASH_BYTES), b"HPKE-v1" + suite + label + secret, _HASH)


def _expand(secret: bytes, label: bytes, info: bytes, length: int, suite: bytes) -> bytes:
    """LabeledExpand (RFC 9180, 4) to at most one block of the hash (RFC 5869, 2.3)."""
    labelled = length.to_bytes(2) + b"HPKE-v1" + suite + label + info
    return hmac.digest(secret, labelled + b"\x01", _HASH)[:length]


_NO_PSK = _extract(b"", b"psk_id_hash", b"", _SUITE)


def _cipher(shared_point: bytes, enc: bytes, recipient: bytes, info: bytes) -> tuple[AESGCM, bytes]:
    """Return the cipher and the nonce of the first message: ExtractAndExpand (4.1), then the key schedule (5.1)."""
    extracted = _extract(b"", b"eae_prk", shared_point, _KEM)
    shared = _expand(extracted, b"shared_secret", enc + recipient, _HASH_BYTES, _KEM)
    context = _BASE_MODE + _NO_PSK + _extract(b"", b"info_hash", info, _SUITE)
    secret = _extract(shared, b"secret", b"", _SUITE)
    key = _expand(secret, b"key", context, _KEY_BYTES, _SUITE)
    return AESGCM(key), _expand(secret, b"base_nonce", context, _NONCE_BYTES, _SUITE)


def seal(plain: bytes, recipient: ec.EllipticCurvePublicKey, *, info: bytes, aad: bytes) -> tuple[bytes, bytes]:
    """Seal one message to a P-256 key; returns (encapsulation, ciphertext)."""
    ephemeral = ec.generate_private_key(ec.SECP256R1())
    enc = _encoded(ephemeral.public_key())
    cipher, nonce = _cipher(ephemeral.exchange(ec.ECDH(), recipient), enc, _encoded(recipient), info)
    return enc, cipher.encrypt(nonce, plain, aad)


def open_sealed(enc: bytes, sealed: bytes, key: ec.EllipticCurvePrivateKey, *, info: bytes, aad: bytes) -> bytes:
    """Open one message.

    Raises:
        ValueError: it was not sealed to this key with this info and aad, or `enc` is no uncompressed point of P-256.
    """
    if len(enc) != _POINT_BYTES or enc[0] != _UNCOMPRESSED:
        raise ValueError("an uncompressed P-256 point expected")
    peer = ec.EllipticCurvePublicKey.from_encoded_point(ec.SECP256R1(), enc)
    cipher, nonce = _cipher(key.exchange(ec.ECDH(), peer), enc, _encoded(key.public_key()), info)
    try:
        return cipher.decrypt(nonce, sealed, aad)
    except InvalidTag:
        raise ValueError("not sealed to this key with this info and associated data") from None


def _encoded(key: ec.EllipticCurvePublicKey) -> bytes:
    return key.public_bytes(serialization.Encoding.X962, serialization.PublicFormat.UncompressedPoint)
