"""The authority's day in a real browser: runs, watched, steered, compared, seen from the cloud; a model; the users."""

import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from playwright.sync_api import Page, expect

from core.clock import SystemClock
from core.learning.orders import AggregationMode
from core.services.accounts import check_password, redeem_code, session_actor
from core.services.app import App
from core.services.runs import start_run
from core.settings import Settings
from core.studies import LEUKEMIA
from federated.worker import Worker
from tests.browser.conftest import NewPage
from tests.browser.gated_worker import let_train
from tests.browser.harness import (
    PASSWORD,
    ROOT,
    Server,
    by_key,
    choose,
    click,
    environment,
    fill,
    section,
    settle,
    shot,
    sign_in,
    visit,
)
from tests.federation import SLUGS
from tests.integration.runs_support import give_data, softmax

DEMO_CONTENTS = False
LOOKS: dict[str, dict[str, object]] = {
    "desktop": {},
    "dark": {"color_scheme": "dark"},
    "narrow": {"viewport": {"width": 390, "height": 844}},
}


@pytest.fixture(scope="module")
def played(data_dir: Path) -> None:
    """A sealed and a blind run of two rounds, played by the protocol's own code with a small NumPy model.

    `test_story` orders a run on the page and has Keras train it.
    """
    app = App.start(Settings(data_dir=data_dir, database_url="", master_key=None))
    authority = session_actor(app, redeem_code(app, check_password(app, "demo-authority", PASSWORD)))
    datasets = give_data(app)
    worker = Worker(app.settings, clock=SystemClock(), learner_for=softmax)
    for mode in (AggregationMode.SEALED, AggregationMode.BLIND):
        start_run(app, authority, study=LEUKEMIA.name, mode=mode, rounds=2, dataset_ids=datasets)
        assert worker.run_one()
    worker.close()
    app.engine.dispose()


@pytest.mark.usefixtures("played")
@pytest.mark.parametrize("look", LOOKS)
def test_the_authoritys_day(server: Server, new_page: NewPage, tmp_path: Path, look: str) -> None:
    page = sign_in(new_page(**LOOKS[look]), server, "demo-authority", path="/runs")
    watch(page, look)
    compare(page, look, tmp_path)
    models(page, server, look)
    users(page, server, look)


@pytest.fixture
def worker(server: Server, played: None) -> Iterator[None]:
    """A worker of the installation whose nodes train when they are let."""
    let_train(server.data_dir, 0)
    command = [sys.executable, "-m", "tests.browser.gated_worker"]
    running = subprocess.Popen(command, cwd=ROOT, env=environment(server.data_dir, {}), stdin=subprocess.DEVNULL)
    yield
    running.terminate()
    running.wait(20)


@pytest.mark.usefixtures("worker")
def test_a_run_is_ordered_paused_resumed_and_aborted_while_it_is_watched(server: Server, page: Page) -> None:
    main = page.get_by_test_id("stMain")
    nodes = main.get_by_role("region", name="Nodes in this round").locator("td")
    sign_in(page, server, "demo-authority", path="/runs")
    section(page, "New run")
    click(page, "order_submit")
    expect(main).to_contain_text("running · round 0 of 3")
    expect(nodes.get_by_text("trains, 0 of 1 steps")).to_have_count(1)  # on one machine, one after the other
    expect(main).to_contain_text("They appear when the first round is finished.")

    click(page, "run_pause")
    expect(main).to_contain_text("The authority paused this run.")
    click(page, "run_resume")
    expect(main).to_contain_text("attempt 2")
    let_train(server.data_dir, len(SLUGS))
    expect(main).to_contain_text("running · round 1 of 3")
    spread = by_key(page, "run_spread_tabs")
    spread.get_by_role("tab", name="Table").click()
    figures = spread.get_by_role("region").locator("tbody tr")
    expect(figures).to_have_count(1)
    expect(nodes.get_by_text("Training", exact=True)).to_have_count(1)

    let_train(server.data_dir, 2 * len(SLUGS))
    expect(figures).to_have_count(2)
    expect(main).to_contain_text(re.compile(r"round 2 of 3.*Round 3: ", re.DOTALL))
    shot(page, "authority-run-live")
    choose(page, "run_round", "Round 2")
    expect(nodes.get_by_text("✓ in the model")).to_have_count(len(SLUGS))
    by_key(page, "run_abort").get_by_role("button").click()
    click(page, "run_abort_confirm")
    expect(main).to_contain_text("aborted · round 2 of 3")
    expect(by_key(page, "run_controls").get_by_role("button")).to_have_count(0)


def watch(page: Page, look: str) -> None:
    """Nodes by phase and result, figures with their spread, time, bytes, and what the cloud holds."""
    main = page.get_by_test_id("stMain")
    expect(main).to_contain_text("from the lowest to the highest hospital")
    expect(main).to_contain_text("Waiting")
    click(page, "uploads_open")
    expect(main).to_contain_text("True change of the model")
    expect(main).to_contain_text("the members and you, never the cloud")
    expect(main).to_contain_text("known to that hospital alone")
    shot(page, f"authority-run-{look}")


def compare(page: Page, look: str, folder: Path) -> None:
    """Two runs side by side, and the same as a file."""
    section(page, "Compare")
    box = by_key(page, "compare_runs").get_by_role("combobox")
    for mode in ("sealed", "blind"):
        choose(page, "compare_runs", mode)
    box.press("Escape")
    settle(page)
    main = page.get_by_test_id("stMain")
    for heading in ("What came of them", "By round", "What was ordered"):
        expect(main.get_by_role("heading", name=heading)).to_be_visible()
    shot(page, f"authority-compare-{look}")
    with page.expect_download() as download:
        by_key(page, "compare_csv").get_by_role("button").click()
    file = folder / f"{look}.csv"
    download.value.save_as(file)
    assert [line.split(",")[3] for line in file.read_text().splitlines()[1:]] == ["sealed", "blind"]


def models(page: Page, server: Server, look: str) -> None:
    """A model with its card."""
    visit(page, server, "/models")
    by_key(page, "model_card").locator("summary").click()
    expect(by_key(page, "model_card")).to_contain_text("Limits")
    shot(page, f"authority-models-{look}")


def users(page: Page, server: Server, look: str) -> None:
    """Somebody is found, signed out and shown with what can be done; a patient has no name here."""
    visit(page, server, "/users")
    main = page.get_by_test_id("stMain")
    expect(main).to_contain_text("Open accounts")
    shot(page, f"authority-users-{look}")
    fill(page, "Find", "doctor-west")
    settle(page)
    choose(page, "user_chosen", "demo-doctor-west")
    expect(by_key(page, "user_toggle")).to_be_visible()
    shot(page, f"authority-user-{look}")
    click(page, "user_toggle")
    expect(main).to_contain_text("demo-doctor-west is closed now.")
    choose(page, "user_chosen", "demo-doctor-west")
    click(page, "user_toggle")
    expect(main).to_contain_text("demo-doctor-west is open now.")
