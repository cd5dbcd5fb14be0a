"""A doctor books a free time of the hospital for the patient of a case, or moves the appointment that there is."""

import streamlit as st

from core.errors import HemaSealError
from core.services.accounts import Role
from core.services.app import Actor
from core.services.appointments import AppointmentView, book, of_case, reschedule
from core.services.case_reading import CaseDetail
from core.services.slots import SlotView, free_slots
from pages._ui import case_acts, clinic, guard, shell, state, times

NEW = "new"


@st.fragment
def draw(detail: CaseDetail) -> None:
    """Draw the appointments of the case, and free times of the hospital's doctors to book or to move one to."""
    st.header("Book for the patient", anchor=False)
    app, actor = state.app(), guard.actor(Role.DOCTOR)
    booked = {view.id: view for view in of_case(app, actor, detail.case.id)}
    for view in booked.values():
        st.markdown(f":material/event_available: **{_when(view)}** with {clinic.literal(view.doctor)}")
    which = NEW
    if booked:
        which = st.selectbox(
            "What the time is for",
            [*booked, NEW],
            format_func=lambda key: f"Move {_when(booked[key])}" if key in booked else "A further appointment",
            key=f"case_booking_{case_acts.turn()}",
        )
    moved = booked.get(which)
    slots = free_slots(app, actor, detail.case.id, moving=moved.id if moved else "")
    if not slots:
        st.markdown("No free times: offer some on the schedule page.")
        return
    slot = clinic.choose_slot(slots, key="case_slot", turn=case_acts.turn())
    title = "Move the appointment to this time" if moved else "Book this time for the patient"
    if st.button(title, disabled=slot is None, icon=":material/event:", key="case_book") and slot is not None:
        _do(actor, detail, moved, slot)


def _do(actor: Actor, detail: CaseDetail, moved: AppointmentView | None, slot: SlotView) -> None:
    """Book the slot, or move an appointment to it."""
    app = state.app()
    try:
        if moved is None:
            book(app, actor, case_id=detail.case.id, slot_id=slot.id)
        else:
            reschedule(app, actor, moved.id, slot_id=slot.id)
    except HemaSealError as error:
        shell.show_error(error)
        return
    done = "Booked for the patient" if moved is None else "Moved for the patient"
    case_acts.done(f"{done}: {times.show_time(slot.starts_at)} with {clinic.literal(slot.doctor)}.")


def _when(view: AppointmentView) -> str:
    return times.show_time(view.starts_at)
