"""What a node in the worker's process gets of the database: what it is asked to do, and a place for its progress.

Neither leads to the coordinator's identity: both hold the engine, the run's id, and events of the worker.
"""

import threading
import time
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass, field

from sqlalchemy import Engine, delete
from sqlmodel import col, select

from core.clock import Clock
from core.errors import DatabaseUnavailable
from core.learning.orders import slug_of
from core.learning.run_events import EventKind, Wish
from db.engine import read_scope, session_scope
from db.models import Hospital, Run, RunEvent, RunMember

_WISH_AGE_S = 0.5
_PROGRESS_S = 2.0


@dataclass
class Switches:
    """What the authority wants of a run, whom it made drop out and who has left, read at most every half second.

    Attributes:
        engine: the database.
        run: id of the run.
        is_lost: whether the run is not ours any more.
        ending: set when the worker itself shall end.
        given_up: whether nobody waits any more for what a node is doing.
    """

    engine: Engine
    run: str
    is_lost: Callable[[], bool]
    ending: threading.Event
    given_up: Callable[[], bool]
    _wish: Wish = Wish.GO
    _down: frozenset[str] = frozenset()
    _left: frozenset[str] = frozenset()
    _read_at: float = field(default=float("-inf"))

    def should_stop(self, party: str) -> bool:
        """Whether a node shall stop training now."""
        self._refresh()
        gone = self.is_lost() or self.ending.is_set() or self.given_up()
        return gone or self._wish is not Wish.GO or slug_of(party) in self._down

    def is_down(self, party: str) -> bool:
        """Whether a hospital's machine is off for this run, or the run is another worker's by now."""
        self._refresh()
        return self.is_lost() or slug_of(party) in self._down

    def has_left(self, party: str) -> bool:
        """Whether a node's hospital has left the run."""
        self._refresh()
        return slug_of(party) in self._left

    def _refresh(self) -> None:
        """Read the switches; a database that does not answer leaves them as they are (the lease decides then)."""
        if time.monotonic() - self._read_at < _WISH_AGE_S:
            return
        self._read_at = time.monotonic()
        with suppress(DatabaseUnavailable), read_scope(self.engine) as session:
            wish = session.exec(select(Run.wish).where(Run.id == self.run)).one()
            members = session.exec(
                select(Hospital.slug, RunMember.drop_requested, RunMember.left_at)
                .join(RunMember, col(RunMember.hospital_id) == col(Hospital.id))
                .where(RunMember.run_id == self.run)
            ).all()
            self._wish = Wish(wish)
            self._down = frozenset(slug for slug, dropped, _ in members if dropped)
            self._left = frozenset(slug for slug, _, left_at in members if left_at is not None)


@dataclass
class Progress:
    """Stores how far a node's training is, at most every two seconds; never its loss, which is the node's own.

    Attributes:
        engine: the database.
        clock: tells the time.
        run: id of the run.
        worker: name of the worker that owns it; another one's run is left alone.
        party: the node.
        told_at: monotonic time of the last note.
    """

    engine: Engine
    clock: Clock
    run: str
    worker: str
    party: str
    told_at: float = float("-inf")

    def __call__(self, done: int, total: int) -> None:
        """Take (steps done, steps in all), in place of what was stored before."""
        if done < total and time.monotonic() - self.told_at < _PROGRESS_S:
            return
        self.told_at = time.monotonic()
        with suppress(DatabaseUnavailable), session_scope(self.engine) as session:
            run = session.get_one(Run, self.run, with_for_update=True)
            if run.worker != self.worker:
                return
            before = (col(RunEvent.run_id) == self.run) & (col(RunEvent.kind) == EventKind.PROGRESS.value)
            session.connection().execute(delete(RunEvent).where(before & (col(RunEvent.party) == self.party)))
            session.add(
                RunEvent(
                    run_id=self.run,
                    round_number=run.rounds_done + 1,
                    kind=EventKind.PROGRESS.value,
                    party=self.party,
                    at=self.clock.now(),
                    payload={"done": done, "total": total},
                )
            )
