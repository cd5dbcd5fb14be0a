"""Times of every week in a place's own clock: the hour on the wall stays the same when the clocks change.

A wall time that a change of clocks leaves out has no slot on that day; one that comes twice has it the first time.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, date, datetime, time, timedelta
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

from core.errors import AppointmentRefused

SHORTEST, LONGEST = 5, 240
MAX_CAPACITY = 50
MINUTES_A_DAY = 24 * 60
YEARS = range(2000, 2101)
"""Of days that people write; at the calendar's own ends there is no day before or after."""


@dataclass(frozen=True, kw_only=True)
class WeeklyPattern:
    """Slots of one weekday, one after the other.

    Attributes:
        weekday: 0 for Monday to 6 for Sunday.
        start_minute: wall time of the first slot, in minutes after midnight.
        end_minute: wall time at which the last slot has ended, at most 1440 (midnight).
        minutes: length of each slot.
        capacity: how many patients can book each slot.
        zone: IANA name of the place's time zone, for example ``Europe/Berlin``.
        first_day: from this day on, in that place.
        last_day: up to this day; None for no end.
    """

    weekday: int
    start_minute: int
    end_minute: int
    minutes: int
    capacity: int
    zone: str
    first_day: date
    last_day: date | None = None

    def check(self) -> None:
        """Refuse what makes no sense.

        Raises:
            AppointmentRefused: says what.
        """
        if self.weekday not in range(7):
            raise AppointmentRefused("choose a weekday")
        if not SHORTEST <= self.minutes <= LONGEST:
            raise AppointmentRefused(f"{SHORTEST} to {LONGEST} minutes each")
        if not 1 <= self.capacity <= MAX_CAPACITY:
            raise AppointmentRefused(f"1 to {MAX_CAPACITY} places each")
        if not 0 <= self.start_minute <= self.start_minute + self.minutes <= self.end_minute <= MINUTES_A_DAY:
            raise AppointmentRefused("the end must leave room for a slot after the begin, on the same day")
        if self.last_day is not None and self.last_day < self.first_day:
            raise AppointmentRefused("the last day lies before the first")
        check_years(self.first_day, self.last_day or self.first_day)
        zone_of(self.zone)

    def slots(self, first: date, last: date) -> Iterator[tuple[datetime, datetime]]:
        """Yield begin and end (UTC) of every slot on days from `first` to `last`, both included, in that place."""
        begin = max(first, self.first_day)
        end = last if self.last_day is None else min(last, self.last_day)
        day = begin + timedelta(days=(self.weekday - begin.weekday()) % 7)
        while day <= end:
            yield from self._on(day)
            day += timedelta(weeks=1)

    def _on(self, day: date) -> Iterator[tuple[datetime, datetime]]:
        zone, length, free_from = zone_of(self.zone), timedelta(minutes=self.minutes), datetime.min.replace(tzinfo=UTC)
        for minute in range(self.start_minute, self.end_minute - self.minutes + 1, self.minutes):
            wall = datetime.combine(day, time(minute // 60, minute % 60))
            start = wall.replace(tzinfo=zone).astimezone(UTC)
            skipped = start.astimezone(zone).replace(tzinfo=None) != wall
            if not skipped and start >= free_from:  # the slot before may reach over the hour that is skipped
                free_from = start + length
                yield start, free_from


def zone_of(name: str) -> ZoneInfo:
    """Return a time zone by its IANA name.

    Raises:
        AppointmentRefused: there is none.
    """
    try:
        return ZoneInfo(name)
    except (ZoneInfoNotFoundError, ValueError, OSError) as error:
        raise AppointmentRefused("this time zone is not known") from error


def check_years(*days: date) -> None:
    """Refuse days that nobody means.

    Raises:
        AppointmentRefused: says which years there are.
    """
    if any(day.year not in YEARS for day in days):
        raise AppointmentRefused(f"days of the years {YEARS[0]} to {YEARS[-1]}")


def days_of(first: date, last: date, zone: str) -> tuple[datetime, datetime]:
    """Return the UTC times at which the days from `first` to `last` begin and end in a place."""
    place = zone_of(zone)
    begin, after = (datetime.combine(day, time(), tzinfo=place) for day in (first, last + timedelta(days=1)))
    return begin.astimezone(UTC), after.astimezone(UTC)
