"""A live page for half an hour: does its memory grow, does anything flicker, does it keep its place?

    python -m benchmarks.live_page --json FILE [--minutes 30] [--local-epochs 5]

The page is the authority's “Training runs” while a blind federated run of four hospitals trains (the product's worker
and learner, synthetic images). A real Chromium shows it, scrolled to the middle, and nobody touches it; it draws itself
again every two seconds. It is watched from the moment at which its charts hold as many rounds as they draw
(`pages._ui.run_charts.NEWEST`): before that a page that shows more holds more.

Definitions. *Server* is the resident memory of the application's process. *Heap* is what the tab's JavaScript holds
after a garbage collection, *nodes* the elements that it holds. *Held* is what all of the tab's allocators hold then, by
Chromium's own account (memory-infra): JavaScript, the page's own objects, buffers, and whatever else was allocated.
*Tab* is the resident memory of its process, with its program's pages, which it shares with all other tabs and of which
more are there the longer it runs; *own* is that without what is a file: what the tab has made, with pages in it of
heaps that Chromium took long ago and uses now and then. Each is sampled every thirty seconds. *Growth* is the slope of
a least-squares line through the samples after the first fifth, times its length in time; the run grows meanwhile, so
finished rounds stand beside it, and *late* is the growth over the second half of the samples alone. *Vanished* counts
plots, tables, figures, headings, bars and fields that left the page in an update that put nothing of their kind there
before the browser drew; *replaced* those for which another came, *faded* those that the browser drew less than fully
opaque because their script was running. *Scrolled* is the largest change of the scroll position, in pixels; *shifted*
how far what stands in the middle of the window moved there: a browser scrolls when something above it grows, so that
what is looked at stays where it is.
"""

import json
import os
import platform
import tempfile
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Annotated, Any, Protocol

import numpy as np
import typer
from playwright.sync_api import Browser, Page, sync_playwright
from sqlmodel import select

from benchmarks.processes import end_tidily, own, resident
from benchmarks.tab_memory import TabMemory
from core.learning.orders import MAX_ROUNDS
from core.services import worker_process
from core.services.app import App
from core.services.runs import start_run
from core.services.sessions import actor_of
from core.settings import Mode, Settings
from core.studies import LEUKEMIA
from db.engine import read_scope
from db.models import Dataset, Run, User
from tests.browser.harness import FLAGS, WATCH_RUNS, Server, chromium, set_up, sign_in

EVERY_S = 30.0
SETTLING = 0.2
_MAIN = '[data-testid="stMain"]'
_WATCH = """
(() => {
  const kinds = ['stVegaLiteChart', 'stDataFrame', 'stMetric', 'stHeading', 'stProgress', 'stSelectbox', 'stExpander'];
  const main = document.querySelector('[data-testid="stMain"]');
  const all = kinds.map(kind => `[data-testid="${kind}"]`).join(',');
  const shown = kind => [...main.querySelectorAll(`[data-testid="${kind}"]`)].filter(one => one.checkVisibility());
  const count = kind => shown(kind).length;
  const seen = Object.fromEntries(kinds.map(kind => [kind, count(kind)]));
  const found = window.__flicker = { vanished: [], replaced: {}, faded: 0, updates: 0, scrolled: 0, shifted: 0 };
  const gone = node => node.nodeType !== 1 ? []
    : [...(node.matches(all) ? [node] : []), ...node.querySelectorAll(all)];
  new MutationObserver(records => {
    found.updates += 1;
    const left = records.flatMap(one => [...one.removedNodes].flatMap(gone)).filter(node => !main.contains(node));
    for (const node of left) {
      const kind = node.dataset.testid;
      if (count(kind) < seen[kind]) found.vanished.push([Math.round(performance.now()), kind]);
      else found.replaced[kind] = (found.replaced[kind] || 0) + 1;
    }
    for (const kind of kinds) seen[kind] = count(kind);
  }).observe(main, { childList: true, subtree: true });
  const top = main.scrollTop;
  let middle = null, stood = 0;
  const stay = () => {
    const box = main.getBoundingClientRect();
    if (middle?.isConnected) {
      found.shifted = Math.max(found.shifted, Math.abs(middle.getBoundingClientRect().top - stood));
    } else {
      middle = document.elementFromPoint(box.left + box.width / 2, box.top + box.height / 2);
      middle = middle?.closest('[data-testid="stElementContainer"]');
      stood = middle ? middle.getBoundingClientRect().top : 0;
    }
  };
  const look = () => {
    found.scrolled = Math.max(found.scrolled, Math.abs(main.scrollTop - top));
    stay();
    for (const node of main.querySelectorAll('[data-stale="true"]'))
      if (Number(getComputedStyle(node).opacity) < 1) found.faded += 1;
    requestAnimationFrame(look);
  };
  requestAnimationFrame(look);
})();
"""


@dataclass(frozen=True)
class Sample:
    """What was read at one moment: seconds since the start, MiB, and counts."""

    at: float
    server: float
    tab: float
    own: float
    held: float
    heap: float
    nodes: int
    rounds: int


class Timed(Protocol):
    """Something that was read at a moment, in seconds since the start."""

    @property
    def at(self) -> float:
        """The moment."""
        ...


@dataclass(frozen=True)
class Growth:
    """A line through samples: its value at the begin, and what it adds over the whole time; MiB, or a count.

    `margin` is half of the 95 % interval of what it adds, by the scatter about the line.
    """

    begin: float
    grows: float
    margin: float

    @classmethod
    def of(cls, samples: Sequence[Timed], name: str, *, after: float = SETTLING) -> "Growth":
        """Fit it to the samples after the first of them, a fifth or another share."""
        kept = samples[int(after * len(samples)) :]
        at = np.array([one.at for one in kept])
        (slope, start), spread = np.polyfit(at - at[0], [getattr(one, name) for one in kept], 1, cov=True)
        lasts = at[-1] - at[0]
        return cls(*(round(float(value), 2) for value in (start, slope * lasts, 1.96 * spread[0, 0] ** 0.5 * lasts)))


