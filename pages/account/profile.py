"""One's own account: profile, consents, password, second factor, and the browsers that are signed in."""

from collections.abc import Callable
from functools import partial

import pandas as pd
import streamlit as st

from core.errors import HemaSealError
from core.services.accounts import (
    Profile,
    Role,
    change_password,
    change_profile,
    consents,
    end_other_sessions,
    give_consent,
    profile,
    sessions,
    withdraw_consent,
)
from core.services.data_export import export_data
from core.services.erasure import erase
from core.services.places import place_titles
from pages._ui import guard, shell, state, step_up, times
from pages._ui.auth_forms import PASSWORD_RULE, password_form
from pages._ui.words import CONSENT_TITLES

CONSENTING = {Role.PATIENT, Role.DOCTOR}

app = state.app()
person = guard.actor()


def details() -> None:
    """Draw the profile and let it be changed."""
    own = profile(app, person)
    with st.form("profile_form"):
        name = st.text_input("Name", own.display_name, key="profile_name", autocomplete="name")
        email = st.text_input("E-mail address (optional)", own.email, key="profile_email", autocomplete="email")
        city = own.city
        if person.role is Role.PATIENT:
            names = place_titles()
            known = names.index(own.city) if own.city in names else None
            city = st.selectbox("City nearest to you (optional)", names, index=known, key="profile_city") or ""
        if st.form_submit_button("Save", key="profile_save"):
            change_profile(app, person, Profile(name.strip(), email.strip(), city))
            own = profile(app, person)
            st.toast("Your details are saved.", icon=":material/check:")
    if not own.email and person.role in CONSENTING and any(view.lacks_address for view in consents(app, person)):
        _no_address()


def consent_list() -> None:
    """Draw each consent with its state and the button that changes it."""
    for view in consents(app, person):
        with st.container(border=True, key=f"consent_card_{view.purpose.value}"):
            st.markdown(f"**{CONSENT_TITLES[view.purpose]}**")
            st.markdown(view.text)
            if view.given_at is None:
                st.markdown(":material/radio_button_unchecked: Not given")
                if st.button("I agree", key=f"give_{view.purpose.value}"):
                    give_consent(app, person, view.purpose)
                    st.rerun()
            else:
                st.markdown(f":material/check_circle: Given on {times.show_time(view.given_at)}")
                if view.lacks_address:
                    _no_address()
                if st.button("Withdraw", key=f"withdraw_{view.purpose.value}"):
                    withdraw_consent(app, person, view.purpose)
                    st.rerun()
    if person.role is not Role.PATIENT:
        return
    st.caption("Withdrawing holds from now on; what a doctor has already seen and signed stays in the record.")
    st.markdown("Whether another hospital may look at a picture is asked for each picture alone, under *Referrals*.")
    if st.button("To my referrals", key="profile_to_referrals"):
        st.switch_page("pages/patient/referrals.py")


def _no_address() -> None:
    """Say that e-mails were agreed to and can go nowhere."""
    st.warning(
        "You agreed to e-mails, but there is no e-mail address under “Details”: none can be sent to you.",
        icon=":material/alternate_email:",
    )


def password() -> None:
    """Draw the password form; changing it signs out all other browsers."""
    st.caption(f"{PASSWORD_RULE} Changing it signs out every other browser.")
    typed = password_form(person.username)
    if typed is not None:
        change_password(app, person, current=typed.current, new=typed.new, token=guard.token() or "")
        st.success("Your password is changed.", icon=":material/check:")


