"""Byte formats: one value, one encoding; and contexts that never look alike."""

from datetime import UTC
from typing import Any

import cbor2
import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from security.context import Context, Purpose
from security.encoding import Reader, decode, encode, expect_header, framed, header

scalars = (
    st.none()
    | st.booleans()
    | st.floats(allow_nan=False)
    | st.integers(-(2**63), 2**63)
    | st.datetimes(timezones=st.just(UTC))
    | st.binary(max_size=40)
    | st.text(max_size=20)
)
values = st.recursive(
    scalars,
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=8), inner, max_size=4),
    max_leaves=12,
)
contexts = st.builds(
    Context,
    purpose=st.sampled_from(Purpose),
    study=st.text(max_size=4),
    sender=st.text(min_size=1, max_size=4),
    object_id=st.text(min_size=1, max_size=4),
    run=st.text(max_size=4),
    round=st.integers(0, 2**70),
    attempt=st.text(max_size=4),
)


@given(contexts)
def test_a_context_is_encoded_canonically(context: Context) -> None:
    assert encode(cbor2.loads(context.encode())) == context.encode()


@given(values)
def test_what_is_encoded_decodes_to_the_same_value(value: Any) -> None:
    assert decode(encode(value)) == value


@given(st.binary(max_size=60))
def test_decoding_any_bytes_gives_their_only_value_or_is_refused(data: bytes) -> None:
    try:
        value = decode(data)
    except ValueError:
        return
    assert encode(value) == data


@pytest.mark.parametrize(
    "data",
    [
        b"",
        b"\x18\x01",  # 1 in two bytes
        b"\x9f\x01\xff",  # a list without its length
        b"\xa2\x61b\x01\x61a\x01",  # keys out of order
        b"\xa2\x61a\x01\x61a\x01",  # a key twice
        b"\x01\x01",  # something behind the value
        b"\xc0\x69yesterday",
        b"\xc0" + encode("2026-01-05 09:00:00Z"),  # not the form that encode gives
        b"\xd8\x1d\x00",  # a shared reference to nothing
        b"\x82\x01",
        b"\x5b\xff\xff\xff\xff\xff\xff\xff\xff",  # a length beyond any memory
        b"\x81" * 40 + b"\x01",
        b"\x81" * 100_000 + b"\x01",
        b"\xfb\x3f\xf0\0\0\0\0\0\0",  # 1.0 in eight bytes
    ],
)
def test_a_second_encoding_of_a_value_is_refused(data: bytes) -> None:
    with pytest.raises(ValueError, match="canonical"):
        decode(data)


def test_no_tag_but_a_time_is_ever_turned_into_an_object() -> None:
    for tag in (*range(1, 300), 1004, 43000, 55799, 2**40):
        for content in (1, "(a+)+$", b"1", [10**9, 1]):  # tag 5 of the last is two to the power of a thousand million
            with pytest.raises(ValueError, match="canonical"):
                decode(cbor2.dumps(cbor2.CBORTag(tag, content)))


@given(st.lists(st.binary(max_size=30), max_size=5), st.binary(max_size=30))
def test_framed_fields_come_back_one_by_one(fields: list[bytes], rest: bytes) -> None:
    reader = Reader(framed(*fields) + rest)
    assert [reader.field(limit=30) for _ in fields] == fields
    assert reader.rest() == rest


@pytest.mark.parametrize("data", [b"", b"\x00\x00\x00", b"\x00\x00\x00\x02a", b"\xff\xff\xff\xffabc"])
def test_a_field_that_ends_early_or_is_too_long_is_refused(data: bytes) -> None:
    with pytest.raises(ValueError, match="expected"):
        Reader(data).field(limit=100)


def test_another_version_or_suite_is_refused() -> None:
    for version, suite in ((2, "SUITE"), (1, "SUIT"), (1, "SUITE2"), (1, "suite")):
        with pytest.raises(ValueError, match="expected"):
            expect_header(Reader(header(version, suite) + b"xx"), 1, "SUITE")


@given(contexts, contexts)
def test_two_different_contexts_never_encode_alike(one: Context, other: Context) -> None:
    assume(one != other)
    assert one.encode() != other.encode()


def test_a_context_refuses_what_it_cannot_bind() -> None:
    good: dict[str, Any] = {"purpose": Purpose.IMAGE, "study": "leukemia", "sender": "app", "object_id": "1"}
    Context(**good)
    for bad in ({"purpose": "something"}, {"sender": ""}, {"object_id": ""}, {"round": -1}, {"round": True}):
        with pytest.raises(ValueError, match=r"."):
            Context(**(good | bad))
    with pytest.raises(TypeError, match="study"):
        Context(**(good | {"study": None}))
    with pytest.raises(TypeError, match="object_id"):
        Context(purpose=Purpose.IMAGE, study="leukemia", sender="app")  # type: ignore[call-arg]
