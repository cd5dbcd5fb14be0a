"""Setting up the second factor under My account, entering codes at the top of a page, and what the page says of it."""

from dataclasses import replace
from datetime import timedelta

import pyotp
import pytest
from streamlit.testing.v1 import AppTest

from core.clock import FixedClock
from core.services.app import App
from core.services.demo import DEMO_PASSWORD
from core.services.sessions import check_password, redeem_code, session_actor
from core.services.step_up import begin, confirm, second_factor, step_up
from core.services.users import AccountState, users
from core.settings import ROOT
from pages._ui import state
from tests.integration.page_support import TIMEOUT_S, draw, words
from tests.integration.test_step_up import sign_in

pytestmark = pytest.mark.parametrize("database_url", ["sqlite"], indirect=True)
SECTION = "Second factor"


def test_an_authenticator_is_set_up_with_password_and_code(served: App) -> None:
    tab = draw(served, "account/profile", "demo-authority", account_section=SECTION)
    assert "optional" in words(tab)
    tab.text_input(key="second_factor_password").input(DEMO_PASSWORD)
    tab.button(key="second_factor_start").click().run()
    secret, address = (shown.value for shown in tab.code)
    assert pyotp.parse_uri(address).secret == secret
    tab.text_input(key="second_factor_code").input(pyotp.TOTP(secret).at(served.clock.now()))
    tab.button(key="second_factor_send").click().run()
    assert len(tab.code[-1].value.splitlines()) == 10
    assert second_factor(served, sign_in(served)).enrolled
    assert "10 recovery codes left" in words(tab.run())


def test_a_wrong_password_shows_no_secret(served: App) -> None:
    tab = draw(served, "account/profile", "demo-authority", account_section=SECTION)
    tab.text_input(key="second_factor_password").input("certainly wrong")
    tab.button(key="second_factor_start").click().run()
    assert "ACC-SIGNIN" in words(tab)
    assert len(tab.code) == 0


def test_where_it_is_required_the_page_says_so(served: App, monkeypatch: pytest.MonkeyPatch) -> None:
    strict = replace(served, settings=served.settings.model_copy(update={"second_factor": True}))
    monkeypatch.setattr(state, "app", lambda: strict)
    assert "these acts are refused" in words(draw(strict, "account/profile", "demo-doctor", account_section=SECTION))


@pytest.mark.parametrize("username", ["demo-patient", "demo-hospital"])
def test_who_has_no_such_act_has_no_such_section(served: App, username: str) -> None:
    tab = draw(served, "account/profile", username)
    assert "Second factor" not in tab.segmented_control(key="account_section").options


def test_a_code_is_entered_at_the_top_of_any_page(served: App, clock: FixedClock) -> None:
    person = sign_in(served)
    secret = begin(served, person, password=DEMO_PASSWORD).secret
    confirm(served, person, pyotp.TOTP(secret).at(clock.now()))
    clock.advance(timedelta(minutes=1))
    tab = _home(served)
    tab.text_input(key="step_up_code").input("000000")
    tab.button(key="step_up_send").click().run()
    assert "ACC-CODE" in words(tab)
    tab.text_input(key="step_up_code").input(pyotp.TOTP(secret).at(clock.now()))
    tab.button(key="step_up_send").click().run()
    assert "Confirmed until" in words(tab)


def test_an_act_that_needs_a_code_says_so_on_its_page_and_works_after_one(served: App, clock: FixedClock) -> None:
    person = sign_in(served)
    secret = begin(served, person, password=DEMO_PASSWORD).secret
    confirm(served, person, pyotp.TOTP(secret).at(clock.now()))
    clock.advance(timedelta(minutes=1))
    tab = draw(served, "authority/users", "demo-authority")
    west = next(view for view in users(served, person).found if view.name == "demo-doctor-west")
    tab.selectbox(key="user_chosen").set_value(west.user_id).run()
    tab.button(key="user_toggle").click().run()
    assert "ACC-STEPUP" in words(tab)
    assert users(served, person, search="doctor-west").found[0].state is AccountState.OPEN
    step_up(served, session_actor(served, tab.session_state["session_token"]), pyotp.TOTP(secret).at(clock.now()))
    tab.button(key="user_toggle").click().run()
    assert users(served, person, search="doctor-west").found[0].state is AccountState.CLOSED


def _home(app: App) -> AppTest:
    tab = AppTest.from_file(str(ROOT / "Home.py"), default_timeout=TIMEOUT_S)
    tab.session_state["session_token"] = redeem_code(app, check_password(app, "demo-authority", DEMO_PASSWORD))
    return tab.run()
