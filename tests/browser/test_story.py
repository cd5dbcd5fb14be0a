"""The whole story in a real browser: a patient, a doctor, a hospital and the authority, one after the other.

A picture goes up, a first answer comes back, a doctor signs, an appointment is booked and moved, messages are read;
then hospitals train together, the model is promoted, and the audit log holds. Last, the database is searched.
"""

import re
from pathlib import Path

import numpy as np
import pytest
from playwright.sync_api import Page, expect

from core.clock import SystemClock
from core.diagnosis.checkpoint_file import load_checkpoint
from core.imaging.decode import encode_png
from core.imaging.smear.style import STYLES
from core.imaging.synthetic import generate_cell
from core.services.demo import shipped_model
from core.settings import Settings
from core.studies import LEUKEMIA
from db.engine import make_engine
from tests.browser.conftest import NewPage
from tests.browser.harness import (
    OPEN_MS,
    Server,
    by_key,
    choose,
    click,
    fill,
    runs,
    section,
    settle,
    shot,
    sign_in,
    visit,
)
from tests.secrets_search import contents, found_in_clear, names_of_diagnoses, weights_of

RUN_MS = 420_000
"""TensorFlow starts, compiles and trains on two cores that others use too."""
PASSWORD = "a calm long sentence"
MESSAGE = "Shall I bring my older results along"
ANSWER = "Yes please and a list of your medicines"
NOTE = "We would like to see you soon to repeat the test"
REMARK = "Coarse chromatin seen in two fields"


