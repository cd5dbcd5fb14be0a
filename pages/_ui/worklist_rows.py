"""A doctor's list of cases: each line begins with the button that opens it, so that the keyboard reaches every case.

The order in which cases were drawn last is kept for this tab, so that the case page can go to the next one.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import streamlit as st

from core.services.case_reading import ListedCase
from core.services.case_records import CaseStatus, CaseSummary, Outcome
from core.services.reviews import Decision
from core.services.second_readings import Outstanding
from pages._ui import clinic, times

OUTCOMES = {
    Outcome.POSITIVE: ("Positive", ":material/priority_high:", "orange"),
    Outcome.UNCERTAIN: ("Uncertain", ":material/question_mark:", "blue"),
    Outcome.NEGATIVE: ("Negative", ":material/check:", "gray"),
}
SECOND = {
    Outstanding.TO_READ: ("Second reading asked", ":material/group:", "blue"),
    Outstanding.DIFFERS: ("Readings differ", ":material/call_split:", "red"),
}
DECIDED = {Decision.AGREE: "agreed", Decision.OVERRIDE: "concluded otherwise", Decision.DEFER: "deferred"}
CASE_PAGE = "pages/doctor/case.py"
_ORDER = "worklist_order"


@dataclass(frozen=True)
class Place:
    """Where a case stands in the list that was drawn last: its number from 1, and its neighbours' ids or None."""

    number: int
    of: int
    before: str | None
    after: str | None


def draw(entries: Sequence[ListedCase], *, key: str = "case_open") -> None:
    """Draw cases as lines; `key` is the beginning of their buttons' keys."""
    for entry in entries:
        _line(entry, key)


def keep_order(entries: Sequence[ListedCase]) -> None:
    """Remember the order of a list for `place_of`."""
    st.session_state[_ORDER] = [entry.case.id for entry in entries]


def place_of(case_id: str) -> Place | None:
    """Return where a case stands in the list that this tab drew last; None when it is not in it."""
    order: list[str] = st.session_state.get(_ORDER, [])
    if case_id not in order:
        return None
    at = order.index(case_id)
    return Place(at + 1, len(order), order[at - 1] if at else None, order[at + 1] if at + 1 < len(order) else None)


def follow_press(key: str = "case_open") -> None:
    """Go to the case whose line was pressed, if one was: before a page is drawn that nobody will see again."""
    for name, pressed in st.session_state.items():
        if pressed is True and str(name).startswith(f"{key}_"):
            open_case(str(name).removeprefix(f"{key}_"))


def open_case(case_id: str) -> None:
    """Go to the page of a case."""
    st.switch_page(CASE_PAGE, query_params={"case": case_id})


def _line(entry: ListedCase, key: str) -> None:
    case = entry.case
    name = clinic.literal(case.patient_name) or "Name not shown"
    with st.container(border=True, key=f"case_line_{case.id}"):
        who, answer, when, standing = st.columns([2.2, 1.3, 2, 1.8], vertical_alignment="center")
        if who.button(f"{name} · {case.number}", key=f"{key}_{case.id}", width="stretch"):
            open_case(case.id)
        with answer:
            _badges(entry)
        share = told(case.summary) if case.summary else "no probability"
        when.markdown(f"{share}  \n:small[sent {times.show_time(case.created_at)}]")
        standing.markdown(f":small[{stands(entry)}]  \n:small[{case.study.title}]")


def _badges(entry: ListedCase) -> None:
    """Draw the program's answer, and what else calls for attention, as words with signs, never by colour alone."""
    if entry.is_damaged:
        st.badge("Damaged", icon=":material/warning:", color="red")
    elif entry.case.summary is None:
        st.badge("No answer yet", icon=":material/hourglass_top:", color="gray")
    else:
        title, icon, colour = OUTCOMES[entry.case.summary.outcome]
        st.badge(title, icon=icon, color=colour)  # type: ignore[arg-type]  # one of the named colours
    if entry.second is not None:
        title, icon, colour = SECOND[entry.second]
        st.badge(title, icon=icon, color=colour)  # type: ignore[arg-type]
    if entry.unread:
        st.badge(f"{entry.unread} unread", icon=":material/chat:", color="violet")
    if entry.case.is_referred:
        st.badge("Referred here", icon=":material/move_to_inbox:", color="gray")


def stands(entry: ListedCase) -> str:
    """Return where a case stands, in words."""
    if entry.is_out_of_reach:
        return "cannot be answered any more; the patient is asked to send it again"
    if entry.review is None:
        return "waits for the program" if entry.case.status is CaseStatus.WAITING else "to review"
    return f"{DECIDED[entry.review.decision]} by {clinic.literal(entry.review.doctor)}"


def told(summary: CaseSummary) -> str:
    """Return the answer's numbers in a few words."""
    if summary.by_alarm:
        return f"{summary.positive} of {summary.cells} cells positive"
    most = "highest " if summary.images > 1 else ""
    return f"{most}probability {summary.positive_probability:.0%}"
