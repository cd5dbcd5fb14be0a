"""Looking at a page as a careful person does: axe-core's rules, contrast, no scrolling sideways, a picture of it kept.

axe-core is Deque's checker of the WCAG, fetched from npm by ``make test`` (`tests.environment.find_axe`). What it finds
serious or critical fails. Where it cannot tell a text's background (charts, tabs), the contrast is reckoned here, from
the colour of the text and that of the nearest opaque element around it.
"""

import functools
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import pytest
from playwright.sync_api import Page, ViewportSize

from tests.browser.harness import ARTIFACTS
from tests.environment import AXE

WINDOWS: Mapping[str, ViewportSize] = {"desktop": {"width": 1280, "height": 900}, "390": {"width": 390, "height": 844}}
SCHEMES = ("light", "dark")
TALLEST = 6000
TRIES = 5
_STANDS = """() => !document.querySelector('[data-stale="true"]')
  && document.querySelector('[data-testid="stApp"]')?.getAttribute('data-test-script-state') !== 'running'"""


@dataclass(frozen=True)
class Excused:
    """What axe-core finds in markup that Streamlit writes and no setting changes.

    Attributes:
        rule: axe-core's name of the rule.
        selector: the elements, no others.
        reason: what Streamlit does there, and why it harms nobody here.
    """

    rule: str
    selector: str
    reason: str


EXCUSED = (
    Excused(
        "aria-dialog-name",
        ".stToast",
        "st.toast draws an alertdialog without a name (Streamlit 1.67). It names itself by its words, which also stand "
        "in a status box on the page, or say only that what was asked for is done.",
    ),
)
"""Each is needed: `test_every_page` fails when Streamlit has mended one."""
_FIND = """
async ([only, excused]) => {
  const options = { resultTypes: ['violations', 'incomplete'], ...(only.length ? { runOnly: only } : {}) };
  const found = await axe.run(document, options);
  const allowed = (rule, node) => {  // read from what was found: it may have left the page since
    const element = new DOMParser().parseFromString(node.html, 'text/html').body.firstElementChild;
    return excused.some(([name, selector]) => name === rule.id && element?.matches(selector));
  };
  const said = (rule, nodes) => nodes.filter(node => !allowed(rule, node))
    .map(node => `${rule.id}: ${rule.help}: ${node.target.join(' ')}  ${node.html}`);
  const broken = found.violations.filter(rule => ['serious', 'critical'].includes(rule.impact));
  const unsure = found.incomplete.filter(rule => rule.id === 'color-contrast');
  const numbers = text => (text.match(/[\\d.]+/g) || []).map(Number);
  const light = ([r, g, b]) => [r, g, b].map(v => v / 255)
    .map(v => v <= 0.04045 ? v / 12.92 : ((v + 0.055) / 1.055) ** 2.4)
    .reduce((sum, v, n) => sum + v * [0.2126, 0.7152, 0.0722][n], 0);
  const behind = node => {
    for (let one = node; one; one = one.parentElement) {
      const colour = numbers(getComputedStyle(one).backgroundColor);
      if (colour.length === 3 || colour[3] === 1) return colour;
    }
    return [255, 255, 255];
  };
  const low = node => {
    const element = document.querySelector(node.target[0]);
    if (!element || element.closest('[disabled], [aria-disabled="true"]')) return false;
    const style = getComputedStyle(element);
    const text = numbers(element instanceof SVGElement ? style.fill : style.color);
    const [bright, dark] = [light(text), light(behind(element))].sort((a, b) => b - a);
    const large = parseFloat(style.fontSize) >= 24 || (parseFloat(style.fontSize) >= 18.66 && style.fontWeight >= 700);
    return (bright + 0.05) / (dark + 0.05) < (large ? 3 : 4.5);
  };
  return [...broken.flatMap(rule => said(rule, rule.nodes)),
          ...unsure.flatMap(rule => said(rule, rule.nodes.filter(low)))];
}
"""
_DRAWN_IN = """
dark => [...document.querySelectorAll('[data-testid="stApp"], .js-plotly-plot .main-svg:first-child')].every(one => {
  const [red, green, blue, opaque] = (getComputedStyle(one).backgroundColor.match(/[\\d.]+/g) || []).map(Number);
  return opaque === 0 || (red < 128) === dark;
})
"""
_AT_REST = """
async () => {
  for (let n = 0; n < 3; n += 1) {
    await new Promise(requestAnimationFrame);
    await new Promise(done => requestIdleCallback(done, { timeout: 1000 }));
  }
}
"""


