"""Counting guesses under a name, at its password or its codes, and closing it for a while after five failures in a row.

The two are counted apart: else whoever knows the password could start anew with the codes as often as they like.
An attempt is counted before the password is compared, so that a burst of parallel guesses gets no more than five. Names
are counted whether an account exists or not: nothing tells the two apart.
"""

import hashlib
import hmac
from collections.abc import Iterable
from datetime import datetime, timedelta
from enum import StrEnum

from sqlalchemy import delete
from sqlalchemy.exc import IntegrityError
from sqlmodel import Session, col, select

from core.errors import AccountLocked
from core.services import audit
from core.services.app import App
from core.services.genuine import is_genuine
from db.engine import session_scope
from db.models import SignInFailures, User

MAX_FAILURES = 5
LOCK = timedelta(minutes=15)
FORGET_AFTER = timedelta(days=1)
ANONYMOUS = "anonymous"


class Guess(StrEnum):
    """What is guessed at; the value is the act in the audit log."""

    PASSWORD = "sign-in.password"  # noqa: S105 - the name of an act
    CODE = "second-factor.code"


def _name_mac(app: App, name: str, guess: Guess) -> str:
    key = app.name_key
    if guess is not Guess.PASSWORD:  # a key of its own: no name that somebody types has the MAC of another guess
        key = hmac.new(key, guess.value.encode(), hashlib.sha256).digest()
    return hmac.new(key, name.encode("utf-8", "replace"), hashlib.sha256).hexdigest()


def reserve_attempt(app: App, name: str, guess: Guess = Guess.PASSWORD) -> User | None:
    """Count an attempt as failed until it succeeds, and return the active account of that name.

    Raises:
        AccountLocked: this guess under this name is closed.
    """
    now, mac = app.clock.now(), _name_mac(app, name, guess)
    with session_scope(app.engine) as session:
        old = col(SignInFailures.last_at) < now - FORGET_AFTER
        session.connection().execute(delete(SignInFailures).where(old))
        row = _failures_row(session, mac, now)
        if row.locked_until is not None and row.locked_until > now:
            minutes = int((row.locked_until - now).total_seconds() // 60) + 1
            raise AccountLocked(f"{minutes} min")
        if row.locked_until is not None:
            row.failures, row.locked_until = 0, None
        row.failures, row.last_at = row.failures + 1, now
        if row.failures >= MAX_FAILURES:
            row.locked_until = now + LOCK
        return session.exec(select(User).where(col(User.username) == name, col(User.is_active))).first()


def _failures_row(session: Session, mac: str, now: datetime) -> SignInFailures:
    """Return the locked row of a name; two processes that make it at once end up with the same one."""
    row = session.get(SignInFailures, mac, with_for_update=True)
    if row is not None:
        return row
    try:
        with session.begin_nested():
            session.add(SignInFailures(name_mac=mac, failures=0, last_at=now))
    except IntegrityError:
        pass
    return session.get_one(SignInFailures, mac, with_for_update=True, populate_existing=True)


def locked_names(app: App, session: Session, names: Iterable[str]) -> dict[str, datetime]:
    """Return until when each of these names is closed to a guess of any kind; those that are not are left out."""
    by_mac = {_name_mac(app, name, guess): name for name in names for guess in Guess}
    closed = select(SignInFailures).where(
        col(SignInFailures.name_mac).in_(by_mac), col(SignInFailures.locked_until) > app.clock.now()
    )
    found: dict[str, datetime] = {}
    for row in session.exec(closed).all():
        if row.locked_until is not None:
            name = by_mac[row.name_mac]
            found[name] = max(found.get(name, row.locked_until), row.locked_until)
    return found


def forget_failures(app: App, session: Session, name: str, guess: Guess = Guess.PASSWORD) -> None:
    """Start counting anew after a success, inside the caller's transaction."""
    mac = col(SignInFailures.name_mac) == _name_mac(app, name, guess)
    session.connection().execute(delete(SignInFailures).where(mac))


def note_failure(app: App, name: str, user: User | None, guess: Guess = Guess.PASSWORD) -> None:
    """Write the failure to the audit log.

    Raises:
        AccountLocked: it was the fifth in a row.
    """
    changed = {"reason": "changed-outside"} if user is not None and not is_genuine(app, user) else {}
    with session_scope(app.engine) as session:
        row = session.get(SignInFailures, _name_mac(app, name, guess))
        locked = row is not None and row.locked_until is not None
        audit.append(
            app,
            session,
            ANONYMOUS,
            guess.value,
            object_id=user.id if user else "",
            outcome=audit.Outcome.REFUSED,
            details={"locked": locked, **changed},
        )
    if locked:
        raise AccountLocked(f"{int(LOCK.total_seconds() // 60)} min")
