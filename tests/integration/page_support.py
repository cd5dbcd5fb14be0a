"""Drawing one page as a signed-in person sees it, with Streamlit's own test harness."""

from collections.abc import Mapping

from streamlit.testing.v1 import AppTest

from core.services.app import App
from core.services.demo import DEMO_PASSWORD
from core.services.sessions import check_password, redeem_code
from core.settings import ROOT

TIMEOUT_S = 120


def draw(app: App, page: str, username: str, *, address: Mapping[str, str] | None = None, **values: object) -> AppTest:
    """Draw ``pages/<page>.py`` for a demo account; `address` goes into the address, `values` into the session."""
    tab = AppTest.from_file(str(ROOT / "pages" / f"{page}.py"), default_timeout=TIMEOUT_S)
    tab.session_state["session_token"] = redeem_code(app, check_password(app, username, DEMO_PASSWORD))
    for name, place in (address or {}).items():
        tab.query_params[name] = place
    for name, value in values.items():
        tab.session_state[name] = value
    return tab.run()


def words(tab: AppTest) -> str:
    """Return all running text of a page."""
    return " ".join(text.value for text in [*tab.markdown, *tab.caption, *tab.warning, *tab.error, *tab.info])
