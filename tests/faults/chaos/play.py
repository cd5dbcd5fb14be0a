"""Plays a schedule of faults against an installation at work, looks all along, and waits until all works again."""

import os
import signal
import subprocess
import sys
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, suppress
from dataclasses import dataclass, field

from sqlmodel import col, func, select

from core.errors import DatabaseUnavailable
from core.services.app import App
from core.services.cases import retry_waiting
from core.settings import ROOT
from db.engine import read_scope
from db.models import AuditHead, Case, Run
from db.models.federation import RunStatus
from tests.faults.chaos import diary, invariants
from tests.faults.chaos.diary import Did, Line
from tests.faults.chaos.faults import PROGRAMS, NothingToHit, happening, living_of
from tests.faults.chaos.place import PATIENTS, Place, person
from tests.faults.chaos.schedule import Fault, Kind

WITHIN_S = (30.0, 90.0)
"""After the last fault: until every patient's next upload is answered, and until a run that is ordered then is done."""
_START_S, _END_S = 60.0, 60.0
_TICK_S, _LOOK_S = 0.05, 5.0
_CLEAR_EACH = 12
"""Looks from one search of the disk to the next."""
_BEFORE = 8

Say = Callable[[str], None]


@dataclass(frozen=True)
class Violation:
    """Something that did not hold: what, when (seconds since the schedule's begin), and the newest faults by then."""

    sentence: str
    at_s: float
    faults: list[str]


@dataclass
class Outcome:
    """What came of a schedule.

    Attributes:
        violations: what did not hold, in the order in which it was seen.
        happened: faults that hit something, by kind.
        missed: faults that found nothing to hit, by kind.
        starts: how often the app was started.
        looks: how often the invariants were looked at while faults went on.
        noted: lines of the diary, by what they say.
        refusals: what people were refused, by act and code.
        runs: runs, by how they ended.
        cases, log_entries: what the installation holds in the end.
        answered_s, finished_s: seconds after the last fault until uploads were answered, and until a run was finished.
    """

    violations: list[Violation] = field(default_factory=list)
    happened: Counter[str] = field(default_factory=Counter)
    missed: Counter[str] = field(default_factory=Counter)
    starts: int = 0
    looks: int = 0
    noted: Counter[str] = field(default_factory=Counter)
    refusals: Counter[str] = field(default_factory=Counter)
    runs: Counter[str] = field(default_factory=Counter)
    cases: int = 0
    log_entries: int = 0
    answered_s: float | None = None
    finished_s: float | None = None


