"""Plays one fault: starts the worker as the app would, brings about what happens from outside, waits for the end."""

import os
import signal
import sqlite3
import time
from contextlib import suppress
from dataclasses import dataclass, field
from datetime import timedelta
from multiprocessing import get_context
from multiprocessing.context import ForkServerProcess

from sqlalchemy import make_url

from core.clock import SystemClock
from core.errors import DatabaseUnavailable
from core.learning.orders import AggregationMode
from db.engine import make_engine, read_scope, session_scope
from db.models import Run
from db.models.federation import RunStatus
from tests.faults.arena import Arena, Ground
from tests.faults.invariants import Ran, check, rounds_of
from tests.faults.journal import has_struck, read
from tests.faults.plan import ONLY_MYSQL, Fault, Kind, Note, What
from tests.faults.saboteur import ANOTHER_LIVES, SHORT_LEASE_S, Post, work

PATIENCE_S = 90.0
SHORT_OUTAGE_S = 3.0
LONG_OUTAGE_S = 30.0
_TICK_S = 0.05
_ENDED = (RunStatus.FINISHED, RunStatus.FAILED, RunStatus.PAUSED, RunStatus.ABORTED)
_CONTEXT = get_context("forkserver")
_CONTEXT.set_forkserver_preload(["tests.faults.saboteur"])


@dataclass(frozen=True, kw_only=True)
class Verdict:
    """What became of a fault.

    Attributes:
        fault: what it was; None for a run without one.
        ran: what was seen.
        problems: what does not hold; empty if all is well.
        rounds: finished rounds with the hash of their weights.
        journal: notes of all processes.
    """

    fault: Fault | None
    ran: Ran
    problems: list[str]
    rounds: dict[int, str]
    journal: list[Note]

    @property
    def outcome(self) -> str:
        """One word for a table."""
        if self.problems:
            return "broken"
        return "finished" if self.ran.status is RunStatus.FINISHED else "refused"


def play_undisturbed(arena: Arena, mode: AggregationMode) -> Verdict:
    """Play a run without a fault: its journal names the points where faults can happen."""
    with arena.ground(mode, mysql=False) as ground:
        ran = _Play(ground, None).play()
        journal = read(ground.post.journal)
        engine = make_engine(ground.direct_url)
        with read_scope(engine) as session:
            rounds = rounds_of(session, ground.run)
        engine.dispose()
        problems = check(ground, ran, journal, undisturbed=rounds)
    return Verdict(fault=None, ran=ran, problems=problems, rounds=rounds, journal=journal)


def play(arena: Arena, fault: Fault, undisturbed: dict[int, str]) -> Verdict:
    """Play a run with a fault and check what must hold.

    Args:
        arena: makes the installation.
        fault: what goes wrong.
        undisturbed: round -> hash of the weights of a run without faults.
    """
    with arena.ground(fault.mode, mysql=fault.mysql, short=fault.kind is not Kind.LONG_OUTAGE) as ground:
        ran = _Play(ground, fault).play()
        journal = read(ground.post.journal)
        problems = check(ground, ran, journal, undisturbed=undisturbed)
        if not ran.fired:
            problems.append("the fault did not happen")
    return Verdict(fault=fault, ran=ran, problems=problems, rounds={}, journal=journal)


