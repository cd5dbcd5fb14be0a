"""What a hospital's own node did, line by line: steps of its training node, its enclave, and what befell its runs.

Lines of other hospitals' nodes are left out, though one log file may hold them all. No line holds a figure of the
hospital's images, a patient or a key: events of runs are codes and counts, and processes log kinds of events.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from enum import IntEnum, StrEnum

from sqlmodel import col, select

from core.diagnosis.supervisor import log_file
from core.learning.orders import COORDINATOR, serving_party, training_party
from core.learning.run_events import EventKind, FailureCode
from core.log_lines import LogLine, read_log
from core.services import worker_process
from core.services.app import Actor, App
from core.services.authorise import Action
from core.services.own_hospital import own_hospital
from core.services.run_views import event_view
from db.engine import read_scope
from db.models import RunEvent, RunMember

__all__ = ["Level", "LogEntry", "Source", "as_text", "node_log"]

MOST_LINES = 500
MOST_BYTES = 256 * 1024
"""Of the end of a log file; what is older is for whoever has the machine."""


class Level(IntEnum):
    """How grave a line is; the numbers are those of `logging`."""

    INFO = 20
    WARNING = 30
    ERROR = 40


class Source(StrEnum):
    """Who tells it."""

    TRAINING = "training node"
    RUN = "run"
    ENCLAVE = "enclave"


@dataclass(frozen=True)
class LogEntry:
    """One line: when, how grave, who tells it, what happened, and in which run ("" outside of one)."""

    at: datetime
    level: Level
    source: Source
    text: str
    run_id: str = ""


_LEVELS = {
    EventKind.FAILED: Level.WARNING,
    EventKind.ATTEMPT_ABANDONED: Level.WARNING,
    EventKind.RUN_ABORTED: Level.WARNING,
    EventKind.RUN_FAILED: Level.ERROR,
}
_OF_FAILURES = {FailureCode.CRASHED: Level.ERROR, FailureCode.LEFT: Level.INFO, FailureCode.STOPPED: Level.INFO}
_OF_RUNS = tuple(
    kind.value for kind in EventKind if kind not in {EventKind.PROGRESS, EventKind.ANSWERED, EventKind.FAILED}
)


def node_log(app: App, actor: Actor, *, least: Level = Level.INFO, words: str = "") -> list[LogEntry]:
    """Return the newest lines of the actor's own node, the newest first.

    Args:
        app: the application.
        actor: the hospital's administrator.
        least: only lines as grave as this.
        words: only lines with all of these words in them, in small or capital letters.

    Raises:
        NotAuthorised: the actor does not administer a hospital.
    """
    with read_scope(app.engine) as session:
        hospital = own_hospital(app, session, actor, Action.READ_NODE)
        party = training_party(hospital.slug)
        own_runs = select(RunMember.run_id).where(RunMember.hospital_id == hospital.id)
        of_run = (col(RunEvent.party) == COORDINATOR) & col(RunEvent.kind).in_(_OF_RUNS)
        of_node = (col(RunEvent.party) == party) & (col(RunEvent.kind) != EventKind.PROGRESS.value)
        rows = session.exec(
            select(RunEvent)
            .where(col(RunEvent.run_id).in_(own_runs), of_run | of_node)
            .order_by(col(RunEvent.id).desc())
            .limit(MOST_LINES)
        ).all()
    found = [_of_event(row, party) for row in rows]
    serving = serving_party(hospital.slug)
    enclave = read_log(log_file(app.settings, serving), most_bytes=MOST_BYTES)
    found += [_of_line(line, Source.ENCLAVE) for line in enclave]
    worker = read_log(app.settings.run_dir / worker_process.LOG_NAME, most_bytes=MOST_BYTES)
    found += [_of_line(line, Source.TRAINING) for line in worker if line.text.startswith(f"{party} ")]
    wanted = words.casefold().split()
    chosen = [
        one
        for one in found
        if one.level >= least and all(word in f"{one.source} {one.text}".casefold() for word in wanted)
    ]
    return sorted(chosen, key=lambda one: one.at, reverse=True)[:MOST_LINES]


def as_text(entries: Sequence[LogEntry]) -> str:
    """Return lines as a file, oldest first; times are UTC."""
    return "".join(
        f"{one.at:%Y-%m-%dT%H:%M:%SZ} {one.level.name} {one.source}: {one.text}"
        + (f" (run {one.run_id})" if one.run_id else "")
        + "\n"
        for one in reversed(entries)
    )


def _of_event(row: RunEvent, party: str) -> LogEntry:
    view = event_view(row)
    kind = EventKind(row.kind)
    level = _LEVELS.get(kind, Level.INFO)
    if kind is EventKind.FAILED:
        level = _OF_FAILURES.get(FailureCode(str(row.payload.get("code"))), level)
    elif kind is EventKind.RUN_PAUSED and row.payload.get("reason"):
        level = Level.WARNING
    source = Source.TRAINING if row.party == party else Source.RUN
    at_round = f"round {row.round_number}: " if row.round_number else ""
    return LogEntry(row.at, level, source, f"{at_round}{view.text}", row.run_id)


def _of_line(line: LogLine, source: Source) -> LogEntry:
    level = max((one for one in Level if one <= line.level), default=Level.INFO)
    return LogEntry(line.at, level, source, line.text)
