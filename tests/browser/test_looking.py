"""The look at a page is judged itself: on pages that have exactly one thing wrong."""

import pytest
from playwright.sync_api import Page

from tests.browser.looking import axe_core, problems

SOUND = (
    "<h1>Page</h1><p>Words</p><img src='' alt='A cell'><svg role='img' aria-label='Bars'><text y='20'>4</text></svg>"
)
WRONG = {
    "a picture without words": ("<img src='/x.png'>", "image-alt"),
    "a field without a name": ("<input type='text'>", "label"),
    "pale words": ("<p style='color: #bbb'>Words</p>", "color-contrast"),
    "pale words on a pattern": (
        "<div style='background: linear-gradient(#fff, #eee)'><p style='color: #999'>Words</p></div>",
        "color-contrast",
    ),
    "a page that is too wide": ("<div style='width: 3000px; height: 1px'></div>", "pixels wider than the window"),
}


def draw(page: Page, body: str) -> list[str]:
    axe_core()
    page.set_content(f"<!doctype html><html lang='en'><title>Page</title><main>{body}</main></html>")
    return problems(page)


def test_nothing_is_wrong_with_a_sound_page(page: Page) -> None:
    assert draw(page, SOUND) == []


@pytest.mark.parametrize("what", WRONG)
def test_what_is_wrong_is_found(page: Page, what: str) -> None:
    body, said = WRONG[what]
    found = draw(page, SOUND + body)
    assert len(found) == 1, found
    assert said in found[0]
