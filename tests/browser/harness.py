"""What the browser tests are written with: a real server in a folder of its own, and short words for what people do.

A page is *settled* when the script has run to its end. Every helper that changes a page waits for that, so tests need
no pauses. Widgets are found by their key: Streamlit marks them with the class ``st-key-<key>``.
"""

import contextlib
import os
import shutil
import socket
import ssl
import subprocess
import sys
import time
import urllib.error
import urllib.request
from dataclasses import dataclass, field
from pathlib import Path
from typing import IO

from playwright.sync_api import Error, Locator, Page, expect
from playwright.sync_api import TimeoutError as PlaywrightTimeout

from tests.environment import BROWSERS

ROOT = Path(__file__).resolve().parent.parent.parent
ARTIFACTS = ROOT / "test-artifacts"
PASSWORD = "hemaseal-demo"
SESSION_COOKIE = "hemaseal_session"
FLAGS = [
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
]
START_SECONDS = 60
WAIT_MS = 60_000
OPEN_MS = 5_000
REST_MS = 20_000


def chromium() -> str | None:
    """Return the path of a Chromium: the one of ``CHROMIUM``, else the first on the path, else None."""
    return os.environ.get("CHROMIUM") or next(filter(None, map(shutil.which, BROWSERS)), None)


def free_port() -> int:
    """Return a port of the loopback interface that nobody uses now."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def set_up(data_dir: Path, *, demo_contents: bool = True, settings: dict[str, str] | None = None) -> None:
    """Run ``python -m core setup`` for a data folder; without the demo's contents it takes two seconds, not ten."""
    command = [sys.executable, "-m", "core", "setup", "--demo-contents" if demo_contents else "--no-demo-contents"]
    done = subprocess.run(
        command, cwd=ROOT, env=environment(data_dir, settings or {}), capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stdout + done.stderr


def environment(data_dir: Path, settings: dict[str, str]) -> dict[str, str]:
    """Return the environment of a process of an installation; `settings` are ``HEMASEAL_…`` by short name."""
    plain = {name: value for name, value in os.environ.items() if not name.startswith(("HEMASEAL_", "DATABASE_URL"))}
    named = {f"HEMASEAL_{name.upper()}": value for name, value in settings.items()}
    return {**plain, "HEMASEAL_DATA_DIR": str(data_dir), **named}


@dataclass
class Server:
    """A running application.

    Attributes:
        data_dir: its data folder.
        entry: ``asgi.py`` (as ``make run`` starts it), or ``Home.py`` for the plain start.
        settings: further settings by short name, for example ``{"mode": "demo"}``.
        root: the authority's root certificate, where it serves https with ``tls_cert`` among the settings.
        port: where it listens on 127.0.0.1.
    """

    data_dir: Path
    entry: str = "asgi.py"
    settings: dict[str, str] = field(default_factory=dict)
    root: Path | None = None
    port: int = field(default_factory=free_port)
    process: "subprocess.Popen[bytes] | None" = None
    _log: "IO[bytes] | None" = None

    @property
    def url(self) -> str:
        """Where it is reached, without a slash at the end."""
        return f"{'https' if 'tls_cert' in self.settings else 'http'}://127.0.0.1:{self.port}"

    @property
    def log_file(self) -> Path:
        """Everything that it wrote."""
        return self.data_dir / f"server-{self.port}.log"

    def start(self) -> "Server":
        """Start it and wait until it answers."""
        self._log = self.log_file.open("ab")
        port = str(self.port)
        plain = ["streamlit", "run", self.entry, "--server.port", port]
        words = ["core", "serve", "--port", port] if self.entry == "asgi.py" else plain
        self.process = subprocess.Popen(
            [sys.executable, "-m", *words],
            cwd=ROOT,
            env=environment(self.data_dir, self.settings),
            stdout=self._log,
            stderr=self._log,
            stdin=subprocess.DEVNULL,
        )
        deadline = time.monotonic() + START_SECONDS
        while not self._answers():
            assert self.process.poll() is None, f"the server ended:\n{self.log_file.read_text()}"
            assert time.monotonic() < deadline, f"the server does not answer:\n{self.log_file.read_text()}"
            time.sleep(0.05)
        return self

    def stop(self) -> None:
        """Stop it and wait for its end."""
        if self.process is not None:
            self.process.terminate()
            try:
                self.process.wait(20)
            except subprocess.TimeoutExpired:
                self.process.kill()
                self.process.wait(20)
        if self._log is not None:
            self._log.close()

    def get(self, path: str, *, cookie: str = "") -> tuple[int, dict[str, str], bytes]:
        """Fetch a path outside the browser; returns status, headers in small letters, and body."""
        request = urllib.request.Request(self.url + path, headers={"Cookie": cookie} if cookie else {})  # noqa: S310
        try:
            trusting = ssl.create_default_context(cafile=self.root) if self.root else None
            with urllib.request.urlopen(request, timeout=10, context=trusting) as answer:  # noqa: S310  (our own server)
                return answer.status, {k.lower(): v for k, v in answer.headers.items()}, answer.read()
        except urllib.error.HTTPError as error:
            with error:
                return error.code, {k.lower(): v for k, v in error.headers.items()}, error.read()

    def _answers(self) -> bool:
        try:
            return self.get("/_stcore/health")[0] == 200
        except OSError:
            return False


# Counts finished script runs; a page is settled when one has ended, none is under way and none began within the last
# moments (a run that ends in `st.rerun` is followed by another at once). The browser may draw a short run's beginning
# and end as one, which nobody can count: then a second without any change settles it too. Until a run has ended so, no
# element takes the pointer, and Playwright waits with its press: what the run is about to replace would swallow it.
WATCH_RUNS = """
(() => {
  const watch = { finished: 0, changed: performance.now(), state: '' };
  window.__runs = watch;
  const sheet = new CSSStyleSheet();
  sheet.replaceSync('html[data-busy] * { pointer-events: none !important; }');
  document.adoptedStyleSheets = [...document.adoptedStyleSheets, sheet];
  const busy = () => document.documentElement.toggleAttribute('data-busy', watch.state !== 'notRunning');
  const look = () => {
    const app = document.querySelector('[data-testid="stApp"]');
    const state = app ? app.getAttribute('data-test-script-state') : '';
    if (state !== watch.state) {
      if (state === 'notRunning') watch.finished += 1;
      watch.state = state;
      watch.changed = performance.now();
      if (state === 'notRunning') setTimeout(busy, 120); else busy();
    }
  };
  new MutationObserver(look).observe(document, {
    subtree: true, childList: true, attributes: true, attributeFilter: ['data-test-script-state'],
  });
})();
"""
_SETTLED = """
(before) => window.__runs && window.__runs.state === 'notRunning'
  && performance.now() - Math.max(window.__runs.changed, window.__runs.asked || 0)
     > (window.__runs.finished > before ? 120 : 1000)
  && !document.querySelector('[data-testid="stSkeleton"], [data-testid="stSpinner"]')
"""
_STANDS = """
() => !window.__runs || (window.__runs.state === 'notRunning' && performance.now() - window.__runs.changed > 120)
"""


def settle(page: Page, *, since: int = 0) -> Page:
    """Wait until more than `since` script runs have ended and none is under way; fail if one ended in an exception."""
    page.wait_for_function(_SETTLED, arg=since, timeout=WAIT_MS)
    check(page)
    return page


def stand(page: Page) -> Page:
    """Wait until no script run is under way: what a run replaces takes no press. One that never rests is taken so."""
    with contextlib.suppress(PlaywrightTimeout):
        page.wait_for_function(_STANDS, timeout=REST_MS)
    return page


def runs(page: Page) -> int:
    """Return how many script runs have ended since the page was loaded, once none is under way."""
    stand(page)
    return int(page.evaluate("(window.__runs.asked = performance.now(), window.__runs.finished)"))


def check(page: Page) -> None:
    """Fail when the page shows an exception or an error that nobody foresaw."""
    broken = page.locator('[data-testid="stException"], .st-key-error_app_error')
    assert broken.count() == 0, f"{page.url} failed: {broken.first.inner_text()}"


def by_key(page: Page, key: str) -> Locator:
    """Return the element with this widget key."""
    return page.locator(f".st-key-{key}")


def visit(page: Page, server: Server, path: str = "/") -> Page:
    """Open an address in a fresh tab state, as if it were typed into the address line."""
    page.goto(server.url + path)
    page.locator('[data-testid="stMain"] :is(h1, [data-testid="stMarkdown"])').first.wait_for(timeout=WAIT_MS)
    return settle(page)


def fill(page: Page, label: str, value: str) -> None:
    """Type into the field with this label and leave it."""
    box = stand(page).get_by_role("textbox", name=label, exact=True)
    box.fill(value)
    box.press("Tab")


def click(page: Page, key: str) -> Page:
    """Press the button with this key and wait for the run that it starts."""
    before = runs(page)
    by_key(page, key).get_by_role("button").first.click()
    return settle(page, since=before)


def tick(page: Page, key: str) -> Page:
    """Tick or untick the box with this key."""
    before = runs(page)
    by_key(page, key).locator("label").click()
    return settle(page, since=before)


def choose(page: Page, key: str, text: str) -> Page:
    """Choose the entry of a select box that contains `text`, by typing it.

    An open list closes when the page scrolls or a run redraws it, so the typing is tried again, as a person would.
    """
    before = runs(page)
    box = by_key(page, key).get_by_role("combobox")
    option = page.get_by_role("option", name=text).first
    for last in (False, False, True):
        try:
            box.scroll_into_view_if_needed()
            box.focus()
            box.press("ControlOrMeta+a")
            box.press_sequentially(text)
            option.click(timeout=WAIT_MS if last else OPEN_MS)
            break
        except Error:
            if last:
                raise
    return settle(page, since=before)


def section(page: Page, name: str) -> Page:
    """Go to a section of a page that has several (a segmented control)."""
    before = runs(page)
    page.get_by_test_id("stMain").get_by_role("radio", name=name, exact=True).click()
    return settle(page, since=before)


def send_sign_in(page: Page, username: str, password: str = PASSWORD) -> None:
    """Fill in the sign-in form and send it; does not wait for what comes of it."""
    fill(page, "User name", username)
    fill(page, "Password", password)
    page.get_by_test_id("stFormSubmitButton").get_by_role("button", name="Sign in").click()


def sign_in(page: Page, server: Server, username: str, password: str = PASSWORD, *, path: str = "/") -> Page:
    """Open `path`, sign in, and wait for the page that follows."""
    visit(page, server, path)
    send_sign_in(page, username, password)
    answered = page.locator('.st-key-sign_out, [class*="st-key-error_"], [data-testid="stException"]').first
    expect(answered).to_be_visible(timeout=WAIT_MS)
    settle(page)
    expect(by_key(page, "sign_out")).to_be_visible()
    return page


def sign_out(page: Page) -> Page:
    """Press “Sign out” and wait for the sign-in form."""
    by_key(page, "sign_out").get_by_role("button").click()
    expect(page.get_by_role("textbox", name="User name", exact=True)).to_be_visible(timeout=WAIT_MS)
    return settle(page)


def menu(page: Page) -> list[str]:
    """Return the titles in the navigation."""
    links = page.get_by_test_id("stTopNavLink").all()
    return [link.inner_text().splitlines()[-1] for link in links]


def session_token(page: Page) -> str:
    """Return the session cookie's value, or "" when there is none."""
    return next((str(c["value"]) for c in page.context.cookies() if c["name"] == SESSION_COOKIE), "")


def shot(page: Page, name: str) -> Path:
    """Keep a picture of the whole page as ``test-artifacts/<name>.png``."""
    ARTIFACTS.mkdir(exist_ok=True)
    path = ARTIFACTS / f"{name}.png"
    before = page.viewport_size or {"width": 1280, "height": 900}
    tall = page.evaluate("document.querySelector('[data-testid=\"stMain\"]')?.scrollHeight || 0")
    page.set_viewport_size({"width": before["width"], "height": max(before["height"], min(int(tall), 6000))})
    page.screenshot(path=path)
    page.set_viewport_size(before)
    return path
