"""Sending the e-mails that wait, one after the other, each tried again until a mail server has taken it.

Who sends first moves `due_at` on and commits, so that two senders never try the same e-mail at once; whoever dies
afterwards loses nothing. An e-mail can therefore arrive twice (with the same Message-ID), never not at all: only one
that nobody took, or that could not be written, for `GIVE_UP` is thrown away, which the audit log says.
"""

import logging
import smtplib
import ssl
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from datetime import timedelta
from email.message import EmailMessage
from enum import StrEnum

from sqlmodel import Session, col, select

from core.errors import DataErased, HemaSealError, RecordDamaged
from core.services import audit
from core.services.app import APP_PARTY, App
from core.services.appointments import calendar_of
from core.services.consents import ConsentPurpose, has_consent
from core.services.context import open_profile
from core.services.genuine import is_genuine
from core.services.mail_text import compose
from core.services.vault import profile_key
from core.settings import Settings
from db.engine import read_scope, session_scope
from db.models import Appointment, MailOutbox, User

TIMEOUT_S = 20.0
PAUSE_S = 5.0
FIRST_RETRY = timedelta(minutes=1)
LAST_RETRY = timedelta(hours=6)
GIVE_UP = timedelta(days=7)
_DOUBLINGS = 9  # of the first wait, which is then beyond the last
_LOG = logging.getLogger(__name__)

Deliver = Callable[[EmailMessage], None]


class ServerSilent(Exception):
    """No mail server answers, or it takes nothing at all: what waits stays and is tried later."""


class MailRefused(Exception):
    """The mail server answers and does not take this one e-mail now."""


class Outcome(StrEnum):
    """What became of one e-mail."""

    SENT = "sent"
    DROPPED = "dropped"
    REFUSED = "refused"
    GIVEN_UP = "given_up"


@dataclass(frozen=True)
class SmtpServer:
    """The mail server of the settings. Each e-mail has a connection of its own: few are sent, and none holds one up."""

    settings: Settings

    def __call__(self, message: EmailMessage) -> None:
        """Hand an e-mail over.

        Raises:
            ServerSilent: no connection, no encryption where the settings ask for it, or no sign-in.
            MailRefused: the server does not take this one.
        """
        host, port = self.settings.mail_host, self.settings.mail_port
        try:
            with smtplib.SMTP(host, port, timeout=TIMEOUT_S) as server:
                if self.settings.mail_starttls:
                    server.starttls(context=ssl.create_default_context())
                if self.settings.mail_user and self.settings.mail_password:
                    server.login(self.settings.mail_user, self.settings.mail_password.get_secret_value())
                server.send_message(message)
        except (smtplib.SMTPRecipientsRefused, smtplib.SMTPDataError, smtplib.SMTPNotSupportedError) as error:
            if isinstance(error, smtplib.SMTPNotSupportedError) and self.settings.mail_starttls:
                raise ServerSilent("the mail server offers no STARTTLS") from error
            raise MailRefused(type(error).__name__) from error
        except (OSError, smtplib.SMTPException) as error:
            raise ServerSilent(type(error).__name__) from error


def send_due(app: App, deliver: Deliver) -> list[Outcome]:
    """Send everything that is due now; return what became of each. Stops at once while the mail server is silent.

    Raises:
        DatabaseUnavailable: the database did not answer.
    """
    outcomes: list[Outcome] = []
    while (claimed := _claim(app)) is not None:
        try:
            outcomes.append(_send(app, claimed, deliver))
        except ServerSilent as error:
            _LOG.warning("no e-mail can be sent now: %s", error)
            if _is_late(app, claimed):
                return [*outcomes, _finish(app, claimed, Outcome.GIVEN_UP)]
            _put_back(app, claimed)
            return outcomes
    return outcomes


