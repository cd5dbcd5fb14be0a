"""Attacks on an exported log by the hundred, each found and placed; and the verifier alone on a bare machine."""

import random
import shutil
import subprocess
import sys
from collections.abc import Callable
from dataclasses import dataclass, replace
from datetime import timedelta
from itertools import pairwise
from pathlib import Path

import pytest
from cryptography import x509
from typer.testing import CliRunner

from security import verify_audit
from security.__main__ import app as commands
from security.audit import LogState, countersigned, decode_entry, kept_line, sign_head
from security.audit_export import consistency_proof, export_lines, inclusion_proof
from security.merkle import consistency_ranges, inclusion_ranges, roots_of
from security.verify_audit import Anchor, AuditBroken, leaf_hash, read_kept, verify_export, verify_proof
from tests.unit.security.conftest import NOW, World
from tests.unit.security.test_audit import build, entry

SIZE = 60
CASES = 100
KEPT_AT = (0, 7, 23, 24, 41, SIZE)
SCRIPT = Path(verify_audit.__file__)


@dataclass(frozen=True)
class Bench:
    """A log with everything that belongs to it."""

    world: World
    entries: list[bytes]
    heads: list[bytes]

    @property
    def lines(self) -> list[bytes]:
        """The export as it should be."""
        return self.export(self.entries)

    def export(self, entries: list[bytes], head: bytes | None = None) -> list[bytes]:
        """An export of entries whose chain is computed; without another head, with the one of the true log."""
        stored, _ = build(entries)
        return list(export_lines(stored, head=head or self.heads[-1], root=self.world.authority.root))

    def signed(self, entries: list[bytes]) -> list[bytes]:
        """An export that the log's own signer signs."""
        return self.export(entries, self.head(entries))

    def head(self, entries: list[bytes], days: int = 0) -> bytes:
        """The signed head of a log of these entries."""
        state = build(entries)[1]
        return sign_head(state, time=NOW + timedelta(days=days), signer=self.world["app"])

    def kept(self, *sizes: int) -> list[bytes]:
        """Lines of kept heads of the true log."""
        return [kept_line(self.heads[size]) for size in sizes]

    def verify(self, lines: list[bytes], *heads: bytes) -> verify_audit.Verified:
        """Verify as a person with the root would: from the bytes of a file."""
        return verify_export(
            b"".join(lines).splitlines(keepends=True), root=self.world.authority.root.parsed, heads=heads
        )


@pytest.fixture(scope="module")
def bench(world: World) -> Bench:
    entries = [entry(number) for number in range(1, SIZE + 1)]
    made = Bench(world, entries, [])
    made.heads.extend(made.head(entries[:size]) for size in range(SIZE + 1))
    return made


def renumbered(entries: list[bytes]) -> list[bytes]:
    """Entries with the numbers of their places, as a careful forger writes them."""
    return [replace(decode_entry(one), number=number).encode() for number, one in enumerate(entries, 1)]


def edit_bytes(bench: Bench, draw: random.Random) -> list[bytes]:
    lines = bench.lines
    where = draw.randrange(SIZE)
    line = bytearray(lines[where])
    place = draw.randrange(len(line) - 1)
    line[place] ^= draw.randrange(1, 256)
    lines[where] = bytes(line)
    return lines


def edit_words(bench: Bench, draw: random.Random) -> list[bytes]:
    lines = bench.lines
    where = draw.randrange(SIZE)
    old, new = draw.choice(
        [("doctor", "patient"), ("case.read", "case.list"), ("done", "refused"), ("user-", "user-9")]
    )
    lines[where] = lines[where].replace(old.encode(), new.encode())
    return lines


def edit_and_mend_the_chain_hash(bench: Bench, draw: random.Random) -> list[bytes]:
    where = draw.randrange(SIZE - 1)
    entries = [*bench.entries]
    entries[where] = entries[where].replace(b"case.read", b"case.rear")
    lines = bench.lines
    lines[where] = bench.export(entries)[where]
    return lines


