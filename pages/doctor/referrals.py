"""A hospital's referrals: what its doctors have asked for and what became of it, and what other hospitals sent."""

import streamlit as st

from core.errors import HemaSealError
from core.services.accounts import Role
from core.services.referrals import ReferralStatus, ReferralView, referrals, take_back
from pages._ui import clinic, guard, referral, shell, state, times

app = state.app()
person = guard.actor(Role.DOCTOR)
BADGES = {
    ReferralStatus.ASKED: ("Not answered yet", ":material/hourglass_top:", "gray"),
    ReferralStatus.ACCEPTED: ("Agreed", ":material/check:", "green"),
    ReferralStatus.DECLINED: ("Declined", ":material/close:", "orange"),
    ReferralStatus.TAKEN_BACK: ("Taken back", ":material/undo:", "gray"),
    ReferralStatus.BROUGHT_BACK: ("Brought back", ":material/undo:", "orange"),
}


def line(view: ReferralView, *, sent: bool) -> None:
    """Draw one referral; the case opens only where it is this hospital's now."""
    ours = view.stands if not sent else view.status is not ReferralStatus.ACCEPTED
    with st.container(border=True, key=f"referral_{view.id}"):
        badge, what, act = st.columns([1.3, 4, 1.2], vertical_alignment="center")
        with badge:
            title, icon, colour = BADGES[view.status]
            st.badge(title, icon=icon, color=colour)  # type: ignore[arg-type]  # one of the named colours
            if sent and view.is_news:
                st.badge("New", icon=":material/notifications:", color="blue")
        with what:
            way = f"To {view.recipient.name}" if sent else f"From {view.sender.name}"
            st.markdown(f"**{clinic.literal(way)}** · case {view.number} · {clinic.literal(view.doctor)}")
            referral.dates(view, to_patient=False)
            referral.reason(view)
        with act:
            if ours and not view.is_damaged and st.button("Open", key=f"referral_open_{view.id}"):
                st.switch_page("pages/doctor/case.py", query_params={"case": view.case_id})
            if view.status is ReferralStatus.ASKED and st.button("Take back", key=f"referral_take_back_{view.id}"):
                try:
                    take_back(app, person, view.id)
                except HemaSealError as error:
                    shell.show_error(error)
                else:
                    st.rerun()


shell.title(
    "Referrals",
    "Nothing moves before the patient agrees. After that the case, its pictures and its messages are the other "
    "hospital's, and here stands only that it went there.",
)
try:
    listed = referrals(app, person)
except HemaSealError as error:
    shell.show_error(error)
    st.stop()
sent = [view for view in listed if view.sender.id == person.hospital_id]
received = [view for view in listed if view.recipient.id == person.hospital_id]
for heading, views, is_sent in (("Sent", sent, True), ("Received", received, False)):
    if views:
        st.header(heading, anchor=False)
        for one in views:
            line(one, sent=is_sent)
if not listed:
    shell.empty_state(
        "No referrals",
        "A case is referred from its own page, under “Refer to another hospital”.",
        icon=":material/move_up:",
    )
times.zone_note()
shell.research_notice()
