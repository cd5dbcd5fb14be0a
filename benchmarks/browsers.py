"""Ten people at their browsers while a federated run trains: how long each page and each answer takes.

    python -m benchmarks.browsers --json FILE [--minutes 10]

A throw-away installation with four hospitals and the demo's contents and limits, served as `make run` serves it, and
the product's worker, which trains a blind run of four hospitals all along; it begins when the first round is done. One
real Chromium with ten sessions, each signed in for itself: four of the patient, three of a doctor, two of a hospital's
administrator, one of the authority. Browser, server, enclaves and worker share the machine.

Definitions. A *visit* is a press on the next page's name in the menu (doctors also on the first case of the worklist),
from the press to the settled page (`benchmarks.pages`). Nine sessions go round the pages of their role, thinking for
`THINK_S`, drawn anew each time, between a settled page and the next press: people do not press in step. The tenth, a
patient, sends a picture of a cell as often; an *answer* is from the press on the button to the drawn result. The first
round of each session and the first `WARM` pictures are not counted. A visit is *broken* when the page does not settle
within 30 s, or shows an exception or an error that nobody foresaw. The database must hold exactly one answered case for
each picture: none lost, none doubled. Memory is the server's resident MiB after each answer, growing as in
`benchmarks.load`. Bars: the 95th percentile of visits and of answers at most 1 s each, none broken, lost or doubled,
memory grows by at most 5 %.
"""

import json
import os
import platform
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Annotated, Any

import numpy as np
import typer
from playwright.sync_api import Page, expect, sync_playwright
from sqlmodel import func, select

from benchmarks.live_page import Growth, rounds_done
from benchmarks.load import BAR_S, GROWTH_BAR, Latency, Sample, training
from benchmarks.pages import FIRST_CASE, SETTLED
from benchmarks.processes import end_tidily, resident
from core.services.accounts import Role
from core.services.app import App
from core.settings import Mode, Settings
from db.engine import read_scope
from db.models import Case, CaseStatus
from pages._ui.registry import pages_for
from tests.browser.harness import (
    FLAGS,
    WAIT_MS,
    WATCH_RUNS,
    Server,
    by_key,
    chromium,
    runs,
    set_up,
    settle,
    sign_in,
    visit,
)
from tests.browser.lived_in import PEOPLE, cell

SESSIONS = [Role.PATIENT] * 3 + [Role.DOCTOR] * 3 + [Role.HOSPITAL] * 2 + [Role.AUTHORITY]
THINK_S = (2.0, 6.0)
WARM = 3
_GO_ROUND = f"""
([steps, [least, most]]) => {{ {SETTLED}
  const kept = window.__visits = [];
  const rest = ms => new Promise(done => setTimeout(done, ms));
  const link = step => step.selector
    ? document.querySelector(step.selector)
    : [...document.querySelectorAll('[data-testid="stTopNavLink"]')].find(one => one.textContent.includes(step.title));
  const broken = () => document.querySelector('[data-testid="stException"], .st-key-error_app_error') !== null;
  (async () => {{
    for (let number = 1; ; number += 1) {{  // the first page is there
      const step = steps[number % steps.length];
      await rest(1000 * (least + Math.random() * (most - least)));
      const start = performance.now(), before = heading();
      const done = {{ page: step.title, round: Math.floor(number / steps.length), seconds: 30, broken: true }};
      try {{
        link(step).click();
        done.seconds = await settled(start, before) / 1000;
        done.broken = broken();
      }} catch (error) {{}}
      kept.push(done);
    }}
  }})();
}}
"""


@dataclass(frozen=True)
class Visit:
    """One visit of a session: its page, seconds, and whether it failed."""

    role: str
    page: str
    seconds: float
    broken: bool


class Uploading:
    """The patient who sends pictures.

    Attributes:
        answers: seconds of each.
        sent: how many were sent.
    """

    def __init__(self, page: Page, server: Server) -> None:
        self._page, self._server = page, server
        self.answers: list[float] = []
        self.sent = 0

    def send(self) -> None:
        """Choose a picture, send it and wait for its result."""
        visit(self._page, self._server, "/upload")
        picture = {"name": "cell.png", "mimeType": "image/png", "buffer": cell(self.sent, blast=self.sent % 2 == 0)}
        before = runs(self._page)
        chosen = by_key(self._page, "upload_file").locator("input[type=file]")
        chosen.set_input_files(picture)  # type: ignore[arg-type]
        settle(self._page, since=before)
        button = by_key(self._page, "upload_send").get_by_role("button").first
        self.sent += 1
        begun = time.perf_counter()
        button.click()
        expect(by_key(self._page, "result_card")).to_be_visible(timeout=WAIT_MS)
        self.answers.append(time.perf_counter() - begun)


def steps_of(role: Role) -> list[dict[str, str]]:
    """Return what a session presses, in turn."""
    return [
        {"title": spec.title} if spec.in_menu else {"title": spec.title, "selector": FIRST_CASE}
        for spec in pages_for(role)
    ]