def delete(bench: Bench, draw: random.Random) -> list[bytes]:
    begin = draw.randrange(SIZE)
    end = draw.randrange(begin, SIZE) + 1
    lines = bench.lines
    return [*lines[:begin], *lines[end:]]


def insert(bench: Bench, draw: random.Random) -> list[bytes]:
    lines, place = bench.lines, draw.randrange(SIZE + 1)
    added = draw.choice(lines[:-1]) if draw.random() < 0.5 else bench.export([entry(place + 1)])[0]
    return [*lines[:place], added, *lines[place:]]


def reorder(bench: Bench, draw: random.Random) -> list[bytes]:
    lines = bench.lines
    begin, end = sorted(draw.sample(range(SIZE), 2))
    part = lines[begin : end + 1]
    while part == lines[begin : end + 1]:
        draw.shuffle(part)
    return [*lines[:begin], *part, *lines[end + 1 :]]


def cut_off(bench: Bench, draw: random.Random) -> list[bytes]:
    lines, size = bench.lines, draw.randrange(SIZE)
    return lines[:size] if draw.random() < 0.5 else [*lines[:size], lines[-1]]


BLIND_ATTACKS = (edit_bytes, edit_words, edit_and_mend_the_chain_hash, delete, insert, reorder, cut_off)


def first_difference(lines: list[bytes], changed: list[bytes]) -> int:
    """Number of the first entry that is not the true one."""
    pairs = zip([*lines, b""], [*changed, b""], strict=False)
    return next(number for number, (true, found) in enumerate(pairs, 1) if true != found)


@pytest.mark.parametrize("attack", BLIND_ATTACKS, ids=lambda attack: attack.__name__)
def test_every_change_without_the_signers_key_is_found_at_its_place(
    bench: Bench, attack: Callable[[Bench, random.Random], list[bytes]]
) -> None:
    assert bench.verify(bench.lines).head.size == SIZE
    for seed in range(CASES):
        draw = random.Random(f"{attack.__name__} {seed}")
        changed = attack(bench, draw)
        with pytest.raises(AuditBroken) as caught:
            bench.verify(changed)
        place = first_difference(bench.lines, changed)
        if attack is edit_and_mend_the_chain_hash:  # then it is the next entry that no longer fits
            place += 1
        assert caught.value.number == place, f"seed {seed}: {caught.value}"


def test_a_chain_that_was_computed_anew_without_the_signers_key_is_found(bench: Bench) -> None:
    for seed in range(CASES):
        draw = random.Random(seed)
        entries = [*bench.entries]
        place = draw.randrange(SIZE)
        kind = draw.randrange(4)
        if kind == 0:
            entries[place] = entries[place].replace(b"case.read", b"case.rear")
        elif kind == 1:
            del entries[place]
        elif kind == 2:
            entries.insert(place, entries[draw.randrange(SIZE)])
        else:
            other = (place + 1 + draw.randrange(SIZE - 1)) % SIZE
            entries[place], entries[other] = entries[other], entries[place]
        with pytest.raises(AuditBroken) as caught:
            bench.verify(bench.export(renumbered(entries)))
        assert caught.value.number is not None, f"seed {seed}"


def test_what_the_signer_itself_cut_off_is_found_by_a_kept_head(bench: Bench) -> None:
    for size in range(SIZE):
        shorter = bench.signed(bench.entries[:size])
        assert bench.verify(shorter, *bench.kept(*(at for at in KEPT_AT if at <= size))).head.size == size
        with pytest.raises(AuditBroken, match="cut off at the end") as caught:
            bench.verify(shorter, *bench.kept(*KEPT_AT))
        assert caught.value.number == size + 1
        assert caught.value.what.startswith(f"missing, with all up to entry {SIZE}")


