"""A doctor's schedule: offered times, bookings, and the form that offers more."""

from datetime import datetime, time, timedelta
from functools import partial

import streamlit as st

from core.errors import AppointmentRefused, HemaSealError
from core.services.accounts import Role
from core.services.appointments import AppointmentStatus, AppointmentView, appointments, calendar, cancel
from core.services.availability import plan, top_up
from core.services.calendar_file import MAX_WEEKS, weekly_series
from core.services.slots import SlotView, offer, own_slots, withdraw
from pages._ui import clinic, guard, schedule_plan, shell, state, times

LENGTHS = (15, 20, 30, 45, 60)
NINE = time(9, 0)

app = state.app()
person = guard.actor(Role.DOCTOR)


def say(text: str) -> None:
    """Keep one line to be shown after the page is drawn anew, and draw it anew."""
    st.session_state["schedule_note"] = text
    st.rerun()


def coming(views: list[AppointmentView]) -> None:
    """Draw the appointments to come."""
    st.header("Appointments", anchor=False)
    if not views:
        shell.empty_state("Nothing booked", "Appointments that patients book, or you for them, stand here.")
    for view in reversed(views):
        with st.container(border=True, key=f"booked_{view.id}"):
            when, who, acts = st.columns([2, 2, 3], vertical_alignment="center")
            when.markdown(f"**{times.show_time(view.starts_at)}**")
            by = "booked by the patient" if view.booked_by_patient else "booked by us"
            who.markdown(f"{clinic.literal(view.patient)}  \n:small[{by}]")
            with acts.container(horizontal=True):
                if view.case_id and st.button("Open the case", key=f"booked_case_{view.id}"):
                    st.switch_page("pages/doctor/case.py", query_params={"case": view.case_id})
                st.download_button(
                    "Calendar",
                    data=partial(calendar, app, person, view.id),
                    file_name="appointment.ics",
                    mime="text/calendar",
                    on_click="ignore",
                    key=f"ics_{view.id}",
                )
                if st.button("Cancel …", key=f"cancel_{view.id}"):
                    confirm_cancel(view)


@st.dialog("Cancel this appointment?")
def confirm_cancel(view: AppointmentView) -> None:
    """Ask again, then cancel."""
    st.markdown(
        f"**{times.show_time(view.starts_at)}** with {clinic.literal(view.patient)}. "
        "The patient sees it among their appointments."
    )
    if st.button("Cancel the appointment", type="primary", key="cancel_confirm"):
        try:
            cancel(app, person, view.id)
        except HemaSealError as error:
            shell.show_error(error)
            return
        say("The appointment is cancelled; its time is free again.")


def offer_form() -> None:
    """Draw the form that offers times, once or every week."""
    st.header("Offer times", anchor=False)
    tomorrow = times.local(app.clock.now()).date() + timedelta(days=1)
    with st.form("offer_form"):
        first, second, third, fourth = st.columns(4)
        day = first.date_input("First day", value=tomorrow, min_value=tomorrow - timedelta(days=1), key="offer_day")
        start = second.time_input("From", value=NINE, step=timedelta(minutes=15), key="offer_start")
        minutes = third.selectbox("Minutes each", LENGTHS, index=2, key="offer_minutes")
        count = fourth.number_input("How many in a row", 1, 24, 4, key="offer_count")
        weeks = st.number_input(
            f"For how many weeks (1 to {MAX_WEEKS}; the same weekday and time)", 1, MAX_WEEKS, 1, key="offer_weeks"
        )
        pressed = st.form_submit_button("Offer these times", type="primary", icon=":material/add:", key="offer_submit")
    st.caption(f"In your time zone, {times.zone_name()}. Times that overlap what you offer already are left out.")
    if pressed:
        begin = datetime.combine(day, start, tzinfo=times.zone())
        try:
            series = weekly_series(begin, weeks=int(weeks), per_day=int(count), minutes=int(minutes))
            made = offer(app, person, series)
        except ValueError as error:
            shell.show_error(AppointmentRefused(str(error)))
        except HemaSealError as error:
            shell.show_error(error)
        else:
            left = f" {made.left_out} overlapped and were left out." if made.left_out else ""
            say(f"{made.made} times are offered now.{left}")


def offered(slots: list[SlotView]) -> None:
    """Draw the free times of one day at a time, each with the button that takes it back."""
    free = [slot for slot in slots if slot.booked < slot.capacity]
    st.header(f"Free times ({len(free)})", anchor=False)
    days = list(dict.fromkeys(times.local(slot.starts_at).date() for slot in free))
    if not days:
        st.markdown("You offer no free times at the moment.")
        return
    day = st.selectbox("Day", days, format_func=lambda d: f"{d:%A} {d.day} {d:%B}", key="offered_day")
    st.caption("Press a time to take it back.")
    with st.container(horizontal=True, key="offered_times"):
        for slot in free:
            start = times.local(slot.starts_at)
            places = f" · {slot.capacity - slot.booked} of {slot.capacity} free" if slot.capacity > 1 else ""
            if start.date() == day and st.button(
                f"{start:%H:%M}{places}", icon=":material/close:", key=f"withdraw_{slot.id}"
            ):
                try:
                    withdraw(app, person, slot.id)
                except HemaSealError as error:
                    shell.show_error(error)
                    return
                say(f"{times.show_time(slot.starts_at)} is no longer offered.")


shell.title("Schedule", "Patients see your free times when their picture was looked at by your hospital.")
if text := st.session_state.pop("schedule_note", ""):
    st.success(text, icon=":material/check_circle:")
try:
    top_up(app, person)
    booked = [v for v in appointments(app, person) if v.status is AppointmentStatus.BOOKED and not v.is_over]
    coming(booked)
    offered(own_slots(app, person))
    own = plan(app, person)
    schedule_plan.weekly(app, person, own, say)
    schedule_plan.absences(app, person, own, say)
    offer_form()
except HemaSealError as error:
    shell.show_error(error)
