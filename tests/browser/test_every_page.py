"""Every page of every role, empty and lived-in, in a wide and a narrow window, light and dark: judged, and pictured.

The pictures are ``test-artifacts/page-<page>-<window>-<scheme>.png``; people look at them after a change.
"""

import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path

import pytest
from playwright.sync_api import Page, expect

from core.services.accounts import Role
from pages._ui.registry import pages_for
from tests.browser.conftest import NewPage
from tests.browser.harness import (
    Server,
    by_key,
    click,
    fill,
    runs,
    section,
    send_sign_in,
    settle,
    sign_in,
    visit,
)
from tests.browser.lived_in import PEOPLE, cell
from tests.browser.looking import EXCUSED, axe_core, look, problems

LIVED_IN = True


@pytest.fixture(scope="module", autouse=True)
def checker() -> None:
    """Skip it all, with one line, where there is no axe-core."""
    axe_core()


@dataclass
class Walk:
    """One person's walk: what was looked at, and what was wrong."""

    page: Page
    server: Server
    seen: list[str] = field(default_factory=list)
    wrong: list[str] = field(default_factory=list)

    def look(self, name: str) -> None:
        """Judge and picture what is shown now."""
        settle(self.page)
        self.seen.append(name)
        self.wrong += look(self.page, name)

    def visit(self, address: str, name: str = "") -> None:
        """Open an address and look."""
        visit(self.page, self.server, f"/{address}")
        self.look(name or address)

    def sections(self, address: str, names: dict[str, str]) -> None:
        """Open an address and look at each of its sections; `names` maps what stands on it to a picture's name."""
        visit(self.page, self.server, f"/{address}")
        for title, name in names.items():
            section(self.page, title)
            self.look(f"{address}-{name}")

    def open(self, key: str) -> None:
        """Open the expander with this key."""
        by_key(self.page, key).locator("summary").click()
        self.page.wait_for_timeout(300)  # it slides open
        settle(self.page)


@pytest.fixture
def walk(server: Server, new_page: NewPage) -> Iterator[Callable[[str], Walk]]:
    """Return a maker of walks, signed in as somebody or, for "", as nobody; at the end nothing may be wrong."""
    made: list[Walk] = []

    def make(username: str) -> Walk:
        page = new_page(reduced_motion="reduce")
        if username:
            sign_in(page, server, username)
        made.append(Walk(page, server))
        return made[-1]

    yield make
    wrong = [line for one in made for line in one.wrong]
    assert not wrong, "\n".join(wrong)


def test_nobody(walk: Callable[[str], Walk]) -> None:
    nobody = walk("")
    nobody.visit("sign-in")
    send_sign_in(nobody.page, "demo-patient", "not the password")
    expect(nobody.page.locator('[class*="st-key-error_"]')).to_be_visible()
    nobody.look("sign-in-refused")
    nobody.visit("register")
    nobody.visit("worklist", "sign-in-first")


def test_a_patient(walk: Callable[[str], Walk], tmp_path: Path) -> None:
    patient = walk(PEOPLE[Role.PATIENT])
    for spec in pages_for(Role.PATIENT):
        patient.visit(spec.url_path)
    page = patient.page
    patient.sections(
        "account",
        {
            "Details": "details",
            "Consents": "consents",
            "Password": "password",
            "Browsers": "browsers",
            "Take my data": "export",
            "Erase my data": "erase",
        },
    )
    visit(page, patient.server, "/appointments")
    patient.open("appointments_before")
    patient.look("appointments-before")
    page.locator('[class*="st-key-cancel_"]').get_by_role("button").first.click()
    expect(page.get_by_role("dialog")).to_be_visible()
    patient.look("appointments-cancel")
    visit(page, patient.server, "/results")
    page.locator('[class*="st-key-result_open_"]').last.get_by_role("button").click()
    expect(by_key(page, "result_card")).to_contain_text("A doctor has looked")
    settle(page)
    before = runs(page)
    page.get_by_test_id("stMain").get_by_text("Show the numbers and the picture").click()
    settle(page, since=before)
    patient.look("results-numbers")
    visit(page, patient.server, "/upload")
    (tmp_path / "cell.png").write_bytes(cell(7))
    (tmp_path / "not-a-picture.png").write_bytes(b"these are words")
    before = runs(page)
    by_key(page, "upload_file").locator("input[type=file]").set_input_files(sorted(tmp_path.glob("*.png")))
    settle(page, since=before)
    patient.look("upload-chosen")


