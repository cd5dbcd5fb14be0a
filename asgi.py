"""Production entry, ``streamlit run asgi.py``: Streamlit with session route, media guard and security headers."""

import logging
import os
import sys
import threading
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress

import streamlit as st
from anyio import to_thread
from starlette.middleware import Middleware
from streamlit.runtime.pages_manager import PagesManager

from core.errors import HemaSealError
from core.services import approvals, mail_process, runs
from core.services.app import App
from core.services.serving import check_started
from core.settings import Settings
from pages._ui import state
from pages._ui.failures import on_script_error
from pages._ui.routes import routes
from pages._ui.web_guard import MediaGuard, SameOrigin, SecureHeaders

WARM_AFTER_S = 4.0
"""Until then the first page has been drawn: half of what two cores do in a start would be the enclaves'."""
_LOG = logging.getLogger(__name__)


@asynccontextmanager
async def lifespan(_server: st.App) -> AsyncIterator[None]:
    """Start the application before the first visitor comes, its enclaves beside that; stop them and an idle worker."""
    app = await to_thread.run_sync(_start)
    sender = mail_process.Sender(app.settings)
    sender.start()
    ending = threading.Event()
    threading.Thread(target=_warm, args=(app, ending), name="enclaves", daemon=True).start()
    try:
        yield
    finally:
        ending.set()
        await to_thread.run_sync(sender.stop)
        await to_thread.run_sync(app.supervisor.stop_all)
        with suppress(HemaSealError):
            await to_thread.run_sync(runs.dismiss_worker, app)


def _start() -> App:
    """Return the application with its supervisor made, before two threads can ask for it at once."""
    try:
        certificate = st.get_option("server.sslCertFile")
        check_started(Settings(), certificate=certificate, inherited=os.environ)
        app = state.app()
        assert app.supervisor is not None  # noqa: S101  (a cached property: this makes it)
    except HemaSealError as error:
        sys.tracebacklimit = 0  # a person reads this, and the sentence says it all
        raise SystemExit(f"HemaSeal does not start. {error.public_text}") from None
    return app


def _warm(app: App, ending: threading.Event) -> None:
    """Start the enclaves, so that the first patient does not wait; one that fails is tried again when asked for.

    The first page goes before: enclaves want the same processors.
    """
    if ending.wait(WARM_AFTER_S):
        return
    for party in app.supervisor.parties:
        try:
            approved = approvals.in_force(app)
            app.supervisor.ensure(party, identity=app.identity, trust=app.trust(), approvals=approved)
        except HemaSealError:
            _LOG.exception("the enclave %s is not up yet", party)


state.mark_session_route()
# Without this, a fresh process takes `pages/` for its page list until somebody opens a page through the navigation.
PagesManager.uses_pages_directory = False

app = st.App(
    "Home.py",
    lifespan=lifespan,
    routes=routes(),
    middleware=[
        Middleware(SecureHeaders, over_tls=Settings().over_tls),
        Middleware(SameOrigin),
        Middleware(MediaGuard),
    ],
    on_script_error=on_script_error,
)
