"""What the whole demo holds in memory, and how soon after its start somebody can sign in.

    python -m benchmarks.footprint --json FILE [--starts 5] [--rounds 2]

A throw-away installation with four hospitals and the demo's contents is served as `make run` serves it. Linux.

Definitions. *Start*: from the start of the process to the moment at which a real Chromium, which runs already and has
nothing of the app in its cache, has typed into the field of the user name; the system's page cache is warm and the
bytecode is there, as after the first `make run`; median and longest of `--starts`. Enclaves and browser start on the
same processors; what the app's process has used of them by then stands beside it. Memory is in MiB
(`benchmarks.processes` says what resident, peak and proportional are); the app is the process that serves, the whole is
all processes that it and the worker are and have started. *Rest*: once all four enclaves are up and nobody has done
anything. Then a patient sends a picture in the browser, and one is sent to each hospital, so that every enclave opens
the model and answers; the authority orders a blind run of all four hospitals over the demo's data sets, whose page the
browser shows until it has ended. *After*: then, with the worker waiting for more. *Peak* of a process is its own; that
of the whole is the largest sum of resident memory, looked at twice a second. Bars hold resident memory at its peak: app
350, an enclave 150, the worker 1,200, the whole 2,500 MiB; start 6 s.
"""

import json
import os
import platform
import statistics
import tempfile
import time
from contextlib import suppress
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Annotated

import numpy as np
import typer
from playwright.sync_api import Browser, Page, expect, sync_playwright
from sqlmodel import select

from benchmarks.live_page import order
from benchmarks.processes import end_tidily, memory, names, processor_s, resident
from core.evaluation.respond import Uploader
from core.imaging.decode import encode_png
from core.imaging.smear.style import STYLES
from core.imaging.synthetic import generate_cell
from core.services import worker_process
from core.services.app import App
from core.settings import Mode, Settings
from core.studies import LEUKEMIA
from db.engine import read_scope
from db.models import Run, RunStatus
from tests.browser.harness import (
    FLAGS,
    WAIT_MS,
    WATCH_RUNS,
    Server,
    by_key,
    chromium,
    click,
    runs,
    set_up,
    settle,
    sign_in,
    visit,
)

BARS = {"app": 350.0, "enclave": 150.0, "worker": 1200.0, "whole": 2500.0}
START_BAR_S = 6.0
EVERY_S = 0.5
QUIET_S = 5.0
RUN_S = 900.0


@dataclass(frozen=True)
class Held:
    """MiB of one process (or of all) at rest, at its peak and after; None: it was not there, or nobody may read it."""

    rest: float | None
    peak: float
    after: float | None
    after_proportional: float | None
    bar: float | None

    @property
    def holds(self) -> bool:
        """Whether its peak is within its bar."""
        return self.bar is None or self.peak <= self.bar


class Watcher:
    """Looks at all processes of an installation.

    Attributes:
        most: the largest sum of resident memory so far, MiB.
    """

    def __init__(self, server: Server, settings: Settings) -> None:
        self._server, self._settings = server, settings
        self.most = 0.0

    def processes(self) -> dict[int, str]:
        """Return id and name of each process that lives."""
        assert self._server.process is not None  # noqa: S101  (it was started)
        roots = [self._server.process.pid]
        with suppress(OSError, ValueError):
            roots.append(int((self._settings.run_dir / worker_process.PID_NAME).read_text().split()[0]))
        return names(roots)

    def look(self) -> None:
        """Add up what all hold now."""
        total = 0.0
        for pid in self.processes():
            with suppress(OSError):  # it has just ended
                total += resident(pid)
        self.most = max(self.most, total)

    def wait(self, page: Page, seconds: float) -> None:
        """Let time pass, looking."""
        until = time.monotonic() + seconds
        while time.monotonic() < until:
            self.look()
            page.wait_for_timeout(EVERY_S * 1000)


@dataclass(frozen=True)
class Start:
    """Seconds until the sign-in form takes what is typed, and processor seconds of the app by then."""

    seconds: float
    processor_s: float


def start(server: Server, browser: Browser) -> Start:
    """Start the app and sign in as far as the first key."""
    context = browser.new_context(viewport={"width": 1280, "height": 900})
    page = context.new_page()
    begun = time.monotonic()
    server.start()
    page.goto(server.url)
    page.get_by_role("textbox", name="User name", exact=True).fill("somebody", timeout=WAIT_MS)
    took = time.monotonic() - begun
    context.close()
    assert server.process is not None  # noqa: S101  (it was started)
    return Start(round(took, 2), round(processor_s(server.process.pid), 2))


def new_page(browser: Browser) -> Page:
    """Return a page of a person of their own."""
    page = browser.new_context(viewport={"width": 1280, "height": 900}).new_page()
    page.add_init_script(WATCH_RUNS)
    return page


