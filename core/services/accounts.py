"""Accounts: patients register themselves, the authority makes all others. Signing in is re-exported from `sessions`."""

import re
from collections.abc import Collection

from sqlalchemy.exc import IntegrityError
from sqlmodel import Session, select

from core.errors import InvalidInput, NotFound, RegistrationRefused
from core.services import audit
from core.services.app import Actor, App
from core.services.authorise import Action, Relation, authorise
from core.services.consents import (
    CONSENT_TEXTS,
    CONSENT_VERSION,
    ConsentPurpose,
    ConsentView,
    consents,
    give_consent,
    record_consents,
    withdraw_consent,
)
from core.services.context import Profile, open_profile, seal_profile
from core.services.genuine import change, stamp
from core.services.rate_limits import REGISTRATIONS, spend
from core.services.sessions import (
    SessionView,
    actor_of,
    change_password,
    check_password,
    end_other_sessions,
    end_sessions,
    hash_new_password,
    normalise_username,
    redeem_code,
    session_actor,
    sessions,
    sign_out,
)
from core.services.vault import make_key, note_key, profile_key
from db.engine import session_scope
from db.models import PatientKey, Role, User
from db.types import new_id
from security.passwords import ROUNDS

__all__ = [
    "CONSENT_TEXTS",
    "CONSENT_VERSION",
    "ConsentPurpose",
    "ConsentView",
    "Profile",
    "Role",
    "SessionView",
    "change_password",
    "change_profile",
    "check_password",
    "consents",
    "create_account",
    "end_other_sessions",
    "give_consent",
    "new_user",
    "profile",
    "redeem_code",
    "register_patient",
    "session_actor",
    "sessions",
    "set_active",
    "sign_out",
    "withdraw_consent",
]

DEMO_PREFIX = "demo-"
_USERNAME = re.compile(r"[a-z0-9][a-z0-9._-]{2,39}")
_EMAIL = re.compile(r"[^@\s]{1,64}@[^@\s]{1,190}")
_MAX_NAME = 80


def register_patient(
    app: App,
    *,
    username: str,
    password: str,
    display_name: str,
    email: str = "",
    city: str = "",
    consents: Collection[ConsentPurpose] = (),
    address: str = "",
) -> Actor:
    """Make a patient's account with the consents that were given; nobody is signed in by this.

    `address` is the network address of the browser, or "" where it is not known.

    Raises:
        TooOften: too many accounts from this address.
        RegistrationRefused: a field is not acceptable, or the user name is taken.
    """
    name = normalise_username(username)
    if name.startswith(DEMO_PREFIX):
        raise RegistrationRefused("this user name is kept for the demo")
    if address:
        spend(app, REGISTRATIONS, address)
    try:
        person = Profile(display_name.strip(), email.strip(), city.strip())
        user = new_user(app, username=name, password=password, role=Role.PATIENT, profile=person)
    except InvalidInput as error:
        raise RegistrationRefused(error.detail) from error
    actor = actor_of(app, user)
    try:
        with session_scope(app.engine) as session:
            session.add(user)
            session.flush()
            made = make_key(app, session, actor.user_id)
            audit.append(app, session, actor, "account.register", object_id=actor.user_id)
            note_key(app, session, actor.user_id, made)
            record_consents(app, session, actor, consents)
    except IntegrityError as error:
        raise RegistrationRefused("this user name is taken") from error
    return actor


def create_account(
    app: App,
    actor: Actor,
    *,
    username: str,
    password: str,
    display_name: str,
    role: Role,
    hospital_id: str | None = None,
) -> Actor:
    """Make a doctor's, hospital's or authority's account.

    Raises:
        NotAuthorised: only the authority makes accounts.
        InvalidInput: a field is not acceptable, the hospital does not fit the role, or the user name is taken.
    """
    with session_scope(app.engine) as session:
        authorise(app, session, actor, Action.MANAGE_ACCOUNTS, Relation.ANY)
    if role is Role.PATIENT:
        raise InvalidInput("patients register themselves")
    if (hospital_id is not None) != (role in {Role.DOCTOR, Role.HOSPITAL}):
        raise InvalidInput("doctors and hospital administrators belong to a hospital, others to none")
    person = Profile(display_name.strip())
    user = new_user(app, username=username, password=password, role=role, profile=person, hospital_id=hospital_id)
    made = actor_of(app, user)
    try:
        with session_scope(app.engine) as session:
            session.add(user)
            session.flush()
            details = {"role": role.value}
            audit.append(app, session, actor, "account.create", object_id=made.user_id, details=details)
    except IntegrityError as error:
        raise InvalidInput("this user name is taken, or the hospital does not exist") from error
    return made


