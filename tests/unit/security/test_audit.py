"""The audit log: hashes after RFC 9162, and exports in which every change is found and placed."""

import base64
import json
from collections.abc import Callable
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from hashlib import sha256
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from typer.testing import CliRunner

from security.__main__ import app as commands
from security.audit import Entry, LogState, decode_entry, sign_head, verify_head
from security.audit_export import export_lines
from security.errors import CertificateRefused, SignatureBroken
from security.verify_audit import (
    GENESIS,
    AuditBroken,
    canonical_json,
    parse_time,
    verify_export,
    verify_file,
)
from tests.unit.security.conftest import NOW, World

SIZE = 9
entries = st.builds(
    Entry,
    number=st.integers(1, 2**40),
    time=st.datetimes(min_value=datetime(1970, 1, 1), max_value=datetime(9999, 1, 1), timezones=st.just(UTC)),  # noqa: DTZ001
    actor=st.text(max_size=10),
    role=st.text(max_size=10),
    action=st.text(max_size=10),
    object=st.text(max_size=10),
    outcome=st.text(max_size=10),
    details=st.dictionaries(
        st.text(max_size=5), st.none() | st.booleans() | st.integers() | st.text(max_size=10), max_size=3
    ),
)


def entry(number: int) -> bytes:
    return Entry(
        number=number,
        time=NOW + timedelta(seconds=number),
        actor=f"user-{number}",
        role="doctor",
        action="case.read",
        object=f"case-{number}",
        outcome="done",
        details={"code": number},
    ).encode()


def build(rows: list[bytes]) -> tuple[list[tuple[bytes, str]], LogState]:
    """Chain the entries as the log does."""
    state, stored = LogState(), []
    for row in rows:
        state = state.append(row)
        stored.append((row, state.chain_hash.hex()))
    return stored, state


@pytest.fixture
def log(world: World) -> list[bytes]:
    """Lines of an export of `SIZE` entries."""
    stored, state = build([entry(number) for number in range(1, SIZE + 1)])
    head = sign_head(state, time=NOW, signer=world["app"])
    return list(export_lines(stored, head=head, root=world.authority.root))


@given(entries)
def test_an_entry_decodes_to_itself_and_has_one_form(value: Entry) -> None:
    data = value.encode()
    assert decode_entry(data) == value
    assert data == data.decode("ascii").encode("ascii")
    with pytest.raises(ValueError, match="canonical"):
        decode_entry(data.replace(b'"action"', b' "action"', 1))


@given(st.binary(max_size=80) | st.text(max_size=80).map(str.encode))
def test_rubbish_is_no_entry(data: bytes) -> None:
    with pytest.raises(ValueError, match=r"."):
        decode_entry(data)


def test_an_entry_refuses_what_does_not_belong_in_a_log() -> None:
    good = decode_entry(entry(1))
    with pytest.raises(TypeError, match="detail 'weights'"):
        replace(good, details={"weights": [1.0]}).encode()  # type: ignore[dict-item]
    with pytest.raises(TypeError, match="detail"):
        replace(good, details={"share": 0.5}).encode()  # type: ignore[dict-item]
    with pytest.raises(ValueError, match="zone"):
        replace(good, time=datetime(2026, 1, 5)).encode()  # noqa: DTZ001
    deep = entry(1).replace(b'{"code":1}', b'{"a":' * 5000 + b"1" + b"}" * 5000)
    with pytest.raises(ValueError, match=r"."):
        decode_entry(deep)


@pytest.mark.parametrize(
    "text",
    [
        "2026-01-05T09:00:00.000000",
        "2026-01-05T09:00:00.000000+00:00",
        "2026-01-05T09:00:00.000000z",
        "2026-01-05 09:00:00.000000Z",
        "2026-01-05T09:00:00,000000Z",
        "2026-01-05T09:00:00.00000Z",
        "2026-01-05T09:00:00Z",
        "20260105T090000.000000Z",
        "2026-W02-1T09:00:00.000000Z",
        "2026-01-05T24:00:00.000000Z",
        "2026-01-05T23:59:60.000000Z",
        "2026-02-29T09:00:00.000000Z",
        "2026-13-05T09:00:00.000000Z",
        "0000-01-05T09:00:00.000000Z",
        "\u0662026-01-05T09:00:00.000000Z",
        "2026-01-05T09:00:00.000000Z\n",
        None,
        1767603600,
    ],
)
def test_a_time_has_one_form(text: object) -> None:
    with pytest.raises(ValueError, match=r"."):
        parse_time(text)


