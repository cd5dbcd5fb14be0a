"""The adapter around streamlit-authenticator: it draws the forms, `core.services.accounts` does everything else.

The package's own cookie (set by JavaScript, valid after logout), its attempt counters (in memory) and its credential
table (all users in the page's memory) are never made: `_Forms` takes the package's drawing methods and puts our
controller where the package's would be. So no hash reaches a page, and lockout, timing and sessions are the service's.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

import streamlit as st
from streamlit_authenticator import Authenticate

from core.errors import InvalidInput

PASSWORD_RULE = "At least 10 characters; a short sentence is easy to remember and hard to guess."  # noqa: S105


@dataclass(frozen=True)
class SignInInput:
    """What was typed into the sign-in form."""

    username: str
    password: str


@dataclass(frozen=True)
class RegistrationInput:
    """What was typed into the registration form."""

    first_name: str
    last_name: str
    email: str
    username: str
    password: str

    @property
    def display_name(self) -> str:
        """First and last name."""
        return f"{self.first_name} {self.last_name}".strip()


@dataclass(frozen=True)
class PasswordChange:
    """What was typed into the password form."""

    current: str
    new: str


class _NoCookies:
    """Stands where the package keeps its cookie: there is none to read, set or delete."""

    def get_cookie(self) -> None:
        """Return nothing: our session cookie is not this package's business."""

    def set_cookie(self) -> None:
        """Set nothing."""

    def delete_cookie(self) -> None:
        """Delete nothing."""


class _Collector:
    """Stands where the package checks credentials: keeps what was typed, for the caller to hand to the service."""

    def __init__(self) -> None:
        self.typed: SignInInput | RegistrationInput | PasswordChange | None = None

    def login(self, username: str, password: str, *_limits: object, **_options: object) -> bool:
        """Keep user name and password of the sign-in form."""
        self.typed = SignInInput(username.strip().lower(), password)
        return False

    def register_user(  # noqa: PLR0917  (the package calls it so)
        self,
        first_name: str,
        last_name: str,
        email: str,
        username: str,
        password: str,
        repeated: str,
        *_rest: object,
    ) -> tuple[str, str, str]:
        """Keep the registration form; the two passwords must be the same."""
        _require_same(password, repeated)
        self.typed = RegistrationInput(
            first_name.strip(), last_name.strip(), email.strip(), username.strip().lower(), password
        )
        return email, username, first_name

    def reset_password(self, _username: str, current: str, new: str, repeated: str, *_rest: object) -> bool:
        """Keep the password form; the two new passwords must be the same."""
        _require_same(new, repeated)
        self.typed = PasswordChange(current, new)
        return True


class _Forms(Authenticate):
    """The package's drawing methods without the package's constructor, which would mount its cookie component."""

    def __init__(self, collector: _Collector) -> None:
        self.path = None
        self.secret_key = ""
        self.attrs = {"login_sleep_time": 0, "password_instructions": PASSWORD_RULE}
        self.cookie_controller = _NoCookies()
        self.authentication_controller = collector


def sign_in_form() -> SignInInput | None:
    """Draw the sign-in form; return what was typed in the run that sends it."""
    collector = _Collector()
    fields = {"Form name": "Sign in", "Username": "User name", "Password": "Password", "Login": "Sign in"}
    with _package_state(signed_in=False):
        _Forms(collector).login(key="sign_in_form", fields=fields)
    return collector.typed if isinstance(collector.typed, SignInInput) else None


def registration_form() -> RegistrationInput | None:
    """Draw the registration form; return what was typed in the run that sends it.

    Raises:
        InvalidInput: the two passwords differ.
    """
    collector = _Collector()
    fields = {
        "Form name": "Your account",
        "First name": "First name",
        "Last name": "Last name",
        "Email": "E-mail address (optional)",
        "Username": "User name",
        "Password": "Password",
        "Repeat password": "Password again",
        "Register": "Create my account",
    }
    with _package_state(signed_in=False):
        _Forms(collector).register_user(key="registration_form", fields=fields, captcha=False, password_hint=False)
    return collector.typed if isinstance(collector.typed, RegistrationInput) else None


def password_form(username: str) -> PasswordChange | None:
    """Draw the form that changes the password; return what was typed in the run that sends it.

    Raises:
        InvalidInput: the two new passwords differ.
    """
    collector = _Collector()
    fields = {
        "Form name": "Change password",
        "Current password": "Current password",
        "New password": "New password",
        "Repeat password": "New password again",
        "Reset": "Change password",
    }
    with _package_state(signed_in=True):
        _Forms(collector).reset_password(username, key="password_form", fields=fields, clear_on_submit=True)
    return collector.typed if isinstance(collector.typed, PasswordChange) else None


def _require_same(password: str, repeated: str) -> None:
    """Refuse two passwords that differ."""
    if password != repeated:
        raise InvalidInput("the two passwords are not the same")


@contextmanager
def _package_state(*, signed_in: bool) -> Iterator[None]:
    """Tell the package, for this call only, whether a person is signed in: it reads this from the tab's memory."""
    st.session_state["authentication_status"] = signed_in or None
    try:
        yield
    finally:
        st.session_state.pop("authentication_status", None)
