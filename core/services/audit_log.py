"""Writing the audit log: an entry in the same transaction as the act, a signed head after each.

Append last in a transaction: every append locks the one head row until the commit. Before it grows, the stored head's
signature is checked, so that a log that was rewritten from outside is never continued, and so never signed. Nor is a
head signed while the clock is outside the validity of the signer's certificate: nobody could go on after it.
"""

import re
from collections.abc import Callable, Mapping
from datetime import datetime
from enum import StrEnum
from typing import Any, TypeVar

from sqlalchemy import insert, update
from sqlalchemy import select as select_columns
from sqlmodel import Session, col, select

from core.clock import Clock
from core.errors import AuditLogBroken, ClockWrong
from core.services.app import App
from core.services.context import APP_PARTY, Actor, KnownHead
from core.studies import STUDIES
from db.models import AuditEntry, AuditHead
from security.audit import Entry, LogState, sign_head, verify_head
from security.certificates import Trust
from security.errors import SecurityError
from security.identity import Identity
from security.merkle import Frontier
from security.verify_audit import AuditBroken, check_head

HEAD_SIGNERS = (APP_PARTY, "coordinator")
Details = Mapping[str, str | int | bool | None]
_CODE = re.compile(r"[A-Za-z0-9_.:/+-]{0,64}")
_DISEASES = frozenset(STUDIES) | {label.name for study in STUDIES.values() for label in study.classes}
_LOCKED_HEAD = (
    select_columns(
        col(AuditHead.size),
        col(AuditHead.chain_hash),
        col(AuditHead.frontier),
        col(AuditHead.signer),
        col(AuditHead.signature),
    )
    .where(col(AuditHead.id) == 1)
    .with_for_update()
)
_ADD_ENTRY = insert(AuditEntry)
_CHANGE_HEAD = update(AuditHead).where(col(AuditHead.id) == 1)
_Value = TypeVar("_Value", bound="str | int | bool | None")


class Outcome(StrEnum):
    """How an act ended."""

    DONE = "done"
    REFUSED = "refused"
    FAILED = "failed"


def append(
    app: App,
    session: Session,
    actor: Actor | str,
    action: str,
    *,
    object_id: str = "",
    outcome: Outcome = Outcome.DONE,
    details: Details | None = None,
) -> int:
    """Append an entry inside the caller's transaction, signed by the app; returns its number.

    Args:
        app: the application.
        session: the transaction of the act itself.
        actor: who acted: a person, or the name of a party.
        action: what was done, as ``object.verb``.
        object_id: id of what it was done to.
        outcome: how it ended.
        details: codes and numbers only: never a name, a diagnosis or a text that somebody wrote.

    Raises:
        AuditLogBroken: the log was changed from outside; the transaction must not be committed.
        ClockWrong: the app's certificate is not valid now: a head that nobody accepts would end the log for good.
        ValueError: a detail is not a code.
    """
    state = _locked_head(session, lambda: _living(app.trust(session), app.identity), app.audit_head)
    entry = _entry(
        state, app.clock.now(), actor=actor, action=action, object_id=object_id, outcome=outcome, details=details
    )
    return _grow(session, state, entry, clock=app.clock, signer=app.identity, known=app.audit_head)


def append_signed(
    session: Session,
    *,
    clock: Clock,
    signer: Identity,
    trust: Trust,
    actor: Actor | str,
    action: str,
    object_id: str = "",
    outcome: Outcome = Outcome.DONE,
    details: Details | None = None,
) -> int:
    """Append like `append`, for processes that are not the app: `signer` is one of `HEAD_SIGNERS`."""
    if signer.party not in HEAD_SIGNERS:
        raise ValueError(f"{signer.party} does not sign the audit log")
    state = _locked_head(session, lambda: _living(trust, signer))
    entry = _entry(
        state, clock.now(), actor=actor, action=action, object_id=object_id, outcome=outcome, details=details
    )
    return _grow(session, state, entry, clock=clock, signer=signer)


