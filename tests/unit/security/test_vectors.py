"""Published answers, and two independent libraries against each other, for every primitive that `security` uses."""

import json
from pathlib import Path

import pytest
from Crypto.Protocol import HPKE
from Crypto.PublicKey import ECC
from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives import hashes, hpke
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.asymmetric.utils import encode_dss_signature
from hypothesis import given, settings
from hypothesis import strategies as st

from security.keys import KeyUse, PrivateKey, wrap

VECTORS = Path(__file__).parents[2] / "vectors"
HPKE_VECTORS = json.loads((VECTORS / "hpke_p256.json").read_text())
ECDSA_VECTORS = json.loads((VECTORS / "ecdsa_p256.json").read_text())
ORDER = 0xFFFFFFFF00000000FFFFFFFFFFFFFFFFBCE6FAADA7179E84F3B9CAC2FC632551
SUITE = hpke.Suite(hpke.KEM.P256, hpke.KDF.HKDF_SHA256, hpke.AEAD.AES_256_GCM)

every_vector = pytest.mark.parametrize("vector", HPKE_VECTORS, ids=[v["aead"] for v in HPKE_VECTORS])


def receiver(vector: dict, key: ECC.EccKey | None = None) -> HPKE.HPKE_Cipher:
    return HPKE.new(
        receiver_key=key or ECC.construct(curve="NIST P-256", d=int(vector["skRm"], 16)),
        aead_id=HPKE.AEAD[vector["aead"]],
        enc=bytes.fromhex(vector["enc"]),
        info=bytes.fromhex(vector["info"]),
    )


@every_vector
def test_the_receiver_opens_every_published_hpke_message(vector: dict) -> None:
    cipher = receiver(vector)
    for message in vector["encryptions"]:
        cipher._sequence = message["seq"]
        opened = cipher.unseal(bytes.fromhex(message["ct"]), bytes.fromhex(message["aad"]))
        assert opened.hex() == message["pt"]


@every_vector
def test_the_key_schedule_gives_every_published_secret(vector: dict) -> None:
    cipher = receiver(vector)
    assert (cipher._key.hex(), cipher._base_nonce.hex()) == (vector["key"], vector["base_nonce"])
    assert cipher._export_secret.hex() == vector["exporter_secret"]
    for export in vector["exports"]:
        assert cipher.export(bytes.fromhex(export["context"]), 32).hex() == export["value"]


@every_vector
def test_the_sender_encapsulates_as_published_when_the_ephemeral_key_is_the_published_one(vector: dict) -> None:
    own = ECC.construct(curve="NIST P-256", d=int(vector["skEm"], 16))
    peer = ECC.import_key(bytes.fromhex(vector["pkRm"]), curve_name="NIST P-256")
    cipher = HPKE.new(receiver_key=peer, aead_id=HPKE.AEAD[vector["aead"]])
    secret, enc = cipher._encap(peer, cipher._kem_id, cipher._hashmod, None, own)
    assert (secret.hex(), enc.hex()) == (vector["shared_secret"], vector["enc"])


def test_a_private_key_handle_unwraps_the_published_message_of_its_suite() -> None:
    (vector,) = [v for v in HPKE_VECTORS if v["aead"] == "AES256_GCM"]
    key = PrivateKey(ec.derive_private_key(int(vector["skRm"], 16), ec.SECP256R1()), KeyUse.SEAL)
    message = vector["encryptions"][0]
    opened = key.unwrap(
        bytes.fromhex(vector["enc"]),
        bytes.fromhex(message["ct"]),
        info=bytes.fromhex(vector["info"]),
        aad=bytes.fromhex(message["aad"]),
    )
    assert opened.hex() == message["pt"]


