"""How often somebody may do what costs work or tells something, counted in the database for all processes together.

The generic cell rate algorithm (ITU-T I.371): each act moves a mark in time by its share of the period, and the mark
may be one period ahead of the clock. So a row of one time per subject is enough, and it says when there is room again.
"""

from contextlib import suppress
from dataclasses import dataclass
from datetime import timedelta
from math import ceil

from sqlalchemy import delete
from sqlalchemy.exc import IntegrityError
from sqlmodel import col

from core.errors import TooOften
from core.services.app import App
from db.engine import session_scope
from db.models import RateLimit

_KEEP = timedelta(minutes=1)  # so that nobody's row goes between its making and its counting


@dataclass(frozen=True)
class Limit:
    """So many acts at once and in each period after it, of one subject.

    Attributes:
        name: what is limited; subjects of two limits are never mixed.
        times: acts in a period.
        period: over which an allowance fills again.
    """

    name: str
    times: int
    period: timedelta

    @property
    def share(self) -> timedelta:
        """What one act takes of the period."""
        return self.period / self.times


SIGN_INS = Limit("sign-in.address", 60, timedelta(minutes=15))
"""Failed sign-ins from one address, under whatever names; `attempts` counts those under one name."""
REGISTRATIONS = Limit("account.register", 20, timedelta(hours=1))
"""New accounts from one address: each costs a password hash."""
LOOKS = Limit("image.look", 600, timedelta(hours=1))
"""Files that a patient has looked at before sending them: each is decoded."""
VIEWS = Limit("image.view", 600, timedelta(hours=1))
"""Images that a person has opened: each wakes an enclave, and whoever opens all of them is copying."""
MESSAGES = Limit("message.send", 30, timedelta(minutes=10))
"""Messages that a person writes."""
REFERRALS = Limit("referral.ask", 3, timedelta(days=1))
"""Requests to refer one case: whoever has said no is not asked on and on."""

EXPORTS = Limit("data.export", 5, timedelta(days=1))
"""Times that a person takes everything out: each opens every picture."""


def uploads(app: App) -> Limit:
    """Return how many cases a patient may send."""
    return Limit("case.submit", app.settings.uploads_per_hour, timedelta(hours=1))


def spend(app: App, limit: Limit, subject: str) -> None:
    """Count one act, in a transaction of its own: call it before the work, outside of any other transaction.

    Args:
        app: the application.
        limit: which allowance.
        subject: whose: an account's id, or an address; kept as a keyed hash.

    Raises:
        TooOften: the allowance is spent; says when there is room for one act again. Nothing was counted.
    """
    mac = _mac(app, limit, subject)
    while not _count(app, limit, mac):
        _make_row(app, mac)


def _count(app: App, limit: Limit, mac: str) -> bool:
    """Count one act in a subject's row; False where there is none yet."""
    now = app.clock.now()
    with session_scope(app.engine) as session:
        row = session.get(RateLimit, mac, with_for_update=True)
        if row is None:
            return False
        spent = max(row.spent_until, now) + limit.share
        if row.spent_until > now + limit.period:  # no act moves the mark so far: the clock has gone back since
            spent = now + limit.period
        if spent > now + limit.period:
            raise TooOften(f"again in {_in_words(spent - limit.period - now)}")
        row.spent_until = spent
    return True


def give_back(app: App, limit: Limit, subject: str) -> None:
    """Uncount one act that turned out to be harmless."""
    with session_scope(app.engine) as session:
        row = session.get(RateLimit, _mac(app, limit, subject), with_for_update=True)
        if row is not None:
            row.spent_until -= limit.share


def _make_row(app: App, mac: str) -> None:
    """Make a subject's row unless somebody else just did, and remove those that say nothing any more.

    In a transaction of its own: on MySQL the failed insert of a second row keeps a shared lock on the first, and two
    of them that then want to change it would wait for each other.
    """
    now = app.clock.now()
    with suppress(IntegrityError), session_scope(app.engine) as session:
        session.connection().execute(delete(RateLimit).where(col(RateLimit.spent_until) < now - _KEEP))
        session.add(RateLimit(subject_mac=mac, spent_until=now))


def _mac(app: App, limit: Limit, subject: str) -> str:
    return app.macs.digest("rate-limit", f"{limit.name}:{subject}")


def _in_words(wait: timedelta) -> str:
    seconds = ceil(wait.total_seconds())
    return f"{seconds} s" if seconds < 100 else f"{ceil(seconds / 60)} min"  # noqa: PLR2004
