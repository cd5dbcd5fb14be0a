"""What a run's events add up to, round by round: global figures, seconds by task, bytes, and who dropped out.

Pure: the page of a live run and the command `simulate` both count with this.
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any, NamedTuple

from core.learning.run_events import EventKind, FailureCode

TASKS = ("training_s", "evaluation_s", "cryptography_s", "other_s")
WAITING = "waiting_s"


class RunEntry(NamedTuple):
    """One event, as much of it as counts.

    Attributes:
        kind: what happened.
        round: in which round.
        party: whose event it is.
        payload: `federated.store.Event.payload`.
        at: when; None where nobody noted it.
    """

    kind: EventKind
    round: int
    party: str
    payload: Mapping[str, Any]
    at: datetime | None = None


@dataclass(frozen=True)
class Answer:
    """What came back from a party at a step.

    Attributes:
        party: who answered.
        step: what it had been asked.
        bytes: size of the whole message.
        at: when it had come.
        attached: size of its attachment (a masked vector, sealed weights); 0 for none.
        sha256: first hex digits of the attachment's SHA-256; empty for none.
    """

    party: str
    step: str
    bytes: int
    at: datetime | None = None
    attached: int = 0
    sha256: str = ""


@dataclass(frozen=True)
class Failure:
    """A member's answer that is missing or was not used.

    Attributes:
        party: the member.
        step: at which step.
        code: why.
        refused_by: who refused what it sent; empty when it did not answer.
        attempt: at which attempt of the round, from 1.
        at: when it was noted.
    """

    party: str
    step: str
    code: FailureCode
    refused_by: str = ""
    attempt: int = 0
    at: datetime | None = None


@dataclass
class RoundFigures:
    """One round, all its attempts together.

    Attributes:
        round: its number; 0 is the opening.
        finished: whether it has a global model.
        attempts: how often it was begun.
        metrics: global validation figures.
        members: whose updates are in the model.
        seconds: by task, over all parties.
        by_party: the same for each party.
        traffic: party -> (bytes from it, bytes to it).
        bytes_up: from parties to the coordinator.
        bytes_down: from the coordinator to parties.
        failures: in order.
        progress: party -> (steps done, steps in all) of the training under way.
        answers: what came back in the attempt at hand, in order.
        began_at: when the attempt at hand, or the export, began.
        ended_at: when it ended; None while it is under way.
        heard: party -> when it last gave a sign in the attempt at hand: an answer, or progress of its training.
        elapsed_s: seconds on the clock of all attempts that have ended, and of the export: of an attempt that a lost
            worker left open, up to the last sign of anybody.
    """

    round: int
    finished: bool = False
    attempts: int = 0
    metrics: dict[str, float] = field(default_factory=dict)
    members: tuple[str, ...] = ()
    seconds: dict[str, float] = field(default_factory=lambda: dict.fromkeys(TASKS, 0.0))
    by_party: dict[str, dict[str, float]] = field(default_factory=dict)
    traffic: dict[str, tuple[int, int]] = field(default_factory=dict)
    bytes_up: int = 0
    bytes_down: int = 0
    failures: list[Failure] = field(default_factory=list)
    progress: dict[str, tuple[int, int]] = field(default_factory=dict)
    answers: list[Answer] = field(default_factory=list)
    began_at: datetime | None = None
    ended_at: datetime | None = None
    heard: dict[str, datetime] = field(default_factory=dict)
    elapsed_s: float = 0.0

    def split_of(self, party: str) -> dict[str, float]:
        """Return where the clock's seconds went at one party: its tasks, and `WAITING` for what remains.

        It waits for others, for the coordinator and for messages to arrive. Where parties take turns on one machine,
        what one of them works is the others' waiting.
        """
        own = self.by_party.get(party, dict.fromkeys(TASKS, 0.0))
        return {**own, WAITING: max(0.0, self.elapsed_s - sum(own.values()))}

    @property
    def answered(self) -> dict[str, str]:
        """Party -> last step that it answered in the attempt at hand."""
        return {answer.party: answer.step for answer in self.answers}


def figures_of(entries: Iterable[RunEntry]) -> list[RoundFigures]:
    """Count events, in their order; returns the rounds that have begun, by number."""
    rounds: dict[int, RoundFigures] = {}
    for entry in entries:
        if entry.kind in _COUNTED:
            _COUNTED[entry.kind](rounds.setdefault(entry.round, RoundFigures(entry.round)), entry)
    return [rounds[number] for number in sorted(rounds)]


def totals_of(rounds: Iterable[RoundFigures]) -> dict[str, float]:
    """Return seconds by task and bytes over all rounds, with ``bytes_up`` and ``bytes_down``."""
    total = dict.fromkeys((*TASKS, "bytes_up", "bytes_down"), 0.0)
    for one in rounds:
        for task in TASKS:
            total[task] += one.seconds[task]
        total["bytes_up"] += one.bytes_up
        total["bytes_down"] += one.bytes_down
    return total


def _started(figures: RoundFigures, entry: RunEntry) -> None:
    _begin(figures, entry)
    figures.attempts += 1
    figures.progress.clear()
    figures.answers.clear()
    figures.heard.clear()


def _begin(figures: RoundFigures, entry: RunEntry) -> None:
    """Start the clock; what an attempt without an end took counts up to the last sign of anybody."""
    if figures.ended_at is None and figures.began_at is not None:
        _stop(figures, max(figures.heard.values(), default=figures.began_at))
    figures.began_at, figures.ended_at = entry.at, None


def _end(figures: RoundFigures, entry: RunEntry) -> None:
    if entry.at is not None:
        _stop(figures, entry.at)


def _stop(figures: RoundFigures, at: datetime) -> None:
    if figures.began_at is not None and figures.ended_at is None:
        figures.elapsed_s += max(0.0, (at - figures.began_at).total_seconds())
    figures.ended_at = at


def _hear(figures: RoundFigures, entry: RunEntry) -> None:
    if entry.at is not None:
        figures.heard[entry.party] = entry.at


def _progress(figures: RoundFigures, entry: RunEntry) -> None:
    _hear(figures, entry)
    figures.progress[entry.party] = (int(entry.payload["done"]), int(entry.payload["total"]))


def _answered(figures: RoundFigures, entry: RunEntry) -> None:
    payload = entry.payload
    attached, sha256 = payload.get("attached", (0, ""))
    figures.answers.append(
        Answer(entry.party, str(payload["step"]), int(payload.get("bytes_in", 0)), entry.at, int(attached), str(sha256))
    )
    figures.progress.pop(entry.party, None)
    _hear(figures, entry)
    _weigh(figures, entry)


def _failed(figures: RoundFigures, entry: RunEntry) -> None:
    payload = entry.payload
    figures.failures.append(
        Failure(
            party=entry.party,
            step=str(payload["step"]),
            code=FailureCode(payload["code"]),
            refused_by=str(payload.get("refused_by", "")),
            attempt=figures.attempts,
            at=entry.at,
        )
    )
    figures.progress.pop(entry.party, None)
    _weigh(figures, entry)


def _finished(figures: RoundFigures, entry: RunEntry) -> None:
    figures.finished = True
    figures.metrics = {name: float(value) for name, value in entry.payload["metrics"].items()}
    figures.members = tuple(entry.payload["members"])
    _end(figures, entry)
    _weigh(figures, entry)


def _exported(figures: RoundFigures, entry: RunEntry) -> None:
    _end(figures, entry)
    _weigh(figures, entry)


def _weigh(figures: RoundFigures, entry: RunEntry) -> None:
    up, down = int(entry.payload.get("bytes_in", 0)), int(entry.payload.get("bytes_out", 0))
    before = figures.traffic.get(entry.party, (0, 0))
    figures.traffic[entry.party] = before[0] + up, before[1] + down
    figures.bytes_up += up
    figures.bytes_down += down
    seconds = entry.payload.get("seconds", {})
    own = figures.by_party.setdefault(entry.party, dict.fromkeys(TASKS, 0.0))
    for task in TASKS:
        figures.seconds[task] += float(seconds.get(task, 0.0))
        own[task] += float(seconds.get(task, 0.0))


_COUNTED = {
    EventKind.ROUND_STARTED: _started,
    EventKind.PROGRESS: _progress,
    EventKind.ANSWERED: _answered,
    EventKind.FAILED: _failed,
    EventKind.ATTEMPT_ABANDONED: _end,
    EventKind.ROUND_FINISHED: _finished,
    EventKind.EXPORT_STARTED: _begin,
    EventKind.RUN_FINISHED: _exported,
}
