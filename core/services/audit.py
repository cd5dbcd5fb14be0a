"""Reading the audit log: list, verify, export; the authority's alone. What writes it, `audit_log`, is re-exported."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import datetime

from sqlalchemy import ColumnElement
from sqlmodel import Session, col, select

from core.errors import AuditLogBroken
from core.services.app import Actor, App
from core.services.audit_kept import keep, last_verified
from core.services.audit_log import (
    HEAD_SIGNERS,
    Details,
    Outcome,
    append,
    append_signed,
    begin_log,
)
from core.services.audit_rows import LogView, SignedEnd, begins, concerns, entries_until, signed_end, verified
from core.services.authorise import Action, Relation, authorise
from db.engine import read_scope, session_scope
from db.models import AuditEntry
from security.audit import decode_entry
from security.audit_export import export_lines

__all__ = [
    "HEAD_SIGNERS",
    "Details",
    "EntryView",
    "LogView",
    "Outcome",
    "append",
    "append_signed",
    "begin_log",
    "export",
    "list_entries",
    "root_certificate",
    "verify",
]

_PAGE = 500


@dataclass(frozen=True)
class EntryView:
    """One entry as the authority sees it.

    Attributes:
        number: place in the log, from 1.
        time: when.
        actor: id of the person, name of the party, or ``anonymous``.
        role: role of the person, or ``party``.
        action: what was done.
        object_id: id of what it was done to, or "".
        outcome: how it ended.
        details: codes and numbers.
    """

    number: int
    time: datetime
    actor: str
    role: str
    action: str
    object_id: str
    outcome: str
    details: Details


def list_entries(
    app: App,
    actor: Actor,
    *,
    action: str = "",
    person: str = "",
    object_id: str = "",
    outcome: Outcome | None = None,
    before: int | None = None,
    limit: int = 100,
) -> list[EntryView]:
    """Return entries, the newest first; that somebody looked becomes an entry too.

    Args:
        app: the application.
        actor: who asks.
        action: only actions that begin with this, for example ``case.``.
        person: only acts of this user id or party.
        object_id: only acts on this object.
        outcome: only this outcome.
        before: only entries with a lower number (the next page).
        limit: at most this many.

    Raises:
        NotAuthorised: only the authority reads the log.
        AuditLogBroken: an entry cannot be read.
    """
    found: list[EntryView] = []
    with read_scope(app.engine) as session:
        authorise(app, session, actor, Action.READ_AUDIT, Relation.ANY)
        narrowed = [
            *([begins(action)] if action else []),
            *([col(AuditEntry.actor) == person] if person else []),
            *([concerns([object_id])] if object_id else []),
        ]
        for view in _newest_first(session, before, narrowed):
            wanted = (not person or view.actor == person) and (not object_id or view.object_id == object_id)
            if wanted and view.action.startswith(action) and (outcome is None or view.outcome == outcome):
                found.append(view)
                if len(found) >= limit:
                    break
    with session_scope(app.engine) as session:
        append(app, session, actor, "audit.read", details={"entries": len(found)})
    return found


def verify(app: App, actor: Actor) -> LogView:
    """Check the whole log, entry by entry, against its signed head; others go on writing meanwhile.

    The app keeps the head in its own folder, and the next check finds a log that was put back behind it: whoever
    restores an older database on purpose removes the file ``audit.kept`` there.

    Raises:
        NotAuthorised: only the authority verifies.
        AuditLogBroken: names the first entry that does not fit.
    """
    with read_scope(app.engine) as session:
        authorise(app, session, actor, Action.VERIFY_AUDIT, Relation.ANY)
        end = verified(session, app.trust(session), last_verified(app))
    with session_scope(app.engine) as session:
        append(app, session, actor, "audit.verify", details={"size": end.head.size})
        after = signed_end(session, app.trust(session))
    keep(app, after)
    return LogView(end.head.size, end.head.root.hex(), end.signer, end.head.time)


def export(app: App, actor: Actor) -> bytes:
    """Return the log as JSON lines, verified on the way; its last entry is this export, and the app signs the head.

    `security.verify_audit` checks it anywhere.

    Raises:
        NotAuthorised: only the authority exports.
        AuditLogBroken: names the first entry that does not fit.
    """
    end = end_after(app, actor, "audit.export")
    with read_scope(app.engine) as session:
        entries = entries_until(session, end.head, last_verified(app))
        return b"".join(export_lines(entries, head=end.envelope, root=app.root))


def root_certificate(app: App) -> bytes:
    """Return the authority's root certificate (PEM), public: who keeps it can verify exports without trusting them."""
    return app.root.pem


def end_after(
    app: App, actor: Actor, action: str, *, needs: Action = Action.EXPORT_AUDIT, details: Details | None = None
) -> SignedEnd:
    """Write down what somebody takes out of the log, and return the signed head that covers it.

    Raises:
        NotAuthorised: the policy does not let them.
    """
    with session_scope(app.engine) as session:
        authorise(app, session, actor, needs, Relation.ANY)
        append(app, session, actor, action, details=details)
        return signed_end(session, app.trust(session))


def _newest_first(session: Session, before: int | None, which: Sequence[ColumnElement[bool]]) -> Iterator[EntryView]:
    while True:
        statement = select(AuditEntry).where(*which).order_by(col(AuditEntry.number).desc()).limit(_PAGE)
        if before is not None:
            statement = statement.where(col(AuditEntry.number) < before)
        rows = session.exec(statement).all()
        for row in rows:
            try:
                entry = decode_entry(row.entry)
            except ValueError as error:
                raise AuditLogBroken(f"entry {row.number} cannot be read") from error
            yield EntryView(
                entry.number,
                entry.time,
                entry.actor,
                entry.role,
                entry.action,
                entry.object,
                entry.outcome,
                entry.details,
            )
        if len(rows) < _PAGE:
            return
        before = rows[-1].number
