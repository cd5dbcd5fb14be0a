"""The head up to which the app verified the log last, in its own folder: a log that was put back behind it is found."""

from core.errors import AuditLogBroken
from core.services.app import App
from core.services.audit_rows import SignedEnd, signed_end
from db.engine import read_scope
from security.audit import kept_line
from security.certificates import Trust
from security.verify_audit import Anchor, AuditBroken, KeptHeads, read_kept

_FILE = "audit.kept"


def last_verified(app: App) -> KeptHeads:
    """Return the kept head, or none before the first.

    Raises:
        AuditLogBroken: the file was changed.
    """
    file = app.store.folder / _FILE
    try:
        return KeptHeads(read_kept(file.read_bytes().splitlines(), Anchor(app.root.parsed)))
    except FileNotFoundError:
        return KeptHeads()
    except AuditBroken as error:
        raise AuditLogBroken(f"{_FILE} of the app's key folder is damaged") from error


def keep(app: App, end: SignedEnd) -> None:
    """Keep the head of a log that was verified up to it."""
    app.store.write(_FILE, kept_line(end.envelope))


def keep_end(app: App, trust: Trust) -> None:
    """Keep the head that was signed with the app's new keys, since the one before is of a root that is no more.

    The log was held against that one when the exchange of keys began.
    """
    with read_scope(app.engine) as session:
        keep(app, signed_end(session, trust))
