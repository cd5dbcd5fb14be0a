"""What the pages of patients and doctors draw of a referral alike: the words that are asked, and where it stands."""

import streamlit as st

from core.services.referral_words import RequestWords, standing
from core.services.referrals import ReferralView
from pages._ui import clinic, times


def sentences(words: RequestWords, *, sender: str, recipient: str) -> None:
    """Draw what a patient is told: who would see what, what ends, what stays, a no, and the way back."""
    for heading, lines in (
        ("If you agree", words.seen),
        ("What ends", words.ends),
        ("What stays", words.stays),
        ("If you decline", (words.declining,)),
        ("If you change your mind afterwards", words.way_back),
    ):
        points = "\n".join(f"- {clinic.literal(line)}" for line in lines)
        st.markdown(f"**{clinic.literal(heading)}**\n{points}")
    st.caption(
        f"{clinic.literal(sender)} and {clinic.literal(recipient)} are members of this federation: the trusted "
        "authority has checked who they are."
    )


def reason(view: ReferralView) -> None:
    """Draw why a doctor asks, in the doctor's own words."""
    if view.reason:
        st.caption(f"Why, in the words of {clinic.literal(view.doctor)}")
        clinic.plain_text(view.reason)


def dates(view: ReferralView, *, to_patient: bool) -> None:
    """Draw where a request stands, and since when."""
    st.markdown(clinic.literal(standing(view, to_patient=to_patient)))
    parts = [f"asked {times.show_time(view.asked_at)}"]
    if view.answered_at:
        parts.append(f"answered {times.show_time(view.answered_at)}")
    if view.ended_at:
        parts.append(f"ended {times.show_time(view.ended_at)}")
    st.caption(" · ".join(parts))
