"""Fixtures of the browser tests: a data folder and a server per module, a fresh browser profile per person."""

import shutil
from collections.abc import Callable, Iterator
from pathlib import Path
from types import ModuleType

import pytest
from playwright.sync_api import Browser, BrowserContext, Page, expect, sync_playwright

from core.services import worker_process
from core.settings import Mode, Settings
from db.engine import make_engine
from tests.browser.harness import ARTIFACTS, FLAGS, WAIT_MS, WATCH_RUNS, Server, check, chromium, set_up, shot
from tests.browser.lived_in import live_in
from tests.conftest import empty_tables, fill

NewPage = Callable[..., Page]


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Mark all tests of this folder, so that ``-m "not browser"`` leaves them out."""
    here = Path(__file__).parent
    for item in items:
        if here in item.path.parents:
            item.add_marker(pytest.mark.browser)


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    """A real Chromium; skips with one line where there is none.

    One for each module: while it runs, Playwright holds the thread's event loop, and other tests need theirs.
    """
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
    made: dict[tuple[bool, bool], Path] = {}

    def make(*, demo_contents: bool, lived_in: bool = False) -> Path:
        if (demo_contents, lived_in) not in made:
            folder = tmp_path_factory.mktemp("installation") / "var"
            if lived_in:
                shutil.copytree(make(demo_contents=demo_contents, lived_in=False), folder)
                live_in(Settings(data_dir=folder, database_url="", master_key=None, mode=Mode.DEMO))
            else:
                set_up(folder, demo_contents=demo_contents)
            made[demo_contents, lived_in] = folder
        return made[demo_contents, lived_in]

    return make


def _own_copy(installation: Callable[..., Path], module: ModuleType, factory: pytest.TempPathFactory) -> Path:
    """Return a data folder of the kind that a module asks for, for it alone.

    One that needs accounts only says ``DEMO_CONTENTS = False``; one that needs people to have worked, ``LIVED_IN``.
    """
    folder = installation(
        demo_contents=getattr(module, "DEMO_CONTENTS", True), lived_in=getattr(module, "LIVED_IN", False)
    )
    return Path(shutil.copytree(folder, factory.mktemp(module.__name__.rpartition(".")[2]) / "var"))


@pytest.fixture(scope="module")
def data_dir(
    browser: Browser,
    installation: Callable[..., Path],
    request: pytest.FixtureRequest,
    tmp_path_factory: pytest.TempPathFactory,
) -> Path:
    """The module's own data folder."""
    return _own_copy(installation, request.module, tmp_path_factory)


@pytest.fixture(scope="module", params=["sqlite", pytest.param("mysql", marks=pytest.mark.mysql)])
def home(
    browser: Browser,
    installation: Callable[..., Path],
    request: pytest.FixtureRequest,
    tmp_path_factory: pytest.TempPathFactory,
) -> Settings:
    """An installation of the module's own on SQLite, and another on MySQL."""
    folder, url = _own_copy(installation, request.module, tmp_path_factory), ""
    if request.param == "mysql":
        url = request.getfixturevalue("mysql_schema")
        engine = make_engine(url)
        empty_tables(engine)
        engine.dispose()
        fill(f"sqlite:///{folder / 'hemaseal.db'}", url)
    return Settings(data_dir=folder, database_url=url, master_key=None, mode=Mode.DEMO)


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
