"""How soon each page is interactive, warm: in a real browser, on an installation in which people have worked.

    python -m benchmarks.pages --json FILE [--visits 10] [--role patient] [--database mysql+pymysql://…]

Definitions. *Click*: from the press on the page's name in the menu (of a case: on its line in the worklist) to the
settled page, coming from the page before it in the menu. *Address*: from typing the address to the settled page; the
browser starts anew on that page, with the application's own files in its cache. A page is *settled* at the first frame
at which its heading stands (by click: another one than before), no script runs, nothing on it waits to be drawn, and no
script begins or ends in the next 200 ms. Ended scripts are not counted: the browser may draw a short one's beginning
and end as one. *Warm*: every page was opened once before, which is not counted. Server and browser share the machine.
The bar is that the 95th percentile of each is at most 1.5 s.
"""

import json
import os
import platform
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Annotated

import numpy as np
import typer
from playwright.sync_api import Page, expect, sync_playwright

from benchmarks.processes import end_tidily
from core.services.accounts import Role
from core.settings import Mode, Settings
from pages._ui.registry import PageSpec, pages_for
from tests.browser.harness import FLAGS, WAIT_MS, WATCH_RUNS, Server, chromium, set_up, sign_in, visit
from tests.browser.lived_in import PEOPLE, live_in

BAR_S = 1.5
FIRST_CASE = '[class*="st-key-case_open_"] button'
SETTLED = """
  const heading = () => document.querySelector('[data-testid="stMain"] h1')?.textContent;
  const settled = (start, before) => new Promise((done, fail) => {
    let since = null, mark = null;
    const look = () => {
      const now = performance.now(), runs = window.__runs, stands = heading();
      const ready = runs && runs.state === 'notRunning' && stands && stands !== before
        && !document.querySelector('[data-testid="stSkeleton"], [data-testid="stSpinner"]');
      if (!ready) since = null;
      else if (since === null || runs.changed !== mark) { since = now; mark = runs.changed; }
      else if (now - since > 200) return done(since - start);
      if (now - start > 30000) return fail(new Error('the page does not settle'));
      requestAnimationFrame(look);
    };
    look();
  });
"""
_CLICK = f"""
target => {{ {SETTLED}
  const start = performance.now(), before = heading();
  target.click();
  return settled(start, before);
}}
"""
_LOADED = f"() => {{ {SETTLED} return settled(0); }}"


@dataclass(frozen=True)
class Times:
    """Seconds to one page in one way: median, 95th percentile and the longest of `visits`."""

    role: str
    page: str
    way: str
    p50: float
    p95: float
    most: float
    visits: int

    @classmethod
    def of(cls, role: Role, spec: PageSpec, way: str, seconds: list[float]) -> "Times":
        """Reckon from single visits."""
        p50, p95 = np.percentile(seconds, [50, 95])
        return cls(role.value, spec.url_path, way, round(p50, 3), round(p95, 3), round(max(seconds), 3), len(seconds))


def by_click(page: Page, spec: PageSpec) -> float:
    """Press a page's name in the menu, or a case's line in the worklist; return seconds."""
    if spec.in_menu:
        target = page.get_by_test_id("stTopNavLink").filter(has_text=spec.title).first
    else:
        target = page.locator(FIRST_CASE).first
    return float(target.evaluate(_CLICK)) / 1000


def by_address(page: Page, server: Server, spec: PageSpec, case: str) -> float:
    """Type a page's address; return seconds."""
    asked = f"?case={case}" if spec.url_path == "case" else ""
    page.goto(f"{server.url}/{spec.url_path}{asked}", wait_until="commit")
    return float(page.evaluate(_LOADED)) / 1000


def times_of(page: Page, server: Server, role: Role, visits: int) -> Iterator[Times]:
    """Go round all pages of a role, by click and by address, and yield what each took."""
    specs = pages_for(role)
    case = ""
    if role is Role.DOCTOR:
        visit(page, server, "/worklist")
        by_click(page, next(spec for spec in specs if not spec.in_menu))
        case = page.url.partition("case=")[2]
    ways: dict[str, Callable[[PageSpec], float]] = {
        "click": lambda spec: by_click(page, spec),
        "address": lambda spec: by_address(page, server, spec, case),
    }
    for way, go in ways.items():
        by_address(page, server, specs[-1], case)
        rounds = [{spec: go(spec) for spec in specs} for _ in range(visits + 1)][1:]
        for spec in specs:
            yield Times.of(role, spec, way, [one[spec] for one in rounds])


@contextmanager
def lived_in_server(folder: Path, database: str) -> Iterator[Server]:
    """Set an installation up, let people work in it, and serve it."""
    settings = Settings(data_dir=folder / "var", database_url=database, master_key=None, mode=Mode.DEMO)
    variables = {"database_url": database}
    set_up(settings.data_dir, settings=variables)
    live_in(settings)
    server = Server(settings.data_dir, settings=variables)
    try:
        yield server.start()
    finally:
        server.stop()


def main(
    out: Annotated[Path, typer.Option("--json", help="Where all figures are written.")],
    visits: Annotated[int, typer.Option(min=10)] = 10,
    role: Annotated[list[Role] | None, typer.Option(help="Only the pages of this role; may be repeated.")] = None,
    database: Annotated[str, typer.Option(help="An empty MySQL schema; without it a SQLite file.")] = "",
) -> None:
    """Visit and print a table."""
    found: list[Times] = []
    print("| role | page | way | p50 | p95 | longest |\n|---|---|---|---|---|---|")
    with (
        tempfile.TemporaryDirectory(prefix="hemaseal-pages-") as name,
        lived_in_server(Path(name), database) as server,
        sync_playwright() as playwright,
    ):
        expect.set_options(timeout=WAIT_MS)
        browser = playwright.chromium.launch(executable_path=chromium(), args=FLAGS)
        for one in role or PEOPLE:
            page = browser.new_context(viewport={"width": 1280, "height": 900}).new_page()
            page.add_init_script(WATCH_RUNS)
            sign_in(page, server, PEOPLE[one])
            for times in times_of(page, server, one, visits):
                found.append(times)
                print(f"| {times.role} | {times.page} | {times.way} | {times.p50} | {times.p95} | {times.most} |")
            page.context.close()
        browser.close()
    slow = [one for one in found if one.p95 > BAR_S]
    answer = {
        "machine": {"cpus": os.cpu_count(), "machine": platform.machine(), "python": platform.python_version()},
        "engine": "mysql" if database else "sqlite",
        "load": os.getloadavg()[0],
        "visits": visits,
        "slow": [f"{one.role}/{one.page}/{one.way}" for one in slow],
        "pages": [asdict(one) for one in found],
    }
    out.write_text(json.dumps(answer, indent=1), encoding="utf-8")
    print(f"{len(found) - len(slow)} of {len(found)} within {BAR_S} s at the 95th percentile")


if __name__ == "__main__":
    end_tidily()
    typer.run(main)
