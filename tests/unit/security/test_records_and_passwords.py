"""Records that the app keeps for itself, and password hashes."""

from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from security.context import Context, Purpose
from security.errors import SealBroken
from security.passwords import hash_password, verify_password
from security.records import RecordCipher
from security.row_mac import RowMac

CIPHER = RecordCipher(bytes(range(32)))
PROFILE = Context(purpose=Purpose.PROFILE, study="", sender="app", object_id="user-1")


@given(st.binary(max_size=300))
def test_a_record_comes_back_and_never_looks_the_same_twice(data: bytes) -> None:
    one, two = CIPHER.seal(data, context=PROFILE), CIPHER.seal(data, context=PROFILE)
    assert CIPHER.open(one, context=PROFILE) == CIPHER.open(two, context=PROFILE) == data
    assert one[-16 - len(data) :] != two[-16 - len(data) :]


def test_every_changed_bit_truncation_and_extension_of_a_record_is_refused() -> None:
    record = CIPHER.seal(b"Demo patient", context=PROFILE)
    flips = []
    for bit in range(8 * len(record)):
        changed = bytearray(record)
        changed[bit // 8] ^= 1 << bit % 8
        flips.append(bytes(changed))
    for broken in (*flips, *(record[:length] for length in range(len(record))), record + b"\0"):
        with pytest.raises(SealBroken) as caught:
            CIPHER.open(broken, context=PROFILE)
        assert caught.value.__context__ is None


def test_a_record_moved_to_another_row_or_key_is_refused() -> None:
    record = CIPHER.seal(b"Demo patient", context=PROFILE)
    for other in (replace(PROFILE, object_id="user-2"), replace(PROFILE, purpose=Purpose.MESSAGE)):
        with pytest.raises(SealBroken):
            CIPHER.open(record, context=other)
    with pytest.raises(SealBroken):
        RecordCipher(bytes(32)).open(record, context=PROFILE)
    with pytest.raises(ValueError, match="32 bytes"):
        RecordCipher(bytes(16))


def test_a_rows_tag_holds_for_these_fields_of_this_kind_under_this_key_only() -> None:
    macs, fields = RowMac(bytes(range(32))), {"id": "user-1", "role": "patient", "active": True}
    tag = macs.tag("user", fields)
    assert macs.holds(tag, "user", fields)
    assert not macs.holds(tag, "case", fields)
    for name, value in (("id", "user-2"), ("role", None), ("active", False), ("more", "")):
        assert not macs.holds(tag, "user", {**fields, name: value})
    for other in ("", "é", tag[:-1], tag.upper()):
        assert not macs.holds(other, "user", fields)
    assert not RowMac(bytes(32)).holds(tag, "user", fields)
    with pytest.raises(ValueError, match="32 bytes"):
        RowMac(bytes(16))


def test_a_tokens_digest_needs_the_key() -> None:
    macs = RowMac(bytes(range(32)))
    assert len({macs.digest("a", "x"), macs.digest("b", "x"), RowMac(bytes(32)).digest("a", "x")}) == 3
    assert len(macs.digest("a", "\ud800")) == 64


def test_a_password_is_recognised_and_no_other() -> None:
    password = "a pässword of 72 bytes ".ljust(71, "x")
    hashed = hash_password(password)
    assert hashed.startswith("$2b$12$")
    assert verify_password(password, hashed)
    assert not verify_password(password + "y", hashed)
    assert not verify_password("", hashed)
    assert not verify_password(password[:-1] + "\0", hashed)


def test_an_unknown_user_is_refused_after_the_same_work() -> None:
    assert not verify_password("a forgotten password", None)


@pytest.mark.parametrize(
    ("password", "reason"),
    [("ninechars", "at least 10"), ("ä" * 37, "at most 72"), ("nul\0nul\0nul", "cannot be used")],
)
def test_a_password_that_bcrypt_would_cut_or_that_is_short_is_refused(password: str, reason: str) -> None:
    with pytest.raises(ValueError, match=reason):
        hash_password(password)
