"""Has anything become slower? Ratios of the quick benchmarks against those in `ratios.json`: `make bench`.

    python -m benchmarks.guard [--write] [--only respond] [--json FILE]

Definitions. Each *ratio* is the speed of the product's way over that of the bare way of doing the same, both taken in
one run on one machine by turns, so that a slow machine slows both: higher is better, 1 is no cost. It is bare seconds /
own seconds, the least of each over all turns: what else the machine does lengthens a turn, and never shortens one.
Databases lie in memory (`/dev/shm`, where there is one), so that no ratio is one of disks.

- `aggregation`: a blind round of 10 nodes and 100,000 parameters (`total_s` of `python -m federated bench`, of all
  parties summed) over the plain weighted mean of the same vectors in NumPy; three rounds, 20 means beside each.
- `respond`: an upload to its stored result (`core.services.cases.submit`, a synthetic cell, its hospital's enclave
  warm) over one call of the same network in a bare LiteRT interpreter with one thread.
- `vault`: the same upload over one without vault and audit log (`benchmarks.vault_overhead`, 30 pairs, by the
  median of the differences within a pair).
- `audit`: an entry appended to the audit log in a transaction of its own over a bare commit of one number
  (`benchmarks.audit_log`), 100 against 100, five times.
- `training`: `Trainer.fit` over a bare Keras `fit` of the same network (`benchmarks.training_speed`), 256 pictures.

A ratio that is more than 20 % below the committed one fails, as does one that is missing on either side.
"""

import json
import os
import platform
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Annotated

import numpy as np
import typer
from ai_edge_litert.interpreter import Interpreter

from benchmarks import audit_log, secure_aggregation, training_speed, vault_overhead
from core.diagnosis.bundle import ServingModel
from core.diagnosis.checkpoint_file import load_checkpoint
from core.evaluation.respond import Uploader
from core.evaluation.throwaway import SHIPPED_MODEL, serving_installation
from core.imaging.decode import encode_png
from core.imaging.smear.style import STYLES
from core.imaging.synthetic import generate_cell
from core.services.app import App
from core.studies import LEUKEMIA

IN_MEMORY = Path("/dev/shm")  # noqa: S108  what is made there has a name of its own
COMMITTED = Path(__file__).with_name("ratios.json")
TOLERANCE = 0.2
UPLOADS, PAIRS, ROUNDS, MEANS, TURNS, APPENDS, IMAGES = 40, 30, 3, 20, 5, 100, 256


@dataclass(frozen=True)
class Verdict:
    """One ratio beside the committed one; None where it is missing."""

    name: str
    committed: float | None
    found: float | None

    @property
    def holds(self) -> bool:
        """Whether it is not more than the tolerance below the committed one."""
        if self.committed is None or self.found is None:
            return False
        return self.found >= (1 - TOLERANCE) * self.committed

    @property
    def row(self) -> str:
        """A row of the table."""
        committed, found = ("missing" if one is None else f"{one:.4g}" for one in (self.committed, self.found))
        change = f"{100 * (self.found / self.committed - 1):+.0f} %" if self.committed and self.found else ""
        return f"| {self.name} | {committed} | {found} | {change} | {'holds' if self.holds else '**worse**'} |"


def verdicts(committed: Mapping[str, float], found: Mapping[str, float]) -> list[Verdict]:
    """Set each ratio beside the committed one, by name."""
    return [Verdict(name, committed.get(name), found.get(name)) for name in sorted({*committed, *found})]


def seconds(act: Callable[[], object]) -> float:
    """Return how long something takes."""
    begun = time.perf_counter()
    act()
    return time.perf_counter() - begun


def aggregation() -> float:
    """See the top of this module."""
    nodes, parameters = 10, 100_000
    inputs = secure_aggregation.draw(nodes, parameters)
    rival = secure_aggregation.blind(["--nodes", str(nodes), "--parameters", str(parameters)])
    bare, own = list[float](), list[float]()
    with tempfile.TemporaryDirectory() as folder:
        for _ in range(ROUNDS):
            bare += [seconds(inputs.weighted_mean) for _ in range(MEANS)]
            own.append(secure_aggregation.measure(rival, Path(folder) / "answer.json")["total_s"])
    return min(bare) / min(own)