def work(settings: Settings, server: Server, browser: Browser, watcher: Watcher, rounds: int) -> None:
    """Let a patient and the authority work, and the worker train; raises RuntimeError if the run does not finish."""
    cell = encode_png(generate_cell(np.random.default_rng(5), blast=True, style=STYLES["north"]))
    patient = sign_in(new_page(browser), server, "demo-patient", path="/upload")
    picture = {"name": "cell.png", "mimeType": "image/png", "buffer": cell}
    before = runs(patient)
    by_key(patient, "upload_file").locator("input[type=file]").set_input_files(picture)  # type: ignore[arg-type]
    settle(patient, since=before)
    click(patient, "upload_send")
    expect(by_key(patient, "result_card")).to_be_visible(timeout=WAIT_MS)
    app = App.start(settings)
    Uploader(app, LEUKEMIA.name).start_enclaves(iter([cell] * 4))
    order(settings, rounds=rounds, local_epochs=1)
    authority = sign_in(new_page(browser), server, "demo-authority")
    until = time.monotonic() + RUN_S
    authority.goto(f"{server.url}/runs")
    while (status := _status(app)) in {RunStatus.QUEUED, RunStatus.RUNNING}:
        if time.monotonic() > until:
            break
        watcher.wait(authority, EVERY_S)
    app.engine.dispose()
    if status is not RunStatus.FINISHED:
        raise RuntimeError(f"the run is {status.value}")
    watcher.wait(authority, QUIET_S)


def _status(app: App) -> RunStatus:
    with read_scope(app.engine) as session:
        return session.exec(select(Run.status)).one()


def measure(folder: Path, starts: int, rounds: int) -> tuple[list[Start], dict[str, Held]]:
    """Return each start, and by name what each process held."""
    os.environ.pop("PYTHONDONTWRITEBYTECODE", None)
    settings = Settings(data_dir=folder / "var", database_url="", master_key=None, mode=Mode.DEMO)
    set_up(settings.data_dir)
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=chromium(), args=FLAGS)
        begun = []
        for number in range(starts):
            server = Server(settings.data_dir)
            try:
                begun.append(start(server, browser))
                print(begun[-1], flush=True)
                if number + 1 == starts:
                    held = memory_of(settings, server, browser, rounds)
            finally:
                server.stop()
                worker_process.stop(settings)
        browser.close()
    return begun, held


def memory_of(settings: Settings, server: Server, browser: Browser, rounds: int) -> dict[str, Held]:
    """Return what the processes of a served installation hold before, at the most and after `work`."""
    watcher, idle = Watcher(server, settings), new_page(browser)
    visit(idle, server)
    while sum(name.startswith("enclave") for name in watcher.processes().values()) < 4:  # noqa: PLR2004
        idle.wait_for_timeout(EVERY_S * 1000)
    watcher.wait(idle, QUIET_S)
    rest = {name: memory(pid) for pid, name in watcher.processes().items()}
    work(settings, server, browser, watcher, rounds)
    after = {name: memory(pid) for pid, name in watcher.processes().items()}
    found = {
        name: Held(
            rest=rest[name].resident if name in rest else None,
            peak=(after.get(name) or rest[name]).peak,
            after=after[name].resident if name in after else None,
            after_proportional=after[name].proportional if name in after else None,
            bar=BARS.get(name.split()[0]),
        )
        for name in sorted(rest | after)
    }
    proportional = [one.proportional for one in after.values()]
    found["whole"] = Held(
        rest=sum(one.resident for one in rest.values()),
        peak=watcher.most,
        after=sum(one.resident for one in after.values()),
        after_proportional=None if None in proportional else sum(filter(None, proportional)),
        bar=BARS["whole"],
    )
    return found


def main(
    out: Annotated[Path, typer.Option("--json", help="Where all figures are written.")],
    starts: Annotated[int, typer.Option(min=1)] = 5,
    rounds: Annotated[int, typer.Option(min=1)] = 2,
) -> None:
    """Measure, print a table and fail above a bar."""
    with tempfile.TemporaryDirectory(prefix="hemaseal-footprint-", ignore_cleanup_errors=True) as name:
        begun, held = measure(Path(name), starts, rounds)
    seconds = [one.seconds for one in begun]
    answer = {
        "machine": {"cpus": os.cpu_count(), "machine": platform.machine(), "python": platform.python_version()},
        "load": os.getloadavg()[0],
        "starts": [asdict(one) for one in begun],
        "held": {name: asdict(one) for name, one in held.items()},
    }
    out.write_text(json.dumps(answer, indent=1), encoding="utf-8")
    print("| MiB | rest | peak | after | after, proportional | bar |\n|---|---|---|---|---|---|")
    for name, one in held.items():
        figures = (one.rest, one.peak, one.after, one.after_proportional, one.bar)
        print(f"| {name} | " + " | ".join("" if figure is None else f"{figure:.0f}" for figure in figures) + " |")
    used = statistics.median(one.processor_s for one in begun)
    print(f"start: median {statistics.median(seconds):.2f} s, longest {max(seconds):.2f} s; bar {START_BAR_S:.0f} s")
    print(f"processor seconds of the app by then, median: {used:.2f}")
    raise typer.Exit(0 if all(one.holds for one in held.values()) and max(seconds) <= START_BAR_S else 1)


if __name__ == "__main__":
    end_tidily()
    typer.run(main)
