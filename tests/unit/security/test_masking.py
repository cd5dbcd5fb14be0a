"""Ephemeral keys of an attempt: agreement, boxes, and what never leaves a transport key."""

import copy
import pickle

import pytest
from Crypto.Hash import SHA256
from Crypto.Protocol.DH import key_agreement
from Crypto.Protocol.KDF import HKDF
from Crypto.PublicKey import ECC
from hypothesis import given, settings
from hypothesis import strategies as st

from security.encoding import framed
from security.errors import SealBroken, SecurityError
from security.keys import hkdf
from security.masking import MaskKey, ShareBox, TransportKey

ORDER = 0xFFFFFFFF00000000FFFFFFFFFFFFFFFFBCE6FAADA7179E84F3B9CAC2FC632551
FIELD = 2**256 - 2**224 + 2**192 + 2**96 - 1

# NIST CAVP, ECC CDH primitive (SP 800-56A), P-256, count 0
PEER = bytes.fromhex(
    "04700c48f77f56584c5cc632ca65640db91b6bacce3a4df6b42ce7cc838833d287"
    "db71e509e3fd9b060ddb20ba5c51dcc5948d46fbf640dfe0441782cab85fa4ac"
)
SCALAR = bytes.fromhex("7d7dc5f71eb29ddaf80d6214632eeae03d9058af1fb6d22ed80badb62bc1a534")
SHARED = bytes.fromhex("46fc62106420ff012e54a434fbdd2d25ccc5852060561e68040dd7778997bd7b")

scalars = st.integers(1, ORDER - 1).map(lambda scalar: scalar.to_bytes(32))

NOT_POINTS = {
    "empty": b"",
    "the point at infinity": b"\x00",
    "the origin": b"\x04" + bytes(64),
    "off the curve": PEER[:-1] + bytes((PEER[-1] ^ 1,)),
    "beyond the field": b"\x04" + b"\xff" * 64,
    "x plus the field's prime": b"\x04" + (FIELD + 5).to_bytes(32) + bytes(32),
    "compressed": b"\x02" + PEER[1:33],
    "hybrid": b"\x06" + PEER[1:],
    "short": PEER[:-1],
    "long": PEER + b"\x00",
}


def seed_of(shared: bytes, info: bytes, one: bytes, other: bytes) -> bytes:
    return hkdf(shared, info=framed(b"hemaseal/mask-seed/1", info, *sorted((one, other))))


def test_a_mask_key_agrees_as_published() -> None:
    key = MaskKey.from_scalar(SCALAR)
    assert key.agree(PEER, info=b"run") == seed_of(SHARED, b"run", key.public, PEER)


@settings(max_examples=20)
@given(own=scalars, peer=scalars, info=st.binary(max_size=50))
def test_another_library_derives_the_same_seed(own: bytes, peer: bytes, info: bytes) -> None:
    key, other = (MaskKey.from_scalar(scalar) for scalar in (own, peer))
    if own == peer:
        return
    pair = [ECC.construct(curve="NIST P-256", d=int.from_bytes(scalar)) for scalar in (own, peer)]
    points = [key.public_key().export_key(format="raw") for key in pair]
    assert points == [key.public, other.public]
    bound = framed(b"hemaseal/mask-seed/1", info, *sorted(points))
    expected = key_agreement(
        static_priv=pair[0],
        static_pub=pair[1].public_key(),
        kdf=lambda shared: HKDF(shared, 32, None, SHA256, context=bound),
    )
    assert key.agree(other.public, info=info) == other.agree(key.public, info=info) == expected


def test_a_seed_belongs_to_its_pair_of_keys_and_its_info() -> None:
    one, other, third = (MaskKey.generate() for _ in range(3))
    seeds = {
        one.agree(other.public, info=b"update"),
        one.agree(other.public, info=b"figures"),
        one.agree(third.public, info=b"update"),
        other.agree(third.public, info=b"update"),
    }
    assert len(seeds) == 4
    assert {len(seed) for seed in seeds} == {32}


def test_a_mask_key_is_the_same_again_from_its_scalar() -> None:
    key, peer = MaskKey.generate(), MaskKey.generate()
    again = MaskKey.from_scalar(key.scalar())
    assert again.public == key.public
    assert again.agree(peer.public, info=b"") == peer.agree(key.public, info=b"")
    small = MaskKey.from_scalar((1).to_bytes(32))
    assert small.scalar() == (1).to_bytes(32)


