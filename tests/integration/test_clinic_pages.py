"""The clinic's pages draw for their own role and for nobody else (thin: behaviour is tested at the services)."""

from collections.abc import Iterator
from datetime import timedelta

import pytest
from streamlit.testing.v1 import AppTest

from core.clock import FixedClock
from core.services.app import Actor, App
from core.services.messages import send
from core.services.sessions import check_password, redeem_code
from core.settings import ROOT
from pages._ui import state
from tests.integration.clinic import offered_slots, stored_case

PAGES = {
    "patient/upload": "Send an image",
    "patient/results": "My results",
    "patient/appointments": "Appointments",
    "patient/messages": "Messages",
    "doctor/worklist": "Worklist",
    "doctor/case": "Demo patient",
    "doctor/schedule": "Schedule",
    "doctor/messages": "Messages",
}
TIMEOUT_S = 30
PASSWORD = "hemaseal-demo"

pytestmark = pytest.mark.parametrize("database_url", ["sqlite"], indirect=True)


@pytest.fixture
def served(app: App, monkeypatch: pytest.MonkeyPatch) -> Iterator[App]:
    """The application as pages find it, without enclaves and without the session route."""
    monkeypatch.setattr(state, "app", lambda: app)
    yield app
    app.supervisor.stop_all()


def draw(app: App, page: str, username: str, case_id: str) -> AppTest:
    """Draw one page, with the case in its address, for a person who is signed in."""
    tab = AppTest.from_file(str(ROOT / "pages" / f"{page}.py"), default_timeout=TIMEOUT_S)
    tab.session_state["session_token"] = redeem_code(app, check_password(app, username, PASSWORD))
    tab.query_params["case"] = case_id
    return tab.run()


@pytest.mark.parametrize("page", PAGES)
def test_a_page_draws_for_its_role_and_is_refused_to_the_other(
    served: App, patient: Actor, doctor: Actor, page: str
) -> None:
    case = stored_case(served, patient)
    offered_slots(served, doctor)
    send(served, patient, case, "**Hello** <b>doctor</b>")
    own, other = ("demo-patient", "demo-doctor") if page.startswith("patient") else ("demo-doctor", "demo-patient")

    tab = draw(served, page, own, case)
    assert not tab.exception
    assert tab.title[0].value.startswith(PAGES[page])

    refused = draw(served, page, other, case)
    assert not refused.exception
    assert not refused.title
    assert "not part of your account" in " ".join(text.value for text in refused.markdown)


@pytest.mark.parametrize("page", ["results", "messages", "appointments"])
def test_a_patient_without_cases_is_told_what_comes_first(served: App, patient: Actor, page: str) -> None:
    tab = draw(served, f"patient/{page}", "demo-patient", "")
    assert not tab.exception
    assert any(button.label == "Send an image" for button in tab.button)


def test_a_picture_that_was_just_sent_is_named_on_the_upload_page(
    served: App, clock: FixedClock, patient: Actor
) -> None:
    stored_case(served, patient)
    said = [text.value for text in draw(served, "patient/upload", "demo-patient", "").markdown]
    assert any("has arrived" in text for text in said)
    clock.advance(timedelta(minutes=3))
    said = [text.value for text in draw(served, "patient/upload", "demo-patient", "").markdown]
    assert not any("has arrived" in text for text in said)


def test_sending_without_a_picture_says_which_kinds_are_taken(served: App, patient: Actor) -> None:
    tab = draw(served, "patient/upload", "demo-patient", "")
    tab.button(key="upload_send").click().run()
    assert tab.warning[0].value.startswith("Choose a PNG, JPEG, TIFF or BMP picture first")
    assert not tab.error


def test_an_address_that_names_another_case_does_not_show_the_newest(served: App, patient: Actor) -> None:
    case = stored_case(served, patient)
    tab = draw(served, "patient/results", "demo-patient", "0" * 32)
    assert "That was not found" in tab.error[0].value
    tab.button(key=f"result_open_{case}").click().run()
    assert not tab.error
    assert case in tab.query_params["case"]


def test_the_account_opens_at_the_section_that_another_page_asked_for(served: App, patient: Actor) -> None:
    tab = AppTest.from_file(str(ROOT / "pages" / "account" / "profile.py"), default_timeout=TIMEOUT_S)
    tab.session_state["session_token"] = redeem_code(served, check_password(served, "demo-patient", PASSWORD))
    tab.session_state["account_next_section"] = "Consents"
    tab.run()
    assert not tab.exception
    assert not tab.warning
    assert any(button.key and button.key.startswith(("give_", "withdraw_")) for button in tab.button)
