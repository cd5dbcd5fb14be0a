"""The worklist of a doctor's hospital, the most urgent first."""

import streamlit as st

from core.errors import HemaSealError
from core.services.accounts import Role
from core.services.case_reading import ListedCase, WorklistFilter, worklist
from core.services.case_records import CaseStatus, CaseSummary, Outcome
from core.services.cases import retry_waiting
from core.services.messages import unread_count
from core.services.reviews import Decision
from pages._ui import clinic, guard, shell, state, times

PAGE = 20
FILTERS = {
    WorklistFilter.OPEN: "To review",
    WorklistFilter.DEFERRED: "Deferred",
    WorklistFilter.WAITING: "Without an answer",
    WorklistFilter.REVIEWED: "Reviewed",
    WorklistFilter.ALL: "All",
}
OUTCOMES = {
    Outcome.POSITIVE: ("Positive", ":material/priority_high:", "orange"),
    Outcome.UNCERTAIN: ("Uncertain", ":material/question_mark:", "blue"),
    Outcome.NEGATIVE: ("Negative", ":material/check:", "gray"),
}

app = state.app()
person = guard.actor(Role.DOCTOR)


def badge(entry: ListedCase) -> None:
    """Draw the program's answer as a word with a sign, never by colour alone."""
    if entry.is_damaged:
        st.badge("Damaged", icon=":material/warning:", color="red")
    elif entry.case.summary is None:
        st.badge("No answer yet", icon=":material/hourglass_top:", color="gray")
    else:
        title, icon, colour = OUTCOMES[entry.case.summary.outcome]
        st.badge(title, icon=icon, color=colour)  # type: ignore[arg-type]  # one of the named colours


def standing(entry: ListedCase) -> str:
    """Return where the case stands, in words."""
    if entry.is_out_of_reach:
        return "cannot be answered any more; the patient is asked to send it again"
    if entry.review is None:
        return "waits for the program" if entry.case.status is CaseStatus.WAITING else "to review"
    done = {Decision.AGREE: "agreed", Decision.OVERRIDE: "concluded otherwise", Decision.DEFER: "deferred"}
    return f"{done[entry.review.decision]} by {clinic.literal(entry.review.doctor)}"


def told(summary: CaseSummary) -> str:
    """Return the answer's numbers in a few words."""
    if summary.by_alarm:
        return f"{summary.positive} of {summary.cells} cells positive"
    most = "highest " if summary.images > 1 else ""
    return f"{most}probability {summary.positive_probability:.0%}"


def line(entry: ListedCase) -> None:
    """Draw one case as a line with the button that opens it."""
    case = entry.case
    with st.container(border=True, key=f"case_line_{case.id}"):
        answer, who, when, state_of, act = st.columns([1.3, 2, 2, 1.8, 0.8], vertical_alignment="center")
        with answer:
            badge(entry)
        who.markdown(f"**{clinic.literal(case.patient_name)}**  \n:small[{case.number}]")
        share = told(case.summary) if case.summary else "no probability"
        when.markdown(f"{share}  \n:small[sent {times.show_time(case.created_at)}]")
        state_of.markdown(f":small[{standing(entry)}]")
        if act.button("Open", key=f"case_open_{case.id}"):
            st.switch_page("pages/doctor/case.py", query_params={"case": case.id})


shell.title(
    "Worklist", "Positive answers first, then uncertain ones; among equals the higher probability, then the older."
)
try:
    unread = unread_count(app, person)
    if unread:
        with st.container(horizontal=True, vertical_alignment="center"):
            st.markdown(
                f":material/chat: **{unread}** new message{'s' if unread > 1 else ''} from patients", width="content"
            )
            if st.button("Read", key="worklist_to_messages"):
                st.switch_page("pages/doctor/messages.py")
    chosen = st.segmented_control(
        "Show",
        list(FILTERS),
        format_func=FILTERS.__getitem__,
        default=WorklistFilter.OPEN,
        required=True,
        key="worklist_filter",
    )
    search = st.text_input("Find", placeholder="Part of a name or of a case number", key="worklist_search")
    found = worklist(app, person, only=chosen, search=search)
    if chosen is WorklistFilter.WAITING and found and st.button("Ask our enclave again", key="worklist_retry"):
        answered = retry_waiting(app, person)
        st.toast(f"{answered} answered")
        st.rerun()
    shown = int(st.session_state.get("worklist_shown", PAGE))
    st.caption(f"{len(found)} case{'' if len(found) == 1 else 's'} · times in {times.zone_name()}")
    if not found:
        shell.empty_state(
            "Nothing here",
            "No case of your hospital is in this list. New ones appear when patients send images.",
            icon=":material/checklist:",
        )
    for case_line in found[:shown]:
        line(case_line)
    if len(found) > shown and st.button("Show more", key="worklist_more"):
        st.session_state["worklist_shown"] = shown + PAGE
        st.rerun()
except HemaSealError as error:
    shell.show_error(error)
shell.research_notice()