@pytest.mark.parametrize("scalar", [b"", bytes(32), bytes(31) + b"\x01\x00", ORDER.to_bytes(32), b"\xff" * 32])
def test_what_is_no_scalar_is_refused(scalar: bytes) -> None:
    with pytest.raises(SecurityError, match="scalar"):
        MaskKey.from_scalar(scalar)


@pytest.mark.parametrize("point", NOT_POINTS.values(), ids=NOT_POINTS.keys())
def test_what_is_no_uncompressed_point_of_the_curve_is_refused_in_the_same_words(point: bytes) -> None:
    for _ in range(2):  # also when it was met before
        with pytest.raises(SecurityError, match=r"^not an uncompressed point of P-256$"):
            MaskKey.generate().agree(point, info=b"")
        with pytest.raises(SecurityError, match=r"^not an uncompressed point of P-256$"):
            TransportKey.generate().box(point, info=b"")


def test_a_key_does_not_agree_with_itself() -> None:
    mask, transport = MaskKey.generate(), TransportKey.generate()
    with pytest.raises(SecurityError, match="itself"):
        mask.agree(mask.public, info=b"")
    with pytest.raises(SecurityError, match="itself"):
        transport.box(transport.public, info=b"")


def boxes(info: bytes = b"attempt") -> tuple[ShareBox, ShareBox]:
    one, other = TransportKey.generate(), TransportKey.generate()
    return one.box(other.public, info=info), other.box(one.public, info=info)


@settings(max_examples=20)
@given(plain=st.binary(max_size=200), context=st.binary(max_size=50))
def test_what_one_end_of_a_box_seals_the_other_opens(plain: bytes, context: bytes) -> None:
    one, other = boxes()
    for sender, receiver in ((one, other), (other, one)):
        sealed = sender.seal(plain, context=context)
        assert len(sealed) == len(plain) + 28
        assert receiver.open(sealed, context=context) == plain


def test_a_message_that_was_changed_moved_or_sent_back_does_not_open() -> None:
    one, other = boxes()
    sealed = one.seal(b"two shares", context=b"dealt to 2")
    for changed in (b"", sealed[:11], sealed[:12], sealed[:-1], sealed + b"\0", sealed[:-1] + bytes((sealed[-1] ^ 1,))):
        with pytest.raises(SealBroken):
            other.open(changed, context=b"dealt to 2")
    with pytest.raises(SealBroken):
        other.open(sealed, context=b"dealt to 3")
    with pytest.raises(SealBroken):
        one.open(sealed, context=b"dealt to 2")  # reflected to its sender
    with pytest.raises(SealBroken) as caught:
        boxes()[0].open(sealed, context=b"dealt to 2")
    assert caught.value.__context__ is None


def test_a_box_belongs_to_its_info() -> None:
    one, other = TransportKey.generate(), TransportKey.generate()
    sealed = one.box(other.public, info=b"attempt 1").seal(b"share", context=b"")
    with pytest.raises(SealBroken):
        other.box(one.public, info=b"attempt 2").open(sealed, context=b"")


def test_the_same_share_never_looks_the_same() -> None:
    box, _ = boxes()
    assert box.seal(b"share", context=b"") != box.seal(b"share", context=b"")


def test_a_transport_key_offers_no_way_to_its_scalar() -> None:
    assert {name for name in dir(TransportKey) if not name.startswith("_")} == {"box", "generate", "public"}
    key, peer = TransportKey.generate(), TransportKey.generate()
    scalar = key._key.private_numbers().private_value
    box = key.box(peer.public, info=b"")
    offered = [key.public, box.seal(b"", context=b""), str(key).encode(), repr(key).encode(), repr(box).encode()]
    offered += [str(getattr(key, name)).encode() for name in dir(key)]
    forms = [scalar.to_bytes(32), scalar.to_bytes(32, "little"), f"{scalar:x}".encode(), str(scalar).encode()]
    assert not [form for form in forms for text in offered if form in text]
    assert not {name for name in dir(ShareBox) if not name.startswith("_")} - {"open", "seal"}


def test_nothing_that_holds_an_ephemeral_secret_can_be_pickled_copied_or_printed() -> None:
    mask = MaskKey.from_scalar(SCALAR)
    for holder in (mask, TransportKey.generate(), boxes()[0]):
        for take in (pickle.dumps, copy.copy, copy.deepcopy):
            with pytest.raises(TypeError, match="secret"):
                take(holder)
        assert not hasattr(holder, "__dict__")
        assert repr(holder) == f"<{type(holder).__name__}>"
