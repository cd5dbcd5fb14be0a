"""Presenter mode in a real browser: a step is played by another process, its result stays, and a reset removes it."""

from playwright.sync_api import Page, expect

from tests.browser.conftest import NewPage
from tests.browser.harness import Server, by_key, click, settle, shot, sign_in, visit

DEMO_CONTENTS = False
PLAYED_MS = 240_000


def test_a_step_is_played_live_its_result_stays_and_a_reset_removes_it(
    server: Server, page: Page, new_page: NewPage
) -> None:
    sign_in(page, server, "demo-authority", path="/present")
    by_key(page, "say_hospitals").locator("summary").click()
    expect(page.get_by_text("Four hospitals want to recognise leukemic cells.")).to_be_visible()

    by_key(page, "present_play_hospitals").get_by_role("button").click()

    step = by_key(page, "present_step_hospitals")
    expect(step.get_by_text("4 hospitals, each with a stain and a lamp of its own.")).to_be_visible(timeout=PLAYED_MS)
    expect(step.get_by_role("img", name="Synthetic picture of a blast")).to_have_count(4)
    settle(page)
    shot(page, "presenter")

    narrow = new_page(viewport={"width": 390, "height": 844}, color_scheme="dark")
    sign_in(narrow, server, "demo-authority", path="/present")
    visit(narrow, server, "/present")
    expect(narrow.get_by_text("1 of 6 steps done")).to_be_visible()
    assert narrow.evaluate("document.documentElement.scrollWidth") == 390
    shot(narrow, "presenter-narrow-dark")

    click(page, "present_reset")
    expect(page.get_by_text("0 of 6 steps done")).to_be_visible()
    expect(step.get_by_text("to come")).to_be_visible()
