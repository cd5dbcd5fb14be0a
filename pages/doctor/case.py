"""One case for its doctor: the original image first, then probability with threshold, then the heat map; then act."""

from functools import partial

import streamlit as st

from core.errors import HemaSealError
from core.services.accounts import Role
from core.services.appointments import book
from core.services.case_reading import HEAT_MAP_SCALE, CaseDetail, colour_stops, read_case, view_pictures
from core.services.case_records import Outcome
from core.services.cases import retry_waiting
from core.services.reviews import Decision, ReviewView, reviews_of, sign_review
from core.services.slots import free_slots
from pages._ui import answer, case_cells, clinic, guard, shell, state, times

DECISIONS = {
    Decision.AGREE: "I agree with the program",
    Decision.OVERRIDE: "I conclude otherwise",
    Decision.DEFER: "I need more before deciding",
}
DECIDED = {
    Decision.AGREE: "agrees with the program",
    Decision.OVERRIDE: "concludes otherwise than the program, or where it was uncertain",
    Decision.DEFER: "needs more before deciding",
}
ANSWERS = {
    Outcome.POSITIVE: ":material/priority_high: Positive",
    Outcome.NEGATIVE: ":material/check: Negative",
    Outcome.UNCERTAIN: ":material/question_mark: Uncertain",
}
WIDTH = 420

app = state.app()
person = guard.actor(Role.DOCTOR)


def image_and_answer(detail: CaseDetail) -> None:
    """Draw the original image, the probability with its threshold, and then the heat map; counts if there are many."""
    if case_cells.has_many(detail) and detail.conclusion is not None:
        case_cells.draw(app, person, detail, ANSWERS[detail.conclusion.outcome])
        return
    case, result = detail.case, detail.result
    pictures = view_pictures(app, person, case.id)
    left, right = st.columns(2, gap="large")
    with left:
        st.header("Original image", anchor=False)
        st.image(pictures.original, width=WIDTH, alt=f"Original image of case {case.number}")
    with right:
        st.header("What the program says", anchor=False)
        if result is None:
            st.markdown(detail.problem or "The program has not answered yet.")
            return
        st.markdown(f"**{ANSWERS[result.outcome]}** · probability of “{positive_title(detail)}”:")
        st.metric("Probability", f"{result.positive_probability:.1%}", label_visibility="collapsed")
        clinic.probability_bar(result.positive_probability, result.threshold)
        if result.outcome is Outcome.UNCERTAIN:
            st.markdown(answer.why_uncertain(case.study, result.prediction_set))
        answer.classes(case.study, result.probabilities, result.prediction_set, result.coverage)
        st.caption(
            f"Answered by the enclave of {clinic.literal(case.care.name)} {times.show_time(result.at)} · "
            f"model {result.weights_sha256[:12]} · measurement {result.measurement[:12]}. "
            f"{clinic.literal(case.routing_reason)}"
        )
    if pictures.is_blank:
        st.markdown("The heat map is empty: no place spoke for an abnormal cell, which does not prove it healthy.")
    if pictures.is_undrawn:
        st.markdown(
            "There is no heat map: the hospital's enclave works with an encrypted head of the network, whose weights a "
            "heat map would need. Probabilities are rounded to whole hundredths for the same reason."
        )
    if pictures.with_heat_map is None:
        return
    left, right = st.columns(2, gap="large")
    with left:
        st.header("Heat map", anchor=False)
        st.image(pictures.with_heat_map, width=WIDTH, alt=f"Original image with heat map: {HEAT_MAP_SCALE}")
    with right:
        st.header("How to read it", anchor=False)
        clinic.colour_bar(colour_stops(), HEAT_MAP_SCALE)
        st.markdown(
            "**The heat map shows which places influenced the program's answer. It does not show disease**, and a "
            "place without colour is not proven healthy: it only said little to the program."
        )


def positive_title(detail: CaseDetail) -> str:
    """Return the positive class, or all of them, as a doctor reads it."""
    return " or ".join(label.title for label in detail.case.study.classes if label.positive)


@st.fragment
def review(detail: CaseDetail) -> None:
    """Draw the review in force with those before it, and the form for a new one."""
    st.header("Your review", anchor=False)
    signed = reviews_of(app, guard.actor(Role.DOCTOR), detail.case.id)
    for view in signed:
        show_review(detail, view)
    if detail.case.summary is None:
        st.markdown("A review can be signed when the program has answered.")
        return
    current = next((view for view in signed if view.is_current), None)
    if current is None:
        review_form(detail, None)
        return
    with st.expander("Write an amendment", icon=":material/edit_note:", key="amend"):
        st.caption("The signed review stays as it is; the amendment is signed beside it and counts from then on.")
        review_form(detail, current.id)


def show_review(detail: CaseDetail, view: ReviewView) -> None:
    """Draw one signed review."""
    with st.container(border=True, key=f"review_{view.id}"):
        concluded = "No conclusion yet" if view.conclusion is None else detail.case.study.classes[view.conclusion].title
        standing = "In force" if view.is_current else "Replaced by an amendment"
        st.markdown(
            f":material/verified: **{concluded}** · {clinic.literal(view.doctor)} · {times.show_time(view.signed_at)}"
        )
        st.caption(f"{standing} · signature verified · {DECIDED[view.decision]}")
        if view.reason:
            st.caption("Reason")
            clinic.plain_text(view.reason)
        if view.note:
            st.caption("To the patient")
            clinic.plain_text(view.note)


