"""Values that services pass around: who acts (`Actor`), what is known of a person (`Profile`), what was signed last.

Decisions are made in `authorise`.
"""

import json
from dataclasses import asdict, dataclass, field
from typing import TYPE_CHECKING

from sqlmodel import Session

from core.errors import DataErased, NotFound, RecordDamaged
from db.models import Role, User
from security.audit import LogState
from security.context import Context, Purpose
from security.errors import SealBroken
from security.records import RecordCipher

if TYPE_CHECKING:
    from core.services.app import App

APP_PARTY = "app"
DAMAGED_NAME = "(name damaged)"
ERASED_NAME = "(erased)"
_NAMES = "hemaseal_names"


@dataclass(frozen=True)
class Actor:
    """A signed-in person, as the database knew them when this request began.

    Attributes:
        user_id: id of the account.
        username: the name they sign in with.
        role: one of the four roles.
        hospital_id: the hospital of a doctor or a hospital's administrator, else None.
        session: names the row of the session through which they act; "" where there is none.
    """

    user_id: str
    username: str
    role: Role
    hospital_id: str | None = None
    session: str = field(default="", repr=False, compare=False)


@dataclass(frozen=True)
class Profile:
    """Personal fields; sealed before they reach the database.

    Attributes:
        display_name: how the person is addressed.
        email: e-mail address, or "".
        city: a city of the bundled list, or "".
    """

    display_name: str
    email: str = ""
    city: str = ""


class KnownHead:
    """The head of the audit log that this process signed last, and the state it stands for.

    Attributes:
        last: (signed head, state), or None; replaced as a whole, so that threads may share it.
    """

    __slots__ = ("last",)

    def __init__(self) -> None:
        self.last: tuple[bytes, LogState] | None = None


def _context(user_id: str) -> Context:
    return Context(purpose=Purpose.PROFILE, study="", sender=APP_PARTY, object_id=user_id)


def seal_profile(key: RecordCipher, user_id: str, profile: Profile) -> bytes:
    """Return the profile of the account `user_id`, sealed under the key of `core.services.vault.profile_key`."""
    return key.seal(json.dumps(asdict(profile)).encode(), context=_context(user_id))


def open_profile(key: RecordCipher, user: User) -> Profile:
    """Return the profile of an account.

    Raises:
        RecordDamaged: the row was changed, belongs to another account, or lies under another key.
    """
    try:
        return Profile(**json.loads(key.open(user.profile, context=_context(user.id))))
    except SealBroken as error:
        raise RecordDamaged from error


def display_name(app: "App", session: Session, user_id: str) -> str:
    """Return how a person is addressed, or that the name was erased or damaged. The caller has authorised the view.

    A profile is opened once in a transaction.

    Raises:
        NotFound: there is no such account.
    """
    from core.services.vault import profile_key  # noqa: PLC0415 (it needs the application, which needs this module)

    user = session.get(User, user_id)
    if user is None:
        raise NotFound
    known: dict[str, tuple[User, bytes, str]] = session.info.setdefault(_NAMES, {})
    if user_id not in known or known[user_id][1] != user.profile:
        try:
            name = open_profile(profile_key(app, session, user_id), user).display_name
        except DataErased:
            name = ERASED_NAME
        except RecordDamaged:  # one damaged name must not hide a whole list
            name = DAMAGED_NAME
        known[user_id] = user, user.profile, name
    return known[user_id][2]