def test_the_chain_follows_its_definition() -> None:
    one, two = entry(1), entry(2)
    first = sha256(GENESIS + sha256(b"\0" + one).digest()).digest()
    state = LogState().append(one)
    assert (state.chain_hash, state.size, state.next_number) == (first, 1, 2)
    assert state.append(two).chain_hash == sha256(first + sha256(b"\0" + two).digest()).digest()


def test_a_signed_head_says_what_was_signed_and_by_whom(world: World) -> None:
    state = LogState().append(entry(1))
    envelope = sign_head(state, time=NOW, signer=world["app"])
    head = verify_head(envelope, trust=world.trust, party="app")
    assert (head.size, head.chain_hash, head.root, head.time) == (1, state.chain_hash, state.frontier.root(), NOW)
    verify_head(envelope, trust=world.trust, party="app", at=NOW + timedelta(days=1))
    with pytest.raises(CertificateRefused):
        verify_head(envelope, trust=world.trust, party="app", at=NOW + timedelta(days=400))
    with pytest.raises(CertificateRefused):
        verify_head(envelope, trust=world.trust, party="authority")
    with pytest.raises(SignatureBroken):
        verify_head(envelope[:-1], trust=world.trust, party="app")


def test_an_untouched_export_verifies_with_and_without_the_root(world: World, log: list[bytes]) -> None:
    with_root = verify_export(log, root=world.authority.root.parsed)
    assert (with_root.head.size, with_root.signer, with_root.root_was_given) == (SIZE, "app", True)
    without = verify_export(log)
    assert (without.head, without.root_was_given) == (with_root.head, False)
    assert without.root == world.authority.root.parsed


def test_an_empty_log_verifies(world: World) -> None:
    head = sign_head(LogState(), time=NOW, signer=world["app"])
    assert verify_export(export_lines([], head=head, root=world.authority.root)).head.size == 0


@pytest.mark.parametrize("number", range(1, SIZE + 1))
def test_an_edit_is_found_at_its_entry(log: list[bytes], number: int) -> None:
    for old, new in ((b"case.read", b"case.rear"), (b"user-", b"usre-"), (b'"chain_hash":"', b'"chain_hash":"00')):
        changed = [*log]
        changed[number - 1] = changed[number - 1].replace(old, new, 1)
        with pytest.raises(AuditBroken) as caught:
            verify_export(changed)
        assert caught.value.number == number


@pytest.mark.parametrize("number", range(1, SIZE + 1))
def test_a_deletion_is_found_at_its_entry(log: list[bytes], number: int) -> None:
    with pytest.raises(AuditBroken, match="missing") as caught:
        verify_export(log[: number - 1] + log[number:])
    assert caught.value.number == number


@pytest.mark.parametrize("number", range(1, SIZE))
def test_two_entries_in_another_order_are_found_at_the_first(log: list[bytes], number: int) -> None:
    changed = [*log]
    changed[number - 1], changed[number] = changed[number], changed[number - 1]
    with pytest.raises(AuditBroken) as caught:
        verify_export(changed)
    assert caught.value.number == number


@pytest.mark.parametrize("number", range(1, SIZE + 1))
def test_an_insertion_is_found_at_its_place(log: list[bytes], number: int) -> None:
    repeated = [*log[:number], *log[number - 1 :]]
    with pytest.raises(AuditBroken, match="inserted, repeated or moved") as caught:
        verify_export(repeated)
    assert caught.value.number == number + 1
    made_up = canonical_json({"chain_hash": "00" * 32, "entry": entry(number).decode()}) + b"\n"
    with pytest.raises(AuditBroken) as caught:
        verify_export([*log[: number - 1], made_up, *log[number - 1 :]])
    assert caught.value.number == number