def review_form(detail: CaseDetail, amends: str | None) -> None:
    """Draw the form; what is missing is said when it is signed, and what was typed stays."""
    summary, classes = detail.case.summary, detail.case.study.classes
    uncertain = summary is not None and summary.outcome is Outcome.UNCERTAIN
    options = [d for d in Decision if not (uncertain and d is Decision.AGREE)]
    titles = {**DECISIONS, Decision.OVERRIDE: "I conclude"} if uncertain else DECISIONS
    with st.container(key="review_decision"):
        decision = st.radio(
            "Decision", options, format_func=titles.__getitem__, index=None, key=f"review_decision_{turn()}"
        )
    conclusion = None
    if decision is Decision.OVERRIDE:
        own = [i for i in range(len(classes)) if uncertain or summary is None or i != summary.label_index]
        conclusion = st.selectbox(
            "Conclusion",
            own,
            index=0 if len(own) == 1 else None,
            format_func=lambda i: classes[i].title,
            key=f"review_class_{turn()}",
        )
    with st.form("review_form", border=False):
        reason = st.text_area(
            "Reason (for the record)" if decision is not Decision.AGREE else "Remark for the record (optional)",
            key=f"review_reason_{turn()}",
            height=90,
        )
        note = st.text_area("In plain words to the patient (optional)", key=f"review_note_{turn()}", height=90)
        sign = st.form_submit_button("Sign", type="primary", icon=":material/draw:", key="review_sign")
    st.caption("Signing seals the review with your name and the time. It cannot be changed afterwards, only amended.")
    if not sign:
        return
    if decision is None:
        st.warning("Choose your decision first.", icon=":material/info:")
        return
    try:
        sign_review(
            app,
            guard.actor(Role.DOCTOR),
            detail.case.id,
            decision=decision,
            conclusion=conclusion,
            reason=reason,
            note=note,
            amends=amends,
        )
    except HemaSealError as error:
        shell.show_error(error)
        return
    told = "that you need more before deciding" if decision is Decision.DEFER else "your conclusion in plain words"
    done(f"The review is signed. The patient sees {told}.")


@st.fragment
def appointment(detail: CaseDetail) -> None:
    """Draw free times of the hospital's doctors, to book one for the patient."""
    st.header("Book for the patient", anchor=False)
    actor = guard.actor(Role.DOCTOR)
    slots = free_slots(app, actor, detail.case.id)
    if not slots:
        st.markdown("No free times: offer some on the schedule page.")
        return
    slot = clinic.choose_slot(slots, key="case_slot", turn=turn())
    if (
        st.button("Book this time for the patient", disabled=slot is None, icon=":material/event:", key="case_book")
        and slot
    ):
        try:
            book(app, actor, case_id=detail.case.id, slot_id=slot.id)
        except HemaSealError as error:
            shell.show_error(error)
            return
        done(f"Booked for the patient: {times.show_time(slot.starts_at)} with {clinic.literal(slot.doctor)}.")


def done(text: str) -> None:
    """Draw the whole page anew, with a line that says what was done and empty forms."""
    st.session_state["case_note"] = text
    st.session_state["case_turn"] = turn() + 1
    st.rerun()


def turn() -> int:
    """Return a number that is part of the forms' keys and grows with every act: a new key is an empty field."""
    return int(st.session_state.get("case_turn", 0))


def page(case_id: str) -> None:
    """Draw the case."""
    detail = read_case(app, person, case_id)
    case = detail.case
    shell.title(f"{clinic.literal(case.patient_name)} · case {case.number}")
    if text := st.session_state.pop("case_note", ""):
        st.success(text, icon=":material/check_circle:")
        st.toast(text, icon=":material/check_circle:")
    with st.container(horizontal=True, vertical_alignment="center"):
        st.markdown(
            f"{case.study.title} · sent {times.show_time(case.created_at)} · {case.status.value}", width="content"
        )
        if st.button("Write to the patient", icon=":material/chat:", key="case_write"):
            st.switch_page("pages/doctor/messages.py", query_params={"case": case.id})
        if detail.result is None and not detail.problem and st.button("Ask our enclave again", key="case_retry"):
            retry_waiting(app, person)
            st.rerun()
    try:
        image_and_answer(detail)
    except HemaSealError as error:
        shell.show_error(error)
    for part in (partial(review, detail), partial(appointment, detail)):
        try:
            part()
        except HemaSealError as error:
            shell.show_error(error)


if st.button("Back to the worklist", icon=":material/arrow_back:", type="tertiary", key="case_back"):
    st.switch_page("pages/doctor/worklist.py")
if wanted := clinic.case_in_address():
    try:
        page(wanted)
    except HemaSealError as error:
        shell.show_error(error)
else:
    shell.title("Case")
    shell.empty_state("No case is open", "Open one from the worklist.", icon=":material/biotech:")
shell.research_notice()
