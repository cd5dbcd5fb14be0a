"""One case for its doctor: picture and answer first, then reviews, booking and the patient's other cases."""

import streamlit as st

from core.errors import HemaSealError
from core.services.accounts import Role
from core.services.case_reading import CaseDetail, read_case
from core.services.cases import retry_waiting
from pages._ui import (
    case_acts,
    case_booking,
    case_cells,
    case_files,
    case_history,
    case_picture,
    case_referral,
    case_review,
    case_second,
    clinic,
    guard,
    shell,
    state,
    times,
)

app = state.app()
person = guard.actor(Role.DOCTOR)


def image_and_answer(detail: CaseDetail) -> None:
    """Draw the pictures with the answer: counts and a gallery where there are many cells."""
    if case_cells.has_many(detail) and detail.conclusion is not None:
        case_cells.draw(app, person, detail, case_picture.ANSWERS[detail.conclusion.outcome])
    else:
        case_picture.draw(app, person, detail)


def heading(detail: CaseDetail) -> None:
    """Draw whose case it is and where it stands, and what can be done at once."""
    case = detail.case
    shell.title(f"{clinic.literal(case.patient_name)} · case {case.number}")
    case_acts.told()
    with st.container(horizontal=True, vertical_alignment="center"):
        st.markdown(
            f"{case.study.title} · sent {times.show_time(case.created_at)} · {case.status.value}", width="content"
        )
        if st.button("Write to the patient", icon=":material/chat:", key="case_write"):
            st.switch_page("pages/doctor/messages.py", query_params={"case": case.id})
        if detail.result is None and not detail.problem and st.button("Ask our enclave again", key="case_retry"):
            retry_waiting(app, person)
            st.rerun()
        case_files.draw(app, person, detail)


PARTS = (
    image_and_answer,
    case_review.draw,
    case_second.draw,
    case_booking.draw,
    case_referral.draw,
    case_history.draw,
)


def page(case_id: str) -> None:
    """Draw the case; a part that fails says so in its place and leaves the others."""
    detail = read_case(app, person, case_id)
    heading(detail)
    for part in PARTS:
        try:
            part(detail)
        except HemaSealError as error:
            shell.show_error(error)


wanted = clinic.case_in_address()
case_history.way(wanted)
if wanted:
    try:
        page(wanted)
    except HemaSealError as error:
        shell.show_error(error)
else:
    shell.title("Case")
    shell.empty_state("No case is open", "Open one from the worklist.", icon=":material/biotech:")
shell.research_notice()
