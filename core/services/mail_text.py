"""What an e-mail says: that there is something new, and where to read it. No name, no diagnosis, no link.

A link would teach people to follow links in such e-mails; they sign in as they always do.
"""

from collections.abc import Mapping
from email.message import EmailMessage
from email.policy import SMTP
from email.utils import format_datetime, parseaddr

from icalendar import Calendar

from db.models import MailKind, MailOutbox

SUBJECT = "Something new for you"
SAID: Mapping[MailKind, str] = {
    MailKind.RESULT_READY: "A first answer to what you sent is there.",
    MailKind.DOCTOR_SIGNED: "A doctor has looked at what you sent.",
    MailKind.MESSAGE_RECEIVED: "There is a new message for you.",
    MailKind.APPOINTMENT_BOOKED: "An appointment was booked. The calendar file is attached.",
    MailKind.APPOINTMENT_MOVED: "An appointment was moved. The attached file moves it in your calendar.",
    MailKind.APPOINTMENT_CANCELLED: "An appointment was cancelled. The attached file takes it out of your calendar.",
    MailKind.NEW_CASE: "There is something new in the worklist of your hospital.",
    MailKind.SECOND_READING_ASKED: "A second reading is asked for at your hospital.",
    MailKind.PATIENT_WROTE: "There is a new message from a patient of your hospital.",
    MailKind.SCHEDULE_CHANGED: "Your schedule has changed: an appointment was booked, moved or cancelled.",
}
TO_DOCTORS = frozenset(
    {MailKind.NEW_CASE, MailKind.SECOND_READING_ASKED, MailKind.PATIENT_WROTE, MailKind.SCHEDULE_CHANGED}
)
BODY = """Good day,

{said}

Sign in as you always do to read it. This e-mail holds no link on purpose, and says no more, since e-mails can be read
on their way.

You get it because you agreed to be told by e-mail. You can withdraw that at any time under "My account", "Consents".
Nobody reads answers to this address.{more}
"""
TO_PATIENTS = " If you feel unwell, please contact a doctor directly."


def compose(row: MailOutbox, *, sender: str, recipient: str, calendar: bytes | None) -> EmailMessage:
    """Return the e-mail of a row, the same one each time it is tried (so that a second copy can be told by its id).

    Args:
        row: what it tells.
        sender: address of the installation, with or without a name.
        recipient: the person's address.
        calendar: the calendar file of the appointment, where it tells of one.

    Raises:
        ValueError: an address cannot stand in a header.
    """
    message = EmailMessage(policy=SMTP)
    message["From"] = sender
    message["To"] = recipient
    message["Subject"] = SUBJECT
    message["Date"] = format_datetime(row.created_at)
    message["Message-ID"] = f"<{row.id}@{parseaddr(sender)[1].rpartition('@')[2]}>"
    message["Auto-Submitted"] = "auto-generated"  # RFC 3834: no automatic answers
    message.set_content(BODY.format(said=SAID[row.kind], more="" if row.kind in TO_DOCTORS else TO_PATIENTS))
    if calendar is not None:
        method = str(Calendar.from_ical(calendar)["METHOD"])
        message.add_attachment(
            calendar, "text", "calendar", filename="appointment.ics", params={"method": method, "charset": "utf-8"}
        )
    return message
