"""A patient's appointments: those that stand, a free time to choose, and what was before."""

from functools import partial

import pandas as pd
import streamlit as st

from core.errors import HemaSealError, SlotTaken
from core.services.accounts import Role
from core.services.appointments import (
    AppointmentStatus,
    AppointmentView,
    appointments,
    book,
    calendar,
    cancel,
    reschedule,
)
from core.services.case_reading import own_cases
from core.services.case_records import CaseView
from core.services.slots import SlotView, free_slots
from pages._ui import clinic, guard, shell, state, times

OFFERED_INSTEAD = 3

app = state.app()
person = guard.actor(Role.PATIENT)


def note(text: str) -> None:
    """Keep one line to be shown after the page is drawn anew, and draw it anew."""
    st.session_state["appointment_note"] = text
    st.session_state.pop("appointment_moving", None)
    st.session_state.pop("slot_taken", None)
    st.rerun()


def standing(view: AppointmentView) -> None:
    """Draw one appointment to come, with what can be done with it."""
    with st.container(border=True, key=f"appointment_{view.id}"):
        st.header(times.show_time(view.starts_at), anchor=False)
        st.markdown(clinic.literal(f"{view.doctor} · {view.hospital}, {view.city}"))
        if not view.booked_by_patient:
            st.caption("Your doctor booked this time for you. You can move or cancel it.")
        with st.container(horizontal=True):
            st.download_button(
                "Add to my calendar",
                data=partial(calendar, app, person, view.id),
                file_name="appointment.ics",
                mime="text/calendar",
                on_click="ignore",
                icon=":material/event_available:",
                key=f"ics_{view.id}",
            )
            if st.button("Move", icon=":material/update:", key=f"move_{view.id}"):
                st.session_state["appointment_moving"] = view.id
                st.rerun()
            if st.button("Cancel …", icon=":material/event_busy:", key=f"cancel_{view.id}"):
                confirm_cancel(view)
        st.caption("The calendar entry only says “Appointment” and the place.")


@st.dialog("Cancel this appointment?")
def confirm_cancel(view: AppointmentView) -> None:
    """Ask again, then cancel."""
    st.markdown(
        f"**{times.show_time(view.starts_at)}** with {clinic.literal(view.doctor)}. "
        "The time becomes free for somebody else."
    )
    if st.button("Cancel the appointment", type="primary", key="cancel_confirm"):
        try:
            cancel(app, person, view.id)
        except HemaSealError as error:
            shell.show_error(error)
            return
        note("The appointment is cancelled. The calendar file below tells your calendar so.")


def choose(cases: list[CaseView], coming: list[AppointmentView]) -> None:
    """Draw free times of the hospital of a case; book one, or move an appointment to it."""
    moving = next((view for view in coming if view.id == st.session_state.get("appointment_moving")), None)
    st.header("Move to another time" if moving else "Choose a time to talk", anchor=False)
    ids = [case.id for case in cases]
    wanted = (moving.case_id or "") if moving else clinic.case_in_address()
    by_id = {case.id: case for case in cases}
    if moving and wanted in by_id:
        case_id = wanted
        st.markdown(f"Now: **{times.show_time(moving.starts_at)}** with {clinic.literal(moving.doctor)}.")
    else:
        case_id = st.selectbox(
            "About which picture?",
            ids,
            index=ids.index(wanted) if wanted in ids else 0,
            format_func=lambda i: (
                f"sent {times.show_time(by_id[i].created_at)} · {by_id[i].care.name} · {by_id[i].number}"
            ),
            key="appointment_case",
        )
    just_taken(case_id, moving)
    slots = free_slots(app, person, case_id, moving=moving.id if moving else "")
    if not slots:
        shell.empty_state(
            "No free times now",
            f"The doctors of {by_id[case_id].care.name} offer no more times yet. Look again later, or write to them.",
            icon=":material/event:",
        )
        return
    slot = clinic.choose_slot(slots, key="slot")
    wanted_slot = chosen_or_gone(case_id, slot, slots)
    with st.container(horizontal=True):
        pressed = st.button(
            "Move to this time" if moving else "Book this time",
            type="primary",
            icon=":material/check:",
            key="appointment_book",
        )
        if moving and st.button("Keep the old time", key="appointment_keep"):
            st.session_state.pop("appointment_moving")
            st.rerun()
    if not pressed:
        return
    if wanted_slot is None:
        st.warning("Choose a time first.", icon=":material/schedule:")
    else:
        take(case_id, wanted_slot, moving)


