"""A patient's results: plain words first, what to do next, and the numbers only after that."""

import time
from functools import partial

import pandas as pd
import streamlit as st

from core.errors import HemaSealError, NotFound
from core.services.accounts import Role
from core.services.appointments import appointments
from core.services.case_reading import (
    HEAT_MAP_SCALE,
    CaseDetail,
    DiagnosisResult,
    ListedCase,
    own_cases,
    read_case,
    view_pictures,
)
from core.services.case_records import CaseStatus, Outcome
from core.services.cases import retry_waiting
from core.services.messages import unread_count
from core.services.plain_words import FEELING_UNWELL, LIMITS, words_for
from core.services.referrals import news_count
from core.services.reports import case_report
from core.services.timeline import StepState, steps_of
from pages._ui import clinic, guard, shell, state, times

RETRY_SECONDS = 30.0
STEP_ICONS = {
    StepState.DONE: ":material/check_circle:",
    StepState.NOW: ":material/radio_button_checked:",
    StepState.AHEAD: ":material/radio_button_unchecked:",
    StepState.STOPPED: ":material/block:",
}
STAGES = {
    "decode": "Reading the file",
    "gate": "Checking its quality",
    "encode": "Leaving out what a camera adds: names, places, dates",
    "route": "Choosing a hospital",
    "seal": "Locking it for that hospital",
    "store": "Putting it in safe keeping",
    "enclave": "The hospital's answer",
    "record": "Checking and keeping the answer",
}

app = state.app()
person = guard.actor(Role.PATIENT)


def try_again(*, now: bool) -> None:
    """Ask again for pictures that wait: on the button, and by itself at most every half minute."""
    last = float(st.session_state.get("retried", 0.0))
    if now or time.monotonic() - last > RETRY_SECONDS:
        st.session_state["retried"] = time.monotonic()
        retry_waiting(app, person)


def chosen(listed: list[ListedCase]) -> ListedCase | None:
    """Return the case of the address, the newest if it names none, None if it names one that is not there."""
    wanted = clinic.case_in_address()
    return next((entry for entry in listed if entry.case.id == wanted), None) if wanted else listed[0]


def should_talk(entry: ListedCase) -> bool:
    """Tell whether talking with a doctor is the next step, rather than an offer."""
    if entry.review is not None:
        conclusion = entry.review.conclusion
        return conclusion is None or entry.case.study.classes[conclusion].positive
    return entry.case.summary is not None and entry.case.summary.outcome is not Outcome.NEGATIVE


def new_messages() -> None:
    """Draw how many messages wait to be read, if any do."""
    unread = unread_count(app, person)
    if unread:
        with st.container(horizontal=True, vertical_alignment="center"):
            st.markdown(f":material/chat: **{unread}** new message{'s' if unread > 1 else ''} for you", width="content")
            if st.button("Read", key="results_to_messages"):
                st.switch_page("pages/patient/messages.py")


def open_requests() -> None:
    """Draw that a doctor asks whether another hospital may look, if one does."""
    if news_count(app, person):
        with st.container(horizontal=True, vertical_alignment="center"):
            st.markdown(
                ":material/move_up: **A doctor asks you** whether another hospital may look at your picture",
                width="content",
            )
            if st.button("Read and decide", key="results_to_referrals"):
                st.switch_page("pages/patient/referrals.py")


