"""Two browsers book the same time, fifty times at once: one wins each time, the other is offered the next times.

    python -m benchmarks.same_slot --json FILE [--times 50] [--database mysql+pymysql://…]

Two real Chromium profiles with a patient each, in a throw-away installation. Both choose the same time, and both press
“Book this time” at one moment that was agreed on before. *As it should be* is: exactly one of the two is told that the
time is booked, the other that it was just taken, with at least one next time offered; in the end as many appointments
stand in the database as times were wanted, and no time has two.
"""

import json
import os
import platform
import tempfile
from dataclasses import asdict
from pathlib import Path
from typing import Annotated

import typer
from playwright.sync_api import expect, sync_playwright

from core.services.app import App
from core.settings import Mode, Settings
from tests.browser.harness import FLAGS, WAIT_MS, WATCH_RUNS, Server, chromium, set_up, sign_in
from tests.browser.same_slot import PATIENTS, Meeting, booked_twice, meetings, prepare


def race(folder: Path, times: int, database: str) -> tuple[list[Meeting], tuple[int, int]]:
    """Set up an installation and let the two meet; return what came of it, and of the appointments in the end."""
    data_dir = folder / "var"
    settings = {"database_url": database} if database else {}
    set_up(data_dir, demo_contents=False, settings=settings)
    app = App.start(Settings(data_dir=data_dir, database_url=database, master_key=None, mode=Mode.DEMO))
    prepare(app, times)
    server = Server(data_dir, settings=settings).start()
    try:
        with sync_playwright() as playwright:
            expect.set_options(timeout=WAIT_MS)
            browser = playwright.chromium.launch(executable_path=chromium(), args=FLAGS)
            pages = [browser.new_context(viewport={"width": 1280, "height": 900}).new_page() for _ in PATIENTS]
            for page, name in zip(pages, PATIENTS, strict=True):
                page.add_init_script(WATCH_RUNS)
                sign_in(page, server, name)
            found = []
            for one in meetings(pages, server, times):
                found.append(one)
                print(f"{len(found):3} {one.time}: {one.apart_ms} ms apart, {one.winners} booked, {one.told} told")
            browser.close()
        return found, booked_twice(app)
    finally:
        server.stop()
        app.engine.dispose()


def main(
    out: Annotated[Path, typer.Option("--json", help="Where all figures are written.")],
    times: Annotated[int, typer.Option(min=1)] = 50,
    database: Annotated[str, typer.Option(help="An empty MySQL schema; without it a SQLite file.")] = "",
) -> None:
    """Let them meet and print what came of it."""
    with tempfile.TemporaryDirectory(prefix="hemaseal-slot-") as name:
        found, (standing, doubled) = race(Path(name), times, database)
    good = sum(one.as_it_should_be for one in found)
    first = sum(one.winners == (0,) for one in found)
    answer = {
        "machine": {"cpus": os.cpu_count(), "machine": platform.machine(), "python": platform.python_version()},
        "engine": "mysql" if database else "sqlite",
        "times": times,
        "as_it_should_be": good,
        "won_by_the_first": first,
        "appointments": standing,
        "booked_twice": doubled,
        "meetings": [asdict(one) for one in found],
    }
    out.write_text(json.dumps(answer, indent=1), encoding="utf-8")
    apart = sorted(one.apart_ms for one in found)
    print(f"{good} of {times} as it should be; the first of the two won {first} times")
    print(f"presses at most {apart[-1]} ms apart, half of them at most {apart[len(apart) // 2]} ms")
    print(f"{standing} appointments stand, {doubled} times are booked twice")
    raise typer.Exit(0 if good == times == standing and not doubled else 1)


if __name__ == "__main__":
    typer.run(main)