def chosen_or_gone(case_id: str, slot: SlotView | None, free: list[SlotView]) -> SlotView | None:
    """Return the time that is chosen or, if it went while this page stood open, the one that was: to be told of it."""
    if slot is not None:
        st.session_state["slot_chosen"] = (case_id, slot)
        return slot
    about, before = st.session_state.get("slot_chosen", ("", None))
    gone = before is not None and about == case_id and before not in free
    return before if gone else None


def take(case_id: str, slot: SlotView, moving: AppointmentView | None) -> None:
    """Book a time, or move an appointment to it; if somebody else was quicker, offer the next ones."""
    try:
        if moving:
            reschedule(app, person, moving.id, slot_id=slot.id)
        else:
            book(app, person, case_id=case_id, slot_id=slot.id)
    except SlotTaken:
        st.session_state["slot_taken"] = (case_id, slot.starts_at)
        st.rerun()
    st.session_state.pop("slot_chosen", None)
    verb = "Moved to" if moving else "Booked:"
    note(f"{verb} {times.show_time(slot.starts_at)} with {clinic.literal(slot.doctor)}.")


def just_taken(case_id: str, moving: AppointmentView | None) -> None:
    """Draw that the time was just taken, and a button for each of the next free ones; a press books it."""
    about, wanted = st.session_state.get("slot_taken", ("", None))
    if about != case_id or wanted is None:
        return
    with st.container(border=True, key="slot_taken_box"):
        st.warning(f"{times.show_time(wanted)} was just taken by somebody else.", icon=":material/event_busy:")
        following = free_slots(
            app,
            person,
            case_id,
            moving=moving.id if moving else "",
            not_before=wanted,
            limit=OFFERED_INSTEAD,
        )
        st.markdown("The next free times:" if following else "There is no later free time; look at the days below.")
        with st.container(horizontal=True):
            for slot in following:
                title = f"{times.show_time(slot.starts_at)} · {clinic.literal(slot.doctor)}"
                if st.button(title, icon=":material/event_available:", key=f"instead_{slot.id}"):
                    take(case_id, slot, moving)


def before(views: list[AppointmentView]) -> None:
    """Draw appointments that are over or cancelled."""
    with st.expander("Earlier and cancelled", key="appointments_before"):
        rows = [
            {
                "When": times.show_time(view.starts_at),
                "With": view.doctor,
                "Where": f"{view.hospital}, {view.city}",
                "State": "cancelled" if view.status is AppointmentStatus.CANCELLED else "over",
            }
            for view in views
        ]
        st.dataframe(pd.DataFrame(rows), hide_index=True, key="before_table", alt="Earlier and cancelled appointments")
        for view in [view for view in views if view.status is AppointmentStatus.CANCELLED and not view.is_over][:3]:
            st.download_button(
                f"Take {times.show_time(view.starts_at)} out of my calendar",
                data=partial(calendar, app, person, view.id),
                file_name="appointment-cancelled.ics",
                mime="text/calendar",
                on_click="ignore",
                key=f"ics_{view.id}",
            )


shell.title("Appointments", "Talk with a doctor of the hospital that looks at your picture.")
if text := st.session_state.pop("appointment_note", ""):
    st.success(text, icon=":material/check_circle:")
try:
    mine = appointments(app, person)
    known = [entry.case for entry in own_cases(app, person)]
    future = [view for view in mine if view.status is AppointmentStatus.BOOKED and not view.is_over]
    for appointment in reversed(future):
        standing(appointment)
    if known:
        choose(known, future)
    else:
        shell.empty_state(
            "First a picture, then a time",
            "You can choose a time with a doctor of the hospital that looks at your picture. Send one first.",
            icon=":material/event:",
        )
        if st.button("Send an image", type="primary", key="appointments_to_upload"):
            st.switch_page("pages/patient/upload.py")
    if past := [view for view in mine if view not in future]:
        before(past)
except HemaSealError as error:
    shell.show_error(error)
shell.research_notice()
