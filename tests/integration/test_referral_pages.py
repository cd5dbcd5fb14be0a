"""Asking for a referral and deciding on it, on the pages: the words, the refusals, and what an error leaves."""

import pytest

from core.clock import FixedClock
from core.diagnosis.bundle import ServingModel
from core.diagnosis.checkpoint_file import load_checkpoint
from core.evaluation.throwaway import SHIPPED_MODEL
from core.services.app import Actor, App
from core.services.models import install
from core.services.referrals import ReferralStatus, decline, referrals, take_back
from core.settings import Settings
from db.engine import session_scope
from tests.conftest import Installation
from tests.integration.clinic import hospital_id, stored_case, stored_request
from tests.integration.page_support import draw, words
from tests.integration.world import NoEnclaves

pytestmark = pytest.mark.parametrize("database_url", ["sqlite"], indirect=True)
REASON = "They have seen many more of these cells."


@pytest.fixture(scope="module")
def model(installation: Installation) -> ServingModel:
    """The shipped model."""
    settings = Settings(data_dir=installation.data_dir, database_url="", master_key=None)
    return load_checkpoint(SHIPPED_MODEL, settings=settings, at=FixedClock().now())


@pytest.fixture
def clinic(app: App, served: App, model: ServingModel) -> App:
    """The application as pages find it, with a model in service and no enclave that answers."""
    with session_scope(served.engine) as session:
        install(served, session, model)
    served.supervisor.stop_all()
    vars(served)["supervisor"] = NoEnclavesToStop()
    return app


class NoEnclavesToStop(NoEnclaves):
    """No enclave answers, and none has to be stopped."""

    def stop_all(self) -> None:
        """Stop nothing."""


def status_of(app: App, patient: Actor) -> list[ReferralStatus]:
    return [view.status for view in referrals(app, patient)]


def test_a_doctor_asks_from_the_case_and_reads_the_patients_words_beforehand(
    clinic: App, patient: Actor, doctor: Actor
) -> None:
    case = stored_case(clinic, patient)
    tab = draw(clinic, "doctor/case", "demo-doctor", address={"case": case})
    assert "nothing moves before they agree" in words(tab)
    tab.selectbox(key="referral_hospital_0").select(hospital_id(clinic, "east")).run()
    said = words(tab)
    for text in ("may East Hospital \\(demo\\) in", "can no longer open your picture", "Bring it back", "decline"):
        assert text in said, text
    tab.text_area(key="referral_reason_0").input("too short")
    tab.button(key="referral_ask").click().run()
    assert "Code APP-INPUT" in words(tab)
    assert status_of(clinic, patient) == []
    tab.text_area(key="referral_reason_0").input(REASON)
    tab.button(key="referral_ask").click().run()
    assert not tab.exception
    assert "The patient is asked whether East Hospital" in " ".join(text.value for text in tab.success)
    assert status_of(clinic, patient) == [ReferralStatus.ASKED]
    again = draw(clinic, "doctor/case", "demo-doctor", address={"case": case})
    assert not [box for box in again.selectbox if box.label == "Hospital"]
    again.button(key="referral_take_back").click().run()
    assert status_of(clinic, patient) == [ReferralStatus.TAKEN_BACK]


def test_a_patient_reads_who_asks_what_would_be_seen_what_stays_and_how_to_withdraw(
    clinic: App, patient: Actor, doctor: Actor
) -> None:
    request = stored_request(clinic, doctor, stored_case(clinic, patient), "east", REASON)
    results = draw(clinic, "patient/results", "demo-patient")
    assert "A doctor asks you" in words(results)
    tab = draw(clinic, "patient/referrals", "demo-patient")
    asked = tab.header[0].value.replace("\\", "")
    assert asked == (
        "Demo doctor, North of North Hospital (demo) asks: may East Hospital (demo) in Warsaw look at your picture?"
    )
    assert [text.value for text in tab.text] == [REASON]
    said = words(tab)
    for text in (
        "gets the key to your picture",
        "see your name, your picture, the new result",
        "Nobody else gets to see anything",
        "can no longer open your picture, the result or the messages",
        "Your other pictures stay",
        "You need not say why",
        "change your mind at any time",
        "cannot be made unseen",
    ):
        assert text in said.replace("\\", ""), text
    tab.button(key=f"referral_decline_{request}").click().run()
    assert not tab.exception
    assert "You declined" in tab.success[0].value
    assert status_of(clinic, patient) == [ReferralStatus.DECLINED]


def test_when_no_enclave_answers_the_request_stays_open_and_the_page_says_that_nothing_was_moved(
    clinic: App, patient: Actor, doctor: Actor
) -> None:
    request = stored_request(clinic, doctor, stored_case(clinic, patient), "east", REASON)
    tab = draw(clinic, "patient/referrals", "demo-patient")
    tab.button(key=f"referral_accept_{request}").click().run()
    assert not tab.exception
    assert "Nothing was moved." in words(tab)
    assert "Code" in tab.error[0].value
    assert status_of(clinic, patient) == [ReferralStatus.ASKED]


@pytest.mark.parametrize("by_doctor", [True, False], ids=["taken back", "answered elsewhere"])
def test_an_answer_to_what_is_no_longer_open_is_refused_on_the_page(
    clinic: App, patient: Actor, doctor: Actor, *, by_doctor: bool
) -> None:
    request = stored_request(clinic, doctor, stored_case(clinic, patient), "east", REASON)
    tab = draw(clinic, "patient/referrals", "demo-patient")
    take_back(clinic, doctor, request) if by_doctor else decline(clinic, patient, request)
    tab.button(key=f"referral_accept_{request}").click().run()
    assert not tab.exception
    assert not tab.success
    assert ReferralStatus.ACCEPTED not in status_of(clinic, patient)


def test_a_doctor_sees_what_became_of_a_request_and_the_worklist_says_that_there_is_news(
    clinic: App, patient: Actor, doctor: Actor
) -> None:
    request = stored_request(clinic, doctor, stored_case(clinic, patient), "east", REASON)
    decline(clinic, patient, request)
    assert "new answer to referrals" in words(draw(clinic, "doctor/worklist", "demo-doctor"))
    said = words(draw(clinic, "doctor/referrals", "demo-doctor"))
    assert "The patient declined: it stayed at North Hospital" in said.replace("\\", "")
    assert "new answer to referrals" not in words(draw(clinic, "doctor/worklist", "demo-doctor"))


def test_the_other_hospital_sees_nothing_of_a_request_before_the_patient_agrees(
    clinic: App, patient: Actor, doctor: Actor
) -> None:
    case = stored_case(clinic, patient)
    stored_request(clinic, doctor, case, "east", REASON)
    tab = draw(clinic, "doctor/referrals", "demo-doctor-east")
    assert "No referrals" in words(tab)
    refused = draw(clinic, "doctor/case", "demo-doctor-east", address={"case": case})
    assert "Code ACC-FORBIDDEN" in words(refused)
    assert not refused.header