def test_a_log_that_the_signer_itself_wrote_anew_is_found_between_two_kept_heads(bench: Bench) -> None:
    for seed in range(CASES):
        draw = random.Random(seed)
        place = draw.randrange(SIZE)
        entries = [*bench.entries]
        if draw.random() < 0.5:
            entries[place] = entries[place].replace(b"case.read", b"case.rear")
        else:
            del entries[place]
            entries = renumbered([*entries, bench.entries[0]])
        forged = bench.signed([*entries, *(entry(number) for number in range(SIZE + 1, SIZE + 5))])
        assert bench.verify(forged).head.size == SIZE + 4  # nothing but a kept head can tell
        with pytest.raises(AuditBroken, match="written anew") as caught:
            bench.verify(forged, *bench.kept(*KEPT_AT))
        number, last = caught.value.number, caught.value.last
        assert number is not None
        assert last is not None
        assert number <= place + 1 <= last, f"seed {seed}"
        assert (number - 1, last) in list(pairwise(KEPT_AT))


def test_two_logs_that_were_both_signed_contradict_each_other(bench: Bench) -> None:
    other = bench.head([*bench.entries[:-1], bench.entries[0]])
    with pytest.raises(AuditBroken, match="two different logs of 60 entries were signed"):
        bench.verify(bench.lines, *bench.kept(SIZE), kept_line(other))


def test_a_kept_head_that_was_signed_later_again_is_the_same_log(bench: Bench) -> None:
    again = kept_line(bench.head(bench.entries[:23], days=3))
    assert len(bench.verify(bench.lines, *bench.kept(*KEPT_AT), again).kept) == len(KEPT_AT) + 1


@pytest.mark.filterwarnings("ignore:Parsed a serial number")
def test_every_changed_byte_of_kept_heads_is_refused(bench: Bench) -> None:
    anchor = Anchor(bench.world.authority.root.parsed)
    line = kept_line(bench.heads[23])
    (kept,) = read_kept([line], anchor)
    both = countersigned(kept, witness=bench.world["north.training"])
    (seen,) = read_kept([both], anchor)
    assert (seen.head, seen.witnesses) == (kept.head, ("north.training",))
    assert countersigned(seen, witness=bench.world["north.training"]) == both
    for place in range(len(both) - 1):
        changed = bytearray(both)
        changed[place] ^= 1 + place % 127
        with pytest.raises(AuditBroken):
            read_kept([bytes(changed)], anchor)


def test_a_witness_of_another_head_or_another_authority_is_no_witness(bench: Bench, impostor: World) -> None:
    anchor = Anchor(bench.world.authority.root.parsed)
    one, other = read_kept(bench.kept(7, 23), anchor)
    other_line = countersigned(other, witness=bench.world["north.training"])
    (seen,) = read_kept([other_line], anchor)
    with pytest.raises(AuditBroken, match="saw another head"):
        read_kept([kept_line(one.envelope, seen.signatures)], anchor)
    with pytest.raises(AuditBroken, match="not issued"):
        read_kept([countersigned(one, witness=impostor["north.training"])], anchor)
    with pytest.raises(AuditBroken, match="was changed"):
        read_kept([kept_line(one.envelope, [one.envelope])], anchor)  # a head is no countersignature
    with pytest.raises(AuditBroken, match="does not sign the log"):
        read_kept([kept_line(seen.signatures[0])], anchor)  # nor a countersignature a head


def test_the_logs_own_signer_is_no_witness(bench: Bench) -> None:
    anchor = Anchor(bench.world.authority.root.parsed)
    (kept,) = read_kept(bench.kept(7), anchor)
    with pytest.raises(AuditBroken, match="own signer is no witness"):
        read_kept([countersigned(kept, witness=bench.world["app"])], anchor)


def test_kept_heads_need_the_root(bench: Bench) -> None:
    with pytest.raises(AuditBroken, match="root certificate"):
        verify_export(bench.lines, heads=bench.kept(7))


def proof_of(bench: Bench, number: int) -> bytes:
    leaves = [leaf_hash(one) for one in bench.entries]
    path = roots_of(inclusion_ranges(number - 1, SIZE), leaves)
    one = bench.entries[number - 1]
    return inclusion_proof(one, number, path, head=bench.heads[-1], root=bench.world.authority.root)


