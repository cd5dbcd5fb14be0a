"""The bell in the frame: how much is new for this person, each kind with the way to where it stands."""

import streamlit as st

from core.errors import HemaSealError
from core.services.accounts import Role
from core.services.app import Actor
from core.services.notices import NoticeKind, mark_seen, notices
from core.services.worklist import WorklistFilter
from pages._ui import state

ROLES = (Role.DOCTOR, Role.PATIENT)
_TURN = "bell_turn"
_TITLES = {
    NoticeKind.NEW_CASES: ("new case", "new cases"),
    NoticeKind.SECOND_READINGS: ("second reading asked for", "second readings asked for"),
    NoticeKind.READINGS_DIFFER: ("case with readings that differ", "cases with readings that differ"),
    NoticeKind.REVIEWED: ("picture that a doctor has looked at", "pictures that a doctor has looked at"),
    NoticeKind.BOOKED: ("new appointment", "new appointments"),
    NoticeKind.CANCELLED: ("cancelled appointment", "cancelled appointments"),
    NoticeKind.MESSAGES: ("unread message", "unread messages"),
}
_PAGES = {
    Role.DOCTOR: {
        NoticeKind.NEW_CASES: "pages/doctor/worklist.py",
        NoticeKind.SECOND_READINGS: "pages/doctor/worklist.py",
        NoticeKind.READINGS_DIFFER: "pages/doctor/worklist.py",
        NoticeKind.BOOKED: "pages/doctor/schedule.py",
        NoticeKind.CANCELLED: "pages/doctor/schedule.py",
        NoticeKind.MESSAGES: "pages/doctor/messages.py",
    },
    Role.PATIENT: {
        NoticeKind.REVIEWED: "pages/patient/results.py",
        NoticeKind.BOOKED: "pages/patient/appointments.py",
        NoticeKind.CANCELLED: "pages/patient/appointments.py",
        NoticeKind.MESSAGES: "pages/patient/messages.py",
    },
}
_LISTS = {
    NoticeKind.NEW_CASES: WorklistFilter.ALL,
    NoticeKind.SECOND_READINGS: WorklistFilter.SECOND,
    NoticeKind.READINGS_DIFFER: WorklistFilter.SECOND,
}


def draw(person: Actor) -> None:
    """Draw the bell for a role that has news; a database that does not answer leaves it out, the page says so."""
    if person.role not in ROLES:
        return
    try:
        found = notices(state.app(), person)
    except HemaSealError:
        return
    total = sum(notice.count for notice in found)
    opened = st.session_state.get(_TURN, 0)  # another key is another popover, and that one is closed
    with (
        st.container(key="bell", width="content"),
        st.popover(f"{total} new" if total else "No news", icon=":material/notifications:", key=f"bell_{opened}"),
    ):
        if not found:
            st.markdown("Nothing new since you looked last.")
        for notice in found:
            one, several = _TITLES[notice.kind]
            if st.button(f"{notice.count} {one if notice.count == 1 else several}", key=f"bell_{notice.kind.value}"):
                _go(person, notice.kind)
        if any(notice.kind is not NoticeKind.MESSAGES for notice in found) and st.button(
            "Mark all as seen", icon=":material/done_all:", type="tertiary", key="bell_seen"
        ):
            for notice in found:
                _mark(person, notice.kind)
            st.session_state[_TURN] = opened + 1
            st.rerun()


def _go(person: Actor, kind: NoticeKind) -> None:
    """Mark a kind as seen and go to where it stands."""
    _mark(person, kind)
    st.session_state[_TURN] = st.session_state.get(_TURN, 0) + 1
    if kind in _LISTS:
        st.session_state["worklist_filter"] = st.session_state["kept_worklist_filter"] = _LISTS[kind]
    st.switch_page(_PAGES[person.role][kind])


def _mark(person: Actor, kind: NoticeKind) -> None:
    if kind is not NoticeKind.MESSAGES:  # these are marked by reading them
        mark_seen(state.app(), person, kind)
