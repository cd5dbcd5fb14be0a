"""The reviews of a case: what is in force, what each amendment changed, and the form that signs a new one."""

from itertools import pairwise

import pandas as pd
import streamlit as st

from core.errors import HemaSealError
from core.services.accounts import Role
from core.services.case_reading import CaseDetail
from core.services.case_records import Outcome
from core.services.reviews import Decision, ReviewView, reviews_of, sign_review
from pages._ui import case_acts, clinic, guard, shell, state, times

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


@st.fragment
def draw(detail: CaseDetail) -> None:
    """Draw the review in force with those before it, and the form for a new one."""
    st.header("Your review", anchor=False)
    signed = reviews_of(state.app(), guard.actor(Role.DOCTOR), detail.case.id)
    for view in signed[:1]:
        show(detail, view)
    if len(signed) > 1:
        _versions(detail, signed)
    if detail.case.summary is None:
        st.markdown("A review can be signed when the program has answered.")
        return
    if not signed:
        _form(detail, None)
        return
    with st.expander("Write an amendment", icon=":material/edit_note:", key="amend"):
        st.caption("The signed review stays as it is; the amendment is signed beside it and counts from then on.")
        _form(detail, signed[0].id)


def concluded(detail: CaseDetail, conclusion: int | None) -> str:
    """Return what a doctor concluded, in words."""
    return "No conclusion yet" if conclusion is None else detail.case.study.classes[conclusion].title


def show(detail: CaseDetail, view: ReviewView) -> None:
    """Draw one signed review."""
    with st.container(border=True, key=f"review_{view.id}"):
        standing = "In force" if view.is_current else "Replaced by an amendment"
        st.markdown(
            f":material/verified: **{concluded(detail, view.conclusion)}** · {clinic.literal(view.doctor)} · "
            f"{times.show_time(view.signed_at)}"
        )
        st.caption(f"{standing} · signature verified · {DECIDED[view.decision]}")
        if view.reason:
            st.caption("Reason")
            clinic.plain_text(view.reason)
        if view.note:
            st.caption("To the patient")
            clinic.plain_text(view.note)


def _versions(detail: CaseDetail, signed: list[ReviewView]) -> None:
    """Draw what each amendment changed, and the earlier reviews as they were signed."""
    with st.expander(f"Versions ({len(signed)})", icon=":material/history:", key="review_versions"):
        for number, (view, before) in enumerate(pairwise(signed)):
            st.markdown(f"**Version {len(signed) - number}**: what {clinic.literal(view.doctor)} changed")
            st.table(changes(detail, before, view).set_index("What"))
        for view in signed[1:]:
            show(detail, view)


def changes(detail: CaseDetail, before: ReviewView, after: ReviewView) -> pd.DataFrame:
    """Return what an amendment changed: a line for each part that differs, as it was and as it is."""
    parts = {
        "Decision": (DECIDED[before.decision], DECIDED[after.decision]),
        "Conclusion": (concluded(detail, before.conclusion), concluded(detail, after.conclusion)),
        "Reason": (before.reason, after.reason),
        "To the patient": (before.note, after.note),
        "Doctor": (before.doctor, after.doctor),
        "Signed": (times.show_time(before.signed_at), times.show_time(after.signed_at)),
    }
    rows = [
        (name, clinic.literal(old) or times.NOTHING, clinic.literal(new) or times.NOTHING)
        for name, (old, new) in parts.items()
        if old != new
    ]
    return pd.DataFrame(rows, columns=["What", "Before", "After"])


def _form(detail: CaseDetail, amends: str | None) -> None:
    """Draw the form; what is missing is said when it is signed, and what was typed stays."""
    summary, classes, turn = detail.case.summary, detail.case.study.classes, case_acts.turn()
    uncertain = summary is not None and summary.outcome is Outcome.UNCERTAIN
    options = [d for d in Decision if not (uncertain and d is Decision.AGREE)]
    titles = {**DECISIONS, Decision.OVERRIDE: "I conclude"} if uncertain else DECISIONS
    with st.container(key="review_decision"):
        decision = st.radio(
            "Decision", options, format_func=titles.__getitem__, index=None, key=f"review_decision_{turn}"
        )
    conclusion = None
    if decision is Decision.OVERRIDE:
        own = [i for i in range(len(classes)) if uncertain or summary is None or i != summary.label_index]
        conclusion = st.selectbox(
            "Conclusion",
            own,
            index=0 if len(own) == 1 else None,
            format_func=lambda i: classes[i].title,
            key=f"review_class_{turn}",
        )
    with st.form("review_form", border=False):
        reason = st.text_area(
            "Reason (for the record)" if decision is not Decision.AGREE else "Remark for the record (optional)",
            key=f"review_reason_{turn}",
            height=90,
        )
        note = st.text_area("In plain words to the patient (optional)", key=f"review_note_{turn}", height=90)
        sign = st.form_submit_button("Sign", type="primary", icon=":material/draw:", key="review_sign")
    st.caption("Signing seals the review with your name and the time. It cannot be changed afterwards, only amended.")
    if not sign:
        return
    if decision is None:
        st.warning("Choose your decision first.", icon=":material/info:")
        return
    try:
        sign_review(
            state.app(),
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
    case_acts.done(f"The review is signed. The patient sees {told}.")
