"""What the vault and the audit log add to one diagnosis: the same upload with and without them, by turns, in one run.

Each pair uploads one synthetic cell twice through `core.services.cases.submit` and reads the result, once as it is and
once without: nothing is wrapped under the patient's key (records are sealed under the app's, as before there was a
vault), and nothing is appended to the audit log. Which comes first is drawn. Sealing, signatures, storing, the enclave
process and the gate are the same on both sides.

    python -m benchmarks.vault_overhead --json OUT.json
"""

import json
import os
import platform
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Annotated, Any
from unittest.mock import patch

import numpy as np
import typer
from sqlmodel import select

from core.diagnosis.checkpoint_file import load_checkpoint
from core.evaluation.throwaway import SHIPPED_MODEL
from core.imaging.decode import encode_png
from core.imaging.smear.style import STYLES
from core.imaging.synthetic import generate_cell
from core.services import audit, case_objects, case_reading, case_records, cases, review_records, setup
from core.services.app import Actor, App
from core.services.case_reading import read_case
from core.services.cases import submit
from core.services.models import install
from core.services.sessions import actor_of
from core.settings import Mode, Settings
from db.engine import read_scope, session_scope
from db.models import CaseStatus, Hospital, User

GOAL_MS = 15.0
WARM_UP = 5
_ROUNDS = 4  # bcrypt; nobody signs in


@dataclass(frozen=True)
class Overhead:
    """Medians over the pairs, in milliseconds.

    Attributes:
        with_ms, without_ms: of the act.
        added_ms: median of the differences within a pair; `low_ms` to `high_ms` is its 95 % bootstrap interval.
        ratio: with to without.
    """

    with_ms: float
    without_ms: float
    added_ms: float
    low_ms: float
    high_ms: float
    ratio: float

    @classmethod
    def of(cls, pairs: list[tuple[float, float]], rng: np.random.Generator) -> "Overhead":
        """Reckon from (with, without) of each pair."""
        times = np.array(pairs)
        differences = times[:, 0] - times[:, 1]
        draws = np.median(rng.choice(differences, (2000, len(differences))), axis=1)
        middle = np.median(times, axis=0)
        low, high = np.percentile(draws, [2.5, 97.5])
        figures = (middle[0], middle[1], np.median(differences), low, high, middle[0] / middle[1])
        return cls(*(round(float(figure), 3) for figure in figures))


@contextmanager
def nothing_added(app: App) -> Iterator[None]:
    """Work as without vault and audit log."""

    def apps_key(*_: object) -> Any:
        return app.records

    with ExitStack() as stack:
        for module in (cases, case_records, case_reading, review_records):
            stack.enter_context(patch.object(module, "key_of", apps_key))
        stack.enter_context(patch.object(cases, "key_for_new_case", lambda *_: (app.records, None)))
        stack.enter_context(patch.object(case_objects, "wrap_front", lambda sealed, **_: sealed))
        stack.enter_context(patch.object(case_objects, "unwrap_front", lambda stored, **_: stored))
        stack.enter_context(patch.object(audit, "append", lambda *_, **__: 0))
        yield


def timed(act: Callable[[], Any]) -> tuple[float, Any]:
    """Return milliseconds, and what the act returned."""
    started = time.perf_counter()
    done = act()
    return (time.perf_counter() - started) * 1e3, done


def diagnosis(app: App, patient: Actor, picture: bytes, hospital: str) -> tuple[float, float]:
    """Return milliseconds of one upload to its result, and of reading that result."""
    sent, case = timed(lambda: submit(app, patient, files=[picture], study="leukemia", preferred=hospital))
    if case.status is CaseStatus.WAITING:
        raise RuntimeError("no enclave answered")
    read, detail = timed(lambda: read_case(app, patient, case.id))
    if detail.result is None:
        raise RuntimeError(detail.problem)
    return sent, read


def measure(app: App, pairs: int, rng: np.random.Generator) -> dict[str, Overhead]:
    """Return what is added to an upload, and to reading its result."""
    with read_scope(app.engine) as session:
        patient = actor_of(app, session.exec(select(User).where(User.username == "demo-patient")).one())
        hospital = session.exec(select(Hospital.id).order_by(Hospital.slug)).first() or ""
    uploads: list[tuple[float, float]] = []
    readings: list[tuple[float, float]] = []
    for number in range(WARM_UP + pairs):
        picture = encode_png(generate_cell(rng, blast=bool(number % 2), style=STYLES["north"]))
        found = {}
        for plain in rng.permutation([False, True]).tolist():
            if plain:
                with nothing_added(app):
                    found[plain] = diagnosis(app, patient, picture, hospital)
            else:
                found[plain] = diagnosis(app, patient, picture, hospital)
        if number >= WARM_UP:
            uploads.append((found[False][0], found[True][0]))
            readings.append((found[False][1], found[True][1]))
    return {"upload": Overhead.of(uploads, rng), "reading": Overhead.of(readings, rng)}


def main(
    out: Annotated[Path | None, typer.Option("--json", help="Where the figures are written.")] = None,
    pairs: Annotated[int, typer.Option(min=2)] = 100,
    seed: Annotated[int, typer.Option()] = 0,
    database_url: Annotated[str, typer.Option(help="An empty MySQL schema; left out, an SQLite file.")] = "",
) -> None:
    """Measure in a throw-away installation with a real enclave process, and print a table."""
    with tempfile.TemporaryDirectory(prefix="hemaseal-vault-") as folder:
        settings = Settings(
            data_dir=Path(folder) / "var",
            database_url=database_url,
            mode=Mode.DEMO,
            master_key=None,
            uploads_per_hour=10**6,
        )
        setup.run(settings, demo_contents=False, rounds=_ROUNDS)
        app = App.start(settings)
        try:
            model = load_checkpoint(SHIPPED_MODEL, settings=settings, at=app.clock.now())
            with session_scope(app.engine) as session:
                install(app, session, model)
            found = measure(app, pairs, np.random.default_rng(seed))
            engine = app.engine.dialect.name
        finally:
            app.supervisor.stop_all()
            app.engine.dispose()
    print("| act | with ms | without ms | added ms (95 %) | ratio |", "|---|---|---|---|---|", sep="\n")
    for act, figures in found.items():
        interval = f"{figures.added_ms:.1f} ({figures.low_ms:.1f} to {figures.high_ms:.1f})"
        print(f"| {act} | {figures.with_ms:.1f} | {figures.without_ms:.1f} | {interval} | {figures.ratio:.3f} |")
    print(f"{engine}, {pairs} pairs; goal: an upload takes at most {GOAL_MS:.0f} ms more")
    if out is not None:
        machine = {"cpus": os.cpu_count(), "machine": platform.machine(), "python": platform.python_version()}
        acts = {act: asdict(figures) for act, figures in found.items()}
        out.write_text(json.dumps({"machine": machine, "engine": engine, "pairs": pairs, **acts}, indent=1), "utf-8")


if __name__ == "__main__":
    typer.run(main)
