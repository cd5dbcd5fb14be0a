"""The second factor: setting up an authenticator, its codes and recovery codes, and stepping a session up.

A code that counts steps up the session in which it was entered, for `STEP_UP_LIFE`; `authorise` asks for that. Wrong
codes are counted like wrong passwords (`attempts`), and apart from them.
"""

import base64
import secrets
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import datetime, timedelta

from sqlalchemy import delete
from sqlmodel import Session, col, func, select

from core.errors import CodeRefused, InvalidInput, NotFound, RecordDamaged, SessionEnded
from core.services import audit
from core.services.app import APP_PARTY, Actor, App
from core.services.attempts import Guess, forget_failures, note_failure, reserve_attempt
from core.services.authorise import Action, Relation, authorise
from core.services.genuine import change, is_genuine, stamp
from core.services.sessions import require_password
from db.engine import read_scope, session_scope
from db.models import RecoveryCode, SecondFactor, User, UserSession
from security import totp
from security.context import Context, Purpose
from security.errors import SealBroken

STEP_UP_LIFE = timedelta(minutes=10)
RECOVERY_CODES = 10
_RECOVERY_BYTES = 10


@dataclass(frozen=True)
class SecondFactorView:
    """How one's own second factor stands.

    Attributes:
        enrolled: whether an authenticator is set up and confirmed.
        required: whether this installation refuses dangerous acts and signing without one.
        recovery_codes: how many are left.
        stepped_up_until: how long this browser needs no code, or None.
    """

    enrolled: bool
    required: bool
    recovery_codes: int
    stepped_up_until: datetime | None


@dataclass(frozen=True)
class Enrolment:
    """What an authenticator is told, once.

    Attributes:
        secret: base32, to be typed in.
        uri: the same as an ``otpauth://`` address.
    """

    secret: str
    uri: str


def second_factor(app: App, actor: Actor) -> SecondFactorView:
    """Return how one's own second factor stands.

    Raises:
        NotAuthorised: the role has no act that needs one.
    """
    with read_scope(app.engine) as session:
        authorise(app, session, actor, Action.READ_SECOND_FACTOR, Relation.SELF, object_id=actor.user_id)
        user = _own(session, actor)
        count = select(func.count()).select_from(RecoveryCode).where(RecoveryCode.user_id == actor.user_id)
        row = session.get(UserSession, actor.session)
        until = row.stepped_up_until if row is not None else None
        return SecondFactorView(
            enrolled=user.second_factor,
            required=app.settings.second_factor_required,
            recovery_codes=session.exec(count).one(),
            stepped_up_until=until if until is not None and until > app.clock.now() else None,
        )


def begin(app: App, actor: Actor, *, password: str) -> Enrolment:
    """Make the secret of a new authenticator; it counts from `confirm` on, and one that was begun before is forgotten.

    Raises:
        SignInFailed, AccountLocked: the password is wrong.
        InvalidInput: an authenticator is set up already.
    """
    with read_scope(app.engine) as session:
        authorise(app, session, actor, Action.CHANGE_SECOND_FACTOR, Relation.SELF, object_id=actor.user_id)
    require_password(app, actor, password)
    secret = totp.new_secret()
    with session_scope(app.engine) as session:
        if _own(session, actor).second_factor:
            raise InvalidInput("an authenticator is set up already; take it off first")
        _forget(session, actor.user_id)
        sealed = app.records.seal(secret.encode(), context=_context(actor.user_id))
        session.add(stamp(app, SecondFactor(user_id=actor.user_id, secret=sealed)))
        audit.append(app, session, actor, "second-factor.begin", object_id=actor.user_id)
    return Enrolment(secret, totp.uri(secret, actor.username))


def confirm(app: App, actor: Actor, code: str) -> list[str]:
    """Set up the authenticator that was begun, with a code that it shows; return the recovery codes, shown once.

    Raises:
        CodeRefused, AccountLocked: the code does not count.
        InvalidInput: none was begun, or one is set up already.
    """
    with _proven(app, actor, code, confirmed=False) as (session, factor):
        change(app, factor, confirmed_at=app.clock.now())
        change(app, _own(session, actor), second_factor=True)
        _step_up(app, session, actor)
        codes = _new_codes(app, session, actor)
        audit.append(app, session, actor, "second-factor.set-up", object_id=actor.user_id)
    return codes


def step_up(app: App, actor: Actor, code: str) -> datetime:
    """Step up this browser with a code of the authenticator or a recovery code; return until when.

    Raises:
        CodeRefused, AccountLocked: the code does not count.
        InvalidInput: no authenticator is set up.
        SessionEnded: there is no session to step up.
    """
    with _proven(app, actor, code) as (session, _):
        until = _step_up(app, session, actor)
        audit.append(app, session, actor, "second-factor.step-up", object_id=actor.user_id)
    return until


def renew_recovery_codes(app: App, actor: Actor, code: str) -> list[str]:
    """Return new recovery codes, shown once; those of before count no more.

    Raises:
        CodeRefused, AccountLocked: the code does not count.
        InvalidInput: no authenticator is set up.
    """
    with _proven(app, actor, code) as (session, _):
        codes = _new_codes(app, session, actor)
        audit.append(app, session, actor, "second-factor.recovery-codes", object_id=actor.user_id)
    return codes


def take_off(app: App, actor: Actor, *, password: str, code: str) -> None:
    """Take off one's own authenticator, with the password and a code.

    Raises:
        SignInFailed: the password is wrong.
        CodeRefused: the code does not count.
        AccountLocked: too many wrong ones.
        InvalidInput: no authenticator is set up.
    """
    _ready(app, actor, confirmed=True)
    require_password(app, actor, password)
    with _proven(app, actor, code) as (session, _):
        _take_off(app, session, actor.user_id)
        audit.append(app, session, actor, "second-factor.take-off", object_id=actor.user_id)


