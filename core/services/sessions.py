"""Signing in and out: passwords checked with a lockout (`attempts`), one-time codes, server-side sessions."""

import secrets
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from datetime import datetime, timedelta

from sqlalchemy import delete, update
from sqlmodel import Session, col, select

from core.errors import InvalidInput, SessionEnded, SignInFailed
from core.services import audit
from core.services.app import Actor, App
from core.services.attempts import ANONYMOUS, forget_failures, note_failure, reserve_attempt
from core.services.authorise import Action, Relation, authorise
from core.services.genuine import change, is_genuine, stamp
from core.services.rate_limits import SIGN_INS, give_back, spend
from db.engine import read_scope, session_scope
from db.models import LoginCode, User, UserSession
from security.passwords import ROUNDS, hash_password, verify_password

CODE_LIFE = timedelta(seconds=60)
_KEEP_ENDED = timedelta(days=30)


@dataclass(frozen=True)
class SessionView:
    """One signed-in browser of a person.

    Attributes:
        created_at: when it signed in.
        expires_at: when it ends by itself.
        is_this: whether it is the one that asks.
    """

    created_at: datetime
    expires_at: datetime
    is_this: bool


def normalise_username(username: str) -> str:
    """Return the one spelling of a user name that is stored and compared."""
    return username.strip().lower()


def check_password(app: App, username: str, password: str, *, address: str = "") -> str:
    """Return a single-use code, valid for 60 s, that `redeem_code` turns into a session.

    Args:
        app: the application.
        username: as typed.
        password: as typed.
        address: network address of the browser, or "" where it is not known.

    Raises:
        SignInFailed: unknown name, wrong password or inactive account: not told apart, also not by time.
        AccountLocked: the fifth failure in a row, and every attempt for 15 minutes after it.
        TooOften: too many failures from this address, under whatever names.
    """
    name = normalise_username(username)
    if address:
        spend(app, SIGN_INS, address)
    user = reserve_attempt(app, name)
    matches = verify_password(password, user.password_hash if user else None)
    if user is None or not matches or not is_genuine(app, user):
        note_failure(app, name, user)
        raise SignInFailed
    if address:
        give_back(app, SIGN_INS, address)
    code = secrets.token_urlsafe(32)
    with session_scope(app.engine) as session:
        forget_failures(app, session, name)
        row = LoginCode(code_hash=_digest(app, code), user_id=user.id, expires_at=app.clock.now() + CODE_LIFE)
        session.add(stamp(app, row))
        audit.append(app, session, actor_of(app, user), "sign-in.password", object_id=user.id)
    return code


def redeem_code(app: App, code: str) -> str:
    """Return the token (256 bits) of a new session; the database keeps a keyed hash of it only.

    Raises:
        SessionEnded: the code is unknown, used already or older than 60 s, or a row was changed from outside.
    """
    now = app.clock.now()
    with _noting_damage(app, "sign-in.session"), session_scope(app.engine) as session:
        used = session.connection().execute(
            update(LoginCode)
            .where(
                col(LoginCode.code_hash) == _digest(app, code),
                col(LoginCode.used_at).is_(None),
                col(LoginCode.expires_at) > now,
            )
            .values(used_at=now)
        )
        if used.rowcount != 1:
            raise SessionEnded
        login = session.get_one(LoginCode, _digest(app, code))
        if not is_genuine(app, login):
            raise _Changed(login.user_id)
        user = session.get_one(User, login.user_id)
        actor = actor_of(app, user)
        if not user.is_active:
            raise SessionEnded
        token = secrets.token_urlsafe(32)
        expires = now + timedelta(hours=app.settings.session_hours)
        row = UserSession(token_hash=_digest(app, token), user_id=user.id, created_at=now, expires_at=expires)
        session.add(stamp(app, row))
        session.connection().execute(delete(LoginCode).where(col(LoginCode.expires_at) < now - CODE_LIFE))
        session.connection().execute(delete(UserSession).where(col(UserSession.expires_at) < now - _KEEP_ENDED))
        audit.append(app, session, actor, "sign-in.session", object_id=user.id)
    return token


def session_actor(app: App, token: str) -> Actor:
    """Return who holds this session token, asked of the database now.

    Raises:
        SessionEnded: unknown, signed out, revoked or expired, the account is not active, or session or account were
            changed from outside (which the audit log then says).
    """
    with _noting_damage(app, "session.use"), read_scope(app.engine) as session:
        found = session.exec(
            select(UserSession, User)
            .join(User, col(UserSession.user_id) == col(User.id))
            .where(
                col(UserSession.token_hash) == _digest(app, token),
                col(UserSession.revoked_at).is_(None),
                col(UserSession.expires_at) > app.clock.now(),
                col(User.is_active),
            )
        ).first()
        if found is None:
            raise SessionEnded
        row, user = found
        if not is_genuine(app, row):
            raise _Changed(user.id)
        return replace(actor_of(app, user), session=row.token_hash)


