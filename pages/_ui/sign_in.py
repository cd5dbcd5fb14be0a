"""Signing in: the form, the password check, and the hop to the route that sets the cookie."""

import streamlit as st

from core.errors import HemaSealError
from core.services.accounts import check_password, redeem_code
from core.settings import Mode
from pages._ui import guard, redirect, routes, shell, state
from pages._ui.auth_forms import sign_in_form
from pages._ui.cookies import BROWSER_COOKIE
from pages._ui.registry import page_at


def page(wanted: str = "") -> None:
    """Draw the sign-in page.

    Args:
        wanted: address of the page that was asked for and needs a session; the person is taken there afterwards.
    """
    _, middle, _ = st.columns([1, 2, 1])
    with middle:
        asked = page_at(wanted)
        if asked is not None:
            st.info(f"Sign in to open “{asked.title}”.", icon=":material/lock:")
        shell.title("Welcome to HemaSeal", "Upload a blood-cell image, get a first answer, and book a doctor.")
        typed = sign_in_form()
        if typed is not None:
            enter(typed.username, typed.password, wanted)
        st.page_link(_register_page(), label="New here? Create a patient account", icon=":material/person_add:")
        if state.app().settings.mode is Mode.DEMO:
            _demo_accounts()
        shell.research_notice()


def enter(username: str, password: str, wanted: str = "") -> None:
    """Check the password and go on; an error is drawn and leaves the form as it was."""
    app = state.app()
    try:
        code = check_password(app, username, password, address=st.context.ip_address or "")
        if not state.has_session_route():
            guard.keep_token(redeem_code(app, code))
            st.rerun()
    except HemaSealError as error:
        shell.show_error(error)
        return
    mark, case = st.context.cookies.get(BROWSER_COOKIE, ""), st.query_params.get("case", "")
    redirect.leave_to(routes.finish_url(code, mark, wanted, case))


def _register_page() -> st.Page:
    """Return the registered page of the registration form."""
    spec = page_at("register")
    assert spec is not None  # noqa: S101  (it is in the registry)
    return st.Page(spec.path, title=spec.title, url_path=spec.url_path)


def _demo_accounts() -> None:
    """Name the demo's accounts, so that nobody has to look them up."""
    with st.expander("Accounts of this demo", icon=":material/key:", key="demo_accounts"):
        st.markdown(
            "| Role | User name |\n|---|---|\n| Patient | `demo-patient` |\n| Doctor | `demo-doctor` |\n"
            "| Hospital | `demo-hospital` |\n| Trusted authority | `demo-authority` |\n\n"
            "The password of all four is `hemaseal-demo`."
        )
