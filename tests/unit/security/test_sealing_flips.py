"""Changed bits of sealed objects by the ten thousand, and sealed objects opened and made by other libraries."""

import random
from collections.abc import Callable

import pytest
from Crypto.Cipher import AES
from Crypto.Hash import SHA256
from Crypto.Protocol import HPKE
from Crypto.Protocol.KDF import HKDF
from Crypto.PublicKey import ECC
from cryptography.hazmat.primitives import hpke
from cryptography.hazmat.primitives.asymmetric import ec

from security.context import Context
from security.encoding import decode, encode
from security.errors import SealBroken
from security.keys import KeyUse, PrivateKey, wrap
from security.sealed_core import CHUNK_BYTES, COMMITMENT_BYTES, TAG_BYTES
from security.sealed_format import SUITE, Sealed, entries, wrap_info
from security.sealing import open_sealed, rewrap, seal
from tests.unit.security.conftest import NOW, World

FLIPS = 10_000
BODY = random.Random(9).randbytes(16_000)
NODE = "north.serving"
THEIRS = hpke.Suite(hpke.KEM.P256, hpke.KDF.HKDF_SHA256, hpke.AEAD.AES_256_GCM)


@pytest.fixture
def opens(world: World, context: Context) -> Callable[[bytes | bytearray], bool]:
    """Whether the node opens an object."""

    def opens(sealed: bytes | bytearray) -> bool:
        asked = {"recipient": world[NODE], "trust": world.trust, "context": context, "sender": "app", "at": NOW}
        try:
            open_sealed(bytes(sealed), **asked)  # type: ignore[arg-type]
        except SealBroken:
            return False
        return True

    return opens


@pytest.mark.filterwarnings("ignore:Parsed a serial number")
def test_every_changed_bit_of_a_header_with_several_recipients_and_another_wrapper_is_refused(
    world: World, context: Context, opens: Callable[[bytes | bytearray], bool]
) -> None:
    sealed = seal(b"", sender=world["app"], recipients=world.box(NODE, "authority"), context=context)
    again = rewrap(
        sealed,
        holder=world["authority"],
        recipients=world.box("app", NODE, "aggregation"),
        trust=world.trust,
        context=context,
        sender="app",
        at=NOW,
    )
    assert opens(again)
    header = len(again) - TAG_BYTES
    changed = bytearray(again)
    for bit in range(8 * header):
        changed[bit // 8] ^= 1 << bit % 8
        assert not opens(changed), f"bit {bit}"
        changed[bit // 8] ^= 1 << bit % 8
    assert 8 * header > 10_000
    assert opens(changed)


def test_ten_thousand_random_flips_of_a_body_are_refused(
    world: World, context: Context, opens: Callable[[bytes | bytearray], bool]
) -> None:
    sealed = seal(BODY, sender=world["app"], recipients=world.box(NODE), context=context)
    begin, draw = len(sealed) - len(BODY) - TAG_BYTES, random.Random(10_000)
    changed = bytearray(sealed)
    for number in range(FLIPS):
        bits = draw.sample(range(8 * begin, 8 * len(sealed)), draw.choice((1, 1, 1, 2, 8)))
        for bit in bits:
            changed[bit // 8] ^= 1 << bit % 8
        assert not opens(changed), f"flip {number}"
        for bit in bits:
            changed[bit // 8] ^= 1 << bit % 8
    assert opens(changed)


def test_random_flips_in_every_chunk_of_a_long_body_are_refused(
    world: World, context: Context, opens: Callable[[bytes | bytearray], bool]
) -> None:
    body = bytes(2 * CHUNK_BYTES + 5)
    changed = bytearray(seal(body, sender=world["app"], recipients=world.box(NODE), context=context))
    begin, draw = len(changed) - len(body) - 3 * TAG_BYTES, random.Random(3)
    for chunk in range(3):
        start = begin + chunk * (CHUNK_BYTES + TAG_BYTES)
        stop = min(start + CHUNK_BYTES + TAG_BYTES, len(changed))
        for _ in range(30):
            place, mask = draw.randrange(start, stop), draw.randrange(1, 256)
            changed[place] ^= mask
            assert not opens(changed)
            changed[place] ^= mask
    assert opens(changed)


def test_a_sealed_object_is_opened_by_another_library_from_its_layout_alone(world: World, context: Context) -> None:
    """PyCryptodome's HPKE, HKDF and AES-GCM; nothing of `security` but how the parts lie in the object."""
    body = BODY * 100
    parts = Sealed.parse(seal(body, sender=world["app"], recipients=world.box(NODE), context=context))
    serial = world[NODE].sealing_certificate.serial
    enc, wrapped = entries(parts.recipients)[serial]
    scalar = world[NODE].sealing_key._key.private_numbers().private_value
    cipher = HPKE.new(
        receiver_key=ECC.construct(curve="NIST P-256", d=scalar),
        aead_id=HPKE.AEAD.AES256_GCM,
        enc=enc,
        info=wrap_info(parts.core, context),
    )
    dek = cipher.unseal(wrapped, serial.encode())
    info = encode([SUITE, "body", context.encode()])
    material = HKDF(dek, 32 + COMMITMENT_BYTES, b"", SHA256, context=info)
    core = decode(parts.core)
    assert material[32:] == core["commitment"]
    opened, size = b"", CHUNK_BYTES + TAG_BYTES
    for number in range(2):
        piece = bytes(parts.body[number * size : (number + 1) * size])
        nonce = core["prefix"] + number.to_bytes(4) + bytes((number == 1,))
        gcm = AES.new(material[:32], AES.MODE_GCM, nonce=nonce)
        opened += gcm.decrypt_and_verify(piece[:-TAG_BYTES], piece[-TAG_BYTES:])
    assert opened == body


def test_three_hundred_messages_pass_between_our_hpke_and_that_of_cryptography_both_ways() -> None:
    """That library's HPKE takes no associated data; with it, PyCryptodome's answers for ours (`test_vectors`)."""
    draw = random.Random(9180)
    for length in range(300):
        private = ec.generate_private_key(ec.SECP256R1())
        secret, info = draw.randbytes(length), draw.randbytes(draw.randrange(80))
        enc, wrapped = wrap(secret, private.public_key(), info=info, aad=b"")
        assert THEIRS.decrypt(enc + wrapped, private, info) == secret
        message = THEIRS.encrypt(secret, private.public_key(), info)
        assert PrivateKey(private, KeyUse.SEAL).unwrap(message[:65], message[65:], info=info, aad=b"") == secret
        with pytest.raises(ValueError, match="not sealed"):
            PrivateKey(private, KeyUse.SEAL).unwrap(message[:65], message[65:], info=info + b".", aad=b"")