def proof_between(bench: Bench, old: int, new: int) -> bytes:
    leaves = [leaf_hash(one) for one in bench.entries[:new]]
    path = roots_of(consistency_ranges(old, new), leaves) if old else []
    heads = {"old_head": bench.heads[old], "head": bench.heads[new]}
    return consistency_proof(path, **heads, root=bench.world.authority.root)


def test_every_entry_is_proved_to_be_in_the_log(bench: Bench) -> None:
    root = bench.world.authority.root.parsed
    for number in range(1, SIZE + 1):
        found = verify_proof(proof_of(bench, number), root=root)
        assert found.what == f"entry {number} (case.read) is one of {SIZE} entries"


def test_every_earlier_log_is_proved_to_be_the_beginning(bench: Bench) -> None:
    root = bench.world.authority.root.parsed
    for old in range(SIZE + 1):
        for new in range(old, SIZE + 1, 7):
            found = verify_proof(proof_between(bench, old, new), root=root, heads=bench.kept(old))
            assert found.what == f"the log of {old} entries is the beginning of the log of {new} entries"


@pytest.mark.filterwarnings("ignore:Parsed a serial number")
def test_every_changed_byte_of_a_proof_is_refused(bench: Bench) -> None:
    root = bench.world.authority.root.parsed
    for proof in (proof_of(bench, 23), proof_between(bench, 23, 41)):
        for place in range(len(proof) - 1):
            changed = bytearray(proof)
            changed[place] ^= 1 + place % 127
            with pytest.raises(AuditBroken):
                verify_proof(bytes(changed), root=root)


def test_a_number_that_is_none_is_refused(bench: Bench) -> None:
    proof = proof_of(bench, 1).replace(b'"number":1,"path"', b'"number":true,"path"')
    assert b"true" in proof
    with pytest.raises(AuditBroken, match="a number expected"):
        verify_proof(proof, root=bench.world.authority.root.parsed)


def test_proofs_of_something_else_are_refused(bench: Bench) -> None:
    root, authority = bench.world.authority.root.parsed, bench.world.authority.root
    leaves = [leaf_hash(one) for one in bench.entries]
    path = roots_of(inclusion_ranges(22, SIZE), leaves)
    made_up = entry(23).replace(b"case.read", b"case.rear")
    for one, number in ((made_up, 23), (bench.entries[23], 23), (bench.entries[22], 24), (bench.entries[22], 61)):
        with pytest.raises(AuditBroken):
            verify_proof(inclusion_proof(one, number, path, head=bench.heads[-1], root=authority), root=root)
    with pytest.raises(AuditBroken, match="none of the kept ones"):
        verify_proof(proof_between(bench, 23, 41), root=root, heads=bench.kept(24))
    forked = bench.head([*bench.entries[:40], bench.entries[0]])
    steps = roots_of(consistency_ranges(23, 41), leaves)
    with pytest.raises(AuditBroken, match="not the beginning") as caught:
        verify_proof(consistency_proof(steps, old_head=bench.heads[23], head=forked, root=authority), root=root)
    assert (caught.value.number, caught.value.last) == (1, 23)
    shorter = consistency_proof([], old_head=bench.heads[41], head=bench.heads[23], root=authority)
    with pytest.raises(AuditBroken, match="cut off") as caught:
        verify_proof(shorter, root=root)
    assert caught.value.number == 24
    with pytest.raises(AuditBroken, match="another log of 41 entries was signed"):
        verify_proof(proof_between(bench, 23, 41), root=root, heads=[kept_line(forked)])


def test_a_revoked_signer_is_refused_where_the_list_is_given(bench: Bench) -> None:
    world = bench.world
    revoked = [(world["app"].signing_certificate.serial, NOW, "keyCompromise")]
    crl = x509.load_der_x509_crl(world.authority.revocation_list(revoked, number=1, now=NOW))
    with pytest.raises(AuditBroken, match="revoked"):
        verify_export(bench.lines, root=world.authority.root.parsed, crl=crl)


