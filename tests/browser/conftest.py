"""Fixtures of the browser tests: a data folder and a server per module, a fresh browser profile per person."""

import shutil
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from playwright.sync_api import Browser, BrowserContext, Page, expect, sync_playwright

from core.services import worker_process
from core.settings import Settings
from tests.browser.harness import ARTIFACTS, FLAGS, WAIT_MS, WATCH_RUNS, Server, check, chromium, set_up, shot

NewPage = Callable[..., Page]


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Mark all tests of this folder, so that ``-m "not browser"`` leaves them out."""
    here = Path(__file__).parent
    for item in items:
        if here in item.path.parents:
            item.add_marker(pytest.mark.browser)


@pytest.fixture(scope="session")
def browser() -> Iterator[Browser]:
    """A real Chromium; skips with one line where there is none."""
    path = chromium()
    if path is None:
        pytest.skip("no Chromium found (set CHROMIUM to its path): tests/browser is left out")
    expect.set_options(timeout=WAIT_MS)
    with sync_playwright() as playwright:
        running = playwright.chromium.launch(executable_path=path, args=FLAGS)
        yield running
        running.close()


@pytest.fixture(scope="session")
def installation(tmp_path_factory: pytest.TempPathFactory) -> Callable[..., Path]:
    """Return a maker of data folders as ``make run`` leaves them, each kind made once."""
    made: dict[bool, Path] = {}

    def make(*, demo_contents: bool) -> Path:
        if demo_contents not in made:
            folder = tmp_path_factory.mktemp("installation") / "var"
            set_up(folder, demo_contents=demo_contents)
            made[demo_contents] = folder
        return made[demo_contents]

    return make


@pytest.fixture(scope="module")
def data_dir(
    browser: Browser,
    installation: Callable[..., Path],
    request: pytest.FixtureRequest,
    tmp_path_factory: pytest.TempPathFactory,
) -> Path:
    """The module's own data folder; a module that needs accounts only says ``DEMO_CONTENTS = False``."""
    folder = installation(demo_contents=getattr(request.module, "DEMO_CONTENTS", True))
    return Path(shutil.copytree(folder, tmp_path_factory.mktemp(request.module.__name__.rpartition(".")[2]) / "var"))


@pytest.fixture(scope="module")
def server(data_dir: Path) -> Iterator[Server]:
    """The application, started through ``asgi.py``."""
    running = Server(data_dir)
    try:
        yield running.start()
    finally:
        running.stop()
        worker_process.stop(Settings(data_dir=data_dir, database_url=""))
        ARTIFACTS.mkdir(exist_ok=True)
        shutil.copyfile(running.log_file, ARTIFACTS / f"{data_dir.parent.name}.log")


@pytest.fixture
def new_page(browser: Browser, request: pytest.FixtureRequest) -> Iterator[NewPage]:
    """Return a maker of tabs, each in a browser profile of its own: call it once for each person.

    Options are those of Playwright's ``Browser.new_context``, for example ``color_scheme="dark"``. At the end every tab
    must be free of exceptions; if the test failed, a picture of each is kept.
    """
    contexts: list[BrowserContext] = []

    def make(**options: object) -> Page:
        defaults = {"viewport": {"width": 1280, "height": 900}, "timezone_id": "Europe/Berlin", "locale": "en-GB"}
        context = browser.new_context(**{**defaults, **options})  # type: ignore[arg-type]
        context.set_default_timeout(WAIT_MS)
        context.add_init_script(WATCH_RUNS)
        contexts.append(context)
        return context.new_page()

    failed_before = request.session.testsfailed
    yield make
    pages = [page for context in contexts for page in context.pages]
    try:
        if request.session.testsfailed > failed_before:
            for number, page in enumerate(pages):
                shot(page, f"failed-{request.node.name}-{number}")
        else:
            for page in pages:
                check(page)
    finally:
        for context in contexts:
            context.close()


@pytest.fixture
def page(new_page: NewPage) -> Page:
    """One tab, 1280 by 900 pixels, in Berlin."""
    return new_page()