@pytest.fixture(scope="module")
def picture(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A synthetic cell that the shipped model calls conspicuous."""
    path = tmp_path_factory.mktemp("pictures") / "cell.png"
    path.write_bytes(encode_png(generate_cell(np.random.default_rng(5), blast=True, style=STYLES["north"])))
    return path


def register(page: Page, server: Server) -> None:
    """Make the account of the story's patient and be signed in."""
    visit(page, server, "/register")
    for purpose in ("diagnosis", "fallback_hospital"):
        before = runs(page)
        by_key(page, f"consent_{purpose}").locator("label").first.click()
        settle(page, since=before)
    for label, value in (
        ("First name", "Story"),
        ("Last name", "Patient"),
        ("E-mail address (optional)", "story@example.org"),
        ("User name", "story-patient"),
        ("Password", PASSWORD),
        ("Password again", PASSWORD),
    ):
        fill(page, label, value)
    page.get_by_role("button", name="Create my account").click()
    expect(by_key(page, "who")).to_contain_text("story-patient")
    settle(page)


def send_picture(page: Page, server: Server, picture: Path) -> None:
    """Upload the picture to hospital north and wait for the answer."""
    visit(page, server, "/upload")
    before = runs(page)
    by_key(page, "upload_file").locator("input[type=file]").set_input_files(picture)
    settle(page, since=before)
    choose(page, "upload_hospital", "North Hospital")
    shot(page, "story-01-upload")
    by_key(page, "upload_send").get_by_role("button").click()
    expect(by_key(page, "result_card")).to_be_visible()
    settle(page)


def book_first_time(page: Page, prefix: str, button: str) -> None:
    """Choose the first free time of the day that is shown and book it; a redraw may take a choice back."""
    settle(page)
    times = page.locator(f'[class*="st-key-{prefix}_time_"]')
    for last in (False, False, True):
        before = runs(page)
        times.get_by_role("radio").or_(times.get_by_role("button")).first.click()
        settle(page, since=before)
        try:
            expect(by_key(page, button).get_by_role("button")).to_be_enabled(timeout=OPEN_MS)
            break
        except AssertionError:
            if last:
                raise
    click(page, button)


def write(page: Page, text: str) -> None:
    """Write a message in the conversation that is open."""
    fill(page, "Your message", text)
    click(page, "message_send")
    expect(by_key(page, "thread")).to_contain_text(text)


def test_a_picture_is_answered_reviewed_and_talked_about(server: Server, new_page: NewPage, picture: Path) -> None:
    patient, doctor = new_page(), new_page(viewport={"width": 1280, "height": 1000})
    ask(patient, server, picture)
    review_and_book(doctor, server)
    follow_up(patient, server)


def ask(patient: Page, server: Server, picture: Path) -> None:
    """The patient registers, sends a picture, reads the first answer and writes to the doctor."""
    register(patient, server)
    send_picture(patient, server, picture)
    expect(by_key(patient, "result_card")).to_contain_text("Preliminary")
    before = runs(patient)
    patient.get_by_test_id("stMain").get_by_text("Show the numbers and the picture").click()
    settle(patient, since=before)
    expect(patient.get_by_alt_text("The picture that you sent")).to_be_visible()
    shot(patient, "story-02-first-answer")
    click(patient, "result_write")
    write(patient, MESSAGE)


def review_and_book(doctor: Page, server: Server) -> None:
    """The doctor opens the case from the worklist, signs, books a time for the patient and answers."""
    sign_in(doctor, server, "demo-doctor")
    expect(doctor.get_by_test_id("stMain")).to_contain_text("Story Patient")
    shot(doctor, "story-03-worklist")
    doctor.locator('[class*="st-key-case_open_"]').get_by_role("button").first.click()
    expect(doctor.get_by_alt_text(re.compile("Original image of case"))).to_be_visible()
    expect(doctor.get_by_alt_text(re.compile("Original image with heat map"))).to_be_visible()
    settle(doctor)
    shot(doctor, "doctor-case")
    before = runs(doctor)
    doctor.locator('[class*="st-key-review_decision_"]').get_by_text("I agree with the program").click()
    settle(doctor, since=before)
    fill(doctor, "Remark for the record (optional)", REMARK)
    fill(doctor, "In plain words to the patient (optional)", NOTE)
    click(doctor, "review_sign")
    expect(doctor.get_by_test_id("stMain")).to_contain_text("The review is signed")
    book_first_time(doctor, "case_slot", "case_book")
    expect(doctor.get_by_test_id("stMain")).to_contain_text("Booked for the patient")
    shot(doctor, "story-04-signed-and-booked")
    click(doctor, "case_write")
    expect(by_key(doctor, "thread")).to_contain_text(MESSAGE)
    write(doctor, ANSWER)
    shot(doctor, "story-05-messages")


def follow_up(patient: Page, server: Server) -> None:
    """The patient reads the doctor's word and answer, takes the calendar entry, cancels and books another time."""
    visit(patient, server, "/results")
    expect(by_key(patient, "result_card")).to_contain_text("A doctor has looked")
    expect(by_key(patient, "result_card")).to_contain_text(NOTE)
    shot(patient, "story-06-reviewed")
    click(patient, "results_to_messages")
    expect(by_key(patient, "thread")).to_contain_text(ANSWER)
    visit(patient, server, "/appointments")
    expect(patient.get_by_test_id("stMain")).to_contain_text("Your doctor booked this time for you")
    shot(patient, "story-07-appointments")
    with patient.expect_download() as calendar:
        patient.locator('[class*="st-key-ics_"]').get_by_role("button").first.click()
    text = Path(calendar.value.path()).read_text()
    assert "BEGIN:VEVENT" in text
    assert not [word for word in names_of_diagnoses() if word in text.lower()]
    patient.locator('[class*="st-key-cancel_"]').get_by_role("button").first.click()
    click(patient, "cancel_confirm")
    expect(patient.get_by_test_id("stMain")).to_contain_text("The appointment is cancelled")
    book_first_time(patient, "slot", "appointment_book")
    expect(patient.get_by_test_id("stMain")).to_contain_text("Booked:")


def test_hospitals_train_together_and_the_authority_promotes_the_model(server: Server, new_page: NewPage) -> None:
    authority, hospital = new_page(viewport={"width": 1280, "height": 1000}), new_page()
    sign_in(hospital, server, "demo-hospital")
    shot(hospital, "story-08-data-sets")
    sign_in(authority, server, "demo-authority", path="/runs")
    train(authority)
    promote(authority, server)

    visit(hospital, server, "/training")
    expect(hospital.get_by_test_id("stMain")).to_contain_text("round 2 of 2")
    expect(hospital.get_by_test_id("stMain")).to_contain_text("This node trained for")
    shot(hospital, "story-12-training")
    visit(authority, server, "/audit")
    click(authority, "audit_verify")
    expect(by_key(authority, "verification")).to_contain_text("The log is whole")
    shot(authority, "story-13-audit")


def train(page: Page) -> None:
    """The authority orders two rounds, makes one node drop out, and watches the run to its end."""
    main = page.get_by_test_id("stMain")
    expect(main).to_contain_text("No run yet")
    section(page, "How blind works")
    expect(main).to_contain_text("The sum is +2.500000")
    shot(page, "story-09-how-blind-works")
    section(page, "New run")
    expect(by_key(page, "order_mode").get_by_role("radio", name="blind")).to_be_checked()
    expect(main).to_contain_text("can read neither a hospital's update nor the sum nor the model")
    expect(main).to_contain_text("The cloud sees sizes and times only")
    expect(main).to_contain_text("The cloud can read every hospital's update")
    by_key(page, "order_rounds").get_by_role("spinbutton").fill("2")
    by_key(page, "order_rounds").get_by_role("spinbutton").press("Tab")
    expect(main).to_contain_text("needs 3 to finish: one of them may drop out")
    shot(page, "story-09-new-run")
    click(page, "order_submit")
    expect(main).to_contain_text(re.compile("running|waiting for the worker"))
    by_key(page, "run_drop").locator("summary").click()
    click(page, "drop_west")
    expect(main).to_contain_text("made to drop out")
    expect(main).to_contain_text("finished · round 2 of 2", timeout=RUN_MS)
    settle(page)
    by_key(page, "run_cloud").locator("summary").click()
    for text in (
        "✓ in the model",
        "at “keys”: ",
        "masked update",
        "The global model: the members make it themselves",
    ):
        expect(main).to_contain_text(text)
    for text in ("AUC, round 2", "Accuracy, round 2", "Loss, round 2", "Sent to the coordinator", "Left out"):
        expect(main).to_contain_text(text)
    settle(page)
    shot(page, "story-10-run-finished")


def promote(page: Page, server: Server) -> None:
    """The authority puts the new model into service, and brings the earlier one back."""
    main = page.get_by_test_id("stMain")
    visit(page, server, "/models")
    expect(main).to_contain_text("verified just now")
    shot(page, "story-11-models")
    click(page, "model_promote")
    expect(page.get_by_role("dialog")).to_contain_text("synthetic images")
    settle(page)
    shot(page, "story-11-promotion")
    click(page, "model_promote_confirm")
    expect(main).to_contain_text("The model is in service.")
    click(page, "model_roll_back")
    click(page, "model_roll_back_confirm")
    expect(main).to_contain_text("The earlier model is in service again.")


def test_after_the_story_the_database_holds_nothing_in_clear(server: Server, picture: Path) -> None:
    settings = Settings(data_dir=server.data_dir, database_url="", master_key=None)
    model = load_checkpoint(shipped_model(LEUKEMIA), settings=settings, at=SystemClock().now())
    engine = make_engine(settings.database)
    held = contents(engine)
    engine.dispose()

    assert b"story-patient" in held
    texts = {MESSAGE, ANSWER, NOTE, REMARK, "Story Patient", "story@example.org"} | names_of_diagnoses()
    assert not found_in_clear(held, long=[picture.read_bytes(), *weights_of(model)], texts=texts)
