"""What a page has read of a run: rounds that are over are neither read nor opened again, however long the run is.

A node's own figures are sealed for the authority, the node and the app. The app opens them here, with its own key and
no other; a page keeps what it has seen for the length of a session, the database never does.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from itertools import takewhile
from typing import NamedTuple

from core.learning.orders import slug_of
from core.learning.own_figures import open_own_figures, own_context
from core.learning.run_events import EventKind
from core.learning.run_figures import RoundFigures, RunEntry, figures_of
from db.models import RunEvent
from security.certificates import Trust
from security.context import Context
from security.errors import SecurityError
from security.identity import Identity

TRAINED = frozenset({"train", "upload"})
_EVALUATED = frozenset({"evaluate", "figures-upload"})
"""Steps whose replies hold a node's own figures, sealed: of its training, and of its validation."""


class OwnReading(NamedTuple):
    """A node's own figures, opened.

    Attributes:
        round: of which round.
        slug: whose.
        step: at which step they came.
        figures: by name; empty for what could not be opened.
    """

    round: int
    slug: str
    step: str
    figures: dict[str, float]


@dataclass
class RunMemory:
    """What a page has read of one run, as one person.

    Attributes:
        last: the last round that is over: a later one has begun. Its events need not be read again; -1 for none.
        rounds: figures of the rounds up to `last`, by number.
        readings: own figures of those rounds that this person may see, in the events' order.
        opened: event id -> own figures, of later rounds.
        count: how many own figures have been opened in all.
    """

    last: int = -1
    rounds: dict[int, RoundFigures] = field(default_factory=dict)
    readings: list[OwnReading] = field(default_factory=list)
    opened: dict[int, dict[str, float]] = field(default_factory=dict)
    count: int = 0

    def unseen(self, rows: Iterable[RunEvent]) -> list[RunEvent]:
        """Return the events whose own figures have not been opened yet."""
        return [row for row in rows if row.id not in self.opened]

    def keep(self, row: RunEvent, figures: dict[str, float]) -> None:
        """Keep what an event's seal held."""
        self.opened[row.id or 0] = figures
        self.count += 1

    def take(
        self, rows: Sequence[RunEvent], visible: Sequence[RunEvent]
    ) -> tuple[list[RoundFigures], list[OwnReading]]:
        """Return all rounds and all own figures, and remember those of rounds that are over.

        Args:
            rows: all events of rounds after `last`, in their order.
            visible: those of them whose own figures this person may see; all have been opened.
        """
        later = figures_of(
            RunEntry(EventKind(row.kind), row.round_number, row.party, row.payload, row.at) for row in rows
        )
        read = [
            OwnReading(row.round_number, slug_of(row.party), str(row.payload.get("step")), self.opened[row.id or 0])
            for row in visible
        ]
        all_rounds, all_readings = [*self.rounds.values(), *later], [*self.readings, *read]
        over = list(takewhile(lambda one: one.finished, later[:-1]))
        if over:
            self.last = over[-1].round
            self.rounds |= {one.round: one for one in over}
            self.readings += [one for one in read if one.round <= self.last]
            still = {row.id for row in visible if row.round_number > self.last}
            self.opened = {key: figures for key, figures in self.opened.items() if key in still}
        return all_rounds, all_readings


def validation_figures(readings: Iterable[OwnReading]) -> dict[int, dict[str, dict[str, float]]]:
    """Return round -> slug -> own validation figures; of several attempts the last counts."""
    found: dict[int, dict[str, dict[str, float]]] = {}
    for one in readings:
        if one.step in _EVALUATED and one.figures:
            found.setdefault(one.round, {})[one.slug] = one.figures
    return found


def training_figure(readings: Iterable[OwnReading], name: str) -> dict[int, dict[str, float]]:
    """Return round -> slug -> one figure of the training (`loss`, `epsilon`); of several attempts the last counts."""
    found: dict[int, dict[str, float]] = {}
    for one in readings:
        if one.step in TRAINED and name in one.figures:
            found.setdefault(one.round, {})[one.slug] = one.figures[name]
    return found


def figures_context(row: RunEvent, *, study: str) -> Context:
    """Return what the figures of an event are bound to; `study` is a code."""
    return own_context(
        study=study,
        party=row.party,
        run=row.run_id,
        round_number=row.round_number,
        attempt=str(row.payload.get("attempt", "")),
        step=str(row.payload.get("step", "")),
    )


def open_figures(row: RunEvent, *, study: str, reader: Identity, trust: Trust, at: datetime) -> dict[str, float]:
    """Open a node's own figures; what was tampered with, or comes from a revoked node, is shown as missing."""
    context = figures_context(row, study=study)
    try:
        return open_own_figures(row.sealed or b"", reader=reader, trust=trust.for_stored(), context=context, at=at)
    except SecurityError:
        return {}
