"""Self-registration of patients: consent first, then the form."""

import streamlit as st

from core.errors import HemaSealError
from core.services.accounts import CONSENT_TEXTS, ConsentPurpose, register_patient
from core.services.places import place_titles
from pages._ui import shell, sign_in, state
from pages._ui.auth_forms import PASSWORD_RULE, RegistrationInput, registration_form
from pages._ui.words import CONSENT_TITLES


def ask_consent() -> list[ConsentPurpose]:
    """Draw one box for each consent, none ticked; return those that are ticked."""
    st.header("What you agree to", anchor=False)
    st.markdown("You decide, and you can change your mind at any time under *My account*.")
    given = []
    for purpose, text in CONSENT_TEXTS.items():
        if st.checkbox(CONSENT_TITLES[purpose], key=f"consent_{purpose.value}"):
            given.append(purpose)
        st.caption(text)
    return given


def register(typed: RegistrationInput, city: str, given: list[ConsentPurpose]) -> None:
    """Make the account and sign the person in; an error is drawn and leaves the form as it was."""
    try:
        register_patient(
            state.app(),
            username=typed.username,
            password=typed.password,
            display_name=typed.display_name,
            email=typed.email,
            city=city,
            consents=given,
            address=st.context.ip_address or "",
        )
    except HemaSealError as error:
        shell.show_error(error)
        return
    sign_in.enter(typed.username, typed.password)


_, middle, _ = st.columns([1, 4, 1])
with middle:
    shell.title(
        "Create your patient account", "It takes a minute. Doctors and hospitals get their accounts from the authority."
    )
    agreed = ask_consent()
    # Always one line, so that ticking a box does not move the form and empty it.
    can_send = ConsentPurpose.DIAGNOSIS in agreed
    st.caption("You can send images." if can_send else "Without the first consent you cannot send an image yet.")
    st.header("About you", anchor=False)
    place = st.selectbox(
        "City nearest to you (optional)",
        place_titles(),
        index=None,
        placeholder="Choose a city",
        key="register_city",
    )
    st.caption("Used to find a hospital near you. Your device's location is never asked for.")
    st.caption(f"Password: {PASSWORD_RULE[0].lower()}{PASSWORD_RULE[1:]}")
    try:
        form = registration_form()
    except HemaSealError as error:
        shell.show_error(error)
    else:
        if form is not None:
            register(form, place or "", agreed)
