"""An evaluation that somebody ordered: a folder that says what is to be done, how far it is, and holds what came of it.

What a page reads of it, and how a process is asked for; `core.evaluation.perform_order` is that process.
"""

import time
from datetime import datetime
from enum import StrEnum
from pathlib import Path

from filelock import FileLock, Timeout
from pydantic import BaseModel, ConfigDict, ValidationError

from core.clock import Clock
from core.evaluation.tables.workbook import whole_file

ORDER, STANDING, STOP, LOCK = "order.json", "standing.json", "stop", "lock"
START_S = 60.0
"""So long after it was asked for, a process that has not come yet counts as lost."""


class Order(BaseModel):
    """What is to be done.

    Attributes:
        data: folder with ``index.csv`` and images.
        study: what is asked of them.
        full: the full profile; else the quick one.
        tables: make the tables of the papers.
        attacks: run the attack lab.
        at: when it was ordered, UTC.
    """

    model_config = ConfigDict(frozen=True)

    data: Path
    study: str
    full: bool
    tables: bool
    attacks: bool
    at: datetime


class Phase(StrEnum):
    """How an evaluation stands."""

    WAITING = "waiting"
    RUNNING = "running"
    STOPPING = "stopping"
    STOPPED = "stopped"
    LOST = "lost"
    FAILED = "failed"
    FINISHED = "finished"


MOVING = frozenset({Phase.WAITING, Phase.RUNNING, Phase.STOPPING})
"""A process works, or is about to."""


class Standing(BaseModel):
    """How far an evaluation is.

    Attributes:
        phase: as its process wrote it.
        at: when.
        part: what is being made.
        step: which step of it.
        done: steps of the part that are finished.
        total: steps of the part; 0 when it has not begun.
        what: what the step does now.
        inside: work of the step that is done.
        of: work of the step in all.
        reason: why it failed.
    """

    model_config = ConfigDict(frozen=True)

    phase: Phase
    at: datetime
    part: str = ""
    step: str = ""
    done: int = 0
    total: int = 0
    what: str = ""
    inside: int = 0
    of: int = 0
    reason: str = ""

    @property
    def share(self) -> float:
        """How much of the part is done, from 0 to 1."""
        within = min(1.0, self.inside / self.of) if self.of else 0.0
        return min(1.0, (self.done + within) / self.total) if self.total else 0.0


def read_order(folder: Path) -> Order | None:
    """Return what was ordered; None where nobody ordered anything."""
    try:
        return Order.model_validate_json((folder / ORDER).read_bytes())
    except (OSError, ValidationError):
        return None


def ask(folder: Path, order: Order | None, *, clock: Clock) -> None:
    """Note that a process is about to come; with an order, begin the folder with it."""
    if order is not None:
        folder.mkdir(parents=True, mode=0o700)
        whole_file(folder / ORDER, order.model_dump_json().encode())
    (folder / STOP).unlink(missing_ok=True)
    note(folder, Standing(phase=Phase.WAITING, at=clock.now()))


def standing(folder: Path) -> Standing | None:
    """Return how far an evaluation is; None where no process was ever asked for."""
    try:
        noted = Standing.model_validate_json((folder / STANDING).read_bytes())
        age = time.time() - (folder / STANDING).stat().st_mtime
    except (OSError, ValidationError):
        return None
    if noted.phase not in MOVING:
        return noted
    if _is_held(folder):
        return noted.model_copy(update={"phase": Phase.STOPPING}) if (folder / STOP).exists() else noted
    if noted.phase is Phase.WAITING and age < START_S:
        return noted
    return noted.model_copy(update={"phase": Phase.LOST})


def note(folder: Path, now: Standing) -> None:
    """Note how far an evaluation is.

    Raises:
        FileNotFoundError: its folder is gone.
    """
    whole_file(folder / STANDING, now.model_dump_json().encode())


def _is_held(folder: Path) -> bool:
    try:
        with FileLock(folder / LOCK, timeout=0):
            return False
    except Timeout:
        return True