def test_a_patient_who_is_new(walk: Callable[[str], Walk]) -> None:
    patient = walk("")
    page = patient.page
    visit(page, patient.server, "/register")
    for label, value in (
        ("First name", "New"),
        ("Last name", "Patient"),
        ("User name", "new-patient"),
        ("Password", "a calm long sentence"),
        ("Password again", "a calm long sentence"),
    ):
        fill(page, label, value)
    page.get_by_role("button", name="Create my account").click()
    expect(by_key(page, "who")).to_contain_text("new-patient")
    settle(page)
    for spec in pages_for(Role.PATIENT):
        if spec.url_path != "account":
            patient.visit(spec.url_path, f"{spec.url_path}-empty")


def test_a_doctor(walk: Callable[[str], Walk]) -> None:
    doctor = walk(PEOPLE[Role.DOCTOR])
    page, main = doctor.page, doctor.page.get_by_test_id("stMain")
    for spec in pages_for(Role.DOCTOR):
        doctor.visit(spec.url_path, "doctor-account" if spec.url_path == "account" else "")
    by_key(page, "bell").get_by_role("button").first.click()
    doctor.look("bell")
    open_case(doctor, 0)
    expect(main).to_contain_text("Readings differ")
    doctor.look("case-read-twice")
    open_case(doctor, -1)
    before = runs(page)
    page.locator('[class*="st-key-review_decision_"]').get_by_text("I conclude otherwise").click()
    settle(page, since=before)
    doctor.look("case-review")
    visit(page, doctor.server, "/schedule")
    for title in ("Add weekly times", "Add an absence"):
        main.get_by_text(title).click()
        page.wait_for_timeout(300)
    doctor.look("schedule-forms")


def open_case(doctor: Walk, place: int) -> None:
    """Open the case in this place of the worklist."""
    visit(doctor.page, doctor.server, "/worklist")
    before = runs(doctor.page)
    doctor.page.locator('[class*="st-key-case_open_"]').get_by_role("button").nth(place).click()
    settle(doctor.page, since=before)
    expect(doctor.page.get_by_alt_text(re.compile("Original image of case"))).to_be_visible()


def test_a_doctor_without_cases(walk: Callable[[str], Walk]) -> None:
    doctor = walk("demo-doctor-south")
    for address in ("worklist", "schedule", "inbox", "referred"):
        doctor.visit(address, f"{address}-empty")


def test_a_hospital(walk: Callable[[str], Walk]) -> None:
    hospital = walk(PEOPLE[Role.HOSPITAL])
    for spec in pages_for(Role.HOSPITAL):
        hospital.visit(spec.url_path, "hospital-account" if spec.url_path == "account" else "")
    hospital.sections("data", {"Folder on the server": "folder", "Synthetic cells": "synthetic"})
    hospital.open("index_help")
    hospital.look("data-index")


def test_the_authority(walk: Callable[[str], Walk]) -> None:
    authority = walk(PEOPLE[Role.AUTHORITY])
    page = authority.page
    for spec in pages_for(Role.AUTHORITY):
        authority.visit(spec.url_path, "authority-account" if spec.url_path == "account" else "")
    authority.sections("account", {"Second factor": "second-factor"})
    authority.sections("members", {"Certificates": "certificates"})
    authority.sections("keys", {"Renew and exchange": "renew", "How two parties agree": "agree"})
    authority.sections("runs", {"New run": "new", "How blind works": "blind"})
    authority.sections("evaluation", {"New evaluation": "new"})
    visit(page, authority.server, "/evaluation")
    before = runs(page)
    page.locator('[class*="st-key-evaluation_part_"]').get_by_text("Attacks", exact=True).click()
    settle(page, since=before)
    authority.look("evaluation-attacks")
    visit(page, authority.server, "/runs")
    for key in ("run_cloud", "run_events"):
        authority.open(key)
    authority.look("runs-open")
    visit(page, authority.server, "/models")
    click(page, "model_promote")
    expect(page.get_by_role("dialog")).to_be_visible()
    authority.look("models-promotion")
    visit(page, authority.server, "/audit")
    click(page, "audit_verify")
    expect(by_key(page, "verification")).to_contain_text("The log is whole")
    for key in ("audit_one_entry", "audit_kept_heads"):
        authority.open(key)
    authority.look("audit-verified")


def test_what_is_excused_is_still_to_be_found(server: Server, page: Page) -> None:
    sign_in(page, server, PEOPLE[Role.DOCTOR], path="/account")
    click(page, "profile_save")
    expect(page.get_by_test_id("stToast")).to_be_visible()
    found = problems(page, excused=())
    assert [one.rule for one in EXCUSED if not any(line.startswith(one.rule) for line in found)] == []
