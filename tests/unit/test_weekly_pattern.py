"""Weekly times across changes of clocks, month ends and the ends of a pattern."""

from datetime import UTC, date, datetime, timedelta
from itertools import pairwise
from zoneinfo import ZoneInfo

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from core.errors import AppointmentRefused
from core.services.weekly_pattern import WeeklyPattern, days_of

BERLIN = ZoneInfo("Europe/Berlin")
SPRING, AUTUMN = date(2026, 3, 29), date(2026, 10, 25)  # Sundays on which the clocks of Berlin change


def pattern(**changes: object) -> WeeklyPattern:
    standard: dict[str, object] = {
        "weekday": 0,
        "start_minute": 9 * 60,
        "end_minute": 11 * 60,
        "minutes": 30,
        "capacity": 1,
        "zone": "Europe/Berlin",
        "first_day": date(2026, 1, 1),
    }
    return WeeklyPattern(**{**standard, **changes})  # type: ignore[arg-type]


def walls(made: WeeklyPattern, first: date, last: date) -> list[str]:
    return [f"{start.astimezone(BERLIN):%d.%m. %H:%M}" for start, _ in made.slots(first, last)]


def test_nine_oclock_stays_nine_oclock_when_the_clocks_change() -> None:
    mondays = pattern(end_minute=9 * 60 + 30)
    before, after = (start for start, _ in mondays.slots(SPRING - timedelta(days=6), SPRING + timedelta(days=1)))
    assert (before, after) == (datetime(2026, 3, 23, 8, 0, tzinfo=UTC), datetime(2026, 3, 30, 7, 0, tzinfo=UTC))
    before, after = (start for start, _ in mondays.slots(AUTUMN - timedelta(days=6), AUTUMN + timedelta(days=1)))
    assert (before, after) == (datetime(2026, 10, 19, 7, 0, tzinfo=UTC), datetime(2026, 10, 26, 8, 0, tzinfo=UTC))


def test_an_hour_that_the_clocks_skip_has_no_slots_and_one_that_comes_twice_has_them_once() -> None:
    nights = pattern(weekday=6, start_minute=60, end_minute=4 * 60, minutes=30)
    assert walls(nights, SPRING, SPRING) == [f"29.03. {clock}" for clock in ("01:00", "01:30", "03:00", "03:30")]
    assert walls(nights, AUTUMN, AUTUMN) == [
        f"25.10. {clock}" for clock in ("01:00", "01:30", "02:00", "02:30", "03:00", "03:30")
    ]
    twice = [start for start, _ in nights.slots(AUTUMN, AUTUMN)]
    assert twice[2:5] == [
        datetime(2026, 10, 25, hour, minute, tzinfo=UTC) for hour, minute in ((0, 0), (0, 30), (2, 0))
    ]


def test_slots_lie_on_its_weekday_between_its_first_and_last_day() -> None:
    made = pattern(weekday=2, first_day=date(2026, 1, 8), last_day=date(2026, 1, 28), end_minute=10 * 60)
    assert walls(made, date(2026, 1, 1), date(2026, 2, 28)) == [
        f"{day}.01. {clock}" for day in (14, 21, 28) for clock in ("09:00", "09:30")
    ]
    assert walls(made, date(2026, 1, 29), date(2026, 2, 28)) == []


def test_what_does_not_fill_a_slot_is_left_out_and_midnight_is_an_end() -> None:
    late = pattern(start_minute=23 * 60, end_minute=24 * 60, minutes=25)
    assert walls(late, date(2026, 1, 5), date(2026, 1, 5)) == ["05.01. 23:00", "05.01. 23:25"]


@pytest.mark.parametrize(
    "changes",
    [
        {"weekday": 7},
        {"minutes": 4},
        {"minutes": 241, "end_minute": 24 * 60},
        {"capacity": 0},
        {"capacity": 51},
        {"end_minute": 9 * 60 + 29},
        {"end_minute": 24 * 60 + 1},
        {"start_minute": -30},
        {"first_day": date(1, 1, 1)},
        {"last_day": date(9999, 12, 31)},
        {"zone": "Europe/Nowhere"},
        {"zone": "../../etc/passwd"},
        {"zone": ""},
        {"last_day": date(2025, 12, 31)},
    ],
)
def test_a_pattern_that_makes_no_sense_is_refused(changes: dict[str, object]) -> None:
    pattern().check()
    with pytest.raises(AppointmentRefused):
        pattern(**changes).check()


@settings(max_examples=25)
@given(
    zone=st.sampled_from(["Europe/Berlin", "America/New_York", "Asia/Kolkata", "Australia/Lord_Howe", "UTC"]),
    start=st.integers(0, 1430),
    minutes=st.integers(15, 240),
    weekday=st.integers(0, 6),
)
def test_slots_never_overlap_and_each_has_its_length(zone: str, start: int, minutes: int, weekday: int) -> None:
    made = pattern(zone=zone, start_minute=start, end_minute=24 * 60, minutes=minutes, weekday=weekday)
    slots = list(made.slots(date(2026, 1, 1), date(2026, 12, 31)))
    assert all(end - begin == timedelta(minutes=minutes) for begin, end in slots)
    assert all(begin.astimezone(ZoneInfo(zone)).weekday() == weekday for begin, _ in slots)
    assert all(later >= end for (_, end), (later, _) in pairwise(slots))


def test_a_day_on_which_the_clocks_change_has_23_or_25_hours() -> None:
    spring, autumn = (days_of(day, day, "Europe/Berlin") for day in (SPRING, AUTUMN))
    assert (spring[1] - spring[0], autumn[1] - autumn[0]) == (timedelta(hours=23), timedelta(hours=25))