@contextmanager
def in_memory() -> Iterator[Path]:
    """Make a folder that costs no disk, where the machine has such."""
    place = IN_MEMORY if os.access(IN_MEMORY, os.W_OK) else None
    with tempfile.TemporaryDirectory(prefix="hemaseal-guard-", dir=place) as folder:
        yield Path(folder)


@contextmanager
def serving() -> Iterator[tuple[App, ServingModel]]:
    """Set up an installation whose enclaves serve the shipped model, which is given in clear beside it."""
    with (
        in_memory() as folder,
        serving_installation(folder / "var") as app,
    ):
        yield app, load_checkpoint(SHIPPED_MODEL, settings=app.settings, at=app.clock.now())


def respond(app: App, model: ServingModel) -> float:
    """See the top of this module."""
    network = Interpreter(model_content=model.litert, num_threads=1).get_signature_runner()
    side = model.manifest.input_size
    image = np.random.default_rng(0).random((1, side, side, 3), np.float32)
    rng, uploader = np.random.default_rng(0), Uploader(app, LEUKEMIA.name)
    cells = [encode_png(generate_cell(rng, blast=bool(n % 2), style=STYLES["north"])) for n in range(UPLOADS)]
    preferred = uploader.hospitals[0]
    uploader.upload(cells[0], preferred=preferred)
    bare, own = list[float](), list[float]()
    for cell in cells:
        bare.append(seconds(partial(network, image=image)))
        own.append(uploader.upload(cell, preferred=preferred)[0] / 1e3)
    return min(bare) / min(own)


def vault(app: App) -> float:
    """See the top of this module."""
    upload = vault_overhead.measure(app, PAIRS, np.random.default_rng(0))["upload"]
    return upload.without_ms / (upload.without_ms + upload.added_ms)


def audit(app: App) -> float:
    """See the top of this module."""
    bare, own = list[float](), list[float]()
    with in_memory() as folder:
        for number in range(TURNS):
            bare.append(seconds(partial(audit_log.bare_commits, folder / f"bare-{number}.db", APPENDS)))
            own.append(seconds(partial(audit_log.append_many, app, APPENDS, 1)))
    return min(bare) / min(own)


def training() -> float:
    """See the top of this module."""
    rates = training_speed.measure("groupnorm-small", LEUKEMIA, images=IMAGES, samples=ROUNDS)
    return max(rates["trainer"]) / max(rates["bare"])


def measure(only: list[str]) -> dict[str, float]:
    """Return the ratios, all or some of them."""
    found: dict[str, float] = {}

    def take(name: str, act: Callable[[], float]) -> None:
        if not only or name in only:
            begun = time.perf_counter()
            found[name] = float(f"{act():.4g}")
            print(f"{name}: {found[name]} in {time.perf_counter() - begun:.0f} s", flush=True)

    take("aggregation", aggregation)
    if not only or {"respond", "vault", "audit"}.intersection(only):
        with serving() as (app, model):
            take("respond", lambda: respond(app, model))
            take("vault", lambda: vault(app))
            take("audit", lambda: audit(app))
    take("training", training)
    return found


def main(
    write: Annotated[bool, typer.Option("--write", help="Make what is found the committed ratios.")] = False,
    only: Annotated[list[str] | None, typer.Option(help="Only this ratio; may be repeated.")] = None,
    out: Annotated[Path | None, typer.Option("--json", help="Where the ratios are written too.")] = None,
) -> None:
    """Measure, print a table and fail where a ratio has become worse."""
    committed: dict[str, float] = json.loads(COMMITTED.read_text(encoding="utf-8"))["ratios"]
    found = measure(only or [])
    machine = {"cpus": os.cpu_count(), "machine": platform.machine(), "python": platform.python_version()}
    for file, ratios in ((out, found), (COMMITTED if write else None, committed | found)):
        if file is not None:
            kept = json.dumps({"machine": machine, "ratios": ratios}, indent=1, sort_keys=True)
            file.write_text(kept + "\n", encoding="utf-8")
    judged = verdicts({name: ratio for name, ratio in committed.items() if not only or name in only}, found)
    print("| own speed over bare | committed | now | change | |\n|---|---|---|---|---|")
    for one in judged:
        print(one.row)
    raise typer.Exit(0 if write or all(one.holds for one in judged) else 1)


if __name__ == "__main__":
    typer.run(main)
