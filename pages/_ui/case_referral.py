"""A case's referrals on its doctor's page: what was asked about other hospitals, and the form that asks the patient."""

import streamlit as st

from core.errors import HemaSealError
from core.services.accounts import Role
from core.services.case_reading import CaseDetail
from core.services.referral_words import request_words
from core.services.referrals import MAX_REASON, ReferralStatus, ask, destinations, referrals_of, take_back
from pages._ui import case_acts, clinic, guard, referral, shell, state


@st.fragment
def draw(detail: CaseDetail) -> None:
    """Draw what was asked about other hospitals before, and the form to ask the patient."""
    st.header("Refer to another hospital", anchor=False)
    actor = guard.actor(Role.DOCTOR)
    requests = referrals_of(state.app(), actor, detail.case.id)
    for view in requests:
        with st.container(border=True, key=f"referral_{view.id}"):
            st.markdown(f"**{clinic.literal(view.sender.name)} to {clinic.literal(view.recipient.name)}**")
            referral.dates(view, to_patient=False)
            referral.reason(view)
            if view.status is ReferralStatus.ASKED and st.button("Take the request back", key="referral_take_back"):
                try:
                    take_back(state.app(), actor, view.id)
                except HemaSealError as error:
                    shell.show_error(error)
                else:
                    case_acts.done("The request is taken back. The patient no longer sees it as open.")
    if not any(view.status is ReferralStatus.ASKED for view in requests):
        _form(detail)


def _form(detail: CaseDetail) -> None:
    """Draw the form, and word by word what the patient will be asked."""
    case, actor = detail.case, guard.actor(Role.DOCTOR)
    known = {hospital.id: hospital for hospital in destinations(state.app(), actor, case.id)}
    if not known:
        st.markdown("No other hospital can look at this case now.")
        return
    chosen = st.selectbox(
        "Hospital",
        list(known),
        index=None,
        format_func=lambda i: f"{known[i].name} · {known[i].city}",
        placeholder="Choose a hospital",
        key=f"referral_hospital_{case_acts.turn()}",
    )
    if chosen is None:
        st.caption("The patient is asked first: nothing moves before they agree.")
        return
    to = known[chosen]
    with st.form("referral_form", border=False):
        why = st.text_area(
            "Why, in plain words to the patient",
            key=f"referral_reason_{case_acts.turn()}",
            height=90,
            max_chars=MAX_REASON,
        )
        sent = st.form_submit_button("Ask the patient", icon=":material/move_up:", key="referral_ask")
    with st.expander("What the patient will be asked", key="referral_preview"):
        words = request_words(
            doctor="The doctor", sender=case.care.name, recipient=to.name, city=to.city, images=detail.images
        )
        st.markdown(f"**{clinic.literal(words.question)}**")
        referral.sentences(words, sender=case.care.name, recipient=to.name)
    if not sent:
        return
    try:
        ask(state.app(), actor, case.id, hospital_id=to.id, reason=why)
    except HemaSealError as error:
        shell.show_error(error)
        return
    case_acts.done(f"The patient is asked whether {clinic.literal(to.name)} may look at this case.")