@settings(max_examples=20)
@given(
    secret=st.binary(max_size=100),
    info=st.binary(max_size=100),
    aad=st.binary(min_size=1, max_size=100),
    scalar=st.integers(1, ORDER - 1),
)
def test_our_hpke_and_a_librarys_open_each_others_messages_with_associated_data(
    secret: bytes, info: bytes, aad: bytes, scalar: int
) -> None:
    theirs = ECC.construct(curve="NIST P-256", d=scalar)
    private = ec.derive_private_key(scalar, ec.SECP256R1())
    enc, wrapped = wrap(secret, private.public_key(), info=info, aad=aad)
    cipher = HPKE.new(receiver_key=theirs, aead_id=HPKE.AEAD.AES256_GCM, enc=enc, info=info)
    assert cipher.unseal(wrapped, aad) == secret
    cipher = HPKE.new(receiver_key=theirs.public_key(), aead_id=HPKE.AEAD.AES256_GCM, info=info)
    sealed = cipher.seal(secret, aad)
    key = PrivateKey(private, KeyUse.SEAL)
    assert key.unwrap(cipher.enc, sealed, info=info, aad=aad) == secret
    for changed in ({"info": info + b".", "aad": aad}, {"info": info, "aad": aad[1:]}):
        with pytest.raises(ValueError, match="not sealed"):
            key.unwrap(cipher.enc, sealed, **changed)


@settings(max_examples=20)
@given(secret=st.binary(max_size=100), info=st.binary(max_size=100), scalar=st.integers(1, ORDER - 1))
def test_what_one_hpke_library_seals_the_other_opens(secret: bytes, info: bytes, scalar: int) -> None:
    private = ec.derive_private_key(scalar, ec.SECP256R1())
    enc, wrapped = wrap(secret, private.public_key(), info=info, aad=b"")
    assert SUITE.decrypt(enc + wrapped, private, info) == secret
    message = SUITE.encrypt(secret, private.public_key(), info)
    assert PrivateKey(private, KeyUse.SEAL).unwrap(message[:65], message[65:], info=info, aad=b"") == secret


@pytest.mark.parametrize(
    ("enc", "reason"),
    [
        (b"\x04" + bytes(64), "Invalid EC key"),
        (b"\x04" + bytes(63) + b"\x01", "Invalid EC key"),
        (b"\x04" + b"\xff" * 64, "Invalid EC key"),  # coordinates beyond the field
        (b"\x00", "uncompressed"),  # the point at infinity
        (b"", "uncompressed"),
        (bytes.fromhex("03a92719c6195d5085104f469a8b9814d5838ff72b60501e2c4466e5e67b325ac9"), "uncompressed"),
        (bytes.fromhex(HPKE_VECTORS[0]["enc"]) + b"\x00", "uncompressed"),
        (b"\x06" + bytes.fromhex(HPKE_VECTORS[0]["enc"])[1:], "uncompressed"),  # the hybrid form of SEC 1
    ],
)
def test_an_encapsulation_that_is_no_uncompressed_point_of_the_curve_is_refused(enc: bytes, reason: str) -> None:
    key = PrivateKey(ec.generate_private_key(ec.SECP256R1()), KeyUse.SEAL)
    with pytest.raises(ValueError, match=reason):
        key.unwrap(enc, bytes(48), info=b"", aad=b"")


@pytest.mark.parametrize("known", ECDSA_VECTORS["signatures"], ids=lambda known: known["message"])
def test_published_ecdsa_signatures_verify_and_changed_ones_do_not(known: dict) -> None:
    key = ec.EllipticCurvePublicKey.from_encoded_point(ec.SECP256R1(), bytes.fromhex(ECDSA_VECTORS["point"]))
    r, s, message = int(known["r"], 16), int(known["s"], 16), known["message"].encode()
    key.verify(encode_dss_signature(r, s), message, ec.ECDSA(hashes.SHA256()))
    for changed in ((r + 1, s), (r, s + 1), (r, 0), (0, s), (r + ORDER, s), (r, s + ORDER)):
        with pytest.raises(InvalidSignature):
            key.verify(encode_dss_signature(*changed), message, ec.ECDSA(hashes.SHA256()))
    with pytest.raises(InvalidSignature):
        key.verify(encode_dss_signature(r, s), message + b".", ec.ECDSA(hashes.SHA256()))


@pytest.mark.parametrize("known", ECDSA_VECTORS["signatures"], ids=lambda known: known["message"])
def test_deterministic_signing_gives_the_published_signature(known: dict) -> None:
    key = ec.derive_private_key(int(ECDSA_VECTORS["x"], 16), ec.SECP256R1())
    expected = encode_dss_signature(int(known["r"], 16), int(known["s"], 16))
    assert key.sign(known["message"].encode(), ec.ECDSA(hashes.SHA256(), deterministic_signing=True)) == expected
