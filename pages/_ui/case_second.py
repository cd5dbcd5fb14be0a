"""Second readings of a case: asking for one, both readings side by side, and the form of the second reader."""

from collections.abc import Callable

import streamlit as st

from core.errors import HemaSealError
from core.services.accounts import Role
from core.services.case_reading import CaseDetail
from core.services.second_readings import SecondReadingView, ask, second_readings_of, sign_second
from pages._ui import case_acts, case_review, clinic, guard, shell, state, times

UNDECIDED = -1


@st.fragment
def draw(detail: CaseDetail) -> None:
    """Draw the second readings of a case, and what this doctor can do about them now."""
    app, person = state.app(), guard.actor(Role.DOCTOR)
    readings = second_readings_of(app, person, detail.case.id)
    if detail.review is None and not readings:
        return
    st.header("Second reading", anchor=False)
    for view in readings:
        _show(detail, view)
    current = next((view for view in readings if view.outstanding), None)
    if current is None:
        st.markdown("Another doctor of your hospital can read the case, too, and sign what they conclude.")
        if st.button("Ask for a second reading", icon=":material/group_add:", key="second_ask"):
            _act(lambda: ask(app, person, detail.case.id), "A second reading is asked for. It stands in the worklist.")
    elif current.may_read:
        _form(detail)
    elif current.signed_at is None:
        st.markdown("You signed the review, so another doctor of your hospital reads it a second time.")


def _show(detail: CaseDetail, view: SecondReadingView) -> None:
    """Draw one second reading, and whether it confirms the review that it is about."""
    by = clinic.literal(view.asked_by) if view.asked_by else "the rule of this study"
    with st.container(border=True, key=f"second_{view.id}"):
        if view.signed_at is None:
            st.markdown(f":material/group: **Not read yet** · asked for by {by} · {times.show_time(view.asked_at)}")
            return
        st.markdown(
            f":material/verified: **{case_review.concluded(detail, view.conclusion)}** · "
            f"{clinic.literal(view.reader)} · {times.show_time(view.signed_at)}"
        )
        if view.confirms:
            st.badge("Both readings agree", icon=":material/check:", color="green")
        elif view.outstanding:
            st.badge("Readings differ", icon=":material/call_split:", color="red")
            st.markdown(
                "The second reading does not confirm the review above. The case is back in the list to review, ahead "
                "of others, until a doctor signs an amendment; talk to each other first."
            )
        else:
            st.badge("Readings differed, amended since", icon=":material/edit_note:", color="gray")
        st.caption("Signature verified · reason")
        clinic.plain_text(view.reason)


def _form(detail: CaseDetail) -> None:
    classes, turn = detail.case.study.classes, case_acts.turn()
    with st.form("second_form"):
        st.markdown("**Your second reading.** Look at the picture yourself before you read the review above.")
        conclusion = st.radio(
            "Your conclusion",
            [*range(len(classes)), UNDECIDED],
            format_func=lambda i: "I cannot decide" if i == UNDECIDED else classes[i].title,
            index=None,
            key=f"second_conclusion_{turn}",
        )
        reason = st.text_area("Reason (for the record)", key=f"second_reason_{turn}", height=90)
        pressed = st.form_submit_button(
            "Sign the second reading", type="primary", icon=":material/draw:", key="second_sign"
        )
    if not pressed:
        return
    if conclusion is None:
        st.warning("Choose your conclusion first.", icon=":material/info:")
        return
    app, person = state.app(), guard.actor(Role.DOCTOR)
    chosen = None if conclusion == UNDECIDED else conclusion
    _act(
        lambda: sign_second(app, person, detail.case.id, conclusion=chosen, reason=reason),
        "The second reading is signed. Both readings stand on this page.",
    )


def _act(act: Callable[[], object], said: str) -> None:
    """Do it and draw the page anew, or draw why not."""
    try:
        act()
    except HemaSealError as error:
        shell.show_error(error)
        return
    case_acts.done(said)
