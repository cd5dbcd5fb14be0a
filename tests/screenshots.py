"""``make screenshots``: the pictures of docs/screenshots/, of every role, from a demonstration made for them.

An installation in a temporary folder, four hospitals with drawn cells, a short federated run, two drawn cells of the
demo patient: nobody's image can be in a picture. The same pages come out again; probabilities and times differ.
"""

import re
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np
from playwright.sync_api import Browser, Page, expect, sync_playwright

from core.imaging.decode import encode_png
from core.imaging.smear.style import STYLES
from core.imaging.synthetic import generate_cell
from core.services import worker_process
from core.settings import ROOT, Settings
from tests.browser.harness import (
    FLAGS,
    PASSWORD,
    WAIT_MS,
    WATCH_RUNS,
    Server,
    by_key,
    chromium,
    environment,
    set_up,
    settle,
    sign_in,
    visit,
)

FOLDER = ROOT / "docs" / "screenshots"
WIDTH, MAX_HEIGHT = 1280, 1500
PLAYED_MS = 300_000


def command(data_dir: Path, *words: str) -> None:
    """Run ``python -m core`` on the installation, as the people of the demo."""
    quiet = {"HEMASEAL_PASSWORD": PASSWORD, "TF_CPP_MIN_LOG_LEVEL": "3"}
    done = subprocess.run(
        [sys.executable, "-m", "core", *words], cwd=ROOT, env={**environment(data_dir, {}), **quiet}, check=False
    )
    if done.returncode:
        raise SystemExit(f"core {words[0]} failed")


def fill_installation(data_dir: Path, cells: Path) -> None:
    """Set up, train, and send a cell that the shipped model calls normal and one that it calls conspicuous."""
    set_up(data_dir)
    for seed, blast in ((2, False), (5, True)):
        pixels = generate_cell(np.random.default_rng(seed), blast=blast, style=STYLES["north"])
        (cells / f"{seed}.png").write_bytes(encode_png(pixels))
        command(data_dir, "ask", str(cells / f"{seed}.png"), "--as", "demo-patient", "--hospital", "north")
    command(data_dir, "run", "--as", "demo-authority", "--rounds", "3", "--local-epochs", "2")


def patient(page: Page, server: Server) -> None:
    """A first answer in plain words, with the steps of the case."""
    sign_in(page, server, "demo-patient", path="/results")
    expect(by_key(page, "result_card")).to_contain_text("Preliminary")


def doctor(page: Page, server: Server) -> None:
    """The most urgent case of the worklist."""
    sign_in(page, server, "demo-doctor")
    page.locator('[class*="st-key-case_open_"]').get_by_role("button").first.click()
    expect(page.get_by_alt_text(re.compile("Original image with heat map"))).to_be_visible()


def hospital(page: Page, server: Server) -> None:
    """The hospital's own node: what waits, whether its parts live, its certificates."""
    sign_in(page, server, "demo-hospital", path="/node")
    expect(by_key(page, "node_health")).to_contain_text("Last update sent")


def training(page: Page, server: Server) -> None:
    """The hospital's own figures beside those of all."""
    sign_in(page, server, "demo-hospital", path="/training")
    expect(page.get_by_test_id("stMain")).to_contain_text("round 3 of 3")


def members(page: Page, server: Server) -> None:
    """The hospitals and their certificates."""
    sign_in(page, server, "demo-authority", path="/members")
    expect(page.get_by_test_id("stMain")).to_contain_text("West Hospital (demo)")


def models(page: Page, server: Server) -> None:
    """The candidate of the run beside the model in service."""
    sign_in(page, server, "demo-authority", path="/models")
    expect(page.get_by_test_id("stMain")).to_contain_text("verified just now")


def authority(page: Page, server: Server) -> None:
    """The run, with figures, hospitals and what the cloud saw."""
    sign_in(page, server, "demo-authority", path="/runs")
    expect(page.get_by_test_id("stMain")).to_contain_text("finished · round 3 of 3")


def presenter(page: Page, server: Server) -> None:
    """Presenter mode after its first step."""
    sign_in(page, server, "demo-authority", path="/present")
    by_key(page, "present_play_hospitals").get_by_role("button").click()
    step = by_key(page, "present_step_hospitals")
    expect(step.get_by_role("img", name="Synthetic picture of a blast")).to_have_count(4, timeout=PLAYED_MS)
    visit(page, server, "/present")


PICTURES: dict[str, Callable[[Page, Server], None]] = {
    "patient-result": patient,
    "doctor-case": doctor,
    "hospital-node": hospital,
    "hospital-training": training,
    "authority-members": members,
    "authority-run": authority,
    "authority-models": models,
    "presenter": presenter,
}


@contextmanager
def running(data_dir: Path) -> Iterator[Server]:
    """The app on the installation; it and its worker end with the block."""
    server = Server(data_dir).start()
    try:
        yield server
    finally:
        server.stop()
        worker_process.stop(Settings(data_dir=data_dir, database_url=""))


def take(browser: Browser, server: Server, name: str) -> None:
    """Open a page as its role in a browser profile of its own, and keep its picture."""
    context = browser.new_context(viewport={"width": WIDTH, "height": 900}, timezone_id="Europe/Berlin", locale="en-GB")
    context.set_default_timeout(WAIT_MS)
    context.add_init_script(WATCH_RUNS)
    page = context.new_page()
    PICTURES[name](page, server)
    settle(page)
    tall = int(page.evaluate("document.querySelector('[data-testid=\"stMain\"]').scrollHeight"))
    page.set_viewport_size({"width": WIDTH, "height": min(max(tall, 700), MAX_HEIGHT)})
    settle(page)
    page.screenshot(path=FOLDER / f"{name}.png")
    context.close()


def main() -> None:
    """Take all pictures, or those that are named."""
    browser_path = chromium()
    if browser_path is None:
        sys.exit("no Chromium found; set CHROMIUM to its path")
    wanted = sys.argv[1:] or list(PICTURES)
    expect.set_options(timeout=WAIT_MS)
    with tempfile.TemporaryDirectory(prefix="hemaseal-shots-") as folder:
        data_dir = Path(folder) / "var"
        fill_installation(data_dir, Path(folder))
        with running(data_dir) as server, sync_playwright() as playwright:
            browser = playwright.chromium.launch(executable_path=browser_path, args=FLAGS)
            for name in wanted:
                take(browser, server, name)
            browser.close()


if __name__ == "__main__":
    main()
