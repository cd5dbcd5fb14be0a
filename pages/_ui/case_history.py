"""Around a case: the way to the one before and after it in the worklist, and the patient's other cases."""

import streamlit as st

from core.services.accounts import Role
from core.services.case_reading import CaseDetail
from core.services.worklist import history
from pages._ui import guard, state, worklist_rows

SHOWN = 10


def way(case_id: str) -> None:
    """Draw the buttons to the worklist and to the neighbours in it; they have keys on the keyboard, too."""
    place = worklist_rows.place_of(case_id)
    with st.container(horizontal=True, vertical_alignment="center", key="case_way"):
        if st.button("Back to the worklist", icon=":material/arrow_back:", type="tertiary", key="case_back"):
            st.switch_page("pages/doctor/worklist.py")
        if place is None:
            return
        for key, title, neighbour, letter in (
            ("case_previous", "Previous case", place.before, "Alt+P"),
            ("case_next", "Next case", place.after, "Alt+N"),
        ):
            if st.button(title, type="tertiary", disabled=neighbour is None, shortcut=letter, key=key) and neighbour:
                worklist_rows.open_case(neighbour)
        st.caption(f"{place.number} of {place.of} in your list", width="content")


def draw(detail: CaseDetail) -> None:
    """Draw the patient's other cases at this hospital."""
    others = history(state.app(), guard.actor(Role.DOCTOR), detail.case.id)
    st.header(f"Other cases of this patient ({len(others)})", anchor=False)
    if not others:
        st.markdown("Your hospital has no other case of this patient.")
    worklist_rows.draw(others[:SHOWN], key="history_open")
    if len(others) > SHOWN:
        with st.expander(f"{len(others) - SHOWN} older ones", key="history_older"):
            worklist_rows.draw(others[SHOWN:], key="history_open")