def card(entry: ListedCase) -> None:
    """Draw one case: headline, meaning, next step, and the ways onward."""
    case, words = entry.case, words_for(entry)
    with st.container(border=True, key="result_card"):
        by = "A doctor has looked" if entry.review else "Preliminary: a first look by a program"
        if case.status is CaseStatus.WAITING:
            by = "Not answered" if entry.is_out_of_reach else "Waiting for the first look"
        icon = ":material/stethoscope:" if entry.review else ":material/hourglass_top:"
        st.caption(f"{icon} {by} · sent {times.show_time(case.created_at)} · number {case.number}")
        st.header(clinic.literal(words.headline), anchor=False)
        st.markdown(clinic.literal(words.meaning))
        if entry.review and entry.review.note:
            st.markdown(f"**A word from {clinic.literal(entry.review.doctor)}:**")
            clinic.plain_text(entry.review.note)
        st.markdown(f"**What happens next.** {clinic.literal(words.next_step)}")
        with st.container(horizontal=True):
            if entry.is_out_of_reach and st.button(
                "Send it again", type="primary", icon=":material/upload:", key="result_send_again"
            ):
                st.switch_page("pages/patient/upload.py")
            waits = case.status is CaseStatus.WAITING and not entry.is_out_of_reach
            if waits and st.button("Try again now", type="primary", icon=":material/refresh:", key="result_retry"):
                try_again(now=True)
                st.rerun()
            if st.button(
                "Choose a time to talk",
                type="primary" if should_talk(entry) else "secondary",
                icon=":material/event:",
                key="result_book",
            ):
                st.switch_page("pages/patient/appointments.py", query_params={"case": case.id})
            if st.button("Write to the doctor", icon=":material/chat:", key="result_write"):
                st.switch_page("pages/patient/messages.py", query_params={"case": case.id})
            if entry.review is not None:
                st.download_button(
                    "Report (PDF)",
                    data=partial(case_report, app, person, case.id, zone=times.zone()),
                    file_name=f"report-{case.number}.pdf",
                    mime="application/pdf",
                    on_click="ignore",
                    icon=":material/picture_as_pdf:",
                    key="result_report",
                )
        st.caption(f"{clinic.literal(case.routing_reason)} {FEELING_UNWELL}")


def progress(entry: ListedCase) -> None:
    """Draw where the case stands: each step with its state in words, its time, and who has it."""
    lines = []
    for step in steps_of(entry, appointments(app, person)):
        told = [clinic.literal(step.detail)] if step.detail else []
        when = [times.show_time(step.at)] if step.at else []
        lines.append(f"1. {STEP_ICONS[step.state]} **{step.title}** · {' · '.join([step.state.value, *when, *told])}")
    st.header("Where it stands", anchor=False)
    with st.container(key="result_steps"):
        st.markdown("\n".join(lines))
        times.zone_note()


def numbers(entry: ListedCase) -> None:
    """Draw the numbers behind a preliminary answer, for those who want them."""
    if not st.toggle("Show the numbers and the picture", key=f"result_numbers_{entry.case.id}"):
        return
    detail = read_case(app, person, entry.case.id)
    if detail.result is None:
        st.markdown(detail.problem or "There are no numbers before an answer has come.")
        return
    if detail.conclusion is not None and detail.conclusion.by_alarm:
        counts(detail)
    else:
        estimates(detail, max(detail.results, key=lambda one: one.positive_probability))
    pictures_of(entry, detail)
    timing(entry.case.id)


def counts(detail: CaseDetail) -> None:
    """Draw how many cells were looked at and how many of them a specialist should look at."""
    conclusion = detail.conclusion
    if conclusion is None:
        return
    images = "one picture" if conclusion.images == 1 else f"{conclusion.images} pictures"
    st.markdown(
        f"The program looked at **{conclusion.cells}** white blood cells in {images}. "
        f"It thinks that a specialist should look at **{conclusion.positive}** of them: {conclusion.share:.0%}. "
        "With so many cells of one sample, that share could as well have come out anywhere from "
        f"{conclusion.share_low:.0%} to {conclusion.share_high:.0%}. "
        "These are the program's own counts, not the chance of being ill."
    )


def estimates(detail: CaseDetail, result: DiagnosisResult) -> None:
    """Draw the program's estimates for a picture that was judged as a whole."""
    study = detail.case.study
    if len(detail.results) > 1:
        st.markdown(f"These are the numbers of picture {result.image + 1}, which stands out most.")
    st.markdown(
        f"The program gave **{result.positive_probability:.0%}** to “a specialist should look at this cell”. "
        f"From {result.threshold:.0%} on it says so; close to that line it says that it cannot tell. "
        "These are the program's own estimates about one cell, not the chance of being ill."
    )
    table = pd.DataFrame(
        {
            "What the cell looks like": [label.plain[0].upper() + label.plain[1:] for label in study.classes],
            "Program's estimate": [f"{p:.1%}" for p in result.probabilities],
        }
    )
    st.table(table, hide_index=True, width="content", alt="The program's estimate for each kind")