@contextmanager
def ten_sessions(settings: Settings) -> Iterator[tuple[Server, list[Page], Uploading]]:
    """Serve an installation, sign ten people in and let one of them send the first pictures; ends all of it."""
    server = Server(settings.data_dir).start()
    try:
        with sync_playwright() as playwright:
            expect.set_options(timeout=WAIT_MS)
            browser = playwright.chromium.launch(executable_path=chromium(), args=FLAGS)

            def session(role: Role) -> Page:
                page = browser.new_context(viewport={"width": 1280, "height": 900}).new_page()
                page.add_init_script(WATCH_RUNS)
                return sign_in(page, server, PEOPLE[role])

            uploading = Uploading(session(Role.PATIENT), server)
            for _ in range(WARM):
                uploading.send()
            yield server, [session(role) for role in SESSIONS], uploading
            browser.close()
    finally:
        server.stop()


def measure(folder: Path, minutes: float) -> dict[str, Any]:
    """Set up, open the sessions, let them work for `minutes`, and return all figures."""
    settings = Settings(data_dir=folder / "var", database_url="", master_key=None, mode=Mode.DEMO)
    set_up(settings.data_dir)
    app = App.start(settings)
    try:
        before = answered(app)
        with ten_sessions(settings) as (server, pages, uploading), training(settings, app):
            assert server.process is not None  # noqa: S101  (it was started)
            first = rounds_done(app)
            for page, role in zip(pages, SESSIONS, strict=True):
                page.evaluate(_GO_ROUND, [steps_of(role), THINK_S])
            begun, samples, rng = time.monotonic(), list[Sample](), np.random.default_rng(0)
            while (passed := time.monotonic() - begun) < 60 * minutes:
                uploading.send()
                samples.append(Sample(at=passed, app=resident(server.process.pid)))
                pages[0].wait_for_timeout(1000 * rng.uniform(*THINK_S))
            visits = [
                Visit(role.value, one["page"], one["seconds"], one["broken"])
                for page, role in zip(pages, SESSIONS, strict=True)
                for one in page.evaluate("window.__visits")
                if one["round"] or one["broken"]
            ]
            rounds = rounds_done(app) - first
        held = answered(app) - before
    finally:
        app.engine.dispose()
    by_page = {f"{role}/{page}": [] for role, page in sorted({(one.role, one.page) for one in visits})}
    for one in visits:
        by_page[f"{one.role}/{one.page}"].append(one.seconds)
    return {
        "rounds": rounds,
        "visits": asdict(Latency.of([one.seconds for one in visits])),
        "answers": asdict(Latency.of(uploading.answers[WARM:])),
        "pages": {name: asdict(Latency.of(seconds)) for name, seconds in by_page.items()},
        "broken": [asdict(one) for one in visits if one.broken],
        "sent": uploading.sent,
        "held": held,
        "memory": asdict(Growth.of(samples, "app")),
        "samples": [asdict(one) for one in samples],
    }


def answered(app: App) -> int:
    """Return how many cases have an answer."""
    with read_scope(app.engine) as session:
        return session.exec(select(func.count()).select_from(Case).where(Case.status != CaseStatus.WAITING)).one()


def missed(found: dict[str, Any]) -> list[str]:
    """Return what does not meet its bar, in words."""
    slow = [f"{what} take {found[what]['p95']} s" for what in ("visits", "answers") if found[what]["p95"] > BAR_S]
    broken = [f"{len(found['broken'])} visits are broken"] if found["broken"] else []
    kept = [f"{found['sent']} pictures, {found['held']} answered"] if found["sent"] != found["held"] else []
    memory = found["memory"]
    grown = [f"memory grows by {memory['grows']} MiB"] if memory["grows"] > GROWTH_BAR * memory["begin"] else []
    return slow + broken + kept + grown


def main(
    out: Annotated[Path, typer.Option("--json", help="Where all figures are written.")],
    minutes: Annotated[float, typer.Option(min=0.5)] = 10.0,
) -> None:
    """Let them work, print a table and fail where a bar is missed."""
    with tempfile.TemporaryDirectory(prefix="hemaseal-browsers-", ignore_cleanup_errors=True) as name:
        found = measure(Path(name), minutes)
    found |= {
        "machine": {"cpus": os.cpu_count(), "machine": platform.machine(), "python": platform.python_version()},
        "load": os.getloadavg()[0],
        "minutes": minutes,
        "missed": missed(found),
    }
    out.write_text(json.dumps(found, indent=1), encoding="utf-8")
    print("| seconds | count | p50 | p95 | p99 | longest |\n|---|---|---|---|---|---|")
    for name, one in {"answers": found["answers"], "visits": found["visits"], **found["pages"]}.items():
        print(f"| {name} | {one['count']} | {one['p50']} | {one['p95']} | {one['p99']} | {one['most']} |")
    print(
        f"{found['sent']} pictures were sent, {found['held']} answered; {found['rounds']} rounds were trained meanwhile"
    )
    print(f"{len(found['broken'])} visits broken: {found['broken'][:5]}")
    print(f"memory {found['memory']['begin']:.0f} MiB at first, grows by {found['memory']['grows']:+.1f}")
    print("missed: " + ("; ".join(found["missed"]) or "nothing"))
    raise typer.Exit(1 if found["missed"] else 0)


if __name__ == "__main__":
    end_tidily()
    typer.run(main)
