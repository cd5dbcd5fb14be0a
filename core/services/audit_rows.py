"""Reading the rows of the audit log: checked entry by entry up to a signed head, or found by what they are about.

It asks nobody for leave: `audit`, `audit_proofs` and `access_log` authorise. Nothing here locks the log or writes.
"""

from collections.abc import Collection, Iterator
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from sqlalchemy import ColumnElement, and_
from sqlalchemy import select as select_columns
from sqlmodel import Session, col, select

from core.errors import AuditLogBroken
from core.services.audit_log import HEAD_SIGNERS
from db.models import AuditEntry, AuditHead
from security.audit import verify_head
from security.certificates import Trust
from security.errors import SecurityError
from security.verify_audit import AuditBroken, Head, KeptHeads, Log, check_head

_PAGE = 2000
_NAMED = {"actor": col(AuditEntry.actor), "action": col(AuditEntry.action), "object": col(AuditEntry.object)}


@dataclass(frozen=True)
class LogView:
    """A log that was verified from its first entry to its signed head.

    Attributes:
        size: number of entries.
        root: root of the tree over them, hex.
        signer: party that signed the head.
        signed_at: when.
    """

    size: int
    root: str
    signer: str
    signed_at: datetime


@dataclass(frozen=True)
class SignedEnd:
    """The stored head, whose signature was checked: where the log ends for whoever reads it now.

    Attributes:
        head: what was signed.
        signer: who signed it.
        envelope: the signed head.
    """

    head: Head
    signer: str
    envelope: bytes


def signed_end(session: Session, trust: Trust) -> SignedEnd:
    """Return the stored head without locking it: others go on writing while somebody reads.

    Raises:
        AuditLogBroken: it does not hold.
    """
    stored = session.get(AuditHead, 1, populate_existing=True)
    if stored is None or stored.signer not in HEAD_SIGNERS:
        raise AuditLogBroken("the signed head is missing, or of a party that does not sign")
    try:
        head = verify_head(stored.signature, trust=trust, party=stored.signer)
    except SecurityError as error:
        raise AuditLogBroken("its signed head does not hold") from error
    return SignedEnd(head, stored.signer, stored.signature)


def entries_until(session: Session, head: Head, kept: KeptHeads | None = None) -> Iterator[tuple[bytes, str]]:
    """Yield the stored entries that a head vouches for (encoded, chain hash in hex), each checked; at last the head.

    They are read as they are needed, so that a log of any length takes the same memory. They are compared with `kept`
    heads, too.

    Raises:
        AuditLogBroken: names the first entry that does not fit.
    """
    log, kept = Log(), kept or KeptHeads()
    place = col(AuditEntry.number)
    statement = select_columns(col(AuditEntry.entry), col(AuditEntry.chain_hash), *_NAMED.values())
    stored = statement.where(place <= head.size).order_by(place)
    try:
        for entry, chain_hash, *named in session.execute(stored, execution_options={"yield_per": _PAGE}):
            kept.compare(log)
            fields = log.take(entry, chain_hash)
            _compare(named, fields, log.size)
            yield entry, chain_hash
        check_head(head, size=log.size, chain_hash=log.chain_hash, root=log.root())
        kept.finish(log)
        _refuse_more(session, head)
    except AuditBroken as error:
        raise AuditLogBroken(str(error)) from error


def _compare(named: list[str], fields: dict[str, Any], number: int) -> None:
    """Refuse an entry that its columns would hide from whoever looks for it, or show to somebody else."""
    if named != [fields[name] for name in _NAMED]:
        raise AuditBroken("the columns that it is found by were changed", number)


def _refuse_more(session: Session, head: Head) -> None:
    """Refuse entries after the last one, but for those that were written, with their head, while the log was read."""
    place = col(AuditEntry.number)
    after = session.execute(select(place).where(place > head.size).order_by(place).limit(1)).scalar()
    if after is not None and session.execute(select(col(AuditHead.size))).scalar() == head.size:
        raise AuditBroken("added after the head was signed", after)


def verified(session: Session, trust: Trust, kept: KeptHeads | None = None) -> SignedEnd:
    """Check the whole log, as it ends now, against its signed head and `kept` ones.

    Raises:
        AuditLogBroken: names the first entry that does not fit.
    """
    end = signed_end(session, trust)
    for _ in entries_until(session, end.head, kept):
        pass
    return end


def concerns(ids: Collection[str]) -> ColumnElement[bool]:
    """Return the condition of the rows whose entry is about one of these ids."""
    return col(AuditEntry.object).in_(sorted(ids))


def begins(action: str) -> ColumnElement[bool]:
    """Return the condition of the rows whose action begins with this."""
    return and_(col(AuditEntry.action) >= action, col(AuditEntry.action) < f"{action}\x7f")
