"""A hundred patients, ten requests a second, while a federated run trains: how long each takes, and what is lost.

    python -m benchmarks.load --json FILE [--minutes 10] [--patients 100] [--rate 10] [--database mysql+pymysql://…]

A throw-away installation with four hospitals and the demo's contents and limits, its enclaves, and the product's
worker, which trains a blind run of four hospitals all along; it begins when the first round is done. This process is
the application, less its pages: requests are calls of its services, each by its person, from a pool of threads.

Definitions. *Requests* are due at fixed times, 1 / `--rate` apart, whatever became of those before; of ten of them one
is an upload of a cell (drawn from 40), two list a patient's cases, two open a result, one opens a picture with its
heat map through an enclave, one reads the messages, one looks for free times, two read a doctor's worklist. Patients
are drawn, doctors and kinds go by turns; every patient has a case before it begins. *Latency* is from the moment at
which a request was due to its end: waiting for a thread counts. *Refused* is what back-pressure turned away
(`APP-BUSY`, `ENC-BUSY`), *limited* what a patient's own limit did (`APP-OFTEN`), *waiting* an upload that was taken and
got no answer at once; an *error* is any other exception. *Lost* are uploads that were taken and of which the database
does not hold case, picture and, unless it waits, result at the end; *doubled* cases of these patients that nobody was
told of. Memory is this process's resident MiB each five seconds; it *grows* by the slope of a line through the samples
after the first fifth, times its length. Bars: the 95th percentile of all, and of each kind, at most 1 s; no error,
nothing lost or doubled, the audit log verifies, memory grows by at most 5 %.
"""

import json
import os
import platform
import tempfile
import threading
import time
from collections import Counter, defaultdict
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from functools import partial
from pathlib import Path
from typing import Annotated, Any

import numpy as np
import typer
from sqlmodel import col, select

from benchmarks.audit_log import verify_database
from benchmarks.clinic_growth import patients, person
from benchmarks.live_page import Growth, order, rounds_done
from benchmarks.processes import end_tidily, resident
from core.errors import AuditLogBroken, EnclaveBusy, HemaSealError, TooBusy, TooOften
from core.imaging.decode import encode_png
from core.imaging.smear.style import STYLES
from core.imaging.synthetic import generate_cell
from core.services import cases, worker_process
from core.services.app import Actor, App
from core.services.case_reading import own_cases, read_case, view_pictures
from core.services.consents import ConsentPurpose, record_consents
from core.services.messages import read_thread
from core.services.slots import free_slots
from core.services.worklist import worklist
from core.settings import Mode, Settings
from core.studies import LEUKEMIA
from db.engine import read_scope, session_scope
from db.models import Case, CaseImage, CaseStatus
from tests.browser.harness import set_up

BAR_S, GROWTH_BAR = 1.0, 0.05
LOCAL_EPOCHS = 5
MIX = ("upload", "list", "result", "worklist", "picture", "messages", "list", "times", "result", "worklist")
DOCTORS = ("demo-doctor", "demo-doctor-east", "demo-doctor-south", "demo-doctor-west")
CELLS, THREADS, EVERY_S = 40, 64, 5.0
FIRST_ROUND_S = 600.0


@dataclass(frozen=True)
class Done:
    """One request: its kind, seconds from when it was due to its end, and how it ended ("" if well)."""

    kind: str
    seconds: float
    ended: str


@dataclass(frozen=True)
class Sample:
    """Seconds since the start, and resident MiB of the application."""

    at: float
    app: float


@dataclass(frozen=True)
class Latency:
    """Seconds of the requests of a kind that ended well, and how many there were."""

    count: int
    p50: float
    p95: float
    p99: float
    most: float

    @classmethod
    def of(cls, seconds: list[float]) -> "Latency":
        """Reckon from single requests; of none all is 0."""
        if not seconds:
            return cls(0, 0.0, 0.0, 0.0, 0.0)
        return cls(len(seconds), *(round(float(q), 3) for q in np.percentile(seconds, [50, 95, 99, 100])))


