"""Rows that say who somebody is carry a MAC of the app: nobody else can make or change them unnoticed.

`stamp` writes it, `is_genuine` checks it, `change` does both, so that a row that was changed from outside is never
confirmed. An older state of a row that somebody kept still holds.

A field that came with a later revision counts where it is set, so that the rows of before keep their MAC.
"""

from datetime import datetime
from typing import Any, TypeVar

from core.errors import RecordDamaged
from core.services.app import App
from db.models import Case, CaseReferral, LoginCode, RecoveryCode, SecondFactor, User, UserSession

Vouched = User | UserSession | LoginCode | Case | CaseReferral | SecondFactor | RecoveryCode
_Row = TypeVar("_Row", bound=Vouched)

_FIELDS: dict[type[Vouched], tuple[str, ...]] = {
    User: ("id", "username", "role", "hospital_id", "password_hash", "is_active", "is_demo"),
    UserSession: ("token_hash", "user_id", "expires_at"),
    LoginCode: ("code_hash", "user_id", "expires_at"),
    Case: ("id", "patient_id", "study_code", "hospital_id", "fallback_hospital_id", "answered_by_hospital_id"),
    CaseReferral: ("id", "case_id", "doctor_id", "from_hospital_id", "to_hospital_id", "status"),
    SecondFactor: ("user_id", "secret", "last_step", "confirmed_at"),
    RecoveryCode: ("code_hash", "user_id"),
}
_LATER: dict[type[Vouched], tuple[str, ...]] = {User: ("second_factor",), UserSession: ("stepped_up_until",)}


def stamp(app: App, row: _Row) -> _Row:
    """Write the MAC of a row that was just made, and return the row."""
    row.mac = app.macs.tag(_kind(row), _values(row))
    return row


def is_genuine(app: App, row: Vouched) -> bool:
    """Tell whether the row is as the app wrote it."""
    return app.macs.holds(row.mac, _kind(row), _values(row))


def change(app: App, row: Vouched, **values: Any) -> None:
    """Change fields of a row that is as the app wrote it.

    Raises:
        RecordDamaged: it was changed from outside; nothing was done.
    """
    if not is_genuine(app, row):
        raise RecordDamaged
    for name, value in values.items():
        setattr(row, name, value)
    stamp(app, row)


def _kind(row: Vouched) -> str:
    return str(type(row).__tablename__)


def _values(row: Vouched) -> dict[str, Any]:
    later = [name for name in _LATER.get(type(row), ()) if getattr(row, name)]
    return {name: _plain(getattr(row, name)) for name in (*_FIELDS[type(row)], *later)}


def _plain(value: Any) -> Any:
    """Return what the database will give back in the same form."""
    if isinstance(value, datetime):
        return value.isoformat()
    return str(value) if isinstance(value, str) else value
