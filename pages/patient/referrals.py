"""Referrals as the patient decides on them: what is asked, yes or no, and the way back."""

import streamlit as st

from core.errors import HemaSealError
from core.services.accounts import Role
from core.services.cases import retry_waiting
from core.services.referral_words import request_words
from core.services.referrals import ReferralStatus, ReferralView, accept, bring_back, decline, referrals
from pages._ui import clinic, guard, referral, shell, state, times

app = state.app()
person = guard.actor(Role.PATIENT)


def done(text: str) -> None:
    """Let a case that has just moved be looked at, and draw the page anew with a line that says what was done."""
    retry_waiting(app, person)
    st.session_state["referral_note"] = text
    st.rerun()


def title(view: ReferralView) -> str:
    """Return which pictures a request is about."""
    pictures = "Picture" if view.images == 1 else f"{view.images} pictures"
    return f"{pictures} of {times.show_time(view.sent_at)} · number {view.number}"


def question(view: ReferralView) -> None:
    """Draw an open request and the two answers, neither of which is chosen beforehand."""
    words = request_words(
        doctor=view.doctor,
        sender=view.sender.name,
        recipient=view.recipient.name,
        city=view.recipient.city,
        images=view.images,
    )
    with st.container(border=True, key=f"referral_{view.id}"):
        st.caption(f"{title(view)} · asked {times.show_time(view.asked_at)}")
        st.header(clinic.literal(words.question), anchor=False)
        referral.reason(view)
        referral.sentences(words, sender=view.sender.name, recipient=view.recipient.name)
        st.markdown("You can take your time, and ask the doctor first.")
        with st.container(horizontal=True):
            if st.button("I agree", icon=":material/check:", key=f"referral_accept_{view.id}"):
                act(view, agreed=True)
            if st.button("I decline", icon=":material/close:", key=f"referral_decline_{view.id}"):
                act(view, agreed=False)
            if st.button("Write to the doctor", icon=":material/chat:", type="tertiary", key=f"referral_ask_{view.id}"):
                st.switch_page("pages/patient/messages.py", query_params={"case": view.case_id})


def act(view: ReferralView, *, agreed: bool) -> None:
    """Answer a request; an error leaves it open."""
    try:
        if agreed:
            with st.spinner("The two hospitals' protected computers hand over ..."):
                accept(app, person, view.id)
        else:
            decline(app, person, view.id)
    except HemaSealError as error:
        shell.show_error(error)
        st.caption("Nothing was moved.")
        return
    if agreed:
        done(f"You agreed. {view.recipient.name} looks after it from now on.")
    done(f"You declined. Everything stays as it is, at {view.sender.name}.")


def earlier(view: ReferralView) -> None:
    """Draw a request that was answered or taken back, with the way back where there is one."""
    with st.container(border=True, key=f"referral_{view.id}"):
        st.markdown(
            f"**{clinic.literal(view.sender.name)} to {clinic.literal(view.recipient.name)}**  \n:small[{title(view)}]"
        )
        referral.dates(view, to_patient=True)
        referral.reason(view)
        if not view.stands:
            return
        with st.expander("Bring it back", icon=":material/undo:", key=f"referral_back_{view.id}"):
            st.markdown(
                f"{clinic.literal(view.sender.name)} gets the key to your pictures again, and "
                f"{clinic.literal(view.recipient.name)} can no longer open them. The result from there is replaced by "
                "a new first look; what doctors have signed stays, and what they have seen cannot be made unseen."
            )
            if st.button("Withdraw my consent and bring it back", key=f"referral_back_confirm_{view.id}"):
                try:
                    bring_back(app, person, view.id)
                except HemaSealError as error:
                    shell.show_error(error)
                    st.caption("Nothing was moved.")
                else:
                    done(f"Your pictures are back at {view.sender.name}.")


shell.title(
    "Referrals", "When a doctor would like another hospital to look at your picture, you are asked here. You decide."
)
if text := st.session_state.pop("referral_note", ""):
    st.success(clinic.literal(text), icon=":material/check_circle:")
try:
    listed = referrals(app, person)
except HemaSealError as error:
    shell.show_error(error)
    st.stop()
waiting = [view for view in listed if view.status is ReferralStatus.ASKED and not view.is_damaged]
for request in waiting:
    question(request)
if past := [view for view in listed if view not in waiting]:
    st.header("Earlier requests", anchor=False)
    for request in past:
        earlier(request)
if not listed:
    shell.empty_state(
        "Nobody has asked", "When a doctor asks you something like this, it stands here.", icon=":material/move_up:"
    )
times.zone_note()
shell.research_notice()
