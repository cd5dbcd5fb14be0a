"""Hostile inputs to key agreement and signatures, in the manner of Wycheproof's test vectors: every one is refused.

Points: off the curve, of other curves, infinity, coordinates beyond the field, compressed and hybrid forms, lengths.
Scalars: zero, the order and beyond. Signatures: r or s out of range, and DER that is not the encoding of two numbers.
"""

import contextlib
import random
from collections.abc import Callable, Iterator

import pytest
from Crypto.PublicKey import ECC
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.asymmetric.utils import decode_dss_signature, encode_dss_signature

from security import hpke, signing
from security.audit import LogState, sign_head
from security.certificates import Certificate
from security.context import Context
from security.encoding import framed, header
from security.errors import CertificateRefused, SecurityError, SignatureBroken
from security.keys import KeyUse, PrivateKey, wrap
from security.masking import MaskKey, TransportKey, check_public
from security.signing import verify_signature
from security.verify_audit import Anchor, AuditBroken
from tests.unit.security.conftest import NOW, World

FIELD = 2**256 - 2**224 + 2**192 + 2**96 - 1
ORDER = 0xFFFFFFFF00000000FFFFFFFFFFFFFFFFBCE6FAADA7179E84F3B9CAC2FC632551
B = 0x5AC635D8AA3A93E7B3EBBD55769886BC651D06B0CC53B0F63BCE3C3E27D2604B
GENERATOR = (
    0x6B17D1F2E12C4247F8BCE6E563A440F277037D812DEB33A0F4A13945D898C296,
    0x4FE342E2FE1A7F9B8EE7EB4A7C0F9E162BCE33576B315ECECBB6406837BF51F5,
)
MESSAGE = b"an order"
KEY = ec.derive_private_key(0x1234567890ABCDEF, ec.SECP256R1())


def encoded(x: int, y: int, form: int = 4) -> bytes:
    return bytes((form,)) + x.to_bytes(32) + y.to_bytes(32)


def on_curve(x: int, y: int) -> bool:
    return x < FIELD and y < FIELD and (y * y - x**3 + 3 * x - B) % FIELD == 0


