"""The power-on self-test: nothing starts when the libraries disagree or a known answer does not come out.

This is where tinyec works: it recomputes one agreement of throw-away keys. It never holds a live key, since it draws
keys from `random`, accepts points off the curve, and takes a time that depends on the key.
"""

import secrets
from collections.abc import Mapping
from dataclasses import dataclass

from Crypto.Cipher import AES
from Crypto.Protocol import HPKE
from Crypto.Protocol.DH import key_agreement
from Crypto.PublicKey import ECC
from cryptography.exceptions import InvalidSignature, InvalidTag
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.asymmetric.utils import encode_dss_signature
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from tinyec import ec as tinyec
from tinyec import registry

from security import hpke
from security.errors import SelfTestFailed
from security.keys import KEY_BYTES, hkdf

CURVE = "NIST P-256"


@dataclass(frozen=True)
class KnownAnswers:
    """Published answers, hex; tests/vectors holds more of each source.

    Attributes:
        hpke_key, hpke_enc, hpke_info, hpke_aad, hpke_plaintext, hpke_ciphertext: DHKEM(P-256, HKDF-SHA256),
            HKDF-SHA256, AES-256-GCM, base mode, from test-vectors.json of the authors of RFC 9180.
        gcm_key, gcm_nonce, gcm_aad, gcm_plaintext, gcm_ciphertext: test case 16 of the GCM specification (AES-256).
        hkdf_input, hkdf_salt, hkdf_info, hkdf_output: RFC 5869 A.1.
        ecdsa_point, ecdsa_message, ecdsa_r, ecdsa_s: RFC 6979 A.2.5, SHA-256, message "sample".
    """

    hpke_key: str = "317f915db7bc629c48fe765587897e01e282d3e8445f79f27f65d031a88082b2"
    hpke_enc: str = (
        "04c06b4f6bebc7bb495cb797ab753f911aff80aefb86fd8b6fcc35525f3ab5f03e"
        "0b21bd31a86c6048af3cb2d98e0d3bf01da5cc4c39ff5370d331a4f1f7d5a4e0"
    )
    hpke_info: str = "4f6465206f6e2061204772656369616e2055726e"
    hpke_aad: str = "436f756e742d30"
    hpke_plaintext: str = "4265617574792069732074727574682c20747275746820626561757479"
    hpke_ciphertext: str = "58c61a45059d0c5704560e9d88b564a8b63f1364b8d1fcb3c4c6ddc1d291742465e902cd216f8908da49f8f96f"
    gcm_key: str = "feffe9928665731c6d6a8f9467308308feffe9928665731c6d6a8f9467308308"
    gcm_nonce: str = "cafebabefacedbaddecaf888"
    gcm_aad: str = "feedfacedeadbeeffeedfacedeadbeefabaddad2"
    gcm_plaintext: str = (
        "d9313225f88406e5a55909c5aff5269a86a7a9531534f7da2e4c303d8a318a72"
        "1c3c0c95956809532fcf0e2449a6b525b16aedf5aa0de657ba637b39"
    )
    gcm_ciphertext: str = (
        "522dc1f099567d07f47f37a32a84427d643a8cdcbfe5c0c97598a2bd2555d1aa"
        "8cb08e48590dbb3da7b08b1056828838c5f61e6393ba7a0abcc9f66276fc6ece0f4e1768cddf8853bb2d551b"
    )
    hkdf_input: str = "0b0b0b0b0b0b0b0b0b0b0b0b0b0b0b0b0b0b0b0b0b0b"
    hkdf_salt: str = "000102030405060708090a0b0c"
    hkdf_info: str = "f0f1f2f3f4f5f6f7f8f9"
    hkdf_output: str = "3cb25f25faacd57a90434f64d0362f2a2d2d0a90cf1a5a4c5db02d56ecc4c5bf34007208d5b887185865"
    ecdsa_point: str = (
        "0460fed4ba255a9d31c961eb74c6356d68c049b8923b61fa6ce669622e60f29fb6"
        "7903fe1008b8bc99a41ae9e95628bc64f2f1b20c2d7e9f5177a3c294d4462299"
    )
    ecdsa_message: str = "73616d706c65"
    ecdsa_r: str = "efd48b2aacb6a8fd1140dd9cd45e81d69d2c877b56aaf991c34d0ea84eaf3716"
    ecdsa_s: str = "f7cb1c942d657c41d436c7a1b6e29f65f3e900dbb9aff4064dc4ab2f843acda8"


