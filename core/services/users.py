"""All accounts as the authority manages them: found, unlocked, signed out. Making and closing them is in `accounts`.

A patient is a pseudonym here: the first digits of the account's id, as the audit log knows it. Neither the user name
nor the profile is shown; whoever was told a patient's whole user name (by that patient, who asks for help) finds the
account by it, which the patient sees under “Who looked”.
"""

from collections.abc import Collection, Sequence
from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum

from sqlalchemy import ColumnElement, and_, or_
from sqlmodel import Session, col, func, select

from core.errors import InvalidInput, NotFound
from core.services import audit
from core.services.app import Actor, App
from core.services.attempts import Guess, forget_failures, locked_names
from core.services.authorise import Action, Relation, authorise
from core.services.sessions import end_sessions, normalise_username
from db.engine import read_scope, session_scope
from db.models import Hospital, PatientKey, Role, User, UserSession

__all__ = ["AccountState", "UserList", "UserView", "end_all_sessions", "staff_names", "unlock", "users"]

MAX_LISTED = 200
_PSEUDONYM_DIGITS = 8
_LEAST_DIGITS = 4


class AccountState(StrEnum):
    """How an account stands."""

    OPEN = "open"
    CLOSED = "closed"
    ERASED = "erased"


@dataclass(frozen=True, kw_only=True)
class UserView:
    """An account as the authority sees it.

    Attributes:
        user_id: id of the account.
        name: the name they sign in with; of a patient, a pseudonym.
        role: one of the four.
        hospital: name of the hospital, or "".
        state: open, closed, or erased at the patient's wish.
        paused_until: sign-in is paused until then, after wrong passwords or codes; None otherwise.
        sessions: browsers that are signed in now.
        second_factor: whether an authenticator is set up.
        is_demo: whether set-up made it for the demo.
        created_at: when it was made, UTC.
    """

    user_id: str
    name: str
    role: Role
    hospital: str
    state: AccountState
    paused_until: datetime | None
    sessions: int
    second_factor: bool
    is_demo: bool
    created_at: datetime


@dataclass(frozen=True)
class UserList:
    """What a search found.

    Attributes:
        found: the accounts, by role and name, at most `MAX_LISTED`.
        total: how many there are that fit.
        open_by_role: how many accounts of each role are open, whatever was searched for.
    """

    found: list[UserView]
    total: int
    open_by_role: dict[Role, int]


def users(
    app: App,
    actor: Actor,
    *,
    search: str = "",
    roles: Collection[Role] = frozenset(Role),
    states: Collection[AccountState] = frozenset(AccountState),
) -> UserList:
    """Return accounts, and how many there are.

    Args:
        app: the application.
        actor: who asks.
        search: part of the user name of staff or of the name of their hospital; of a patient, the first four or more
            characters of the pseudonym, or the whole user name. Everything when empty.
        roles: only accounts of these.
        states: only accounts in these.

    Raises:
        NotAuthorised: only the authority sees them.
    """
    wanted = normalise_username(search)
    with session_scope(app.engine) as session:
        authorise(app, session, actor, Action.LIST_ACCOUNTS, Relation.ANY)
        hospitals = {row.id: row.name for row in session.exec(select(Hospital)).all()}
        named = [key for key, name in hospitals.items() if wanted in name.lower()]
        fits = and_(
            col(User.role).in_(list(roles)),
            or_(*(_in_state(state) for state in states)) if states else col(User.id).is_(None),
            *([_matches(wanted, named)] if wanted else []),
        )
        total = session.exec(select(func.count()).select_from(User).where(fits)).one()
        order = col(User.role), col(User.username)
        rows = session.exec(select(User).where(fits).order_by(*order).limit(MAX_LISTED)).all()
        found = _views(app, session, rows, hospitals)
        by_role = select(User.role, func.count()).where(col(User.is_active)).group_by(col(User.role))
        counts = {Role(role): count for role, count in session.exec(by_role).all()}
        for row in rows:
            if row.role is Role.PATIENT and row.username == wanted:
                audit.append(app, session, actor, "account.find", object_id=row.id)
    return UserList(sorted(found, key=lambda one: (one.role, one.name)), total, counts)