def sign_out(app: App, token: str) -> None:
    """End the session of this token; ending one that has ended is no error."""
    with session_scope(app.engine) as session:
        row = session.get(UserSession, _digest(app, token), with_for_update=True)
        if row is None or row.revoked_at is not None:
            return
        row.revoked_at = app.clock.now()
        user = session.get_one(User, row.user_id)
        known = is_genuine(app, row) and is_genuine(app, user)
        audit.append(app, session, actor_of(app, user) if known else ANONYMOUS, "sign-out", object_id=user.id)


def change_password(app: App, actor: Actor, *, current: str, new: str, token: str = "") -> None:
    """Change one's own password; all sessions but that of `token` end, and unused codes too.

    Raises:
        SignInFailed: the current password is wrong (counted like a failed sign-in).
        AccountLocked: too many wrong ones.
        InvalidInput: the new password is not acceptable (which costs no attempt).
    """
    hashed = hash_new_password(actor.username, new)
    require_password(app, actor, current)
    with session_scope(app.engine) as session:
        authorise(app, session, actor, Action.CHANGE_PASSWORD, Relation.SELF, object_id=actor.user_id)
        change(app, session.get_one(User, actor.user_id, with_for_update=True), password_hash=hashed)
        ended = end_sessions(app, session, actor.user_id, keep=token)
        audit.append(app, session, actor, "password.change", object_id=actor.user_id, details={"ended": ended})


def require_password(app: App, actor: Actor, password: str) -> None:
    """Ask for one's own password again before an act that a borrowed browser must not do.

    Raises:
        SignInFailed: it is wrong (counted like a failed sign-in).
        AccountLocked: too many wrong ones.
    """
    user = reserve_attempt(app, actor.username)
    matches = verify_password(password, user.password_hash if user else None)
    if user is None or user.id != actor.user_id or not matches or not is_genuine(app, user):
        note_failure(app, actor.username, user)
        raise SignInFailed
    with session_scope(app.engine) as session:
        forget_failures(app, session, actor.username)


def hash_new_password(username: str, password: str, *, rounds: int = ROUNDS) -> str:
    """Return the hash of a password that somebody chose.

    Raises:
        InvalidInput: it is too short or too long, or contains the user name.
    """
    if username in password.lower():
        raise InvalidInput("the password must not contain the user name")
    try:
        return hash_password(password, rounds=rounds)
    except ValueError as error:
        raise InvalidInput(str(error)) from error


def sessions(app: App, actor: Actor, token: str = "") -> list[SessionView]:
    """Return one's own live sessions, the newest first."""
    with session_scope(app.engine) as session:
        authorise(app, session, actor, Action.READ_SESSIONS, Relation.SELF, object_id=actor.user_id)
        rows = session.exec(
            select(UserSession)
            .where(
                col(UserSession.user_id) == actor.user_id,
                col(UserSession.revoked_at).is_(None),
                col(UserSession.expires_at) > app.clock.now(),
            )
            .order_by(col(UserSession.created_at).desc())
        ).all()
        audit.append(app, session, actor, "session.read", object_id=actor.user_id, details={"sessions": len(rows)})
    return [SessionView(row.created_at, row.expires_at, row.token_hash == _digest(app, token)) for row in rows]


def end_other_sessions(app: App, actor: Actor, token: str) -> int:
    """End all one's own sessions but that of `token`; returns how many ended."""
    with session_scope(app.engine) as session:
        authorise(app, session, actor, Action.END_SESSION, Relation.SELF, object_id=actor.user_id)
        ended = end_sessions(app, session, actor.user_id, keep=token)
        audit.append(app, session, actor, "sessions.end", object_id=actor.user_id, details={"ended": ended})
    return ended


def end_sessions(app: App, session: Session, user_id: str, *, keep: str = "") -> int:
    """End all sessions and codes of an account inside the caller's transaction; returns how many sessions ended."""
    now = app.clock.now()
    live = col(UserSession.user_id) == user_id, col(UserSession.revoked_at).is_(None)
    others = col(UserSession.token_hash) != _digest(app, keep)
    ended = session.connection().execute(update(UserSession).where(*live, others).values(revoked_at=now))
    codes = col(LoginCode.user_id) == user_id, col(LoginCode.used_at).is_(None)
    session.connection().execute(update(LoginCode).where(*codes).values(used_at=now))
    return ended.rowcount


def actor_of(app: App, user: User) -> Actor:
    """Return the actor of an account.

    Raises:
        SessionEnded: the account was changed from outside.
    """
    if not is_genuine(app, user):
        raise _Changed(user.id)
    return Actor(user.id, user.username, user.role, user.hospital_id)


class _Changed(SessionEnded):
    """A session that ends because a row was changed from outside; to the person it looks like any other end."""

    def __init__(self, user_id: str) -> None:
        super().__init__()
        self.user_id = user_id


@contextmanager
def _noting_damage(app: App, action: str) -> Iterator[None]:
    """Write to the audit log that a changed row was refused, once the transaction that met it is over."""
    try:
        yield
    except _Changed as damage:
        with session_scope(app.engine) as session:
            details = {"reason": "changed-outside"}
            refused = audit.Outcome.REFUSED
            audit.append(app, session, ANONYMOUS, action, object_id=damage.user_id, outcome=refused, details=details)
        raise


def _digest(app: App, secret: str) -> str:
    return app.macs.digest("sign-in", secret)