def run_self_test(answers: KnownAnswers | None = None) -> None:
    """Run every check; about 50 ms, nearly all of it tinyec's one multiplication.

    Args:
        answers: the published ones by default; a test hands in wrong ones.

    Raises:
        SelfTestFailed: the message names the check.
    """
    known = answers or KnownAnswers()
    _check_hkdf(known)
    _check_gcm(known)
    _check_hpke(known)
    _check_ecdsa(known)
    require_agreement("ECDH on P-256", agree_three_ways(secrets.randbelow(_order() - 1) + 1))


def agree_three_ways(scalar: int) -> dict[str, bytes]:
    """Return the shared secret of the throw-away key `scalar` with a fresh one, as each library computes it."""
    peer = ec.generate_private_key(ec.SECP256R1()).public_key()
    numbers = peer.public_numbers()
    own = ec.derive_private_key(scalar, ec.SECP256R1())
    pycryptodome_own = ECC.construct(curve=CURVE, d=scalar)
    pycryptodome_peer = ECC.construct(curve=CURVE, point_x=numbers.x, point_y=numbers.y)
    point = scalar * tinyec.Point(registry.get_curve("secp256r1"), numbers.x, numbers.y)
    return {
        "cryptography": own.exchange(ec.ECDH(), peer),
        "PyCryptodome": key_agreement(static_priv=pycryptodome_own, static_pub=pycryptodome_peer, kdf=bytes),
        "tinyec": int(point.x).to_bytes(KEY_BYTES, "big"),
    }


def require_agreement(what: str, results: Mapping[str, bytes]) -> None:
    """Compare what several libraries computed.

    Raises:
        SelfTestFailed: they differ; the message names the libraries, never the values.
    """
    if len(set(results.values())) != 1:
        raise SelfTestFailed(f"{what}: {', '.join(results)} do not agree")


def _check_hkdf(known: KnownAnswers) -> None:
    expected = bytes.fromhex(known.hkdf_output)
    derived = hkdf(
        bytes.fromhex(known.hkdf_input),
        salt=bytes.fromhex(known.hkdf_salt),
        info=bytes.fromhex(known.hkdf_info),
        length=len(expected),
    )
    _require("HKDF-SHA256 (RFC 5869 A.1)", holds=derived == expected)


def _check_gcm(known: KnownAnswers) -> None:
    key, nonce, aad = (bytes.fromhex(text) for text in (known.gcm_key, known.gcm_nonce, known.gcm_aad))
    plain, expected = bytes.fromhex(known.gcm_plaintext), bytes.fromhex(known.gcm_ciphertext)
    cipher = AES.new(key, AES.MODE_GCM, nonce=nonce).update(aad)
    results = {
        "cryptography": AESGCM(key).encrypt(nonce, plain, aad),
        "PyCryptodome": b"".join(cipher.encrypt_and_digest(plain)),
    }
    require_agreement("AES-256-GCM", results)
    _require("AES-256-GCM (known answer)", holds=results["cryptography"] == expected)
    changed = bytes((expected[0] ^ 1,)) + expected[1:]
    try:
        AESGCM(key).decrypt(nonce, changed, aad)
    except InvalidTag:
        return
    raise SelfTestFailed("AES-256-GCM opened a changed message")


def _check_hpke(known: KnownAnswers) -> None:
    enc, info, aad, sealed = (
        bytes.fromhex(text) for text in (known.hpke_enc, known.hpke_info, known.hpke_aad, known.hpke_ciphertext)
    )
    scalar, expected = int(known.hpke_key, 16), bytes.fromhex(known.hpke_plaintext)
    key = ec.derive_private_key(scalar, ec.SECP256R1())
    try:
        opened = hpke.open_sealed(enc, sealed, key, info=info, aad=aad)
        again, wrapped = hpke.seal(expected, key.public_key(), info=info, aad=aad)
        other = HPKE.new(
            receiver_key=ECC.construct(curve=CURVE, d=scalar), aead_id=HPKE.AEAD.AES256_GCM, enc=again, info=info
        ).unseal(wrapped, aad)
    except ValueError:
        opened = other = b""
    _require("HPKE (RFC 9180)", holds=opened == other == expected)


def _check_ecdsa(known: KnownAnswers) -> None:
    key = ec.EllipticCurvePublicKey.from_encoded_point(ec.SECP256R1(), bytes.fromhex(known.ecdsa_point))
    signature = encode_dss_signature(int(known.ecdsa_r, 16), int(known.ecdsa_s, 16))
    try:
        key.verify(signature, bytes.fromhex(known.ecdsa_message), ec.ECDSA(hashes.SHA256()))
    except InvalidSignature:
        raise SelfTestFailed("ECDSA (RFC 6979 A.2.5)") from None


def _require(what: str, *, holds: bool) -> None:
    if not holds:
        raise SelfTestFailed(what)


def _order() -> int:
    return int(registry.get_curve("secp256r1").field.n)
