"""The clinic's pages draw for their own role and for nobody else (thin: behaviour is tested at the services)."""

from datetime import timedelta
from typing import Any

import pytest
from streamlit.testing.v1 import AppTest

from core.clock import FixedClock
from core.services.app import Actor, App
from core.services.appointments import appointments, book
from core.services.demo import DEMO_PASSWORD
from core.services.messages import send
from core.services.reviews import Decision, sign_review
from tests.integration.clinic import offered_slots, stored_case, stored_request
from tests.integration.page_support import draw

PAGES = {
    "patient/upload": "Send an image",
    "patient/results": "My results",
    "patient/appointments": "Appointments",
    "patient/messages": "Messages",
    "patient/referrals": "Referrals",
    "doctor/worklist": "Worklist",
    "doctor/case": "Demo patient",
    "doctor/schedule": "Schedule",
    "doctor/messages": "Messages",
    "doctor/referrals": "Referrals",
}

pytestmark = pytest.mark.parametrize("database_url", ["sqlite"], indirect=True)


def downloads(tab: AppTest) -> list[str]:
    """Return what the buttons of a page that save a file are called."""
    buttons: list[Any] = list(tab.get("download_button"))
    return [button.label for button in buttons]


@pytest.mark.parametrize("page", PAGES)
def test_a_page_draws_for_its_role_and_is_refused_to_the_other(
    served: App, patient: Actor, doctor: Actor, page: str
) -> None:
    case = stored_case(served, patient)
    offered_slots(served, doctor)
    send(served, patient, case, "**Hello** <b>doctor</b>")
    stored_request(served, doctor, case, "east")
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


def test_a_time_that_was_just_taken_is_said_so_and_the_next_ones_are_offered(
    served: App, patient: Actor, other_patient: Actor, doctor: Actor
) -> None:
    case = stored_case(served, patient)
    first, second, third = offered_slots(served, doctor, 3)
    chosen: dict[str, Any] = {"slot_time_2026-01-12_0": first}
    tab = draw(served, "patient/appointments", "demo-patient", **chosen)
    book(served, other_patient, case_id=stored_case(served, other_patient), slot_id=first)
    tab.button(key="appointment_book").click().run()
    assert not tab.exception
    assert "was just taken by somebody else" in tab.warning[0].value
    offered = [button.key for button in tab.button if button.key and button.key.startswith("instead_")]
    assert offered == [f"instead_{second}", f"instead_{third}"]
    tab.button(key=f"instead_{third}").click().run()
    assert tab.success[0].value.startswith("Booked:")
    assert not tab.warning
    assert [view.case_id for view in appointments(served, patient)] == [case]


def test_a_time_that_was_let_go_again_is_not_booked(served: App, patient: Actor, doctor: Actor) -> None:
    stored_case(served, patient)
    first = offered_slots(served, doctor, 2)[0]
    chosen: dict[str, Any] = {"slot_time_2026-01-12_0": first}
    tab = draw(served, "patient/appointments", "demo-patient", **chosen)
    times: Any = tab.get("button_group")[0]
    times.set_value(None).run()
    tab.button(key="appointment_book").click().run()
    assert tab.warning[0].value == "Choose a time first."
    assert appointments(served, patient) == []


def test_a_patient_sees_each_step_of_a_case_with_its_state_in_words(served: App, patient: Actor, doctor: Actor) -> None:
    case = stored_case(served, patient)
    sign_review(served, doctor, case, decision=Decision.AGREE)
    tab = draw(served, "patient/results", "demo-patient")
    steps = next(text.value for text in tab.markdown if "**Sent**" in text.value).split("\n")
    assert [line.count("done") for line in steps] == [1, 1, 1, 1, 0]
    assert "to come" in steps[-1]
    assert "Report (PDF)" in downloads(tab)


def test_a_patient_takes_out_all_data_with_the_password_only(served: App, patient: Actor) -> None:
    tab = draw(served, "account/profile", "demo-patient", account_section="Take my data")
    tab.text_input(key="export_password").set_value("a guess")
    tab.button(key="export_submit").click().run()
    assert len(tab.error) == 1
    assert not tab.get("download_button")
    tab.text_input(key="export_password").set_value(DEMO_PASSWORD)
    tab.button(key="export_submit").click().run()
    assert not tab.error
    assert tab.success[0].value == "Your file is ready."
    assert len(tab.get("download_button")) == 1


def test_a_doctor_takes_a_case_out_as_a_report_once_it_is_signed(served: App, patient: Actor, doctor: Actor) -> None:
    case = stored_case(served, patient)

    def offered() -> list[str]:
        tab = draw(served, "doctor/case", "demo-doctor", address={"case": case})
        return downloads(tab)

    assert offered() == ["For hospital systems (FHIR R4)"]
    sign_review(served, doctor, case, decision=Decision.AGREE)
    assert offered() == ["Report (PDF)", "For hospital systems (FHIR R4)"]


def test_the_account_opens_at_the_section_that_another_page_asked_for(served: App, patient: Actor) -> None:
    tab = draw(served, "account/profile", "demo-patient", account_next_section="Consents")
    assert not tab.exception
    assert ["no e-mail address" in warning.value for warning in tab.warning] == [True]  # the demo's patient has none
    assert any(button.key and button.key.startswith(("give_", "withdraw_")) for button in tab.button)


@pytest.mark.parametrize(("page", "box"), [("messages", "Conversation"), ("appointments", "About which picture?")])
def test_two_pictures_of_one_minute_are_two_choices(
    served: App, patient: Actor, doctor: Actor, page: str, box: str
) -> None:
    offered_slots(served, doctor)
    first, second = stored_case(served, patient), stored_case(served, patient)
    for case in (first, second):
        tab = draw(served, f"patient/{page}", "demo-patient", address={"case": case})
        chosen = next(one for one in tab.selectbox if one.label == box)
        assert len(set(chosen.options)) == len(chosen.options) == 2
        assert chosen.value == case
