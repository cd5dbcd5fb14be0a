"""Who is asking. Every page calls `actor()` first, and so does every live fragment; the answer is never remembered.

The session is a row in the database, named by the cookie's token, so signing out or revoking holds at the next call.
Services authorise every act again: a guard alone is not enough, since callbacks run before the page does.
"""

from typing import NoReturn

import streamlit as st

from core.errors import HemaSealError, SessionEnded
from core.services.accounts import Role, session_actor, sign_out
from core.services.app import Actor
from pages._ui import redirect, shell, state
from pages._ui.cookies import SESSION_COOKIE

SIGN_OUT = "/auth/sign-out"
_TOKEN = "session_token"  # noqa: S105  (the name of a field)


def token() -> str | None:
    """Return the session token of this tab, unchecked; without the session route it lives in the tab's memory."""
    if state.has_session_route():
        return st.context.cookies.get(SESSION_COOKIE)
    value = st.session_state.get(_TOKEN)
    return value if isinstance(value, str) else None


def keep_token(value: str | None) -> None:
    """Keep or forget the token in the tab's memory: only for a process without the session route (demo mode)."""
    if value is None:
        st.session_state.pop(_TOKEN, None)
    else:
        st.session_state[_TOKEN] = value


def signed_in() -> Actor | None:
    """Return who is signed in, asked of the database now, or None."""
    value = token()
    if not value:
        return None
    try:
        return session_actor(state.app(), value)
    except SessionEnded:
        return None


def actor(*roles: Role) -> Actor:
    """Return who is signed in; otherwise say so and end the run, so that nothing below it is drawn.

    Args:
        roles: when given, the person must have one of them. Navigation has checked the page's roles already; give
            them in fragments, which run without the navigation.
    """
    try:
        person = signed_in()
    except HemaSealError as error:
        shell.show_error(error)
        st.stop()
    if person is None:
        session_ended()
    if roles and person.role not in roles:
        refused()
    return person


def session_ended() -> NoReturn:
    """Say that the session has ended, offer to sign in, end the run."""
    shell.show_error(SessionEnded())
    if st.button("Sign in", type="primary", key="sign_in_again"):
        forget()
    st.stop()


def leave() -> NoReturn:
    """End this browser's session in the database, clear the cookie, and show the sign-in page."""
    value = token()
    if value:
        sign_out(state.app(), value)
    forget()


def forget() -> NoReturn:
    """Drop the token of a session that has ended already, and show the sign-in page."""
    keep_token(None)
    if state.has_session_route():
        redirect.leave_to(SIGN_OUT)
    st.rerun()


def refused() -> NoReturn:
    """Say that this page is for other people, and end the run."""
    shell.empty_state(
        "This page is not part of your account",
        "It belongs to another role. Use the menu to go to your own pages, or sign in with another account.",
        icon=":material/lock:",
    )
    st.stop()
