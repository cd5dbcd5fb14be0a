"""A doctor's day in a real browser: list by keyboard, case, booking, weekly times, second reading, bell."""

import re
from pathlib import Path

import numpy as np
import pytest
from playwright.sync_api import Page, expect

from core.imaging.decode import encode_png
from core.imaging.smear.style import STYLES
from core.imaging.synthetic import generate_cell
from tests.browser.conftest import NewPage
from tests.browser.harness import Server, by_key, choose, click, fill, runs, section, settle, shot, sign_in, visit
from tests.browser.test_story import book_first_time

REASON = "Coarse chromatin seen in two fields"
OTHERWISE = "Smudge cells only no blast in my view"
NARROW = {"width": 390, "height": 844}


@pytest.fixture(scope="module")
def pictures(tmp_path_factory: pytest.TempPathFactory) -> list[Path]:
    """Two synthetic cells of hospital north's stain, both of which the shipped model calls conspicuous."""
    folder = tmp_path_factory.mktemp("day")
    for seed in (5, 6):
        pixels = generate_cell(np.random.default_rng(seed), blast=True, style=STYLES["north"])
        (folder / f"cell-{seed}.png").write_bytes(encode_png(pixels))
    return sorted(folder.glob("*.png"))


def test_a_doctors_day(server: Server, new_page: NewPage, pictures: list[Path]) -> None:
    patient, doctor, second = new_page(), new_page(), new_page(viewport=NARROW)
    for picture in pictures:
        send(patient, server, picture)
    morning(doctor, server)
    read_case(doctor)
    sign_book_and_ask(doctor)
    plan_the_weeks(doctor, server)
    read_again(second, server)
    hear_of_it(doctor, server)


def send(page: Page, server: Server, picture: Path) -> None:
    """The patient sends a picture to hospital north."""
    sign_in(page, server, "demo-patient", path="/upload") if page.url == "about:blank" else visit(
        page, server, "/upload"
    )
    before = runs(page)
    by_key(page, "upload_file").locator("input[type=file]").set_input_files(picture)
    settle(page, since=before)
    choose(page, "upload_hospital", "North Hospital")
    click(page, "upload_send")
    expect(by_key(page, "result_card")).to_be_visible()
    settle(page)


def morning(page: Page, server: Server) -> None:
    """The bell tells of two new cases; the list is narrowed and its first case opened with the keyboard alone."""
    sign_in(page, server, "demo-doctor")
    expect(by_key(page, "bell")).to_contain_text("2 new")
    main = page.get_by_test_id("stMain")
    expect(main).to_contain_text("To review: 2")
    shot(page, "day-1-worklist")
    section(page, "Reviewed")
    expect(main).to_contain_text("No case of your hospital has been reviewed yet")
    section(page, "To review")
    first = page.locator('[class*="st-key-case_open_"]').get_by_role("button").first
    page.get_by_role("textbox", name="Find").focus()
    for _ in range(20):
        page.keyboard.press("Tab")
        if first.evaluate("button => button === document.activeElement"):
            break
    before = runs(page)
    page.keyboard.press("Enter")
    settle(page, since=before)
    expect(page.get_by_alt_text(re.compile("Original image of case"))).to_be_visible()


def read_case(page: Page) -> None:
    """The original, the figures of the threshold, the heat map at another opacity, and the next case and back."""
    main = page.get_by_test_id("stMain")
    expect(main).to_contain_text("1 of 2 in your list")
    expect(main).to_contain_text("Sensitivity there")
    expect(main).to_contain_text("It does not show disease")
    drawn = page.get_by_alt_text(re.compile("Original image with heat map at 60 %"))
    expect(drawn).to_be_visible()
    shot(page, "day-2-case")
    before = runs(page)
    by_key(page, "case_opacity").get_by_role("slider").focus()
    page.keyboard.press("ArrowRight")
    settle(page, since=before)
    expect(page.get_by_alt_text(re.compile("Original image with heat map at 65 %"))).to_be_visible()
    click(page, "case_next")
    expect(main).to_contain_text("2 of 2 in your list")
    expect(main).to_contain_text("Other cases of this patient (1)")
    click(page, "case_previous")
    expect(main).to_contain_text("1 of 2 in your list")


def sign_book_and_ask(page: Page) -> None:
    """The doctor agrees, books a time for the patient, and asks for a second reading."""
    main = page.get_by_test_id("stMain")
    before = runs(page)
    page.locator('[class*="st-key-review_decision_"]').get_by_text("I agree with the program").click()
    settle(page, since=before)
    fill(page, "Remark for the record (optional)", REASON)
    click(page, "review_sign")
    expect(main).to_contain_text("The review is signed")
    book_first_time(page, "case_slot", "case_book")
    expect(main).to_contain_text("Booked for the patient")
    click(page, "second_ask")
    expect(main).to_contain_text("A second reading is asked for")


def plan_the_weeks(page: Page, server: Server) -> None:
    """Weekly times are added, and an absence."""
    visit(page, server, "/schedule")
    main = page.get_by_test_id("stMain")
    before = runs(page)
    main.get_by_text("Add weekly times").click()
    settle(page, since=before - 1)
    click(page, "weekly_add")
    expect(main).to_contain_text("The weekly times are added")
    expect(main).to_contain_text("Mondays")
    main.get_by_text("Add an absence").click()
    click(page, "absence_add")
    expect(main).to_contain_text("The absence is noted")
    shot(page, "day-3-schedule")


def read_again(page: Page, server: Server) -> None:
    """The second doctor, on a telephone, follows the bell and reads the case otherwise."""
    sign_in(page, server, "demo-doctor-second")
    main = page.get_by_test_id("stMain")
    before = runs(page)
    by_key(page, "bell").get_by_role("button").first.click()
    page.locator(".st-key-bell_second_readings").get_by_role("button").click()
    settle(page, since=before)
    expect(main).to_contain_text("Second reading asked")
    expect(page.locator(".st-key-bell_new_cases")).to_have_count(0)
    shot(page, "day-4-second-list-390")
    before = runs(page)
    page.locator('[class*="st-key-case_open_"]').get_by_role("button").first.click()
    settle(page, since=before)
    page.locator('[class*="st-key-second_conclusion_"]').get_by_text("Normal", exact=False).first.click()
    fill(page, "Reason (for the record)", OTHERWISE)
    click(page, "second_sign")
    expect(main).to_contain_text("Readings differ")
    shot(page, "day-5-second-reading-390")
    assert page.evaluate("document.documentElement.scrollWidth") <= NARROW["width"]


def hear_of_it(page: Page, server: Server) -> None:
    """The first doctor's bell and list tell of it: the case stands first, although it was reviewed."""
    visit(page, server, "/worklist")
    expect(page.locator('[class*="st-key-case_line_"]').first).to_contain_text("Readings differ")
    by_key(page, "bell").get_by_role("button").first.click()
    expect(page.locator(".st-key-bell_readings_differ")).to_contain_text("1 case with readings that differ")
    shot(page, "day-6-bell")
