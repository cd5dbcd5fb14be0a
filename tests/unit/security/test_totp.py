"""Codes of an authenticator: the vectors of RFC 6238, the window, and that no code counts twice."""

import base64
from datetime import UTC, datetime, timedelta
from urllib.parse import parse_qs, urlparse

import pyotp
import pytest

from security import totp

SECRET = base64.b32encode(b"12345678901234567890").decode()  # RFC 6238, appendix B, for SHA-1
NOW = datetime(2026, 1, 5, 9, 0, 15, tzinfo=UTC)
STEP = int(NOW.timestamp()) // 30


@pytest.mark.parametrize(
    ("seconds", "code"),
    [
        (59, "94287082"),
        (1111111109, "07081804"),
        (1111111111, "14050471"),
        (1234567890, "89005924"),
        (2000000000, "69279037"),
        (20000000000, "65353130"),
    ],
)
def test_the_vectors_of_the_standard_hold(seconds: int, code: str) -> None:
    at = datetime.fromtimestamp(seconds, UTC)
    assert totp.matching_step(SECRET, code[2:], at=at) == seconds // 30  # eight digits there, the last six here


@pytest.mark.parametrize(("offset", "counts"), [(-60, False), (-30, True), (0, True), (30, True), (60, False)])
def test_a_clock_may_be_one_step_off(offset: int, *, counts: bool) -> None:
    code = pyotp.TOTP(SECRET).at(NOW + timedelta(seconds=offset))
    assert totp.matching_step(SECRET, code, at=NOW) == (STEP + offset // 30 if counts else None)


def test_only_a_later_step_than_the_last_one_counts() -> None:
    for offset in (-1, 0):
        code = pyotp.TOTP(SECRET).at(NOW, counter_offset=offset)
        assert totp.matching_step(SECRET, code, at=NOW, after=STEP) is None
    assert totp.matching_step(SECRET, pyotp.TOTP(SECRET).at(NOW, counter_offset=1), at=NOW, after=STEP) == STEP + 1


@pytest.mark.parametrize("code", ["", "0", "123 456", "\N{FULLWIDTH DIGIT ONE}" * 6, "\0" * 6, "\ud800", "9" * 10_000])
def test_any_text_may_be_typed(code: str) -> None:
    assert totp.matching_step(SECRET, code, at=NOW) is None


def test_secrets_have_160_bits_and_differ() -> None:
    made = {totp.new_secret() for _ in range(50)}
    assert len(made) == 50
    assert {len(base64.b32decode(secret)) for secret in made} == {20}


def test_the_address_says_whose_it_is_and_how_codes_are_made() -> None:
    address = urlparse(totp.uri(SECRET, "demo-doctor"))
    assert (address.scheme, address.netloc, address.path) == ("otpauth", "totp", "/HemaSeal:demo-doctor")
    assert {name: value[0] for name, value in parse_qs(address.query).items()} == {
        "secret": SECRET,
        "issuer": "HemaSeal",
    }
    assert isinstance(pyotp.parse_uri(address.geturl()), pyotp.TOTP)
