"""Plays a schedule of faults against an installation at work, looks all along, and waits until all works again."""

import os
import signal
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, suppress

from sqlmodel import col, select

from core.errors import DatabaseUnavailable
from core.services.app import App
from core.services.cases import retry_waiting
from db.engine import read_scope
from db.models import Run
from db.models.federation import RunStatus
from tests.faults.chaos import diary, invariants
from tests.faults.chaos.diary import Did, Line
from tests.faults.chaos.faults import NothingToHit, happening, living_of
from tests.faults.chaos.outcome import Outcome, Violation
from tests.faults.chaos.place import PATIENTS, Place, person
from tests.faults.chaos.process import AppProcess
from tests.faults.chaos.schedule import Fault, Kind

WITHIN_S = (30.0, 90.0)
"""After the last fault: until every patient's next upload is answered, and until a run that is ordered then is done."""
_START_S = 60.0
_PATIENCE = 4
"""How often a bar may pass before nothing more is waited for."""
_TICK_S, _LOOK_S = 0.05, 5.0
_CLEAR_EACH = 12
"""Looks from one search of the disk to the next."""
_BEFORE = 8

Say = Callable[[str], None]


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
        self._app = AppProcess(place, seed)
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
            self._app.start()
            self._wait_for(lambda: any(line.what is Did.UPLOADED for line in self._lines()), _START_S)
            self._begun = time.monotonic()
            watching.start()
            self._let_faults_come()
            self._recover(app)
        finally:
            over.set()
            if watching.ident is not None:
                watching.join()
            if not self._app.end():
                self._violated("the app did not end when asked to")
        self._look_at_the_end(app)
        app.supervisor.stop_all()
        app.engine.dispose()
        return self.outcome

    def _lines(self) -> list[Line]:
        return diary.read(self._place.diary)

    def _now(self) -> float:
        return time.monotonic() - self._begun

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
                    self._app.keep_alive()
                time.sleep(_TICK_S)
        finally:
            for _, end in lasting:
                end.close()

    def _begin(self, fault: Fault) -> Iterator[tuple[Fault, ExitStack]]:
        end = ExitStack()
        try:
            end.enter_context(happening(fault, self._place, self._app.pid))
        except NothingToHit:
            self.outcome.missed[fault.kind.value] += 1
            return
        self.outcome.happened[fault.kind.value] += 1
        self._begun_faults.append(fault)
        self._say(str(fault))
        yield fault, end

    def _wait_for(self, holds: Callable[[], bool], most_s: float) -> bool:
        until = time.monotonic() + most_s
        while not holds():
            if time.monotonic() > until:
                return False
            self._app.keep_alive()
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

        self.outcome.answered_s = self._until(answered, over, self._answered_within_s, "every patient has an answer")
        self.outcome.finished_s = self._until(finished, over, self._finished_within_s, "a new run is finished")

    def _until(self, holds: Callable[[], bool], over: float, within_s: float, what: str) -> float | None:
        """Return how long after the last fault something held, None for never; later than `within_s` is a violation."""
        held = self._wait_for(holds, _PATIENCE * within_s)
        took = time.time() - over
        if took > within_s:
            late = f"after {took:.0f} s" if held else "not at all"
            self._violated(f"{what} {late} after the last fault; {within_s:.0f} s is the bar")
        return took if held else None

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
        self.outcome.starts = self._app.starts
        self.outcome.count(app, lines)

    def _wait_for_runs(self, app: App) -> None:
        """Let the worker, which outlives the app, finish the run in hand."""
        until = time.monotonic() + self._finished_within_s
        under_way = select(Run.id).where(col(Run.status).in_((RunStatus.QUEUED, RunStatus.RUNNING)))
        while time.monotonic() < until:
            with read_scope(app.engine) as session:
                if session.exec(under_way).first() is None:
                    return
            time.sleep(4 * _TICK_S)

    def _violated(self, sentence: str) -> None:
        if sentence in self._told:
            return
        self._told.add(sentence)
        faults = [str(fault) for fault in self._begun_faults[-_BEFORE:]]
        self.outcome.violations.append(Violation(sentence, round(self._now(), 1), faults))
        self._say(
            f"VIOLATION (seed {self._seed}, {self._now():.1f} s): {sentence}; after {'; '.join(faults) or 'nothing'}"
        )