def order(settings: Settings, *, rounds: int = MAX_ROUNDS, local_epochs: int) -> str:
    """Order a blind run over the demo's data sets, by default one that lasts for more than an hour; returns its id."""
    app = App.start(settings)
    try:
        with read_scope(app.engine) as session:
            authority = actor_of(app, session.exec(select(User).where(User.username == "demo-authority")).one())
            held = session.exec(select(Dataset.id).where(Dataset.study_code == LEUKEMIA.code)).all()
        return start_run(
            app,
            authority,
            study=LEUKEMIA.name,
            rounds=rounds,
            dataset_ids=list(held),
            local_epochs=local_epochs,
        )
    finally:
        app.engine.dispose()


@contextmanager
def live_page(folder: Path, local_epochs: int) -> Iterator[tuple[Settings, Server, Browser, Page]]:
    """Set up an installation, order the run, and open its page; everything ends with the block."""
    data_dir = folder / "var"
    set_up(data_dir)
    settings = Settings(data_dir=data_dir, database_url="", master_key=None, mode=Mode.DEMO)
    order(settings, local_epochs=local_epochs)
    server = Server(data_dir).start()
    try:
        with sync_playwright() as playwright:
            browser = playwright.chromium.launch(executable_path=chromium(), args=FLAGS)
            page = browser.new_context(viewport={"width": 1280, "height": 900}).new_page()
            page.add_init_script(WATCH_RUNS)
            sign_in(page, server, "demo-authority")
            page.goto(f"{server.url}/runs")
            yield settings, server, browser, page
            browser.close()
    finally:
        server.stop()
        worker_process.stop(settings)


def rounds_done(app: App) -> int:
    """Return how many rounds the run has finished."""
    with read_scope(app.engine) as session:
        return session.exec(select(Run.rounds_done)).one()


def sample(app: App, server: Server, tab: TabMemory, began: float) -> Sample:
    """Read everything once."""
    assert server.process is not None  # noqa: S101  (it was started)
    heap, nodes = tab.heap_and_nodes()
    return Sample(
        at=round(time.monotonic() - began, 1),
        server=round(resident(server.process.pid), 2),
        tab=round(resident(tab.pid()), 2),
        own=round(own(tab.pid()), 2),
        held=round(heap + tab.besides(), 2),
        heap=heap,
        nodes=nodes,
        rounds=rounds_done(app),
    )


def watch(folder: Path, minutes: float, full_s: float, local_epochs: int) -> tuple[list[Sample], dict[str, Any]]:
    """Show the page for `minutes` once its charts are full; return samples and what flickered."""
    with live_page(folder, local_epochs) as (settings, server, browser, page):
        app = App.start(settings)
        page.locator(".st-key-run_all_rounds").wait_for(timeout=full_s * 1000)
        page.locator(_MAIN).evaluate("main => main.scrollTo(0, main.scrollHeight / 2)")
        page.wait_for_timeout(3000)
        page.evaluate(_WATCH)
        tab = TabMemory(browser, page)
        began = time.monotonic()
        samples = []
        while time.monotonic() - began < 60 * minutes:
            samples.append(sample(app, server, tab, began))
            print(samples[-1], "vanished", page.evaluate("window.__flicker.vanished.length"), flush=True)
            page.wait_for_timeout(EVERY_S * 1000)
        flicker = page.evaluate("window.__flicker")
        app.engine.dispose()
    return samples, flicker


def main(
    out: Annotated[Path, typer.Option("--json", help="Where all figures are written.")],
    minutes: Annotated[float, typer.Option(min=1)] = 30.0,
    full_s: Annotated[float, typer.Option(help="How long it may take until the charts are full.")] = 1800.0,
    local_epochs: Annotated[int, typer.Option(min=1, help="200 rounds, the most of a run, must outlast it.")] = 5,
) -> None:
    """Watch and print a table."""
    with tempfile.TemporaryDirectory(prefix="hemaseal-live-", ignore_cleanup_errors=True) as name:
        samples, flicker = watch(Path(name), minutes, full_s, local_epochs)
    names = ("server", "tab", "own", "held", "heap", "nodes", "rounds")
    fitted = {name: Growth.of(samples, name) for name in names}
    late = {name: Growth.of(samples, name, after=0.5) for name in names}
    out.write_text(
        json.dumps(
            {
                "machine": {"cpus": os.cpu_count(), "machine": platform.machine(), "python": platform.python_version()},
                "minutes": minutes,
                "growth": {name: asdict(one) for name, one in fitted.items()},
                "late": {name: asdict(one) for name, one in late.items()},
                "flicker": flicker,
                "samples": [asdict(one) for one in samples],
            },
            indent=1,
        ),
        encoding="utf-8",
    )
    print(f"{minutes:g} minutes, {len(samples)} samples, {samples[-1].rounds} rounds, {flicker['updates']} updates")
    for name, one in fitted.items():
        grows = f"{one.grows:+.2f} ± {one.margin:.2f}"
        print(f"{name:9} {one.begin:10.2f} at first, grows by {grows}, late {late[name].grows:+.2f}")
    print(f"vanished {len(flicker['vanished'])}, replaced {flicker['replaced']}, faded {flicker['faded']}")
    print(f"scrolled by at most {flicker['scrolled']:.0f} pixels, shifted by at most {flicker['shifted']:.0f}")


if __name__ == "__main__":
    end_tidily()
    typer.run(main)
