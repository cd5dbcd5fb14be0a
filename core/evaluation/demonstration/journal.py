"""What a running demonstration writes down and a page reads: one file of JSON lines for each step, in one folder.

Whoever removes the folder ends the demonstration: its process finds it gone at its next line.
"""

from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from datetime import datetime
from enum import StrEnum
from pathlib import Path

from filelock import FileLock, Timeout
from pydantic import ValidationError

from core.clock import Clock
from core.evaluation.demonstration.outcome import Outcome, Shown
from core.evaluation.demonstration.script import StepName

__all__ = ["ASKED_NAME", "Entry", "EntryKind", "Journal", "Removed", "Say", "hold", "is_held", "read_entries"]

_LOCK_NAME = "lock"
ASKED_NAME = "asked"
"""Lies in the folder from when a process is asked for until it holds the lock."""
Say = Callable[[str, float], None]
"""Told what happens now, and which share of the step is done, from 0 to 1."""


class EntryKind(StrEnum):
    """Kinds of line."""

    ASKED = "asked"
    BEGUN = "begun"
    PROGRESS = "progress"
    ENDED = "ended"
    FAILED = "failed"


class Entry(Shown):
    """One line.

    Attributes:
        kind: what happened.
        at: when, UTC.
        text: in words.
        share: how much of the step is done, from 0 to 1.
        outcome: what came out, at the end.
    """

    kind: EntryKind
    at: datetime
    text: str = ""
    share: float = 0.0
    outcome: Outcome | None = None


class Removed(Exception):
    """Somebody reset the demonstration."""


class Journal:
    """Writes the lines of one process."""

    def __init__(self, folder: Path, *, clock: Clock) -> None:
        self._folder = folder
        self._clock = clock

    def write(
        self, step: StepName, kind: EntryKind, text: str = "", share: float = 0.0, outcome: Outcome | None = None
    ) -> None:
        """Add a line to a step's file.

        Raises:
            Removed: the folder is gone.
        """
        entry = Entry(kind=kind, at=self._clock.now(), text=text, share=share, outcome=outcome)
        try:
            with (self._folder / f"{step}.jsonl").open("a", encoding="utf-8") as file:
                file.write(entry.model_dump_json() + "\n")
        except FileNotFoundError:
            raise Removed from None

    def forget(self, step: StepName) -> None:
        """Remove what was written of a step."""
        (self._folder / f"{step}.jsonl").unlink(missing_ok=True)

    def saying(self, step: StepName) -> Say:
        """Return what a step tells its progress."""
        return lambda text, share: self.write(step, EntryKind.PROGRESS, text, share)


def read_entries(folder: Path, step: StepName) -> list[Entry]:
    """Return the lines of a step so far; one that is being written is left for the next time."""
    try:
        lines = (folder / f"{step}.jsonl").read_text(encoding="utf-8").split("\n")
    except FileNotFoundError:
        return []
    entries = []
    for line in lines[:-1]:
        try:
            entries.append(Entry.model_validate_json(line))
        except ValidationError:
            break
    return entries


@contextmanager
def hold(folder: Path) -> Iterator[None]:
    """Hold the folder's lock, as the process that plays does for its life.

    Raises:
        Removed: the folder is gone, or another process plays in it.
    """
    if not folder.is_dir():
        raise Removed
    try:
        with FileLock(folder / _LOCK_NAME, timeout=0):
            (folder / ASKED_NAME).unlink(missing_ok=True)
            yield
    except Timeout:
        raise Removed from None


def is_held(folder: Path) -> bool:
    """Tell whether a process plays in the folder."""
    with suppress(FileNotFoundError, Timeout):
        if not folder.is_dir():
            return False
        with FileLock(folder / _LOCK_NAME, timeout=0):
            return False
    return folder.is_dir()
