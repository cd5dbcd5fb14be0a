"""The calendar file of an appointment (iCalendar, RFC 5545; scheduling methods of RFC 5546) and series of times.

The title is always "Appointment": a calendar is shown to employers and family, so nothing of a case is in it.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta

from icalendar import Calendar, Event, vCalAddress, vText

PRODUCT = "-//HemaSeal//appointments//EN"
ADDRESS = "mailto:{}@hemaseal.invalid"  # RFC 2606: calendars want an address, and nobody is to be written to
MAX_WEEKS = 26


@dataclass(frozen=True, kw_only=True)
class CalendarEntry:
    """What a calendar may know of an appointment.

    Attributes:
        uid: the appointment's id; the same through every change.
        sequence: grows with every change, so that calendars replace what they have.
        starts_at: aware.
        ends_at: aware.
        hospital: name of the hospital.
        city: where it is.
        cancelled: whether it was cancelled.
        stamp: when this state was written, aware.
    """

    uid: str
    sequence: int
    starts_at: datetime
    ends_at: datetime
    hospital: str
    city: str
    cancelled: bool
    stamp: datetime


def write_calendar(entry: CalendarEntry) -> bytes:
    """Return the ``.ics`` file: METHOD REQUEST, or CANCEL for a cancelled appointment. Times are UTC."""
    calendar = Calendar()
    calendar.add("prodid", PRODUCT)
    calendar.add("version", "2.0")
    calendar.add("method", "CANCEL" if entry.cancelled else "REQUEST")
    event = Event()
    event.add("uid", f"{entry.uid}@hemaseal")
    event.add("sequence", entry.sequence)
    event.add("dtstamp", entry.stamp.astimezone(UTC))
    event.add("dtstart", entry.starts_at.astimezone(UTC))
    event.add("dtend", entry.ends_at.astimezone(UTC))
    event.add("summary", "Appointment")
    event.add("location", f"{entry.hospital}, {entry.city}")
    event.add("status", "CANCELLED" if entry.cancelled else "CONFIRMED")
    event.add("class", "PRIVATE")
    organizer = vCalAddress(ADDRESS.format("appointments"))
    organizer.params["cn"] = vText(entry.hospital)
    event.add("organizer", organizer)
    attendee = vCalAddress(ADDRESS.format("patient"))
    attendee.params["partstat"] = vText("DECLINED" if entry.cancelled else "ACCEPTED")
    attendee.params["rsvp"] = vText("FALSE")
    event.add("attendee", attendee)
    calendar.add_component(event)
    return bytes(calendar.to_ical())


def weekly_series(first: datetime, *, weeks: int, per_day: int, minutes: int) -> Sequence[tuple[datetime, datetime]]:
    """Return (start, end) in UTC: `per_day` times in a row from `first`, on that weekday for `weeks` weeks.

    `first` is aware, in the doctor's zone: the time on the wall stays the same when the clocks change.

    Raises:
        ValueError: a number is out of range or `first` is naive; the text says which.
    """
    if first.tzinfo is None:
        raise ValueError("the first time has no time zone")
    if not 1 <= weeks <= MAX_WEEKS:
        raise ValueError(f"1 to {MAX_WEEKS} weeks")
    if not 1 <= per_day <= 24:  # noqa: PLR2004
        raise ValueError("1 to 24 times a day")
    if not 5 <= minutes <= 240:  # noqa: PLR2004
        raise ValueError("5 to 240 minutes each")
    length = timedelta(minutes=minutes)
    starts = [
        (first + timedelta(weeks=week)).astimezone(UTC) + length * n for week in range(weeks) for n in range(per_day)
    ]
    return [(start, start + length) for start in starts]
