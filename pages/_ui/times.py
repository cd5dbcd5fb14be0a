"""Times as the person reads them: in the zone of their browser, with the zone named. Stored times are UTC."""

from datetime import UTC, datetime, tzinfo
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

import streamlit as st

NOTHING = "\N{EN DASH}"


def zone() -> tzinfo:
    """Return the browser's time zone, or UTC when the browser does not say."""
    name = st.context.timezone
    try:
        return ZoneInfo(name) if name else UTC
    except (ZoneInfoNotFoundError, ValueError):
        return UTC


def zone_name() -> str:
    """Return the zone as people know it, for example ``Europe/Berlin``."""
    place = zone()
    return place.key.replace("_", " ") if isinstance(place, ZoneInfo) else "UTC"


def zone_key() -> str:
    """Return the zone's IANA name, as it is stored with weekly times."""
    place = zone()
    return place.key if isinstance(place, ZoneInfo) else "UTC"


def local(at: datetime) -> datetime:
    """Return `at` (aware) in the browser's zone."""
    return at.astimezone(zone())


def show_time(at: datetime | None, *, seconds: bool = False) -> str:
    """Return ``Mon 5 Jan 2026, 14:30`` in the browser's zone, `NOTHING` for None; name the zone with `zone_note`."""
    if at is None:
        return NOTHING
    here = local(at)
    clock = f"{here:%H:%M:%S}" if seconds else f"{here:%H:%M}"
    return f"{here:%a} {here.day} {here:%b %Y}, {clock}"


def show_date(at: datetime | None) -> str:
    """Return ``5 Jan 2026`` in the browser's zone; `NOTHING` for None."""
    if at is None:
        return NOTHING
    here = local(at)
    return f"{here.day} {here:%b %Y}"


def zone_note() -> None:
    """Draw the line that says in which zone the times of this page are."""
    st.caption(f"Times are shown in your time zone, {zone_name()}.")