def test_a_revocation_list_of_somebody_else_is_refused(bench: Bench, impostor: World) -> None:
    crl = x509.load_der_x509_crl(impostor.authority.revocation_list([], number=1, now=NOW))
    with pytest.raises(AuditBroken, match="not this authority's"):
        verify_export(bench.lines, root=bench.world.authority.root.parsed, crl=crl)


def test_one_file_verifies_on_a_machine_without_the_project(bench: Bench, tmp_path: Path) -> None:
    shutil.copyfile(SCRIPT, tmp_path / SCRIPT.name)
    files = {
        "audit.jsonl": b"".join(bench.lines),
        "short.jsonl": b"".join(bench.signed(bench.entries[:30])),
        "edited.jsonl": b"".join(bench.lines).replace(b"user-31", b"user-13"),
        "entry.json": proof_of(bench, 23),
        "prefix.json": proof_between(bench, 23, 41),
        "root.pem": bench.world.authority.root.pem,
        "heads.jsonl": b"".join(bench.kept(23, 41)),
        "list.crl": bench.world.trust.crl_der or b"",
    }
    for name, data in files.items():
        (tmp_path / name).write_bytes(data)

    def run(*arguments: str) -> tuple[int, str]:
        command = [sys.executable, "-I", SCRIPT.name, *arguments]
        done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, check=False)
        return done.returncode, done.stdout + done.stderr

    whole = run("audit.jsonl", "--root", "root.pem", "--heads", "heads.jsonl", "--crl", "list.crl")
    assert whole[0] == 0
    assert whole[1].startswith(f"Verified: {SIZE} entries, signed by 'app'")
    assert "It contains the 2 kept heads." in whole[1]
    assert "was not checked" in run("audit.jsonl")[1]
    assert "Verified: entry 23 (case.read) is one of 60 entries" in run("entry.json", "--root", "root.pem")[1]
    assert "beginning of the log of 41" in run("prefix.json", "--root", "root.pem", "--heads", "heads.jsonl")[1]
    assert run("short.jsonl", "--root", "root.pem")[0] == 0
    short = run("short.jsonl", "--root", "root.pem", "--heads", "heads.jsonl")
    assert (short[0], "NOT VERIFIED: entry 31: missing, with all up to entry 41" in short[1]) == (1, True)
    edited = run("edited.jsonl", "--root", "root.pem")
    assert (edited[0], "NOT VERIFIED: entry 31:" in edited[1]) == (1, True)
    assert run("audit.jsonl", "--root", "audit.jsonl")[0] == 1
    assert run("none.jsonl")[0] == 1


def test_a_hospital_countersigns_the_heads_that_it_keeps(bench: Bench, tmp_path: Path) -> None:
    world, heads = bench.world, tmp_path / "heads.jsonl"
    heads.write_bytes(b"".join(bench.kept(7, 23)))
    arguments = ["audit-countersign", str(heads), "--keys", str(world.folder), "--party", "north.training"]
    master = {"HEMASEAL_MASTER_KEY": bytes(range(32)).hex()}
    done = CliRunner().invoke(commands, arguments, env=master)
    assert (done.exit_code, "2 heads are countersigned by north.training" in done.output) == (0, True)
    export, root = tmp_path / "audit.jsonl", tmp_path / "root.pem"
    export.write_bytes(b"".join(bench.lines))
    root.write_bytes(world.authority.root.pem)
    told = (
        CliRunner().invoke(commands, ["audit-verify", str(export), "--root", str(root), "--heads", str(heads)]).output
    )
    assert "contains the 2 kept heads, countersigned by north.training" in told
    heads.write_bytes(heads.read_bytes()[:-9] + b'AAAA"]}\n')
    assert CliRunner().invoke(commands, arguments, env=master).exit_code == 1


def test_both_sides_hash_alike(bench: Bench) -> None:
    state = LogState()
    for one in bench.entries:
        state = state.append(one)
    assert bench.verify(bench.lines).head.root == state.frontier.root()
