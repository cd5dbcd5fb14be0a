"""Each role's day, on SQLite and on MySQL, in a wide window and on a telephone; axe-core judges each page on the way.

`test_story` and `test_doctor_day` tell more of what each page does; here it matters that it can be done anywhere.
"""

import re
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from playwright.sync_api import Page, expect

from core.settings import Settings
from tests.browser.conftest import NewPage
from tests.browser.harness import Server, by_key, choose, click, fill, runs, section, settle, sign_in, visit
from tests.browser.lived_in import cell
from tests.browser.looking import WINDOWS, axe_core, problems
from tests.browser.test_story import write

LIVED_IN = True
SEEDS = {"desktop": 5, "390": 6}
"""Of cells that the shipped model calls conspicuous."""
Judge = Callable[[Page], None]
QUESTION = "Shall I bring my older results along"


@pytest.fixture(scope="module")
def place(home: Settings) -> Iterator[Server]:
    """A server on each of the two databases."""
    axe_core()
    server = Server(home.data_dir, settings={"database_url": home.database_url})
    try:
        yield server.start()
    finally:
        server.stop()


@pytest.mark.parametrize("window", WINDOWS)
def test_a_day_of_each_role(place: Server, new_page: NewPage, window: str, tmp_path: Path) -> None:
    options = {"viewport": WINDOWS[window], "reduced_motion": "reduce", "has_touch": window != "desktop"}
    patient, doctor, hospital, authority = (new_page(**options) for _ in range(4))
    picture = tmp_path / "cell.png"
    picture.write_bytes(cell(SEEDS[window]))
    wrong: list[str] = []

    def judge(page: Page) -> None:
        """Note what is wrong with the page as it stands; it looks the same on either database."""
        if not place.settings["database_url"]:
            wrong.extend(f"{page.url}: {line}" for line in problems(page))

    sign_in(patient, place, "demo-patient", path="/upload")
    number = send(patient, picture, judge)
    sign_in(doctor, place, "demo-doctor")
    read_and_sign(doctor, place, number, judge, last_time=window != "desktop")
    hear_of_it(patient, place, number, judge)
    sign_in(hospital, place, "demo-hospital")
    keep_the_node(hospital, place, judge)
    sign_in(authority, place, "demo-authority", path="/runs")
    watch_over_it(authority, place, judge)

    assert not wrong, "\n".join(wrong)


def send(page: Page, picture: Path, judge: Judge) -> str:
    """The patient sends a picture to hospital north and writes to the doctor; returns the case's number."""
    before = runs(page)
    by_key(page, "upload_file").locator("input[type=file]").set_input_files(picture)
    settle(page, since=before)
    choose(page, "upload_hospital", "North Hospital")
    judge(page)
    click(page, "upload_send")
    card = by_key(page, "result_card")
    expect(card).to_contain_text("Preliminary")
    settle(page)
    judge(page)
    case = re.search(r"case=([0-9a-f]{32})", page.url)
    number = re.search(r"[0-9A-F]{4}-[0-9A-F]{4}", card.inner_text())
    assert case is not None
    assert number is not None
    click(page, "result_write")
    expect(page).to_have_url(re.compile(f"case={case[1]}"))
    write(page, QUESTION)
    judge(page)
    return number[0]


def read_and_sign(page: Page, server: Server, number: str, judge: Judge, *, last_time: bool) -> None:
    """The doctor finds the case, agrees with the program, books a time of the first day and answers the message."""
    judge(page)
    before = runs(page)
    fill(page, "Find", number)
    settle(page, since=before)
    rows = page.locator('[class*="st-key-case_open_"]')
    expect(rows).to_have_count(1)
    before = runs(page)
    rows.get_by_role("button").click()
    settle(page, since=before)
    expect(page.get_by_role("heading", level=1)).to_contain_text(f"case {number}")
    expect(page.get_by_alt_text(re.compile("Original image of case"))).to_be_visible()
    before = runs(page)
    page.locator('[class*="st-key-review_decision_"]').get_by_text("I agree with the program").click()
    settle(page, since=before)
    judge(page)
    fill(page, "Remark for the record (optional)", "Coarse chromatin seen in two fields")
    click(page, "review_sign")
    expect(page.get_by_test_id("stMain")).to_contain_text("The review is signed")
    times = page.locator('[class*="st-key-case_slot_time_"]').get_by_role("radio")
    before = runs(page)
    (times.last if last_time else times.first).click()
    settle(page, since=before)
    click(page, "case_book")
    expect(page.get_by_test_id("stMain")).to_contain_text("Booked for the patient")
    judge(page)
    click(page, "case_write")
    expect(by_key(page, "thread")).to_contain_text(QUESTION)
    write(page, "Yes please")
    judge(page)
    visit(page, server, "/schedule")
    judge(page)


def hear_of_it(page: Page, server: Server, number: str, judge: Judge) -> None:
    """The patient reads what the doctor says and writes, sees the appointment, and who looked."""
    visit(page, server, "/results")
    expect(by_key(page, "result_card")).to_contain_text("A doctor has looked")
    judge(page)
    visit(page, server, "/messages")
    expect(by_key(page, "thread")).to_contain_text("Yes please")
    visit(page, server, "/appointments")
    expect(page.get_by_test_id("stMain")).to_contain_text("Your doctor booked this time for you")
    judge(page)
    visit(page, server, "/access")
    expect(by_key(page, "access_table")).to_contain_text(number)
    judge(page)


def keep_the_node(page: Page, server: Server, judge: Judge) -> None:
    """The hospital draws a small data set and looks at its node."""
    section(page, "Synthetic cells")
    patients = page.get_by_role("spinbutton", name="Invented patients")
    patients.fill("6")
    patients.press("Tab")
    page.get_by_role("button", name="Draw and keep").click()
    expect(page.get_by_test_id("stMain")).to_contain_text("of 6 patients are sealed for our training node")
    settle(page)
    judge(page)
    visit(page, server, "/training")
    expect(page.get_by_test_id("stMain")).to_contain_text("This node trained for")
    judge(page)
    for address in ("incoming", "node"):
        visit(page, server, f"/{address}")
        judge(page)


def watch_over_it(page: Page, server: Server, judge: Judge) -> None:
    """The authority looks at the run, at members and models, and verifies the log with all of this day in it."""
    expect(page.get_by_test_id("stMain")).to_contain_text("finished · round 3 of 3")
    judge(page)
    for address in ("members", "users", "models", "present"):
        visit(page, server, f"/{address}")
        judge(page)
    visit(page, server, "/audit")
    click(page, "audit_verify")
    expect(by_key(page, "verification")).to_contain_text("The log is whole")
    judge(page)
