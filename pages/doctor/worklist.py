"""The worklist of a doctor's hospital, the most urgent first."""

from datetime import timedelta

import streamlit as st

from core.errors import HemaSealError
from core.services.accounts import Role
from core.services.case_records import CaseStatus, Outcome
from core.services.cases import retry_waiting
from core.services.messages import unread_count
from core.services.referrals import news_count
from core.services.worklist import MOST_COUNTED, MOST_REVIEWED, Narrowing, WorklistFilter, counts, worklist
from core.studies import STUDIES
from pages._ui import guard, shell, state, studies, times, worklist_rows

PAGE = 20
FILTERS = {
    WorklistFilter.OPEN: "To review",
    WorklistFilter.SECOND: "Second reading",
    WorklistFilter.DEFERRED: "Deferred",
    WorklistFilter.WAITING: "Without an answer",
    WorklistFilter.REVIEWED: "Reviewed",
    WorklistFilter.ALL: "All",
}
AGES = {"": "Any age", "1": "At least a day old", "3": "At least 3 days old", "7": "At least a week old"}
ANSWERS = {"": "Any answer", **{outcome.value: outcome.value.capitalize() for outcome in Outcome}}
UNREAD, REFERRED = "Unread messages", "Referred to us"
CHOICES = {
    "worklist_filter": WorklistFilter.OPEN,
    "worklist_search": "",
    "worklist_answer": "",
    "worklist_age": "",
    "worklist_study": "",
    "worklist_more_of": [],
}
"""The widgets with what they begin with; what was chosen is kept while the doctor looks at a case."""

app = state.app()
person = guard.actor(Role.DOCTOR)


def recall() -> None:
    """Put back what was chosen when this tab was here last: Streamlit forgets a page's widgets when it leaves."""
    for key, default in CHOICES.items():
        st.session_state.setdefault(key, st.session_state.get(f"kept_{key}", default))


def clear() -> None:
    """Show everything to review again."""
    for key, default in CHOICES.items():
        st.session_state[key] = default


def chosen() -> tuple[WorklistFilter, Narrowing]:
    """Draw what narrows the list and return it."""
    only = st.segmented_control(
        "Show", list(FILTERS), format_func=FILTERS.__getitem__, required=True, key="worklist_filter"
    )
    of_each = counts(app, person)
    st.caption(" · ".join(f"{title}: {_told(of_each[which])}" for which, title in FILTERS.items()))
    search = st.text_input("Find", placeholder="Part of a name or of a case number", key="worklist_search")
    first, second, third = st.columns(3)
    answer = first.selectbox("Answer", list(ANSWERS), format_func=ANSWERS.__getitem__, key="worklist_answer")
    age = second.selectbox("Age", list(AGES), format_func=AGES.__getitem__, key="worklist_age")
    study = third.selectbox(
        "Study",
        ["", *STUDIES],
        format_func=lambda name: studies.title_of(name) if name else "Any study",
        key="worklist_study",
    )
    more = st.pills("Only with", [UNREAD, REFERRED], selection_mode="multi", key="worklist_more_of")
    for key in CHOICES:
        st.session_state[f"kept_{key}"] = st.session_state[key]
    return only or WorklistFilter.OPEN, Narrowing(
        search=search,
        study=study,
        outcome=Outcome(answer) if answer else None,
        older_than=timedelta(days=int(age)) if age else None,
        unread=UNREAD in more,
        referred=REFERRED in more,
    )


def _told(count: int) -> str:
    return f"{count:,}" if count < MOST_COUNTED else f"{MOST_COUNTED:,}+"


def nothing(only: WorklistFilter, narrowed: Narrowing) -> None:
    """Say why the list is empty and what to do."""
    if narrowed != Narrowing():
        shell.empty_state("No case fits", "No case in this list fits what you look for.", icon=":material/search_off:")
        st.button("Show everything to review", icon=":material/filter_alt_off:", key="worklist_clear", on_click=clear)
        return
    texts = {
        WorklistFilter.OPEN: "Every answered case of your hospital has been reviewed.",
        WorklistFilter.SECOND: "No second reading is asked for, and no readings differ.",
        WorklistFilter.DEFERRED: "Nobody of your hospital has deferred a case.",
        WorklistFilter.WAITING: "The program has answered every case of your hospital.",
        WorklistFilter.REVIEWED: "No case of your hospital has been reviewed yet.",
        WorklistFilter.ALL: "No patient has sent a picture to your hospital yet.",
    }
    shell.empty_state(
        "Nothing here", f"{texts[only]} New cases appear when patients send images.", icon=":material/checklist:"
    )


def page() -> None:
    """Draw the list."""
    if unread := unread_count(app, person):
        with st.container(horizontal=True, vertical_alignment="center"):
            st.markdown(
                f":material/chat: **{unread}** new message{'s' if unread > 1 else ''} from patients", width="content"
            )
            if st.button("Read", key="worklist_to_messages"):
                st.switch_page("pages/doctor/messages.py")
    if news := news_count(app, person):
        with st.container(horizontal=True, vertical_alignment="center"):
            answers = "answer" if news == 1 else "answers"
            st.markdown(f":material/move_up: **{news}** new {answers} to referrals", width="content")
            if st.button("Look", key="worklist_to_referrals"):
                st.switch_page("pages/doctor/referrals.py")
    recall()
    only, narrowed = chosen()
    found = worklist(app, person, only=only, narrowed=narrowed)
    worklist_rows.keep_order(found)
    if only is WorklistFilter.WAITING and found and st.button("Ask our enclave again", key="worklist_retry"):
        answered = retry_waiting(app, person)
        st.toast(f"{answered} answered")
        st.rerun()
    shown = int(st.session_state.get("worklist_shown", PAGE))
    st.markdown(f"**{len(found)} case{'' if len(found) == 1 else 's'}** · times in {times.zone_name()}")
    if sum(entry.case.status is CaseStatus.REVIEWED for entry in found) >= MOST_REVIEWED:
        st.caption(f"Of the reviewed cases the newest {MOST_REVIEWED} are listed; any other is found by its number.")
    if not found:
        nothing(only, narrowed)
    worklist_rows.draw(found[:shown])
    if len(found) > shown and st.button("Show more", key="worklist_more"):
        st.session_state["worklist_shown"] = shown + PAGE
        st.rerun()


worklist_rows.follow_press()
shell.title(
    "Worklist",
    "Readings that differ first, then positive answers, then uncertain ones; among equals the higher probability, then "
    "the older.",
)
try:
    page()
except HemaSealError as error:
    shell.show_error(error)
shell.research_notice()