def begin_log(session: Session, *, clock: Clock, signer: Identity) -> bool:
    """Write the signed head of an empty log; set-up does this once. Returns False where there is a log."""
    if session.get(AuditHead, 1) is not None:
        return False
    if session.exec(select(AuditEntry.number).limit(1)).first() is not None:
        raise AuditLogBroken("the signed head is missing")
    signature = sign_head(LogState(), time=clock.now(), signer=signer)
    values = _columns(LogState(), signer, signature)
    session.add(AuditHead(id=1, **values))
    return True


def _locked_head(session: Session, trust: Callable[[], Trust], known: KnownHead | None = None) -> LogState:
    """Lock the head row and return the state that its signature vouches for.

    A head that this very process signed last (`known`) is recognised byte for byte and not verified again.
    """
    session.flush()  # so that what the act itself locks is locked before the log, by everybody
    head = session.connection().execute(_LOCKED_HEAD).one_or_none()
    if head is None:
        raise AuditLogBroken("the signed head is missing")
    try:
        state = LogState(bytes.fromhex(head.chain_hash), Frontier.from_hex(head.size, head.frontier))
        if head.signer not in HEAD_SIGNERS:
            raise AuditLogBroken("the head was not signed by a party that may")
        if known is not None and known.last == (head.signature, state):
            return state
        signed = verify_head(head.signature, trust=trust(), party=head.signer)
        check_head(signed, size=state.size, chain_hash=state.chain_hash, root=state.frontier.root())
    except (AuditBroken, SecurityError, ValueError, TypeError) as error:
        raise AuditLogBroken("its signed head does not hold") from error
    return state


def _living(trust: Trust, signer: Identity) -> Trust:
    """Refuse a process whose own certificate was revoked while it ran: what it signs, nobody could verify.

    Raises:
        AuditLogBroken: it has to be started again, with the keys that it has now.
    """
    if trust.is_revoked(signer.signing_certificate.serial):
        raise AuditLogBroken("this process works with a key that was revoked; start it again")
    return trust


def _entry(
    state: LogState,
    now: datetime,
    *,
    actor: Actor | str,
    action: str,
    object_id: str,
    outcome: Outcome,
    details: Details | None,
) -> Entry:
    return Entry(
        number=state.next_number,
        time=now,
        actor=actor.user_id if isinstance(actor, Actor) else actor,
        role=actor.role.value if isinstance(actor, Actor) else "party",
        action=_code(action),
        object=_code(object_id),
        outcome=outcome.value,
        details={_code(name): _code(value) for name, value in (details or {}).items()},
    )


def entry_row(entry: Entry, encoded: bytes, chain_hash: bytes) -> dict[str, Any]:
    """Return the row of an entry, with what it is found by."""
    return {
        "number": entry.number,
        "entry": encoded,
        "chain_hash": chain_hash.hex(),
        "actor": entry.actor,
        "action": entry.action,
        "object": entry.object,
    }


def _grow(
    session: Session,
    state: LogState,
    entry: Entry,
    *,
    clock: Clock,
    signer: Identity,
    known: KnownHead | None = None,
) -> int:
    encoded = entry.encode()
    after, now = state.append(encoded), clock.now()
    if not signer.signing_certificate.not_before <= now <= signer.signing_certificate.not_after:
        raise ClockWrong(f"{now:%Y-%m-%d %H:%M} UTC")
    signature = sign_head(after, time=now, signer=signer)
    connection = session.connection()
    connection.execute(_ADD_ENTRY, entry_row(entry, encoded, after.chain_hash))
    connection.execute(_CHANGE_HEAD, _columns(after, signer, signature))
    if known is not None:
        known.last = (signature, after)
    return after.size


def _columns(state: LogState, signer: Identity, signature: bytes) -> dict[str, Any]:
    return {
        "size": state.size,
        "chain_hash": state.chain_hash.hex(),
        "root": state.frontier.root().hex(),
        "frontier": state.frontier.to_hex(),
        "signer": signer.party,
        "signature": signature,
    }


def _code(value: _Value) -> _Value:
    """Return a code or number; refuse free text and names of diseases, which the log must never hold."""
    if isinstance(value, str) and (not _CODE.fullmatch(value) or value in _DISEASES):
        raise ValueError(f"a code expected, not text: {value!r}")
    return value
