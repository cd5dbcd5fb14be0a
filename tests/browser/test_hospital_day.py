"""A hospital administrator's day: is the node well, what would a run have us send, leave it, do pictures drift."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from playwright.sync_api import Page, expect
from sqlmodel import select

from core.clock import SystemClock
from core.imaging.drift import LEAST_PATIENTS, figures_of_square
from core.imaging.synthetic import STYLES, generate_arrays
from core.learning.orders import AggregationMode
from core.services.app import App
from core.services.runs import start_run
from core.services.sessions import actor_of
from core.settings import Settings
from core.studies import LEUKEMIA
from db.engine import read_scope
from db.models import Dataset, User
from federated.worker import Worker
from tests.browser.conftest import NewPage
from tests.browser.harness import Server, by_key, choose, click, fill, runs, section, settle, shot, sign_in, visit
from tests.integration.clinic import POSITIVE, new_patients, stored_case
from tests.integration.runs_support import softmax

NARROW = {"width": 390, "height": 844}


@pytest.fixture(scope="module")
def past(server: Server) -> str:
    """A finished run, one that waits to be played, a case that waits, and pictures of another laboratory; the run's id.

    Runs are played by the tests' own learner in this process, and cases are put where uploads leave them.
    """
    settings = Settings(data_dir=server.data_dir, database_url="", master_key=None)
    app = App.start(settings)
    try:
        with read_scope(app.engine) as session:
            authority = actor_of(app, session.exec(select(User).where(User.username == "demo-authority")).one())
            datasets = list(session.exec(select(Dataset.id)).all())
        order = {"study": LEUKEMIA.name, "dataset_ids": datasets, "local_epochs": 1}
        start_run(app, authority, rounds=2, mode=AggregationMode.SEALED, **order)  # type: ignore[arg-type]
        worker = Worker(settings, clock=SystemClock(), learner_for=softmax)
        assert worker.run_one()
        worker.close()
        strangers = generate_arrays(patients=LEAST_PATIENTS + 2, cells_per_patient=1, style=STYLES["south"], seed=3)
        people = new_patients(app, len(strangers))
        for person, image in zip(people, strangers.images, strict=True):
            stored_case(app, person, replace(POSITIVE, figures=(figures_of_square(np.asarray(image)),)))
        stored_case(app, people[0], None)
        return start_run(app, authority, rounds=3, **order)  # type: ignore[arg-type]
    finally:
        app.engine.dispose()


WINDOWS: dict[str, dict[str, object]] = {
    "desktop": {},
    "dark": {"color_scheme": "dark"},
    "narrow": {"viewport": NARROW},
}


@pytest.mark.parametrize("name", WINDOWS)
def test_a_hospitals_day(server: Server, new_page: NewPage, past: str, name: str, tmp_path: Path) -> None:
    page = new_page(**WINDOWS[name])
    sign_in(page, server, "demo-hospital", path="/node")
    look_at_the_node(page, name, tmp_path)
    visit(page, server, "/training")
    see_what_would_leave(page, past, name)
    leave_and_return(page, past, name)
    visit(page, server, "/incoming")
    look_at_incoming(page, name)
    assert page.evaluate("document.documentElement.scrollWidth <= window.innerWidth"), "nothing sticks out to the side"


def look_at_the_node(page: Page, name: str, folder: Path) -> None:
    """The panel tells of the waiting case; the log is narrowed and taken away."""
    panel = by_key(page, "node_health")
    expect(panel).to_contain_text("Wait for an answer")
    expect(panel).to_contain_text("1 case")
    expect(panel).to_contain_text("round 2")
    expect(panel).to_contain_text("cannot be answered any more")
    shot(page, f"hospital-{name}-1-node")
    before = runs(page)
    fill(page, "With the words", "trained update")
    settle(page, since=before)
    with page.expect_download() as waiting:
        by_key(page, "node_log_download").get_by_role("button").click()
    file = folder / "node.log"
    waiting.value.save_as(file)
    lines = file.read_text(encoding="utf-8").splitlines()
    assert len(lines) == 2
    assert all(line.endswith(")") and "INFO training node: round" in line for line in lines)
    section(page, "Errors")
    expect(page.get_by_test_id("stMain")).to_contain_text("No line like that")


def see_what_would_leave(page: Page, run: str, name: str) -> None:
    """The preview names sizes, limits and what never leaves."""
    main = page.get_by_test_id("stMain")
    expect(main).to_contain_text("We take part.")
    expect(main).to_contain_text("round 2 of 2")
    shot(page, f"hospital-{name}-2-training")
    click(page, f"preview_{run}")
    dialog = page.get_by_role("dialog")
    for words in ("masked words", "images, whole or in part", "in words of 32 bits", "296,994 numbers"):
        expect(dialog).to_contain_text(words)
    shot(page, f"hospital-{name}-3-preview")
    page.keyboard.press("Escape")
    expect(dialog).to_be_hidden()


def leave_and_return(page: Page, run: str, name: str) -> None:
    """Leaving asks for a reason; the run then says that we left, and coming back takes one press."""
    click(page, f"leave_{run}")
    expect(by_key(page, "leave_confirm").get_by_role("button")).to_be_disabled()
    choose(page, "leave_reason", "our data set must be checked")
    click(page, "leave_confirm")
    main = page.get_by_test_id("stMain")
    expect(main).to_contain_text("We left")
    expect(main).to_contain_text("our data set must be checked or corrected")
    shot(page, f"hospital-{name}-4-left")
    click(page, f"return_{run}")
    expect(main).to_contain_text("We take part.")


def look_at_incoming(page: Page, name: str) -> None:
    """Pictures of another laboratory's stain have drifted; the figures are there as a chart and as a table."""
    main = page.get_by_test_id("stMain")
    expect(main).to_contain_text("Drift:")
    expect(main).to_contain_text(f"of {LEAST_PATIENTS + 2} patients")
    expect(by_key(page, "incoming_chart")).to_be_visible()
    shot(page, f"hospital-{name}-5-incoming")
    page.get_by_role("tab", name="Table").click()
    table = page.get_by_role("tabpanel", name="Table")
    expect(table.get_by_role("region", name="Distance between incoming pictures")).to_be_attached()