def run(app: App, deliver: Deliver, *, pause: Callable[[float], bool]) -> None:
    """Send what is due, again and again, until `pause` (which waits so many seconds) tells that this is to end."""
    while True:
        try:
            send_due(app, deliver)
        except HemaSealError as error:
            _LOG.warning("e-mails wait: %s", error.public_text)
        except Exception:  # noqa: BLE001  one e-mail that cannot be made must not keep the others from going
            _LOG.exception("an e-mail was put off")
        if pause(PAUSE_S):
            return


def retry_after(attempts: int) -> timedelta:
    """Return how long an e-mail waits after so many attempts (1, 2, ...): twice as long each time, up to a limit."""
    return min(FIRST_RETRY * 2 ** min(attempts - 1, _DOUBLINGS), LAST_RETRY)


def _claim(app: App) -> MailOutbox | None:
    """Take the e-mail that is due longest for oneself, until it would be tried again; None if none is due."""
    now = app.clock.now()
    due = select(MailOutbox).where(col(MailOutbox.due_at) <= now).order_by(col(MailOutbox.due_at), col(MailOutbox.id))
    with session_scope(app.engine) as session:
        row = session.exec(due.limit(1).with_for_update()).first()
        if row is None:
            return None
        row.attempts += 1
        row.due_at = now + retry_after(row.attempts)
        session.flush()
        session.refresh(row)
        session.expunge(row)
        return row


def _send(app: App, row: MailOutbox, deliver: Deliver) -> Outcome:
    try:
        with read_scope(app.engine) as session:
            message = _message(app, session, row)
    except Exception:
        if not _is_late(app, row):
            raise
        _LOG.exception("an e-mail that cannot be written is given up")
        return _finish(app, row, Outcome.GIVEN_UP)
    if message is None:
        return _finish(app, row, Outcome.DROPPED)
    try:
        deliver(message)
    except MailRefused as error:
        _LOG.warning("an e-mail was refused: %s", error)
        return _finish(app, row, Outcome.GIVEN_UP) if _is_late(app, row) else Outcome.REFUSED
    return _finish(app, row, Outcome.SENT)


def _message(app: App, session: Session, row: MailOutbox) -> EmailMessage | None:
    """Return the e-mail; None where it must not go: no consent, no address, or overtaken by a later one."""
    user = session.get(User, row.user_id)
    if user is None or not user.is_active or not is_genuine(app, user):
        return None
    if not has_consent(session, user.id, ConsentPurpose.EMAIL):
        return None
    calendar = None
    if row.appointment_id is not None:
        appointment = session.get(Appointment, row.appointment_id)
        if appointment is None or appointment.patient_id != user.id or appointment.sequence != row.sequence:
            return None
        calendar = calendar_of(app, session, appointment)
    address = ""
    with suppress(DataErased, RecordDamaged):
        address = open_profile(profile_key(app, session, user.id), user).email
    if not address:
        return None
    try:
        return compose(row, sender=app.settings.mail_from, recipient=address, calendar=calendar)
    except ValueError:
        return None


def _is_late(app: App, row: MailOutbox) -> bool:
    return app.clock.now() - row.created_at >= GIVE_UP


def _put_back(app: App, row: MailOutbox) -> None:
    """Uncount an attempt that reached no server, so that a long silence makes nobody wait for long afterwards."""
    with session_scope(app.engine) as session:
        stored = session.get(MailOutbox, row.id, with_for_update=True)
        if stored is not None:
            stored.attempts -= 1
            stored.due_at = app.clock.now() + FIRST_RETRY


def _finish(app: App, row: MailOutbox, outcome: Outcome) -> Outcome:
    """Forget an e-mail and write down what became of it."""
    with session_scope(app.engine) as session:
        stored = session.get(MailOutbox, row.id, with_for_update=True)
        if stored is not None:
            session.delete(stored)
        if outcome is not Outcome.DROPPED:
            result = audit.Outcome.DONE if outcome is Outcome.SENT else audit.Outcome.FAILED
            details: audit.Details = {"kind": row.kind.value, "attempts": row.attempts}
            audit.append(app, session, APP_PARTY, "mail.send", object_id=row.user_id, outcome=result, details=details)
    return outcome
