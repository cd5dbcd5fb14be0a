"""Entering a code of the second factor at the top of every page, and setting one up under My account."""

import streamlit as st

from core.errors import HemaSealError
from core.services.accounts import Role
from core.services.app import Actor
from core.services.step_up import (
    STEP_UP_LIFE,
    Enrolment,
    SecondFactorView,
    begin,
    confirm,
    renew_recovery_codes,
    second_factor,
    step_up,
    take_off,
)
from pages._ui import shell, state, times

ROLES = (Role.DOCTOR, Role.AUTHORITY)
"""Who has acts that need a second factor."""

MINUTES = int(STEP_UP_LIFE.total_seconds() // 60)
_BEGUN = "second_factor_begun"
_CODE = "Code of your authenticator, or a recovery code"


def bar(person: Actor) -> None:
    """Draw, for who has a second factor, where a code is entered, or how long the last one still counts."""
    if person.role not in ROLES:
        return
    view = second_factor(state.app(), person)
    if not view.enrolled:
        return
    with st.container(horizontal=True, horizontal_alignment="right", key="step_up"):
        if view.stepped_up_until is not None:
            until = times.show_time(view.stepped_up_until)
            st.caption(f":material/verified_user: Confirmed until {until}", width="content")
            return
        with st.popover("Confirm", icon=":material/password:", width="content"):
            st.caption(f"Acts that cannot be undone ask for a code; it then counts for {MINUTES} minutes.")
            with st.form("step_up_form", clear_on_submit=True, border=False):
                code = st.text_input(_CODE, key="step_up_code", autocomplete="one-time-code")
                if st.form_submit_button("Confirm", key="step_up_send"):
                    _enter(person, code)


def _enter(person: Actor, code: str) -> None:
    """Step up and draw the page again; an error is drawn where the code was typed, and the page goes on below."""
    try:
        step_up(state.app(), person, code)
    except HemaSealError as error:
        shell.show_error(error)
    else:
        st.rerun()


def section(person: Actor) -> None:
    """Draw the section of My account: what it is for, then setting up, or codes and taking it off."""
    view = second_factor(state.app(), person)
    st.markdown(_purpose(person, view))
    if view.enrolled:
        st.session_state.pop(_BEGUN, None)
        _change(person, view)
    else:
        _set_up(person)


def _purpose(person: Actor, view: SecondFactorView) -> str:
    acts = "Signing a review" if person.role is Role.DOCTOR else "Changing members, models, runs and accounts"
    text = f"{acts} then needs a code from an app on your phone, entered at most {MINUTES} minutes before."
    if view.required:
        return f"{text} This installation asks for it: without a second factor these acts are refused."
    return f"{text} In this installation it is optional, so that a demonstration is not held up."


def _set_up(person: Actor) -> None:
    begun: Enrolment | None = st.session_state.get(_BEGUN)
    if begun is None:
        with st.form("second_factor_begin"):
            password = st.text_input("Your password", type="password", key="second_factor_password")
            if st.form_submit_button("Set up", key="second_factor_start"):
                st.session_state[_BEGUN] = begin(state.app(), person, password=password)
                st.rerun()
        return
    st.markdown("Type this key into your authenticator, or open the address below it on the device that has it.")
    st.code(begun.secret, language=None)
    st.code(begun.uri, language=None, wrap_lines=True)
    with st.form("second_factor_confirm", clear_on_submit=True):
        code = st.text_input("Code that it shows now", key="second_factor_code", autocomplete="one-time-code")
        if st.form_submit_button("Confirm", key="second_factor_send"):
            _show_recovery_codes(confirm(state.app(), person, code))


def _change(person: Actor, view: SecondFactorView) -> None:
    left = view.recovery_codes
    st.markdown(f":material/check_circle: Set up. {left} recovery code{'s' if left != 1 else ''} left.")
    with st.form("second_factor_renew", clear_on_submit=True):
        code = st.text_input(_CODE, key="second_factor_renew_code", autocomplete="one-time-code")
        if st.form_submit_button("New recovery codes", key="second_factor_renew_send"):
            _show_recovery_codes(renew_recovery_codes(state.app(), person, code))
    with st.form("second_factor_off", clear_on_submit=True):
        password = st.text_input("Your password", type="password", key="second_factor_off_password")
        code = st.text_input(_CODE, key="second_factor_off_code", autocomplete="one-time-code")
        if st.form_submit_button("Take it off", key="second_factor_off_send"):
            take_off(state.app(), person, password=password, code=code)
            st.rerun()


def _show_recovery_codes(codes: list[str]) -> None:
    st.success("Keep these recovery codes on paper: each stands in once for your device. They are shown only now.")
    st.code("\n".join(codes), language=None)