def root_of(square: int) -> int | None:
    """The square root modulo the field's prime, which is 3 modulo 4; None where there is none."""
    root = pow(square, (FIELD + 1) // 4, FIELD)
    return root if root * root % FIELD == square % FIELD else None


def small_points() -> Iterator[tuple[int, int]]:
    """Points with so small an x that x + p fits into 32 bytes as well."""
    for x in range(100):
        y = root_of(x**3 - 3 * x + B)
        if y is not None:
            yield x, y


def points() -> dict[str, bytes]:
    """Hostile public keys by name."""
    x, y = GENERATOR
    good, draw = encoded(x, y), random.Random(9180)
    found = {
        "empty": b"",
        "infinity": b"\x00",
        "infinity padded": bytes(65),
        "origin": encoded(0, 0),
        "y negated wrongly": encoded(x, y ^ 1),
        "coordinates swapped": encoded(y, x),
        "x is the prime": encoded(FIELD, root_of(B) or 0),
        "y is the prime": encoded(x, FIELD),
        "all ones": encoded(2**256 - 1, 2**256 - 1),
        "generator of secp256k1": encoded(
            0x79BE667EF9DCBBAC55A06295CE870B07029BFCDB2DCE28D959F2815B16F81798,
            0x483ADA7726A3C4655DA4FBFC0E1108A8FD17B448A68554199C47D08FFB10D4B8,
        ),
        "compressed even": bytes((2,)) + x.to_bytes(32),
        "compressed odd": bytes((3,)) + x.to_bytes(32),
        "raw without form": good[1:],
        "as SubjectPublicKeyInfo": bytes.fromhex("3059301306072a8648ce3d020106082a8648ce3d030107034200") + good,
        "as OCTET STRING": bytes((4, 65)) + good,
    }
    found |= {f"form byte {form}": encoded(x, y, form) for form in range(256) if form != 4}
    found |= {f"{length} bytes": (good * 3)[:length] for length in range(1, 196) if length != 65}
    found |= {f"x of {small} plus the prime": encoded(small + FIELD, root) for small, root in small_points()}
    for number in range(200):  # each lies on a curve y² = x³ - 3x + b of another b: what invalid-curve attacks send
        one = draw.randrange(FIELD), draw.randrange(FIELD)
        if not on_curve(*one):
            found[f"on another curve {number}"] = encoded(*one)
    for bit in range(8 * 65):
        changed = bytearray(good)
        changed[bit // 8] ^= 1 << bit % 8
        found[f"bit {bit} of the generator"] = bytes(changed)
    return found


POINTS = points()
DOORS: dict[str, Callable[[bytes], object]] = {
    "PrivateKey.unwrap": lambda point: PrivateKey(KEY, KeyUse.SEAL).unwrap(point, bytes(48), info=b"", aad=b""),
    "hpke.open_sealed": lambda point: hpke.open_sealed(point, bytes(48), KEY, info=b"", aad=b""),
    "MaskKey.agree": lambda point: MaskKey.from_scalar(bytes(31) + b"\x07").agree(point, info=b""),
    "TransportKey.box": lambda point: TransportKey.generate().box(point, info=b""),
    "check_public": check_public,
}


def test_there_are_hundreds_of_hostile_points_and_none_is_on_the_curve() -> None:
    assert len(POINTS) > 1100
    for name, point in POINTS.items():
        whole = len(point) == 65 and point[0] == 4
        assert not (whole and on_curve(int.from_bytes(point[1:33]), int.from_bytes(point[33:]))), name
    assert len(list(small_points())) > 30


@pytest.mark.parametrize("door", DOORS)
def test_every_hostile_point_is_refused_before_anything_is_agreed(door: str) -> None:
    for name, point in POINTS.items():
        with pytest.raises((ValueError, SecurityError)) as caught:
            DOORS[door](point)
        assert "not sealed to this key" not in str(caught.value), f"{name} came as far as a decryption"


@pytest.mark.parametrize("scalar", [1, 2, 3, ORDER // 2, ORDER - 2, ORDER - 1])
def test_the_lowest_and_the_highest_scalars_agree_as_in_another_library(scalar: int) -> None:
    key, peer = MaskKey.from_scalar(scalar.to_bytes(32)), MaskKey.generate()
    other = ECC.construct(curve="NIST P-256", d=scalar)
    assert other.public_key().export_key(format="raw") == key.public
    assert key.agree(peer.public, info=b"") == peer.agree(key.public, info=b"")
    private = ec.derive_private_key(scalar, ec.SECP256R1())
    enc, wrapped = wrap(b"secret", private.public_key(), info=b"", aad=b"")
    assert PrivateKey(private, KeyUse.SEAL).unwrap(enc, wrapped, info=b"", aad=b"") == b"secret"


@pytest.mark.parametrize("scalar", [0, ORDER, ORDER + 1, 2**255 + ORDER // 2, 2**256 - 1])
def test_a_scalar_that_is_none_makes_no_key(scalar: int) -> None:
    with pytest.raises(SecurityError, match="scalar"):
        MaskKey.from_scalar(scalar.to_bytes(32))


@pytest.mark.parametrize("length", [*range(32), *range(33, 66)])
def test_a_scalar_of_another_length_makes_no_key(length: int) -> None:
    with pytest.raises(SecurityError, match="scalar"):
        MaskKey.from_scalar(b"\x01" * length)


def test_a_key_of_another_curve_is_no_key_here() -> None:
    for curve in (ec.SECP256K1(), ec.SECP384R1(), ec.SECP224R1(), ec.BrainpoolP256R1()):
        with pytest.raises(SecurityError, match="P-256 key expected"):
            PrivateKey(ec.generate_private_key(curve), KeyUse.SIGN)


def accepted(hostile: dict[str, bytes], call: Callable[[bytes], object]) -> list[str]:
    """The names of the inputs that are not refused with one of the errors that are caught everywhere."""
    names = []
    for name, one in hostile.items():
        with contextlib.suppress(SignatureBroken, CertificateRefused, AuditBroken):
            call(one)
            names.append(name)
    return names


def integer(value: int, *, lead: bytes = b"") -> bytes:
    """DER of a whole number; with `lead`, padded against the rules."""
    body = lead + value.to_bytes(max(1, value.bit_length() // 8 + 1), "big", signed=True)
    return b"\x02" + bytes((len(body),)) + body


def sequence(*parts: bytes, tag: int = 0x30) -> bytes:
    body = b"".join(parts)
    return bytes((tag, len(body))) + body


def signatures(r: int, s: int) -> dict[str, bytes]:
    """Hostile signatures by name, made from a good one."""
    good, one, two = encode_dss_signature(r, s), integer(r), integer(s)
    body = one + two
    unsigned = [b"\x02\x20" + value.to_bytes(32) for value in (r, s)]
    ends = (-1, 0, 1, 2, ORDER - 1, ORDER, ORDER + 1, FIELD, FIELD + 1, 2**255, 2**256 - 1, 2**256, 2**256 + 1)
    found = {f"r {a} s {b}": encode_signed(a, b) for a in ends for b in ends}
    found |= {f"r is {end}": encode_signed(end, s) for end in ends}
    found |= {f"s is {end}": encode_signed(r, end) for end in ends}
    found |= {
        "swapped": encode_dss_signature(s, r),
        "r plus the order": encode_dss_signature(r + ORDER, s),
        "s plus the order": encode_dss_signature(r, s + ORDER),
        "r minus the order": encode_signed(r - ORDER, s),
        "s minus the order": encode_signed(r, s - ORDER),
        "r negated": encode_signed(-r, s),
        "s negated": encode_signed(r, -s),
        "r from the order": encode_dss_signature(ORDER - r, s),
        "r and 2^256": encode_dss_signature(r + 2**256, s),
        "r padded": sequence(integer(r, lead=b"\x00"), two),
        "s padded": sequence(one, integer(s, lead=b"\x00\x00")),
        "length in long form": b"\x30\x81" + bytes((len(body),)) + body,
        "length in longer form": b"\x30\x82\x00" + bytes((len(body),)) + body,
        "length of r in long form": sequence(b"\x02\x81" + one[1:], two),
        "length of s in long form": sequence(one, b"\x02\x81" + two[1:]),
        "indefinite length": b"\x30\x80" + body + b"\x00\x00",
        "length too large": b"\x30" + bytes((len(body) + 1,)) + body,
        "length too small": b"\x30" + bytes((len(body) - 1,)) + body,
        "length of 4 GB": b"\x30\x84\xff\xff\xff\xff" + body,
        "length of 2^64": b"\x30\x88" + b"\xff" * 8 + body,
        "something after it": good + b"\x00",
        "NULL after it": good + b"\x05\x00",
        "itself after it": good + good,
        "NULL inside": sequence(one, two, b"\x05\x00"),
        "a third number": sequence(one, two, integer(1)),
        "one number": sequence(one),
        "no number": sequence(),
        "r empty": sequence(b"\x02\x00", two),
        "s empty": sequence(one, b"\x02\x00"),
        "both empty": sequence(b"\x02\x00", b"\x02\x00"),
        "r as BOOLEAN": sequence(b"\x01" + one[1:], two),
        "r as BIT STRING": sequence(b"\x03" + one[1:], two),
        "s as OCTET STRING": sequence(one, b"\x04" + two[1:]),
        "r as REAL": sequence(b"\x09\x01\x40", two),
        "r NULL": sequence(b"\x05\x00", two),
        "constructed r": sequence(b"\x22" + bytes((len(one),)) + one, two),
        "SET": sequence(one, two, tag=0x31),
        "OCTET STRING of it": b"\x04" + bytes((len(good),)) + good,
        "SEQUENCE of it": sequence(good),
        "BIT STRING of it": b"\x03" + bytes((len(good) + 1,)) + b"\x00" + good,
        "private tag": sequence(one, two, tag=0xF0),
        "raw": r.to_bytes(32) + s.to_bytes(32),
        "raw, little endian": r.to_bytes(32, "little") + s.to_bytes(32, "little"),
        "empty": b"",
        "NULL": b"\x05\x00",
        "text": b"signature",
        "zeros": bytes(72),
    }
    for name, parts in (("r", (unsigned[0], two)), ("s", (one, unsigned[1])), ("both", tuple(unsigned))):
        found[f"{name} without sign byte"] = sequence(*parts)
    found |= {f"first {length} bytes": good[:length] for length in range(len(good))}
    for bit in range(8 * len(good)):
        changed = bytearray(good)
        changed[bit // 8] ^= 1 << bit % 8
        found[f"bit {bit}"] = bytes(changed)
    holding = {good, encode_dss_signature(r, ORDER - s)}
    return {name: one for name, one in found.items() if one not in holding}


def encode_signed(r: int, s: int) -> bytes:
    """DER of two numbers that may be negative."""
    return sequence(integer(r), integer(s))


@pytest.fixture(scope="module")
def signer(world: World) -> tuple[Certificate, int, int]:
    """A certificate, and r and s of its signature of MESSAGE; both with their top bit set, so that DER pads them."""
    app = world["app"]
    while True:
        r, s = decode_dss_signature(app.signing_key.sign(MESSAGE))
        if min(r, s) >= 2**255:
            return app.signing_certificate, r, s


def test_every_hostile_signature_is_refused(signer: tuple[Certificate, int, int]) -> None:
    certificate, r, s = signer
    verify_signature(certificate, encode_dss_signature(r, s), MESSAGE)
    hostile = signatures(r, s)
    assert len(hostile) > 800
    assert accepted(hostile, lambda signature: verify_signature(certificate, signature, MESSAGE)) == []


def test_the_one_other_signature_that_holds_is_the_one_that_anybody_can_write(
    signer: tuple[Certificate, int, int],
) -> None:
    """ECDSA's s can be replaced by n - s, so envelopes are told apart by what they say, never by their bytes."""
    certificate, r, s = signer
    verify_signature(certificate, encode_dss_signature(r, ORDER - s), MESSAGE)


def test_every_hostile_signature_is_refused_in_an_envelope(world: World, context: Context) -> None:
    app = world["app"]
    envelope = signing.sign(b"payload", signer=app, context=context)
    begin = header(signing.VERSION, signing.SUITE)
    certificate, signature, _ = signing._parse(envelope)
    r, s = decode_dss_signature(signature)

    def verify(hostile: bytes) -> None:
        forged = begin + framed(certificate.der, hostile) + b"payload"
        signing.verify(forged, trust=world.trust, context=context, party="app", at=NOW)

    verify(signature)
    assert accepted(signatures(r, s), verify) == []


def test_every_hostile_signature_is_refused_under_a_head(world: World) -> None:
    head = sign_head(LogState(), time=NOW, signer=world["app"])
    anchor = Anchor(world.authority.root.parsed)
    certificate, signature, payload = signing._parse(head)
    begin = header(signing.VERSION, signing.SUITE)

    def open_head(hostile: bytes) -> None:
        anchor.open_head(begin + framed(certificate.der, hostile) + bytes(payload))

    open_head(signature)
    assert accepted(signatures(*decode_dss_signature(signature)), open_head) == []


def test_a_certificate_with_a_hostile_key_is_no_certificate(world: World) -> None:
    """The point in a certificate is read as strictly: no signature of the authority stands over any of these."""
    der = world["app"].signing_certificate.der
    point = ec_point(der)
    alike = {name: one for name, one in POINTS.items() if len(one) == len(point) and one[0] == point[0]}
    assert len(alike) > 700
    assert accepted(alike, lambda hostile: Certificate(der.replace(point, hostile)).public_key) == []


def ec_point(der: bytes) -> bytes:
    """The uncompressed point in a certificate."""
    place = der.index(bytes.fromhex("03420004")) + 3
    return der[place : place + 65]
