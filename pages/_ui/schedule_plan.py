"""A doctor's weekly times and absences on the schedule page: what is in force, and the forms that add to it."""

from calendar import day_name
from collections.abc import Callable
from datetime import time, timedelta
from functools import partial

import streamlit as st

from core.errors import HemaSealError
from core.services.app import Actor, App
from core.services.availability import (
    AbsenceView,
    PatternView,
    Plan,
    Withdrawn,
    add_absence,
    add_pattern,
    end_pattern,
    remove_absence,
)
from core.services.weekly_pattern import MAX_CAPACITY, WeeklyPattern
from pages._ui import shell, times

LENGTHS = (15, 20, 30, 45, 60)
NOON = time(12, 0)
Say = Callable[[str], None]


def weekly(app: App, person: Actor, plan: Plan, say: Say) -> None:
    """Draw the weekly times in force, each with the button that ends it, and the form for more."""
    st.header("Weekly times", anchor=False)
    if not plan.patterns:
        st.markdown("No weekly times: what you offer below is offered once.")
    for view in plan.patterns:
        with st.container(horizontal=True, vertical_alignment="center", key=f"weekly_{view.id}"):
            st.markdown(_told(view), width="content")
            if st.button("End these", icon=":material/close:", key=f"weekly_end_{view.id}"):
                _act(partial(_end, app, person, view), "These weekly times have ended.", say)
    with st.expander("Add weekly times", icon=":material/event_repeat:", key="weekly_form"):
        _weekly_form(app, person, say)


def absences(app: App, person: Actor, plan: Plan, say: Say) -> None:
    """Draw the coming absences, each with the button that removes it, and the form for another."""
    st.header("Absences and holidays", anchor=False)
    if not plan.absences:
        st.markdown("No absences ahead.")
    for view in plan.absences:
        with st.container(horizontal=True, vertical_alignment="center", key=f"absence_{view.id}"):
            st.markdown(_days(view), width="content")
            if st.button("Remove", icon=":material/close:", key=f"absence_remove_{view.id}"):
                _act(partial(_remove, app, person, view), "The absence is removed.", say)
    with st.expander("Add an absence", icon=":material/beach_access:", key="absence_form"):
        tomorrow = times.local(app.clock.now()).date() + timedelta(days=1)
        with st.form("absence_form_fields", border=False):
            left, right = st.columns(2)
            first = left.date_input("First day", value=tomorrow, key="absence_first")
            last = right.date_input("Last day", value=tomorrow, key="absence_last")
            pressed = st.form_submit_button("Add this absence", icon=":material/add:", key="absence_add")
        st.caption("Free times on these days are taken back. What is booked stays until you cancel it.")
        if pressed:
            zone = times.zone_key()
            _act(
                lambda: _taken(add_absence(app, person, first_day=first, last_day=last, zone=zone)),
                "The absence is noted.",
                say,
            )


def _weekly_form(app: App, person: Actor, say: Say) -> None:
    today = times.local(app.clock.now()).date()
    with st.form("weekly_form_fields", border=False):
        first, second, third = st.columns(3)
        weekday = first.selectbox("Weekday", range(7), format_func=lambda day: day_name[day], key="weekly_day")
        start = second.time_input("From", value=time(9, 0), step=timedelta(minutes=15), key="weekly_start")
        end = third.time_input("Until (00:00 is midnight)", value=NOON, step=timedelta(minutes=15), key="weekly_until")
        fourth, fifth, sixth = st.columns(3)
        minutes = fourth.selectbox("Minutes each", LENGTHS, index=2, key="weekly_minutes")
        capacity = fifth.number_input("Patients in each", 1, MAX_CAPACITY, 1, key="weekly_capacity")
        last = sixth.date_input("Last day (empty: no end)", value=None, min_value=today, key="weekly_last")
        pressed = st.form_submit_button("Add these weekly times", icon=":material/add:", key="weekly_add")
    st.caption(
        f"Clock times of your time zone, {times.zone_name()}, also after the clocks change. Times are made for the "
        "eight weeks ahead, and more whenever you open this page."
    )
    if pressed:
        pattern = WeeklyPattern(
            weekday=int(weekday),
            start_minute=60 * start.hour + start.minute,
            end_minute=(60 * end.hour + end.minute) or 24 * 60,
            minutes=int(minutes),
            capacity=int(capacity),
            zone=times.zone_key(),
            first_day=today,
            last_day=last,
        )
        _act(lambda: _made(add_pattern(app, person, pattern)), "The weekly times are added.", say)


def _told(view: PatternView) -> str:
    made = view.pattern
    until = f" until {made.last_day:%d %b %Y}" if made.last_day else ""
    places = f", {made.capacity} patients in each" if made.capacity > 1 else ""
    return (
        f"**{day_name[made.weekday]}s** {_clock(made.start_minute)} to {_clock(made.end_minute)}, "
        f"{made.minutes} minutes each{places}{until} · {made.zone.replace('_', ' ')}"
    )


def _clock(minute: int) -> str:
    return f"{minute // 60:02d}:{minute % 60:02d}"


def _days(view: AbsenceView) -> str:
    first, last = view.first_day, view.last_day
    if first == last:
        return f"**{first:%a} {first.day} {first:%b %Y}**"
    return f"**{first:%a} {first.day} {first:%b %Y}** to **{last:%a} {last.day} {last:%b %Y}**"


def _end(app: App, person: Actor, view: PatternView) -> str:
    return _taken(end_pattern(app, person, view.id))


def _remove(app: App, person: Actor, view: AbsenceView) -> str:
    return _made(remove_absence(app, person, view.id))


def _taken(done: Withdrawn) -> str:
    stay = f" {done.booked} booked ones stay; cancel them if they cannot be kept." if done.booked else ""
    return f"{done.free} free times were taken back.{stay}"


def _made(made: int) -> str:
    return f"{made} times are offered."


def _act(act: Callable[[], str], said: str, say: Say) -> None:
    """Do it and say what came of it, or draw why not."""
    try:
        told = act()
    except HemaSealError as error:
        shell.show_error(error)
        return
    say(f"{said} {told}")