def staff_names(app: App, actor: Actor) -> dict[str, str]:
    """Return the user names of all who are not patients, by id of the account.

    Raises:
        NotAuthorised: only the authority sees them.
    """
    with read_scope(app.engine) as session:
        authorise(app, session, actor, Action.LIST_ACCOUNTS, Relation.ANY)
        return dict(session.exec(select(User.id, User.username).where(col(User.role) != Role.PATIENT)).all())


def end_all_sessions(app: App, actor: Actor, user_id: str) -> int:
    """Sign an account out in every browser; returns in how many. The account stays open.

    Raises:
        NotAuthorised: only the authority does this.
        NotFound: there is no such account.
        InvalidInput: it is one's own.
    """
    with session_scope(app.engine) as session:
        _other(app, session, actor, user_id, instead="end your own sessions under My account, Browsers")
        ended = end_sessions(app, session, user_id)
        audit.append(app, session, actor, "account.sessions", object_id=user_id, details={"ended": ended})
    return ended


def unlock(app: App, actor: Actor, user_id: str) -> None:
    """Let an account try passwords and codes again before its pause after wrong ones is over.

    Raises:
        NotAuthorised: only the authority does this.
        NotFound: there is no such account.
        InvalidInput: it is one's own, or its sign-in is not paused.
    """
    with session_scope(app.engine) as session:
        user = _other(app, session, actor, user_id, instead="another authority account must do this to yours")
        if not locked_names(app, session, [user.username]):
            raise InvalidInput("the sign-in of this account is not paused")
        for guess in Guess:
            forget_failures(app, session, user.username, guess)
        audit.append(app, session, actor, "account.unlock", object_id=user_id)


def _other(app: App, session: Session, actor: Actor, user_id: str, *, instead: str) -> User:
    authorise(app, session, actor, Action.MANAGE_ACCOUNTS, Relation.ANY, object_id=user_id)
    if user_id == actor.user_id:
        raise InvalidInput(instead)
    user = session.get(User, user_id, with_for_update=True)
    if user is None:
        raise NotFound
    return user


def _matches(wanted: str, hospital_ids: Sequence[str]) -> ColumnElement[bool]:
    is_patient = col(User.role) == Role.PATIENT
    staff = or_(col(User.username).contains(wanted, autoescape=True), col(User.hospital_id).in_(hospital_ids))
    digits = wanted.removeprefix("patient").strip()
    begins = col(User.id).startswith(digits, autoescape=True)
    patient = or_(col(User.username) == wanted, *([begins] if len(digits) >= _LEAST_DIGITS else []))
    return or_(and_(~is_patient, staff), and_(is_patient, patient))


def _in_state(state: AccountState) -> ColumnElement[bool]:
    erased = col(User.id).in_(select(PatientKey.user_id).where(col(PatientKey.erased_at).is_not(None)))
    if state is AccountState.ERASED:
        return erased
    return and_(~erased, col(User.is_active) if state is AccountState.OPEN else ~col(User.is_active))


def _views(app: App, session: Session, rows: Sequence[User], hospitals: dict[str, str]) -> list[UserView]:
    ids = [row.id for row in rows]
    live = col(UserSession.revoked_at).is_(None), col(UserSession.expires_at) > app.clock.now()
    counted = select(UserSession.user_id, func.count()).where(col(UserSession.user_id).in_(ids), *live)
    signed_in = dict(session.exec(counted.group_by(col(UserSession.user_id))).all())
    gone = select(PatientKey.user_id).where(col(PatientKey.user_id).in_(ids), col(PatientKey.erased_at).is_not(None))
    erased = set(session.exec(gone).all())
    paused = locked_names(app, session, [row.username for row in rows])
    return [
        UserView(
            user_id=row.id,
            name=_pseudonym(row.id) if row.role is Role.PATIENT else row.username,
            role=row.role,
            hospital=hospitals.get(row.hospital_id or "", ""),
            state=_state(row, is_erased=row.id in erased),
            paused_until=paused.get(row.username),
            sessions=signed_in.get(row.id, 0),
            second_factor=row.second_factor,
            is_demo=row.is_demo,
            created_at=row.created_at,
        )
        for row in rows
    ]


def _pseudonym(user_id: str) -> str:
    return f"patient {user_id[:_PSEUDONYM_DIGITS]}"


def _state(row: User, *, is_erased: bool) -> AccountState:
    if is_erased:
        return AccountState.ERASED
    return AccountState.OPEN if row.is_active else AccountState.CLOSED
