"""The clinic's pages draw for their own role and for nobody else (thin: behaviour is tested at the services)."""

from datetime import timedelta

import pytest

from core.clock import FixedClock
from core.services.app import Actor, App
from core.services.messages import send
from tests.integration.clinic import offered_slots, stored_case
from tests.integration.page_support import draw

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

pytestmark = pytest.mark.parametrize("database_url", ["sqlite"], indirect=True)


@pytest.mark.parametrize("page", PAGES)
def test_a_page_draws_for_its_role_and_is_refused_to_the_other(
    served: App, patient: Actor, doctor: Actor, page: str
) -> None:
    case = stored_case(served, patient)
    offered_slots(served, doctor)
    send(served, patient, case, "**Hello** <b>doctor</b>")
    own, other = ("demo-patient", "demo-doctor") if page.startswith("patient") else ("demo-doctor", "demo-patient")

    tab = draw(served, page, own, address={"case": case})
    assert not tab.exception
    assert tab.title[0].value.startswith(PAGES[page])

    refused = draw(served, page, other, address={"case": case})
    assert not refused.exception
    assert not refused.title
    assert "not part of your account" in " ".join(text.value for text in refused.markdown)


@pytest.mark.parametrize("page", ["results", "messages", "appointments"])
def test_a_patient_without_cases_is_told_what_comes_first(served: App, patient: Actor, page: str) -> None:
    tab = draw(served, f"patient/{page}", "demo-patient")
    assert not tab.exception
    assert any(button.label == "Send an image" for button in tab.button)


def test_a_picture_that_was_just_sent_is_named_on_the_upload_page(
    served: App, clock: FixedClock, patient: Actor
) -> None:
    stored_case(served, patient)
    said = [text.value for text in draw(served, "patient/upload", "demo-patient").markdown]
    assert any("has arrived" in text for text in said)
    clock.advance(timedelta(minutes=3))
    said = [text.value for text in draw(served, "patient/upload", "demo-patient").markdown]
    assert not any("has arrived" in text for text in said)


def test_sending_without_a_picture_says_which_kinds_are_taken(served: App, patient: Actor) -> None:
    tab = draw(served, "patient/upload", "demo-patient")
    tab.button(key="upload_send").click().run()
    assert tab.warning[0].value.startswith("Choose a PNG, JPEG, TIFF or BMP picture first")
    assert not tab.error


def test_an_address_that_names_another_case_does_not_show_the_newest(served: App, patient: Actor) -> None:
    case = stored_case(served, patient)
    tab = draw(served, "patient/results", "demo-patient", address={"case": "0" * 32})
    assert "That was not found" in tab.error[0].value
    tab.button(key=f"result_open_{case}").click().run()
    assert not tab.error
    assert case in tab.query_params["case"]


def test_the_account_opens_at_the_section_that_another_page_asked_for(served: App, patient: Actor) -> None:
    tab = draw(served, "account/profile", "demo-patient", account_next_section="Consents")
    assert not tab.exception
    assert not tab.warning
    assert any(button.key and button.key.startswith(("give_", "withdraw_")) for button in tab.button)
