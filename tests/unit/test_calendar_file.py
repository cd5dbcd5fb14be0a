"""The calendar file of an appointment and series of offered times."""

from datetime import UTC, datetime
from zoneinfo import ZoneInfo

import pytest
from icalendar import Calendar

from core.services.calendar_file import CalendarEntry, weekly_series, write_calendar


def entry(*, sequence: int = 0, cancelled: bool = False) -> CalendarEntry:
    return CalendarEntry(
        uid="0123456789abcdef0123456789abcdef",
        sequence=sequence,
        starts_at=datetime(2026, 3, 2, 9, 0, tzinfo=ZoneInfo("Europe/Oslo")),
        ends_at=datetime(2026, 3, 2, 9, 30, tzinfo=ZoneInfo("Europe/Oslo")),
        hospital="North Hospital",
        city="Oslo",
        cancelled=cancelled,
        stamp=datetime(2026, 1, 5, 9, 0, tzinfo=UTC),
    )


def test_a_booking_is_a_request_in_utc_with_a_neutral_title() -> None:
    calendar = Calendar.from_ical(write_calendar(entry()))
    event = calendar.walk("VEVENT")[0]
    assert calendar["METHOD"] == "REQUEST"
    assert event["SUMMARY"] == "Appointment"
    assert event["STATUS"] == "CONFIRMED"
    assert event.decoded("dtstart") == datetime(2026, 3, 2, 8, 0, tzinfo=UTC)
    assert event["SEQUENCE"] == 0


def test_a_cancellation_keeps_the_uid_and_raises_the_sequence() -> None:
    booked = Calendar.from_ical(write_calendar(entry())).walk("VEVENT")[0]
    calendar = Calendar.from_ical(write_calendar(entry(sequence=1, cancelled=True)))
    event = calendar.walk("VEVENT")[0]
    assert calendar["METHOD"] == "CANCEL"
    assert event["STATUS"] == "CANCELLED"
    assert event["UID"] == booked["UID"]
    assert (booked["SEQUENCE"], event["SEQUENCE"]) == (0, 1)


def test_nothing_of_the_case_is_in_the_file() -> None:
    text = write_calendar(entry()).decode().lower()
    for word in ("leuk", "cell", "blood", "smear", "result", "case", "doctor"):
        assert word not in text


def test_a_weekly_series_keeps_the_time_on_the_wall_when_the_clocks_change() -> None:
    oslo = ZoneInfo("Europe/Oslo")
    series = weekly_series(datetime(2026, 3, 23, 9, 0, tzinfo=oslo), weeks=2, per_day=2, minutes=30)
    assert [start.astimezone(oslo).strftime("%d %H:%M") for start, _ in series] == [
        "23 09:00",
        "23 09:30",
        "30 09:00",
        "30 09:30",
    ]
    assert series[0][0].hour == series[2][0].hour + 1


@pytest.mark.parametrize(
    ("weeks", "per_day", "minutes"), [(0, 1, 30), (27, 1, 30), (1, 0, 30), (1, 25, 30), (1, 1, 4), (1, 1, 241)]
)
def test_a_series_out_of_range_is_refused(weeks: int, per_day: int, minutes: int) -> None:
    with pytest.raises(ValueError, match=r"1 to|5 to"):
        weekly_series(datetime(2026, 3, 23, 9, 0, tzinfo=UTC), weeks=weeks, per_day=per_day, minutes=minutes)