class Clinic:
    """Patients and doctors of an installation, who ask its services for something; for several threads.

    Attributes:
        taken: ids of the cases that patients were told of.
    """

    def __init__(self, app: App, count: int, rng: np.random.Generator) -> None:
        self._app, self._rng = app, rng
        self.people = patients(app, count)
        with session_scope(app.engine) as session:
            for one in self.people:
                record_consents(app, session, one, [ConsentPurpose.DIAGNOSIS, ConsentPurpose.FALLBACK_HOSPITAL])
        self._doctors = [person(app, name) for name in DOCTORS]
        self._cells = [
            encode_png(generate_cell(rng, blast=bool(number % 2), style=STYLES["north"])) for number in range(CELLS)
        ]
        self._newest: dict[str, str] = {}
        self.taken: list[str] = []
        self._kinds: dict[str, Callable[[Actor], Any]] = {
            "list": lambda one: own_cases(app, one),
            "result": lambda one: read_case(app, one, self._newest[one.user_id]),
            "picture": lambda one: view_pictures(app, one, self._newest[one.user_id]),
            "messages": lambda one: read_thread(app, one, self._newest[one.user_id]),
            "times": lambda one: free_slots(app, one, self._newest[one.user_id]),
        }

    def upload(self, patient: Actor, cell: int) -> str:
        """Send a picture; return "waiting" if it was taken and not answered, else ""."""
        case = cases.submit(
            self._app, patient, files=[self._cells[cell]], study=LEUKEMIA.name, place=None, allow_fallback=True
        )
        self.taken.append(case.id)
        if case.status is CaseStatus.WAITING:
            return "waiting"
        self._newest[patient.user_id] = case.id
        return ""

    def request(self, number: int) -> Callable[[], str]:
        """Return the request of this number, drawn now; it returns "" if it ended well."""
        kind, cell = MIX[number % len(MIX)], int(self._rng.integers(CELLS))
        patient = self.people[int(self._rng.integers(len(self.people)))]
        if kind == "upload":
            return lambda: self.upload(patient, cell)
        if kind == "worklist":
            doctor = self._doctors[number // len(MIX) % len(self._doctors)]
            return lambda: "" if worklist(self._app, doctor) else "empty"
        return lambda: "" if self._kinds[kind](patient) is not None else "empty"


def ended(act: Callable[[], str]) -> str:
    """Do it and return how it ended."""
    try:
        return act()
    except (TooBusy, EnclaveBusy):
        return "refused"
    except TooOften:
        return "limited"
    except HemaSealError as error:
        return f"error {error.code}"
    except Exception as error:  # noqa: BLE001  any other is an error of the product, which is counted
        return f"error {type(error).__name__}: {error}"


def play(clinic: Clinic, *, rate: float, seconds: float) -> tuple[list[Done], list[Sample]]:
    """Make requests at their times; return what became of them, and the memory meanwhile."""
    found, samples, over = list[Done](), list[Sample](), threading.Event()
    begun = time.perf_counter()

    def one(kind: str, due: float, act: Callable[[], str]) -> None:
        how = ended(act)
        found.append(Done(kind, time.perf_counter() - due, how))

    def watch() -> None:
        while not over.is_set():
            samples.append(Sample(time.perf_counter() - begun, resident(os.getpid())))
            over.wait(EVERY_S)

    watcher = threading.Thread(target=watch)
    watcher.start()
    with ThreadPoolExecutor(THREADS) as pool:
        for number in range(int(rate * seconds)):
            due = begun + number / rate
            act = clinic.request(number)
            time.sleep(max(0.0, due - time.perf_counter()))
            pool.submit(one, MIX[number % len(MIX)], due, act)
    over.set()
    watcher.join()
    return found, samples


def losses(app: App, clinic: Clinic) -> tuple[int, int]:
    """Return how many uploads that were taken are not whole in the database, and how many nobody was told of."""
    with read_scope(app.engine) as session:
        rows = session.exec(select(Case).where(col(Case.patient_id).in_([one.user_id for one in clinic.people]))).all()
        images: dict[str, list[CaseImage]] = defaultdict(list)
        for image in session.exec(select(CaseImage).where(col(CaseImage.case_id).in_([row.id for row in rows]))).all():
            images[image.case_id].append(image)
        whole = {
            row.id
            for row in rows
            if len(images[row.id]) == 1
            and images[row.id][0].image_blob_id
            and (row.status is CaseStatus.WAITING or images[row.id][0].result_blob_id)
        }
    return len(set(clinic.taken) - whole), len({row.id for row in rows} - set(clinic.taken))


@contextmanager
def training(settings: Settings, app: App) -> Iterator[None]:
    """Let the worker train within the block; raises RuntimeError if the first round does not end in time."""
    order(settings, local_epochs=LOCAL_EPOCHS)
    worker_process.ensure_running(settings)
    try:
        until = time.monotonic() + FIRST_ROUND_S
        while rounds_done(app) < 1:
            if time.monotonic() > until:
                raise RuntimeError("the worker does not train")
            time.sleep(1)
        yield
    finally:
        worker_process.stop(settings)


def measure(folder: Path, people: int, rate: float, minutes: float, database: str) -> dict[str, Any]:
    """Set up, play, and return all figures."""
    settings = Settings(data_dir=folder / "var", database_url=database, master_key=None, mode=Mode.DEMO)
    set_up(settings.data_dir, settings={"database_url": database} if database else {})
    app = App.start(settings)
    try:
        clinic = Clinic(app, people, np.random.default_rng(0))
        first = Counter(ended(partial(clinic.upload, one, 0)) for one in clinic.people)
        if set(first) != {""}:
            raise RuntimeError(f"not every patient has a case: {dict(first)}")
        with training(settings, app):
            before = rounds_done(app)
            done, samples = play(clinic, rate=rate, seconds=60 * minutes)
            trained = rounds_done(app) - before
        lost, doubled = losses(app, clinic)
        try:
            verify_database(app)
            verifies = True
        except AuditLogBroken:
            verifies = False
    finally:
        app.supervisor.stop_all()
        app.engine.dispose()
    well = [one for one in done if not one.ended]
    kinds = {kind: Latency.of([one.seconds for one in well if one.kind == kind]) for kind in dict.fromkeys(MIX)}
    kinds["all"] = Latency.of([one.seconds for one in well])
    grown = Growth.of(samples, "app")
    return {
        "rounds": trained,
        "latency": {
            name: asdict(one) for name, one in (kinds | {"all": Latency.of([o.seconds for o in well])}).items()
        },
        "ended": dict(Counter(one.ended for one in done if one.ended)),
        "taken": len(clinic.taken),
        "lost": lost,
        "doubled": doubled,
        "audit_verifies": verifies,
        "memory": asdict(grown),
        "samples": [asdict(one) for one in samples],
    }


def missed(found: dict[str, Any]) -> list[str]:
    """Return what does not meet its bar, in words."""
    slow = [f"{kind} takes {one['p95']} s" for kind, one in found["latency"].items() if one["p95"] > BAR_S]
    wrong = [f"{count} times {how}" for how, count in found["ended"].items() if how.startswith(("error", "empty"))]
    kept = [f"{found[what]} {what}" for what in ("lost", "doubled") if found[what]]
    log = [] if found["audit_verifies"] else ["the audit log does not verify"]
    memory = found["memory"]
    grown = [f"memory grows by {memory['grows']} MiB"] if memory["grows"] > GROWTH_BAR * memory["begin"] else []
    return slow + wrong + kept + log + grown


def main(
    out: Annotated[Path, typer.Option("--json", help="Where all figures are written.")],
    minutes: Annotated[float, typer.Option(min=0.1)] = 10.0,
    people: Annotated[int, typer.Option("--patients", min=1)] = 100,
    rate: Annotated[float, typer.Option(min=0.1, help="Requests a second.")] = 10.0,
    database: Annotated[str, typer.Option(help="An empty MySQL schema; without it a SQLite file.")] = "",
) -> None:
    """Play, print a table and fail where a bar is missed."""
    with tempfile.TemporaryDirectory(prefix="hemaseal-load-", ignore_cleanup_errors=True) as name:
        found = measure(Path(name), people, rate, minutes, database)
    found |= {
        "machine": {"cpus": os.cpu_count(), "machine": platform.machine(), "python": platform.python_version()},
        "engine": "mysql" if database else "sqlite",
        "load": os.getloadavg()[0],
        "patients": people,
        "rate": rate,
        "minutes": minutes,
        "missed": missed(found),
    }
    out.write_text(json.dumps(found, indent=1), encoding="utf-8")
    print("| seconds | requests | p50 | p95 | p99 | longest |\n|---|---|---|---|---|---|")
    for kind, one in found["latency"].items():
        print(f"| {kind} | {one['count']} | {one['p50']} | {one['p95']} | {one['p99']} | {one['most']} |")
    print(f"ended otherwise: {found['ended'] or 'none'}; {found['rounds']} rounds were trained meanwhile")
    print(
        f"{found['taken']} uploads were taken, {found['lost']} lost, {found['doubled']} doubled; "
        f"the log {'verifies' if found['audit_verifies'] else 'does not verify'}"
    )
    print(f"memory {found['memory']['begin']:.0f} MiB at first, grows by {found['memory']['grows']:+.1f}")
    print("missed: " + ("; ".join(found["missed"]) or "nothing"))
    raise typer.Exit(1 if found["missed"] else 0)


if __name__ == "__main__":
    end_tidily()
    typer.run(main)