def test_a_chain_that_was_computed_anew_does_not_fit_the_signed_head(world: World, log: list[bytes]) -> None:
    rows = [entry(number) for number in range(1, SIZE + 1)]
    rows[3] = rows[3].replace(b"case.read", b"case.list")
    forged = [
        canonical_json({"chain_hash": chain_hash, "entry": row.decode()}) + b"\n" for row, chain_hash in build(rows)[0]
    ]
    with pytest.raises(AuditBroken, match="computed anew") as caught:
        verify_export([*forged, log[-1]])
    assert (caught.value.number, caught.value.last) == (1, SIZE)
    with pytest.raises(AuditBroken, match="cut off") as caught:
        verify_export([*forged[:3], log[-1]])
    assert caught.value.number == 4
    longer = [
        canonical_json({"chain_hash": chain_hash, "entry": row.decode()}) + b"\n"
        for row, chain_hash in build([entry(number) for number in range(1, SIZE + 2)])[0]
    ]
    with pytest.raises(AuditBroken, match="added after") as caught:
        verify_export([*longer, log[-1]])
    assert caught.value.number == SIZE + 1


def test_a_missing_head_a_line_after_it_and_a_changed_head_are_found(log: list[bytes]) -> None:
    with pytest.raises(AuditBroken, match="no signed head") as caught:
        verify_export(log[:-1])
    assert caught.value.number == SIZE + 1
    with pytest.raises(AuditBroken, match="after the signed head"):
        verify_export([*log, log[-1]])
    last = json.loads(log[-1])
    envelope = bytearray(base64.b64decode(last["head"]))
    envelope[-5] ^= 1
    last["head"] = base64.b64encode(envelope).decode()
    with pytest.raises(AuditBroken, match="head"):
        verify_export([*log[:-1], canonical_json(last)])


@pytest.mark.parametrize("line", [b"", b"\n", b"{}", b"[]", b"null", b'{"chain_hash":1,"entry":2}', b"\xff"])
def test_a_line_that_is_none_is_found_at_its_place(log: list[bytes], line: bytes) -> None:
    with pytest.raises(AuditBroken) as caught:
        verify_export([*log[:4], line, *log[5:]])
    assert caught.value.number == 5


def test_a_log_with_keys_of_ones_own_does_not_stand_against_the_real_root(world: World, impostor: World) -> None:
    stored, state = build([entry(1)])
    head = sign_head(state, time=NOW, signer=impostor["app"])
    forged = list(export_lines(stored, head=head, root=impostor.authority.root))
    assert not verify_export(forged).root_was_given
    with pytest.raises(AuditBroken, match="refused"):
        verify_export(forged, root=world.authority.root.parsed)
    by_member = list(
        export_lines(stored, head=sign_head(state, time=NOW, signer=world["north.training"]), root=world.authority.root)
    )
    with pytest.raises(AuditBroken, match="refused"):
        verify_export(by_member, root=world.authority.root.parsed)


def test_the_command_verifies_a_file_and_names_the_place(world: World, log: list[bytes], tmp_path: Path) -> None:
    file, root = tmp_path / "audit.jsonl", tmp_path / "root.crt"
    file.write_bytes(b"".join(log))
    root.write_bytes(world.authority.root.pem)
    assert verify_file(file).head.size == SIZE
    run: Callable = CliRunner().invoke
    good = run(commands, ["audit-verify", str(file), "--root", str(root)])
    assert (good.exit_code, "not checked" in good.output) == (0, False)
    assert f"Verified: {SIZE} entries, signed by 'app'" in good.output
    unrooted = run(commands, ["audit-verify", str(file)])
    assert (unrooted.exit_code, "was not checked" in unrooted.output, "Verified" in unrooted.output) == (0, True, False)
    file.write_bytes(b"".join(log).replace(b"user-4", b"user-5"))
    bad = run(commands, ["audit-verify", str(file), "--root", str(root)])
    assert bad.exit_code == 1
    assert "NOT VERIFIED: entry 4:" in bad.output
    root.write_bytes(b"rubbish")
    assert run(commands, ["audit-verify", str(file), "--root", str(root)]).exit_code == 1
    assert run(commands, ["audit-verify", str(tmp_path / "none")]).exit_code == 2


def test_the_other_commands_answer() -> None:
    assert "agree" in CliRunner().invoke(commands, ["self-test"]).output
    assert "| case.submit |" in CliRunner().invoke(commands, ["policy"]).output