class Play:
    """One schedule against one installation."""

    def __init__(
        self,
        place: Place,
        seed: int,
        faults: Sequence[Fault],
        *,
        within_s: tuple[float, float] = WITHIN_S,
        say: Say = lambda _line: None,
    ) -> None:
        """Prepare.

        Args:
            place: the installation.
            seed: of what people choose, and named with every violation.
            faults: what goes wrong, by time.
            within_s: how soon uploads are answered and a run is finished after the last fault.
            say: takes each line for the person who watches.
        """
        self.outcome = Outcome()
        self._place, self._seed, self._faults, self._say = place, seed, faults, say
        self._answered_within_s, self._finished_within_s = within_s
        self._process: subprocess.Popen[bytes] | None = None
        self._pump: threading.Thread | None = None
        self._begun = time.monotonic()
        self._begun_faults: list[Fault] = []
        self._doubtful: set[str] = set()
        self._told: set[str] = set()

    def run(self) -> Outcome:
        """Start the app, let the faults come and go, wait for recovery, end everything, look once more."""
        app = App.start(self._place.settings())
        over = threading.Event()
        watching = threading.Thread(target=self._watch, args=(app, over))
        try:
            self._start_app()
            self._wait_for(lambda: any(line.what is Did.UPLOADED for line in self._lines()), _START_S)
            self._begun = time.monotonic()
            watching.start()
            self._let_faults_come()
            self._recover(app)
        finally:
            over.set()
            if watching.ident is not None:
                watching.join()
            self._end_app()
        self._look_at_the_end(app)
        app.supervisor.stop_all()
        app.engine.dispose()
        return self.outcome

    def _lines(self) -> list[Line]:
        return diary.read(self._place.diary)

    def _now(self) -> float:
        return time.monotonic() - self._begun

    def _pid(self) -> int | None:
        living = self._process is not None and self._process.poll() is None
        return self._process.pid if living and self._process else None

    def _start_app(self) -> None:
        if self._pump is not None:
            self._pump.join()  # all that the last one said is written down before another reads it
        command = [sys.executable, "-m", PROGRAMS["app"], str(self._place.folder), str(self._seed)]
        with (self._place.folder / "app.log").open("ab") as log:
            self._process = subprocess.Popen(
                command, cwd=ROOT, env=self._place.environment(), stdout=subprocess.PIPE, stderr=log
            )
        assert self._process.stdout is not None
        self._pump = threading.Thread(target=diary.keep, args=(self._process.stdout, self._place.diary))
        self._pump.start()
        self.outcome.starts += 1

    def _let_faults_come(self) -> None:
        waiting = list(self._faults)
        lasting: list[tuple[Fault, ExitStack]] = []
        try:
            while waiting or lasting:
                for fault, end in [pair for pair in lasting if pair[0].ends_s <= self._now()]:
                    lasting.remove((fault, end))
                    end.close()
                if waiting and waiting[0].at_s <= self._now():
                    lasting.extend(self._begin(waiting.pop(0)))
                if not any(fault.kind is Kind.APP_KILLED for fault, _ in lasting):
                    self._keep_alive()
                time.sleep(_TICK_S)
        finally:
            for _, end in lasting:
                end.close()

    def _begin(self, fault: Fault) -> Iterator[tuple[Fault, ExitStack]]:
        end = ExitStack()
        try:
            end.enter_context(happening(fault, self._place, self._pid))
        except NothingToHit:
            self.outcome.missed[fault.kind.value] += 1
            return
        self.outcome.happened[fault.kind.value] += 1
        self._begun_faults.append(fault)
        self._say(str(fault))
        yield fault, end

    def _keep_alive(self) -> None:
        """Start the app again when it has gone, as a service manager does."""
        if self._pid() is None:
            self._start_app()

    def _wait_for(self, holds: Callable[[], bool], most_s: float) -> bool:
        until = time.monotonic() + most_s
        while not holds():
            if time.monotonic() > until:
                return False
            self._keep_alive()
            time.sleep(4 * _TICK_S)
        return True

    def _recover(self, app: App) -> None:
        """Wait until every patient has an answer to what was sent after the last fault, and a new run is finished."""
        over = time.time()

        def answered() -> bool:
            since = [line for line in self._lines() if line.at >= over]
            sent = {line.key for line in since if line.what is Did.UPLOADING}
            good = {line.who for line in since if line.words == "answered" and line.key in sent}
            return good == set(PATIENTS)

        def finished() -> bool:
            ordered = [line.id for line in self._lines() if line.what is Did.ORDERED and line.at >= over]
            with suppress(DatabaseUnavailable), read_scope(app.engine) as session:
                done = select(Run.id).where(col(Run.id).in_(ordered), Run.status == RunStatus.FINISHED)
                return session.exec(done).first() is not None
            return False

        if self._wait_for(answered, self._answered_within_s):
            self.outcome.answered_s = time.time() - over
        else:
            self._violated(f"not every patient had an answer {self._answered_within_s:.0f} s after the last fault")
        if self._wait_for(finished, self._finished_within_s - (time.time() - over)):
            self.outcome.finished_s = time.time() - over
        else:
            self._violated(f"no run was ordered and finished {self._finished_within_s:.0f} s after the last fault")

    def _end_app(self) -> None:
        """Ask the app to end; the worker, which outlives it, is killed."""
        if self._process is not None and self._process.poll() is None:
            self._process.terminate()
            try:
                self._process.wait(_END_S)
            except subprocess.TimeoutExpired:
                self._violated("the app did not end when asked to")
                self._process.kill()
                self._process.wait()
        if self._pump is not None:
            self._pump.join()

    def _watch(self, app: App, over: threading.Event) -> None:
        """Look at the invariants while faults go on; while the database is away there is nothing to look at."""
        while not over.wait(_LOOK_S):
            with suppress(DatabaseUnavailable):
                self._look(app, in_clear=self.outcome.looks % _CLEAR_EACH == 0)
                self.outcome.looks += 1

    def _look(self, app: App, *, in_clear: bool) -> None:
        """Look once. What may only be about to be noted must not hold twice before it counts."""
        lines = self._lines()
        for sentence in [*invariants.words_for_all(lines), *invariants.log_verifies(app)]:
            self._violated(sentence)
        if in_clear:
            for sentence in invariants.nothing_in_clear(self._place, app):
                self._violated(sentence)
        seen = {
            *invariants.uploads_kept(app, lines),
            *invariants.bookings_single(app),
            *invariants.bookings_kept(app, lines),
            *invariants.reviews_kept(app, lines),
            *invariants.runs_told(app, lines),
        }
        for sentence in seen & self._doubtful:
            self._violated(sentence)
        self._doubtful = seen

    def _look_at_the_end(self, app: App) -> None:
        """Ask again for what waits, then look at everything."""
        for name in PATIENTS:
            while retry_waiting(app, person(app, name)):
                pass
        lines = self._lines()
        self._wait_for_runs(app)
        for living in living_of(self._place, None)["worker"]:
            os.kill(living, signal.SIGKILL)
        for sentence in (
            *invariants.words_for_all(lines),
            *invariants.uploads_kept(app, lines),
            *invariants.uploads_single(app, lines),
            *invariants.all_answered(app),
            *invariants.bookings_single(app),
            *invariants.bookings_kept(app, lines),
            *invariants.reviews_kept(app, lines),
            *invariants.runs_told(app, lines, ended=True),
            *invariants.log_verifies(app),
            *invariants.nothing_in_clear(self._place, app),
        ):
            self._violated(sentence)
        self._count(app, lines)

    def _wait_for_runs(self, app: App) -> None:
        """Let the worker, which outlives the app, finish the run in hand."""
        until = time.monotonic() + self._finished_within_s
        under_way = select(Run.id).where(col(Run.status).in_((RunStatus.QUEUED, RunStatus.RUNNING)))
        while time.monotonic() < until:
            with read_scope(app.engine) as session:
                if session.exec(under_way).first() is None:
                    return
            time.sleep(4 * _TICK_S)

    def _count(self, app: App, lines: Sequence[Line]) -> None:
        self.outcome.noted = Counter(line.what.value for line in lines)
        refused = [line for line in lines if line.what is Did.REFUSED]
        self.outcome.refusals = Counter(f"{line.id}: {line.words}" for line in refused)
        with read_scope(app.engine) as session:
            self.outcome.runs = Counter(str(status) for status in session.exec(select(Run.status)).all())
            self.outcome.cases = session.exec(select(func.count()).select_from(Case)).one()
            head = session.get(AuditHead, 1)
            self.outcome.log_entries = head.size if head else 0

    def _violated(self, sentence: str) -> None:
        if sentence in self._told:
            return
        self._told.add(sentence)
        faults = [str(fault) for fault in self._begun_faults[-_BEFORE:]]
        self.outcome.violations.append(Violation(sentence, round(self._now(), 1), faults))
        self._say(
            f"VIOLATION (seed {self._seed}, {self._now():.1f} s): {sentence}; after {'; '.join(faults) or 'nothing'}"
        )
