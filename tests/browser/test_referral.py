"""A referral from end to end in a real browser: a doctor asks, the patient decides, the other hospital's doctor looks.

The patient sends a picture to hospital north, agrees to what north's doctor asks, and brings it back at the end.
"""

import re
from pathlib import Path

import numpy as np
import pytest
from playwright.sync_api import Page, expect

from core.imaging.decode import encode_png
from core.imaging.smear.style import STYLES
from core.imaging.synthetic import generate_cell
from tests.browser.conftest import NewPage
from tests.browser.harness import Server, by_key, choose, click, fill, runs, settle, shot, sign_in, visit

REASON = "They treat many more people with cells like these."
NARROW = {"viewport": {"width": 390, "height": 844}}


@pytest.fixture(scope="module")
def picture(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A synthetic cell that the shipped model calls conspicuous."""
    path = tmp_path_factory.mktemp("pictures") / "cell.png"
    path.write_bytes(encode_png(generate_cell(np.random.default_rng(11), blast=True, style=STYLES["north"])))
    return path


def test_a_case_is_referred_looked_at_elsewhere_and_brought_back(
    server: Server, new_page: NewPage, picture: Path
) -> None:
    patient, north, east = new_page(**NARROW), new_page(), new_page()
    case = send_to_north(patient, server, picture)
    request_east(north, server, case)
    number = f"{case[:4]}-{case[4:8]}".upper()

    sign_in(east, server, "demo-doctor-east")  # not agreed to yet
    expect(east.get_by_test_id("stMain")).not_to_contain_text(number)
    refused(east, server, case)

    agree(patient, server)
    look_at_east(east, server, case, number)
    see_the_state(north, server, case)
    who_looked(patient, server)
    bring_back(patient, server)
    refused(east, server, case)
    visit(north, server, f"/case?case={case}")
    expect(north.get_by_alt_text(re.compile("Original image of case"))).to_be_visible()


def send_to_north(patient: Page, server: Server, picture: Path) -> str:
    """Send a picture to hospital north; returns the case."""
    sign_in(patient, server, "demo-patient", path="/upload")
    before = runs(patient)
    by_key(patient, "upload_file").locator("input[type=file]").set_input_files(picture)
    settle(patient, since=before)
    choose(patient, "upload_hospital", "North Hospital")
    by_key(patient, "upload_send").get_by_role("button").click()
    expect(by_key(patient, "result_card")).to_be_visible()
    settle(patient)
    click(patient, "result_write")
    return patient.url.rpartition("case=")[2]


def request_east(north: Page, server: Server, case: str) -> None:
    """North's doctor asks whether hospital east may look."""
    sign_in(north, server, "demo-doctor")
    visit(north, server, f"/case?case={case}")
    choose(north, "referral_hospital_0", "East Hospital")
    fill(north, "Why, in plain words to the patient", REASON)
    by_key(north, "referral_preview").locator("summary").click()
    expect(by_key(north, "referral_preview")).to_contain_text(
        "may East Hospital (demo) in Warsaw look at your picture?"
    )
    settle(north)
    shot(north, "referral-01-asking")
    click(north, "referral_ask")
    expect(north.get_by_test_id("stMain")).to_contain_text("The patient is asked whether East Hospital")
    expect(north.get_by_test_id("stMain")).to_contain_text("The patient has not answered yet.")


def refused(doctor: Page, server: Server, case: str) -> None:
    """The case's page shows this doctor nothing but the refusal."""
    visit(doctor, server, f"/case?case={case}")
    expect(by_key(doctor, "error_acc_forbidden")).to_be_visible()
    assert doctor.get_by_test_id("stImage").count() == 0


def agree(patient: Page, server: Server) -> None:
    """The patient is told on the page of results, reads the request and agrees."""
    visit(patient, server, "/results")
    expect(patient.get_by_test_id("stMain")).to_contain_text("A doctor asks you")
    click(patient, "results_to_referrals")
    main = patient.get_by_test_id("stMain")
    for text in (
        "Demo doctor, North of North Hospital (demo) asks: may East Hospital (demo) in Warsaw look at your picture?",
        REASON,
        "North Hospital (demo) can no longer open your picture, the result or the messages",
        "cannot be made unseen",
    ):
        expect(main).to_contain_text(text)
    shot(patient, "referral-02-the-question")
    click(patient, answer_key(patient, "accept"))
    expect(main).to_contain_text("You agreed. East Hospital (demo) looks after it from now on.")
    shot(patient, "referral-03-agreed")
    visit(patient, server, "/results")
    expect(by_key(patient, "result_card")).to_contain_text("Preliminary")
    expect(by_key(patient, "result_card")).to_contain_text("the case was referred to it, as you allowed")


def answer_key(page: Page, which: str) -> str:
    """Return the key of the first button of this kind on the patient's page."""
    classes = page.locator(f'[class*="st-key-referral_{which}_"]').first.get_attribute("class") or ""
    return next(name.removeprefix("st-key-") for name in classes.split() if f"referral_{which}_" in name)


def look_at_east(east: Page, server: Server, case: str, number: str) -> None:
    """East's doctor finds the case in the work list, and looks through the own enclave."""
    visit(east, server, "/worklist")
    expect(by_key(east, f"case_line_{case}")).to_contain_text(number)
    expect(by_key(east, f"case_line_{case}")).to_contain_text("Referred here")
    shot(east, "referral-04-worklist-of-the-other")
    click(east, f"case_open_{case}")
    main = east.get_by_test_id("stMain")
    expect(east.get_by_alt_text(re.compile("Original image of case"))).to_be_visible()
    expect(main).to_contain_text("Answered by the enclave of East Hospital (demo)")
    expect(main).to_contain_text(REASON)
    settle(east)
    shot(east, "referral-05-case-at-the-other")
    visit(east, server, "/referred")
    expect(main).to_contain_text("From North Hospital (demo)")
    shot(east, "referral-06-received")


def see_the_state(north: Page, server: Server, case: str) -> None:
    """North's doctor reads that the patient agreed, and reaches the case no longer."""
    visit(north, server, "/worklist")
    expect(north.get_by_test_id("stMain")).to_contain_text("1 new answer to referrals")
    assert by_key(north, f"case_line_{case}").count() == 0
    click(north, "worklist_to_referrals")
    expect(north.get_by_test_id("stMain")).to_contain_text(
        "The patient agreed: East Hospital (demo) looks after it now."
    )
    shot(north, "referral-07-sent")
    refused(north, server, case)


def who_looked(patient: Page, server: Server) -> None:
    """The patient's page of who looked has what both doctors did."""
    visit(patient, server, "/access")
    acts = by_key(patient, "access_table")
    for text in (
        "Asked you whether another hospital may look at your picture",
        "Looked at your picture",
        "Examined your picture by program",
        "Demo doctor, East",
        "East Hospital (demo)",
    ):
        expect(acts).to_contain_text(text)
    shot(patient, "referral-08-who-looked")


def bring_back(patient: Page, server: Server) -> None:
    """The patient withdraws the consent."""
    visit(patient, server, "/referrals")
    patient.locator('[class*="st-key-referral_back_"] summary').first.click()
    click(patient, answer_key(patient, "back_confirm"))
    expect(patient.get_by_test_id("stMain")).to_contain_text("Your pictures are back at North Hospital (demo).")
    expect(patient.get_by_test_id("stMain")).to_contain_text("You agreed and later brought it back to North Hospital")
    shot(patient, "referral-09-brought-back")