def browsers() -> None:
    """Draw the live sessions and the button that ends the others."""
    views = sessions(app, person, guard.token() or "")
    table = pd.DataFrame(
        [
            {
                "Signed in": times.show_time(view.created_at),
                "Ends by itself": times.show_time(view.expires_at),
                "": "this browser" if view.is_this else "",
            }
            for view in views
        ]
    )
    st.dataframe(table, hide_index=True, key="sessions_table", alt="Browsers that are signed in to your account")
    times.zone_note()
    if st.button("Sign out everywhere else", key="end_others", disabled=len(views) <= 1):
        ended = end_other_sessions(app, person, guard.token() or "")
        st.toast(f"Signed out in {ended} other browser{'s' if ended != 1 else ''}.", icon=":material/check:")
        st.rerun()
    if st.button("Sign out everywhere", key="end_all"):
        end_other_sessions(app, person, guard.token() or "")
        guard.leave()


def taking_out() -> None:
    """Draw what the file with all of one's data holds, and the form that asks for it."""
    st.markdown(
        "Take everything that is stored about you with you, in one file: your details and consents, pictures, results, "
        "what doctors signed, messages, appointments, and who looked at your data. A note in it explains each part, "
        "and one part is in the format that hospital systems read (HL7 FHIR R4)."
    )
    st.caption("The file is not locked: keep it in a safe place. It can be made five times a day.")
    with st.form("export_form"):
        typed = st.text_input("Password", type="password", key="export_password", autocomplete="current-password")
        asked = st.form_submit_button("Make the file", icon=":material/inventory_2:", key="export_submit")
    if not asked:
        return
    with st.spinner("Taking out your data ..."):
        taken = export_data(app, person, password=typed)
    st.success("Your file is ready.", icon=":material/check_circle:")
    st.download_button(
        f"Save the file ({len(taken) / 2**20:.1f} MiB)",
        data=taken,
        file_name="my-hemaseal-data.zip",
        mime="application/zip",
        on_click="ignore",
        type="primary",
        icon=":material/download:",
        key="export_save",
    )


def erasing() -> None:
    """Draw what erasure does and does not do, and the form that asks for it."""
    st.markdown(
        "Your pictures, results, doctors' notes on them, messages and personal details are destroyed, and your account "
        "is closed. **This cannot be undone**, and nobody can bring anything back, not even from a backup."
    )
    st.markdown(
        "What stays: that there was an account and when things happened, without your name. A hospital may have to "
        "keep records of its own about your treatment; ask it. A network that has learned from pictures does not "
        "forget them."
    )
    with st.form("erase_form"):
        typed = st.text_input("Password", type="password", key="erase_password", autocomplete="current-password")
        understood = st.checkbox("I understand that this cannot be undone", key="erase_understood")
        asked = st.form_submit_button("Erase everything of mine", icon=":material/delete_forever:", key="erase_submit")
    if not asked:
        return
    if not understood:
        st.warning("Tick the box first.", icon=":material/warning:")
        return
    with st.spinner("Erasing ..."):
        done = erase(app, person, password=typed)
    st.success(
        f"Everything is erased: {done.evidence.objects:,} stored objects. Entry {done.entry} of the audit log proves "
        "it; write that number down if you want to ask about it later.",
        icon=":material/check_circle:",
    )
    if st.button("Leave", key="erase_leave"):
        guard.forget()


shell.title("My account", f"You are signed in as **{person.username}**.")
sections: dict[str, Callable[[], None]] = {
    "Details": details,
    "Consents": consent_list,
    "Password": password,
    "Second factor": partial(step_up.section, person),
    "Browsers": browsers,
    "Take my data": taking_out,
    "Erase my data": erasing,
}
if person.role not in CONSENTING:
    del sections["Consents"]
if person.role is not Role.PATIENT:
    del sections["Take my data"], sections["Erase my data"]
if person.role not in step_up.ROLES:
    del sections["Second factor"]
if (following := st.session_state.pop("account_next_section", None)) in sections:
    st.session_state["account_section"] = following
# One section at a time: a profile that is not looked at is not read, and leaves no entry in the audit log.
chosen = st.segmented_control(
    "Section", list(sections), default="Details", required=True, key="account_section", label_visibility="collapsed"
)
try:
    sections[chosen]()
except HemaSealError as error:
    shell.show_error(error)