@dataclass
class _Play:
    ground: Ground
    fault: Fault | None
    ran: Ran = field(default_factory=Ran)
    own: list[ForkServerProcess] = field(default_factory=list)
    others: list[ForkServerProcess] = field(default_factory=list)

    def __post_init__(self) -> None:
        self._begun = time.monotonic()
        self._successor = self.fault.next if self.fault else None
        self._engine = make_engine(self.ground.direct_url)

    def play(self) -> Ran:
        """Start, disturb, start again what died, wait for the run's end, end all processes."""
        try:
            self._start(self.own, self.fault)
            while not self._over():
                time.sleep(_TICK_S)
                self._disturb()
                self._keep_alive()
        finally:
            self._end()
            self._look()
            self._engine.dispose()
        self.ran.took_s = time.monotonic() - self._begun
        return self.ran

    def _kind(self) -> Kind | None:
        return self.fault.kind if self.fault else None

    def _start(self, processes: list[ForkServerProcess], fault: Fault | None, post: Post | None = None) -> None:
        process = _CONTEXT.Process(target=work, args=(post or self.ground.post, fault), daemon=True)
        process.start()
        processes.append(process)
        self.ran.lived += 1

    def _over(self) -> bool:
        if time.monotonic() - self._begun > PATIENCE_S:
            self.ran.problems.append(f"not ended after {PATIENCE_S:.0f} s")
            return True
        self._look()
        return self.ran.status in _ENDED

    def _look(self) -> None:
        """Note status and finished rounds."""
        with suppress(DatabaseUnavailable), read_scope(self._engine) as session:
            run = session.get_one(Run, self.ground.run)
            self.ran.status, self.ran.reason = run.status, run.reason or ""
            self.ran.seen |= rounds_of(session, self.ground.run)

    def _disturb(self) -> None:
        """Bring about what happens from outside, once the worker has come to the fault's point."""
        if self.ran.fired or self.fault is None:
            return
        if not has_struck(self.ground.post.journal):
            return
        self.ran.fired = True
        kind = self.fault.kind
        if kind in {Kind.OUTAGE, Kind.LONG_OUTAGE, *ONLY_MYSQL}:
            self._take_database_away(kind)
        elif kind is Kind.MACHINE_RESTART:
            self._join(self.own)
            self._extend_lease(timedelta(hours=1))
        elif kind is Kind.TWO_WORKERS:
            self._start(self.own, None)
        elif kind is Kind.DATABASE_LATE:
            self._join(self.own)
            self._take_database_away(kind)
        elif kind in {Kind.TAKEN_OVER, Kind.STALLED}:
            self._start(self.others, None, self.ground.other_host())
            if kind is Kind.STALLED:
                self._wait_for_other()

    def _keep_alive(self) -> None:
        """Start the worker again when it has gone, as the app does."""
        gone = [process for process in self.own if not process.is_alive()]
        for process in gone:
            self.own.remove(process)
            if process.exitcode == ANOTHER_LIVES or self._kind() is Kind.TAKEN_OVER:
                continue
            if process.exitcode not in {0, -signal.SIGKILL}:
                self.ran.problems.append(f"the worker ended by itself with status {process.exitcode}")
            if not any(one.is_alive() for one in self.own):
                self._start(self.own, self._successor)
                self._successor = None

    def _take_database_away(self, kind: Kind) -> None:
        proxy, gate = self.ground.proxy, self.ground.post.gate
        seconds = LONG_OUTAGE_S if kind is Kind.LONG_OUTAGE else SHORT_OUTAGE_S
        if proxy is None:
            lock = sqlite3.connect(make_url(self.ground.direct_url).database or "", timeout=20, isolation_level=None)
            lock.execute("BEGIN EXCLUSIVE")
            gate.touch()
            time.sleep(seconds)
            lock.execute("ROLLBACK")
            lock.close()
            return
        if kind is Kind.NETWORK_STALL:
            proxy.silence()
        elif kind is Kind.LOST_REPLY:
            proxy.lose_replies()
            seconds = 0.3
        else:
            proxy.cut()
        gate.touch()
        self._keep_alive()
        time.sleep(seconds)
        if kind is Kind.LOST_REPLY:
            proxy.cut()
        proxy.mend()

    def _extend_lease(self, by: timedelta) -> None:
        with session_scope(self._engine) as session:
            run = session.get_one(Run, self.ground.run)
            run.lease_until = SystemClock().now() + by
            session.add(run)

    def _wait_for_other(self) -> None:
        """Let the stalled worker go on when another has taken the run, or when none can."""
        until = time.monotonic() + 4 * SHORT_LEASE_S
        stalled = self.own[0].pid
        assert stalled is not None
        while time.monotonic() < until and not self._over():
            if any(note.what is What.SENT and note.pid != stalled for note in read(self.ground.post.journal)):
                break
            time.sleep(_TICK_S)
        os.kill(stalled, signal.SIGCONT)

    def _end(self) -> None:
        """Ask all processes to end; one that does not is a problem."""
        processes = [*self.own, *self.others]
        for process in processes:
            if process.is_alive() and process.pid is not None:
                os.kill(process.pid, signal.SIGCONT)
                process.terminate()
        if not self._join(processes):
            self.ran.problems.append("a worker did not end when asked to")
            for process in processes:
                process.kill()
            self._join(processes)

    @staticmethod
    def _join(processes: list[ForkServerProcess]) -> bool:
        for process in processes:
            process.join(20)
        return not any(process.is_alive() for process in processes)
