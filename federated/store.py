"""Where a run's state lives: the `RunStore` port, and `MemoryRunStore` for simulations.

The rule of the port: what a later step relies on is stored before it is sent. An attempt's id is stored before any
message bears it; a round is finished in one transaction with its model; an attempt that was not finished is abandoned
for ever, and the next try gets a new id.
"""

import math
import secrets
from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass, field
from datetime import datetime
from enum import StrEnum
from typing import Any, Protocol

from core.clock import Clock
from core.learning.run_events import EventKind, Wish
from federated.aggregation.base import GlobalModel, Served
from federated.messages import Model


class Ending(StrEnum):
    """How a run, or this worker's part of it, ends; the same values as the database's run states."""

    FINISHED = "finished"
    PAUSED = "paused"
    ABORTED = "aborted"
    FAILED = "failed"


class AttemptOutcome(StrEnum):
    """How an attempt ended."""

    FINISHED = "finished"
    ABANDONED = "abandoned"
    FAILED = "failed"


class StoreLost(Exception):
    """This coordinator no longer owns the run; it must neither write nor send anything more."""


@dataclass(frozen=True, kw_only=True)
class Event:
    """Something that happened in a run.

    Attributes:
        kind: what.
        round: in which round; 0 before the first.
        party: whose it is.
        payload: what the cloud may see: names of steps, codes, bytes, seconds, global figures.
        sealed: a node's own figures, sealed (`core.learning.own_figures`).
    """

    kind: EventKind
    round: int
    party: str
    payload: Mapping[str, Any] = field(default_factory=dict)
    sealed: bytes | None = None


class RunStore(Protocol):
    """A run's state, as its coordinator needs it."""

    def wish(self) -> Wish:
        """What the authority wants."""
        ...

    def left(self) -> Collection[str]:
        """Parties whose hospital has left the run and not come back."""
        ...

    def latest(self) -> GlobalModel | None:
        """Model of the last finished round, or None before round 0."""
        ...

    def losses(self) -> list[float]:
        """Global validation losses of the finished rounds, oldest first; nan where a round has none."""
        ...

    def starting_model(self) -> Model | None:
        """The finished model that the run shall continue from, or None for new weights."""
        ...

    def begin_attempt(self, round_number: int) -> str:
        """Store a new attempt and return its id; attempts that are still open are marked abandoned."""
        ...

    def end_attempt(self, attempt: str, outcome: AttemptOutcome) -> None:
        """Store how an attempt without a result ended."""
        ...

    def record(self, event: Event) -> None:
        """Store an event."""
        ...

    def finish_round(self, attempt: str, model: GlobalModel, event: Event) -> None:
        """Store a round's model, the end of its attempt and the event, all or nothing."""
        ...

    def finish_run(self, attempt: str, served: Served, event: Event) -> None:
        """Store the serving model with the last round's, and the run as finished, all or nothing."""
        ...

    def end(self, ending: Ending, reason: str, event: Event) -> None:
        """Store that the run does not go on (for now), with the reason for people."""
        ...


def _nobody(_event: Event) -> None:
    pass


@dataclass
class MemoryRunStore:
    """A store that lives as long as the process.

    Attributes:
        clock: tells the events' times.
        start: model to continue from.
        wanted: what the authority wants.
        away: parties whose hospital has left.
        models: of all finished rounds.
        events: all, with their times.
        attempts: attempt id -> (round, outcome or None).
        served: the exported model, once the run has finished.
        ending: how the run ended.
        reason: why it did not finish.
        listener: told of each event.
    """

    clock: Clock
    start: Model | None = None
    wanted: Wish = Wish.GO
    away: set[str] = field(default_factory=set)
    models: list[GlobalModel] = field(default_factory=list)
    events: list[tuple[datetime, Event]] = field(default_factory=list)
    attempts: dict[str, tuple[int, AttemptOutcome | None]] = field(default_factory=dict)
    served: Served | None = None
    ending: Ending | None = None
    reason: str = ""
    listener: Callable[[Event], None] = _nobody

    def wish(self) -> Wish:
        """See `RunStore.wish`."""
        return self.wanted

    def left(self) -> Collection[str]:
        """See `RunStore.left`."""
        return frozenset(self.away)

    def latest(self) -> GlobalModel | None:
        """See `RunStore.latest`."""
        return self.models[-1] if self.models else None

    def losses(self) -> list[float]:
        """See `RunStore.losses`."""
        return [model.metrics.get("loss", math.nan) for model in self.models]

    def starting_model(self) -> Model | None:
        """See `RunStore.starting_model`."""
        return self.start

    def begin_attempt(self, round_number: int) -> str:
        """See `RunStore.begin_attempt`."""
        for attempt, (number, outcome) in self.attempts.items():
            if outcome is None:
                self.attempts[attempt] = (number, AttemptOutcome.ABANDONED)
        attempt = secrets.token_hex(16)
        self.attempts[attempt] = (round_number, None)
        return attempt

    def end_attempt(self, attempt: str, outcome: AttemptOutcome) -> None:
        """See `RunStore.end_attempt`."""
        self.attempts[attempt] = (self.attempts[attempt][0], outcome)

    def record(self, event: Event) -> None:
        """See `RunStore.record`."""
        self.events.append((self.clock.now(), event))
        self.listener(event)

    def finish_round(self, attempt: str, model: GlobalModel, event: Event) -> None:
        """See `RunStore.finish_round`."""
        self.models.append(model)
        self.end_attempt(attempt, AttemptOutcome.FINISHED)
        self.record(event)

    def finish_run(self, attempt: str, served: Served, event: Event) -> None:
        """See `RunStore.finish_run`."""
        self.served = served
        self.end_attempt(attempt, AttemptOutcome.FINISHED)
        self.end(Ending.FINISHED, "", event)

    def end(self, ending: Ending, reason: str, event: Event) -> None:
        """See `RunStore.end`."""
        self.ending, self.reason = ending, reason
        self.record(event)