def set_active(app: App, actor: Actor, user_id: str, *, active: bool) -> None:
    """Open or close an account; closing it ends its sessions at once.

    Raises:
        NotAuthorised: only the authority does this.
        NotFound: there is no such account.
        InvalidInput: it is one's own, the last open one of the authority, or a patient's who had everything erased.
        RecordDamaged: the account was changed from outside.
    """
    with session_scope(app.engine) as session:
        authorise(app, session, actor, Action.MANAGE_ACCOUNTS, Relation.ANY, object_id=user_id)
        if user_id == actor.user_id:
            raise InvalidInput("another authority account must do this to yours")
        officers = select(User).where(User.role == Role.AUTHORITY).order_by(User.id).with_for_update()
        locked = session.exec(officers.execution_options(populate_existing=True)).all()
        others = [row.id for row in locked if row.is_active and row.id != user_id]
        user = session.get(User, user_id, with_for_update=True)
        if user is None:
            raise NotFound
        if user.role is Role.AUTHORITY and not active and not others:  # two that close each other at the same time
            raise InvalidInput("this is the last open account of the authority: open another one first")
        key = session.get(PatientKey, user_id)
        if active and key is not None and key.erasing_at is not None:
            raise InvalidInput("this patient had everything erased: the account stays closed")
        change(app, user, is_active=active)
        if not active:
            end_sessions(app, session, user_id)
        audit.append(app, session, actor, "account.active", object_id=user_id, details={"active": active})


def profile(app: App, actor: Actor) -> Profile:
    """Return one's own profile. For patients the read is an act in the audit log: call it where it is shown.

    Raises:
        NotAuthorised: the account is gone.
        RecordDamaged: the profile was changed from outside.
    """
    with session_scope(app.engine) as session:
        authorise(app, session, actor, Action.READ_PROFILE, Relation.SELF, object_id=actor.user_id)
        if actor.role is Role.PATIENT:
            audit.append(app, session, actor, "profile.read", object_id=actor.user_id)
        return open_profile(profile_key(app, session, actor.user_id), _own(session, actor))


def change_profile(app: App, actor: Actor, new: Profile) -> None:
    """Change one's own profile.

    Raises:
        InvalidInput: a field is not acceptable.
    """
    _check_profile(new)
    with session_scope(app.engine) as session:
        authorise(app, session, actor, Action.CHANGE_PROFILE, Relation.SELF, object_id=actor.user_id)
        user = _own(session, actor, lock=True)  # a key that is made meanwhile takes the profile under it
        user.profile = seal_profile(profile_key(app, session, user.id), user.id, new)
        audit.append(app, session, actor, "profile.change", object_id=actor.user_id)


def new_user(
    app: App,
    *,
    username: str,
    password: str,
    role: Role,
    profile: Profile,
    hospital_id: str | None = None,
    is_demo: bool = False,
    rounds: int = ROUNDS,
) -> User:
    """Return a checked, unsaved account; its password is hashed (250 ms: keep it out of transactions).

    Raises:
        InvalidInput: the user name, the password or the profile is not acceptable.
    """
    name = normalise_username(username)
    if not _USERNAME.fullmatch(name):
        raise InvalidInput("the user name takes 3 to 40 small letters, digits, dots, hyphens or underscores")
    _check_profile(profile)
    hashed = hash_new_password(name, password, rounds=rounds)
    user_id = new_id()
    user = User(
        id=user_id,
        username=name,
        role=role,
        password_hash=hashed,
        profile=seal_profile(app.records, user_id, profile),
        hospital_id=hospital_id,
        is_demo=is_demo,
        created_at=app.clock.now(),
    )
    return stamp(app, user)


def _check_profile(person: Profile) -> None:
    if not 1 <= len(person.display_name) <= _MAX_NAME or not person.display_name.isprintable():
        raise InvalidInput(f"a name of 1 to {_MAX_NAME} characters is needed")
    if person.email and not _EMAIL.fullmatch(person.email):
        raise InvalidInput("the e-mail address is not complete")
    if len(person.city) > _MAX_NAME:
        raise InvalidInput("the city is not one of the list")


def _own(session: Session, actor: Actor, *, lock: bool = False) -> User:
    user = session.get(User, actor.user_id, with_for_update=lock)
    if user is None:
        raise NotFound
    return user