def reset_second_factor(app: App, actor: Actor, user_id: str) -> None:
    """Take off somebody else's authenticator, which they lost with its recovery codes.

    Raises:
        NotAuthorised: only the authority does this.
        NotFound: there is no such account.
        InvalidInput: it is one's own, or has none.
    """
    with session_scope(app.engine) as session:
        authorise(app, session, actor, Action.MANAGE_ACCOUNTS, Relation.ANY, object_id=user_id)
        if user_id == actor.user_id:
            raise InvalidInput("take your own off under My account, with a code")
        user = session.get(User, user_id)
        if user is None:
            raise NotFound
        if not user.second_factor:
            raise InvalidInput("this account has no second factor")
        _take_off(app, session, user_id)
        audit.append(app, session, actor, "second-factor.reset", object_id=user_id)


def _ready(app: App, actor: Actor, *, confirmed: bool) -> None:
    """See, before anything is counted, that the person may do this and that there is a secret to ask for codes of."""
    with read_scope(app.engine) as session:
        authorise(app, session, actor, Action.CHANGE_SECOND_FACTOR, Relation.SELF, object_id=actor.user_id)
        _factor(session, actor, confirmed=confirmed)


def _factor(session: Session, actor: Actor, *, confirmed: bool) -> SecondFactor:
    factor = session.get(SecondFactor, actor.user_id, with_for_update=True)
    if factor is None or (factor.confirmed_at is not None) != confirmed:
        raise InvalidInput("no authenticator is set up" if confirmed else "begin to set one up first")
    return factor


@contextmanager
def _proven(app: App, actor: Actor, code: str, *, confirmed: bool = True) -> Iterator[tuple[Session, SecondFactor]]:
    """Open a transaction in which `code` is spent, and is left unspent if the block fails; a wrong code is counted."""
    _ready(app, actor, confirmed=confirmed)
    user = reserve_attempt(app, actor.username, Guess.CODE)
    with session_scope(app.engine) as session:
        factor = _factor(session, actor, confirmed=confirmed)
        if _spend(app, session, factor, code):
            forget_failures(app, session, actor.username, Guess.CODE)
            yield session, factor
            return
    note_failure(app, actor.username, user, Guess.CODE)
    raise CodeRefused


def _spend(app: App, session: Session, factor: SecondFactor, code: str) -> bool:
    """Tell whether a code counts, and see to it that it never does again."""
    typed = "".join(code.split())
    step = totp.matching_step(_secret(app, factor), typed, at=app.clock.now(), after=factor.last_step)
    if step is not None:
        change(app, factor, last_step=step)
        return True
    kept = session.get(RecoveryCode, _digest(app, factor.user_id, typed), with_for_update=True)
    if kept is None or kept.user_id != factor.user_id or not is_genuine(app, kept):
        return False
    session.delete(kept)
    return True


def _secret(app: App, factor: SecondFactor) -> str:
    if not is_genuine(app, factor):
        raise RecordDamaged
    try:
        return app.records.open(factor.secret, context=_context(factor.user_id)).decode()
    except SealBroken as error:
        raise RecordDamaged from error


def _step_up(app: App, session: Session, actor: Actor) -> datetime:
    row = session.get(UserSession, actor.session, with_for_update=True)
    if row is None or row.user_id != actor.user_id or row.revoked_at is not None:
        raise SessionEnded
    until = app.clock.now() + STEP_UP_LIFE
    change(app, row, stepped_up_until=until)
    return until


def _new_codes(app: App, session: Session, actor: Actor) -> list[str]:
    session.connection().execute(delete(RecoveryCode).where(col(RecoveryCode.user_id) == actor.user_id))
    codes = [base64.b32encode(secrets.token_bytes(_RECOVERY_BYTES)).decode().lower() for _ in range(RECOVERY_CODES)]
    for code in codes:
        row = RecoveryCode(code_hash=_digest(app, actor.user_id, code), user_id=actor.user_id)
        session.add(stamp(app, row))
    return ["-".join(code[at : at + 4] for at in range(0, len(code), 4)) for code in codes]


def _take_off(app: App, session: Session, user_id: str) -> None:
    """Forget secret and recovery codes, and end what codes had stepped up."""
    _forget(session, user_id)
    change(app, session.get_one(User, user_id, with_for_update=True), second_factor=False)
    for row in session.exec(select(UserSession).where(UserSession.user_id == user_id).with_for_update()).all():
        if row.stepped_up_until is not None and is_genuine(app, row):
            change(app, row, stepped_up_until=None)


def _forget(session: Session, user_id: str) -> None:
    session.flush()  # what was spent first, so that nothing is written to a row that is gone
    for table in (RecoveryCode, SecondFactor):
        session.connection().execute(delete(table).where(col(table.user_id) == user_id))


def _own(session: Session, actor: Actor) -> User:
    user = session.get(User, actor.user_id)
    if user is None:
        raise NotFound
    return user


def _context(user_id: str) -> Context:
    return Context(purpose=Purpose.SECOND_FACTOR, study="", sender=APP_PARTY, object_id=user_id)


def _digest(app: App, user_id: str, code: str) -> str:
    """Return the keyed hash of a recovery code, however its letters and hyphens were typed."""
    return app.macs.digest("recovery-code", f"{user_id}:{code.replace('-', '').lower()}")
