"""Entry script of every browser tab: frame, session, and a navigation of what this person's role may open."""

from functools import partial

import streamlit as st

from core.errors import HemaSealError
from core.services.accounts import Role
from core.services.app import Actor
from core.settings import Mode
from pages._ui import bell, guard, shell, sign_in, state, step_up
from pages._ui.registry import PAGES, PageSpec, pages_for

_HOME = "home"


def navigation(person: Actor | None) -> st.Page:
    """Register the pages that `person` may open, and for each other address a page that only says why not.

    A page that is not registered cannot run in this tab, whatever is typed into the address line.
    """
    demo = state.app().settings.mode is Mode.DEMO
    allowed = pages_for(Role(person.role) if person else None, demo=demo)
    closed = [page for page in PAGES if page not in allowed]
    # The first page stands at "/"; its twin keeps its own address working, which Streamlit does not do by itself.
    menu = [_open_page(page, home=page is allowed[0]) for page in allowed]
    twin = st.Page(allowed[0].path, title=allowed[0].title, url_path=allowed[0].url_path, visibility="hidden")
    return st.navigation([*menu, twin, *(_closed_page(page, person) for page in closed)], position="top")


def _open_page(page: PageSpec, *, home: bool) -> st.Page:
    """Return the page itself."""
    return st.Page(
        page.path,
        title=page.title,
        icon=page.icon,
        url_path=_HOME if home else page.url_path,
        default=home,
        visibility="visible" if page.in_menu else "hidden",
    )


def _closed_page(page: PageSpec, person: Actor | None) -> st.Page:
    """Return what stands at the address of a page that this person may not open: sign-in, or a refusal."""
    if person is not None:
        return st.Page(guard.refused, title="Not available", url_path=page.url_path, visibility="hidden")
    return st.Page(
        partial(sign_in.page, page.url_path), title="Sign in first", url_path=page.url_path, visibility="hidden"
    )


def main() -> None:
    """Draw the frame and run the page."""
    shell.frame()
    try:
        state.app()
        person = guard.signed_in()
    except HemaSealError as error:
        shell.show_error(error)
        st.stop()
    page = navigation(person)
    shell.tab_title(page.title)
    if not state.has_session_route():
        shell.plain_start_notice()
    if person is not None and shell.signed_in_bar(person, news=partial(bell.draw, person)):
        guard.leave()
    if person is not None:
        step_up.bar(person)
    page.run()


main()