def pictures_of(entry: ListedCase, detail: CaseDetail) -> None:
    """Draw a picture of the case, with what moved the answer or with the cells that were found."""
    chosen, many = 0, len(detail.results)
    if many > 1:
        chosen = st.selectbox(
            "Picture", range(many), format_func=lambda n: f"{n + 1} of {many}", key=f"result_picture_{entry.case.id}"
        )
    pictures = view_pictures(app, person, entry.case.id, image=chosen)
    if pictures.with_frames is not None:
        st.image(
            pictures.with_frames,
            caption="Your picture; each white blood cell that was looked at has a frame",
            width=640,
            alt=f"Picture {chosen + 1} that you sent, with frames around {len(detail.results[chosen].cells)} cells",
        )
        return
    left, right, _ = st.columns([2, 2, 1])
    left.image(pictures.original, caption="Your picture", width=280, alt="The picture that you sent")
    if pictures.with_heat_map is not None:
        right.image(
            pictures.with_heat_map,
            caption="The same with coloured places that moved the program's answer",
            width=280,
            alt=HEAT_MAP_SCALE,
        )
        st.caption(
            "Colour shows what influenced the program's answer; where nothing spoke for an unusual cell there is none. "
            "It does not show disease."
        )
    elif pictures.is_blank:
        st.markdown("No place in the picture spoke for an unusual cell, so there are no colours to show.")
    elif pictures.is_undrawn:
        st.markdown("In this examination part of the program stays encrypted, so there are no colours to show.")


def timing(case_id: str) -> None:
    """Draw how long the answer took, right after the upload (the times are not stored)."""
    stages = st.session_state.get("stages", {}).get(case_id)
    if not stages:
        return
    st.markdown(f"From upload to stored answer it took **{stages['total']:.0f} ms**:")
    rows = [(title, f"{stages[name]:.1f}") for name, title in STAGES.items() if name in stages]
    table = pd.DataFrame(rows, columns=["Stage", "Milliseconds"])
    st.table(table, hide_index=True, width="content", alt="Milliseconds of each stage")


def earlier(listed: list[ListedCase], shown: ListedCase | None) -> None:
    """Draw the other cases as lines that open."""
    others = [entry for entry in listed if shown is None or entry.case.id != shown.case.id]
    if not others:
        return
    st.header("Your other pictures" if shown else "Your pictures", anchor=False)
    for entry in others:
        line = f"result_line_{entry.case.id}"
        with st.container(horizontal=True, vertical_alignment="center", border=True, key=line):
            by = "a doctor has looked" if entry.review else "no doctor has looked yet"
            st.markdown(
                f"{times.show_time(entry.case.created_at)} · {clinic.literal(words_for(entry).headline)}  \n"
                f":small[number {entry.case.number} · {clinic.literal(entry.case.care.name)} · {by}]"
            )
            if st.button("Open", key=f"result_open_{entry.case.id}"):
                st.query_params["case"] = entry.case.id
                st.rerun()


shell.title("My results")
try:
    try_again(now=False)
    cases = own_cases(app, person)
    if not cases:
        shell.empty_state(
            "No results yet",
            "When you have sent a picture, its answer stands here, in plain words, and a doctor's word after that.",
            icon=":material/lab_profile:",
        )
        if st.button("Send an image", type="primary", key="result_to_upload"):
            st.switch_page("pages/patient/upload.py")
        st.stop()
    new_messages()
    open_requests()
    current = chosen(cases)
    if current is None:
        shell.show_error(NotFound())
    else:
        card(current)
        progress(current)
        numbers(current)
    earlier(cases, current)
except HemaSealError as error:
    shell.show_error(error)
st.caption(LIMITS)
shell.research_notice()