@functools.cache
def axe_core() -> str:
    """Return axe-core's script; skips with one line where it could not be had."""
    if not AXE.exists():
        pytest.skip(f"axe-core is not at {AXE} (make test takes it from npm): the look at every page is left out")
    return AXE.read_text(encoding="utf-8")


def problems(page: Page, *, rules: Sequence[str] = (), excused: Sequence[Excused] = EXCUSED) -> list[str]:
    """Return what is wrong with the page as it is drawn now, one line each; `rules` limits it to some of axe's."""
    if not page.evaluate("() => 'axe' in window"):
        page.evaluate(axe_core())
    found: list[str] = []
    for _ in range(TRIES):
        page.wait_for_function(_STANDS)
        found = page.evaluate(_FIND, [list(rules), [[one.rule, one.selector] for one in excused]])
        if not found or page.evaluate(_STANDS):  # else it was drawn anew meanwhile: what is under way is drawn pale
            break
    wide = page.evaluate("document.documentElement.scrollWidth") - page.evaluate("window.innerWidth")
    return [*found, f"the page is {wide} pixels wider than the window"] if wide > 0 else found


def look(page: Page, name: str, *, windows: Mapping[str, ViewportSize] = WINDOWS) -> list[str]:
    """Judge the page in each window, light and dark, and keep a picture of each; return what is wrong, with where."""
    ARTIFACTS.mkdir(exist_ok=True)
    before, found, drawn = page.viewport_size, [], SCHEMES[0]
    for number, (window, size) in enumerate(windows.items()):
        page.set_viewport_size(size)
        page.evaluate(_AT_REST)
        tall = page.locator('[data-testid="stMain"]').evaluate("main => main.scrollHeight")
        height = max(size["height"], min(int(tall), TALLEST))
        page.set_viewport_size({"width": size["width"], "height": height})
        page.evaluate(_AT_REST)
        for scheme in SCHEMES[:: -1 if number % 2 else 1]:  # what is drawn already comes first
            if scheme != drawn:
                _draw_in(page, scheme)
            drawn = scheme
            rules = () if scheme == SCHEMES[0] else ("color-contrast",)  # nothing else depends on colours
            found += [f"{name}, {window}, {scheme}: {line}" for line in problems(page, rules=rules)]
            page.screenshot(path=ARTIFACTS / f"page-{name}-{window}-{scheme}.png")
    if drawn != SCHEMES[0]:
        _draw_in(page, SCHEMES[0])
    if before is not None:
        page.set_viewport_size(before)
    return found


def _draw_in(page: Page, scheme: str) -> None:
    """Let the browser prefer a colour scheme, and wait until the page follows.

    Streamlit's tables are painted on a canvas, and keep their cells' colours until something else makes them paint:
    here, a window that is a pixel wider for a moment.
    """
    page.emulate_media(color_scheme="dark" if scheme == "dark" else "light")
    page.wait_for_function(_DRAWN_IN, arg=scheme == "dark")
    size = page.viewport_size
    if size is not None and page.get_by_test_id("stDataFrame").count():
        page.set_viewport_size({"width": size["width"] + 1, "height": size["height"]})
        page.evaluate(_AT_REST)
        page.set_viewport_size(size)
    page.evaluate(_AT_REST)
