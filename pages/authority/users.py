"""Users: every account by role and state, patients as pseudonyms; close, open, sign out, unlock, make."""

import pandas as pd
import streamlit as st

from core.services import members, step_up
from core.services import users as service
from core.services.accounts import Role, create_account, set_active
from core.services.users import MAX_LISTED, AccountState, UserView
from pages._ui import guard, shell, state, times
from pages._ui.words import ROLE_TITLES

STATES = {AccountState.OPEN: "✓ open", AccountState.CLOSED: "✕ closed", AccountState.ERASED: "○ erased"}
PLURALS = {
    Role.PATIENT: "Patients",
    Role.DOCTOR: "Doctors",
    Role.HOSPITAL: "Hospitals",
    Role.AUTHORITY: "Authority",
}

app = state.app()
person = guard.actor()


def everybody() -> None:
    """Draw the search, what it found, and what can be done with one of them."""
    left, middle, right = st.columns([2, 2, 2])
    search = left.text_input(
        "Find",
        key="users_search",
        placeholder="User name, hospital, or patient 1a2b…",
    )
    roles = middle.multiselect(
        "Roles", list(Role), format_func=PLURALS.__getitem__, placeholder="All roles", key="users_roles"
    )
    states = right.multiselect(
        "States", list(AccountState), format_func=STATES.__getitem__, placeholder="All states", key="users_states"
    )
    listed = service.users(app, person, search=search, roles=roles or list(Role), states=states or list(AccountState))
    st.caption(
        "Open accounts: "
        + " · ".join(f"{title} **{listed.open_by_role.get(role, 0)}**" for role, title in PLURALS.items())
    )
    st.caption(
        "Find staff by a part of the user name or of the hospital's name; a patient by the pseudonym, or by the whole "
        "user name that the patient told you: the patient then sees that the account was looked up."
    )
    if not listed.found:
        shell.empty_state("Nobody fits", "Change what you look for, or clear the roles and states.")
        return
    _table(listed.found)
    if listed.total > len(listed.found):
        st.caption(f"The first {MAX_LISTED} of {listed.total:,}: search for the one that you look for.")
    _manage({view.user_id: view for view in listed.found if view.user_id != person.user_id})


def _table(found: list[UserView]) -> None:
    rows = [
        {
            "Name": view.name,
            "Role": ROLE_TITLES[view.role],
            "Hospital": view.hospital or times.NOTHING,
            "State": _state(view),
            "Signed in": view.sessions,
            "Second factor": "yes" if view.second_factor else "no",
            "Since": times.show_date(view.created_at),
            "Demo": "yes" if view.is_demo else "no",
        }
        for view in found
    ]
    st.dataframe(pd.DataFrame(rows), hide_index=True, key="users_table", alt="Accounts with role and state")
    st.caption(
        "“Signed in” counts browsers. Patients stand here under a pseudonym, the one of the audit log: their names, "
        "pictures and results are not for you to see."
    )


def _state(view: UserView) -> str:
    if view.paused_until is None:
        return STATES[view.state]
    return f"◇ paused until {times.show_time(view.paused_until)}"


def _manage(others: dict[str, UserView]) -> None:
    """Draw the choice of an account and the buttons for it; one's own is not among them."""
    with st.container(border=True, key="user_manage"):
        st.header("Manage an account", anchor=False)
        if not others:
            st.caption("Only your own account is listed; another authority account manages that one.")
            return
        chosen = st.selectbox(
            "Account",
            list(others),
            index=None,
            placeholder="Choose an account",
            format_func=lambda key: others[key].name,
            key="user_chosen",
        )
        if chosen is None:
            st.caption("Each act is written to the audit log; a patient sees what was done to the own account.")
            return
        _buttons(others[chosen])


def _buttons(view: UserView) -> None:
    shell.facts([("Role", ROLE_TITLES[view.role]), ("State", _state(view)), ("Signed in", _browsers(view.sessions))])
    is_open = view.state is AccountState.OPEN
    with st.container(horizontal=True, key="user_acts"):
        if view.state is not AccountState.ERASED and st.button(
            "Close account" if is_open else "Open account",
            icon=":material/lock:" if is_open else ":material/lock_open:",
            key="user_toggle",
        ):
            set_active(app, person, view.user_id, active=not is_open)
            _done(f"{view.name} is {'closed' if is_open else 'open'} now.")
        if st.button("Sign out everywhere", icon=":material/logout:", key="user_sign_out", disabled=not view.sessions):
            ended = service.end_all_sessions(app, person, view.user_id)
            _done(f"{view.name} is signed out in {_browsers(ended)}.")
        if view.paused_until is not None and st.button("End the pause", icon=":material/timer_off:", key="user_unlock"):
            service.unlock(app, person, view.user_id)
            _done(f"{view.name} can sign in again.")
        if view.second_factor and st.button(
            "Take off the second factor", icon=":material/phonelink_erase:", key="user_factor_off"
        ):
            step_up.reset_second_factor(app, person, view.user_id)
            _done(f"The second factor of {view.name} is off.")
    if is_open:
        st.caption("Closing an account signs its browsers out at once; nothing that it made is lost.")
    if view.paused_until is not None:
        st.caption("Somebody typed wrong passwords or codes. Make sure who asks before you end the pause.")
    if view.second_factor:
        st.caption("Take the second factor off for who has lost authenticator and recovery codes, once you know them.")


def _browsers(count: int) -> str:
    return "1 browser" if count == 1 else f"{count} browsers"


def _done(note: str) -> None:
    st.session_state["users_note"] = note
    st.rerun()


def make() -> None:
    """Draw the form that makes an account for staff."""
    st.caption("Patients register themselves. Who gets an account changes the first password under “My account”.")
    with st.form("account_form"):
        hospitals_by_id = {view.id: view.name for view in members.hospitals(app, person)}
        role = st.selectbox(
            "Role",
            [Role.DOCTOR, Role.HOSPITAL, Role.AUTHORITY],
            format_func=ROLE_TITLES.__getitem__,
            key="account_role",
        )
        hospital = st.selectbox(
            "Hospital (doctors and hospitals)",
            list(hospitals_by_id),
            index=None,
            placeholder="Choose a hospital",
            format_func=hospitals_by_id.__getitem__,
            key="account_hospital",
        )
        name = st.text_input("Name", key="account_name")
        username = st.text_input("User name", key="account_username")
        password = st.text_input("First password", type="password", key="account_password")
        if st.form_submit_button("Make account", key="account_submit"):
            create_account(
                app,
                person,
                username=username,
                password=password,
                display_name=name,
                role=role,
                hospital_id=None if role is Role.AUTHORITY else hospital,
            )
            _done(f"The account {username.strip().lower()} is open.")


shell.title("Users", "Who has an account, and how it stands. What patients store stays hidden from you.")
if note := st.session_state.pop("users_note", ""):
    st.success(note, icon=":material/check_circle:")
shell.sections(
    {"Accounts": everybody, "Make an account": make},
    key="users_section",
)
