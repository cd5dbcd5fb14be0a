"""What all browser tabs of this process share: the application object, made once, and how the process was started."""

import os

import streamlit as st

from core.errors import SettingsError
from core.services import setup
from core.services.app import App
from core.settings import Mode, Settings

_ENTRY = "HEMASEAL_ASGI_PID"


@st.cache_resource(show_spinner="Setting up, a moment ...")
def app() -> App:
    """Return the application object (settings, database, keys, enclaves); the first call starts it.

    The plain start sets up first (nothing to do where that was done); `make run` has done so before `asgi.py` starts.

    Raises:
        SettingsError: the installation is not set up, or its settings are not safe for its mode.
        DatabaseUnavailable: the database did not answer.
    """
    settings = Settings()
    if not has_session_route():
        if settings.mode is not Mode.DEMO:
            raise SettingsError("outside demo mode start it with: python -m core serve")
        setup.run(settings)
    return App.start(settings)


def mark_session_route() -> None:
    """Note that this very process serves the session route and the media guard; `asgi.py` calls it."""
    os.environ[_ENTRY] = str(os.getpid())


def has_session_route() -> bool:
    """Tell whether this process was started through `asgi.py` (a child process that inherits the note was not)."""
    return os.environ.get(_ENTRY) == str(os.getpid())
