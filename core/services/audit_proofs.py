"""What can be taken out of the audit log beside the whole of it: a head to keep, and proofs (RFC 9162, 2.1.3, 2.1.4).

`security.verify_audit` checks them anywhere. Each takes one pass over the log, which is verified on the way.
"""

from collections.abc import Iterator
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path

from sqlmodel import select

from core.errors import AuditLogBroken, InvalidInput, NotFound
from core.services.app import Actor, App
from core.services.audit import end_after
from core.services.audit_rows import SignedEnd, entries_until
from core.services.authorise import Action
from db.engine import read_scope
from db.models import AuditEntry
from security import verify_audit
from security.audit import kept_line
from security.audit_export import consistency_proof, inclusion_proof
from security.merkle import consistency_ranges, inclusion_ranges, roots_of
from security.verify_audit import Anchor, AuditBroken, KeptHead, KeptHeads, leaf_hash, read_kept, verify_proof

MAX_KEPT_BYTES = 2**20


@dataclass(frozen=True)
class EntryProof:
    """That one entry is in the log.

    Attributes:
        number: the entry.
        size: entries of the log.
        proof: the file that proves it.
    """

    number: int
    size: int
    proof: bytes = field(repr=False)


@dataclass(frozen=True)
class Comparison:
    """That the log still begins with what somebody kept.

    Attributes:
        kept: how many heads were compared.
        old_size: entries under the newest of them.
        old_time: when it was signed.
        size: entries of the log now.
        proof: the file that proves it of the newest kept head.
    """

    kept: int
    old_size: int
    old_time: datetime
    size: int
    proof: bytes = field(repr=False)


def head_to_keep(app: App, actor: Actor) -> bytes:
    """Return the signed head of the log as a line for a file of kept heads.

    Raises:
        NotAuthorised: neither a hospital nor the authority.
    """
    return kept_line(end_after(app, actor, "audit.head", needs=Action.KEEP_AUDIT_HEAD).envelope)


def prove_entry(app: App, actor: Actor, number: int) -> EntryProof:
    """Return the proof that entry `number` is in the log.

    Raises:
        NotFound: the log has no such entry.
        NotAuthorised: only the authority takes entries out of the log.
        AuditLogBroken: names the first entry that does not fit.
    """
    end = end_after(app, actor, "audit.prove", details={"entry": number})
    if not 0 < number <= end.head.size:
        raise NotFound
    path = _path(app, end, inclusion_ranges(number - 1, end.head.size))
    with read_scope(app.engine) as session:
        entry = session.exec(select(AuditEntry.entry).where(AuditEntry.number == number)).one()
    return EntryProof(
        number, end.head.size, _held(inclusion_proof(entry, number, path, head=end.envelope, root=app.root))
    )


def compare(app: App, actor: Actor, kept: bytes) -> Comparison:
    """Compare the log with kept heads, and return the proof that it still begins with the newest of them.

    Args:
        app: the application.
        actor: the authority.
        kept: a file of kept heads.

    Raises:
        InvalidInput: no file of heads that this log's signers signed.
        NotAuthorised: only the authority takes proofs out of the log.
        AuditLogBroken: the log is shorter than it was or was written anew; names the first entry that does not fit.
    """
    end = end_after(app, actor, "audit.compare")
    heads = _read(app, kept)
    newest = heads[-1]
    is_earlier = 0 < newest.head.size <= end.head.size
    path = _path(app, end, consistency_ranges(newest.head.size, end.head.size) if is_earlier else [], heads)
    proof = consistency_proof(path, old_head=newest.envelope, head=end.envelope, root=app.root)
    return Comparison(len(heads), newest.head.size, newest.head.time, end.head.size, _held(proof))


def verifier() -> bytes:
    """Return the program that verifies exports and proofs without this project: one file, public."""
    return Path(verify_audit.__file__).read_bytes()


def _read(app: App, kept: bytes) -> list[KeptHead]:
    if len(kept) > MAX_KEPT_BYTES:
        raise InvalidInput("that file is too large for kept heads")
    try:
        heads = read_kept(kept.splitlines(), Anchor(app.root.parsed))
    except AuditBroken as error:
        raise InvalidInput(str(error)) from error
    if not heads:
        raise InvalidInput("the file holds no head")
    return heads


def _path(app: App, end: SignedEnd, ranges: list[range], kept: list[KeptHead] | None = None) -> list[bytes]:
    """Return the roots over ranges of leaves from one pass over the log, which is verified to its end."""
    with read_scope(app.engine) as session:
        leaves = _leaves(entries_until(session, end.head, KeptHeads(kept or ())))
        found = roots_of(ranges, leaves)
        for _ in leaves:
            pass
    return found


def _leaves(entries: Iterator[tuple[bytes, str]]) -> Iterator[bytes]:
    for entry, _ in entries:
        yield leaf_hash(entry)


def _held(proof: bytes) -> bytes:
    """Return a proof after verifying it as whoever gets it will."""
    try:
        verify_proof(proof)
    except AuditBroken as error:
        raise AuditLogBroken(str(error)) from error
    return proof
