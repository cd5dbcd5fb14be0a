"""Where the time of a run goes: training, evaluation, cryptography, and the rest."""

import time
from collections.abc import Iterator
from contextlib import contextmanager
from enum import StrEnum


class Task(StrEnum):
    """What a second was spent on; `OTHER` is what remains of an answer's duration."""

    TRAINING = "training_s"
    EVALUATION = "evaluation_s"
    CRYPTOGRAPHY = "cryptography_s"
    OTHER = "other_s"


class Stopwatch:
    """Adds up wall-clock seconds by task; used by one thread at a time, never nested."""

    def __init__(self) -> None:
        self._seconds = dict.fromkeys(Task, 0.0)
        self._since = time.perf_counter()

    @contextmanager
    def measuring(self, task: Task) -> Iterator[None]:
        """Count the block's duration for `task`."""
        begun = time.perf_counter()
        try:
            yield
        finally:
            self._seconds[task] += time.perf_counter() - begun

    def lap(self) -> dict[str, float]:
        """Return the seconds by task since the last lap and start the next one."""
        now = time.perf_counter()
        measured, self._seconds = self._seconds, dict.fromkeys(Task, 0.0)
        measured[Task.OTHER] = max(0.0, now - self._since - sum(measured.values()))
        self._since = now
        return {task.value: round(seconds, 6) for task, seconds in measured.items()}

    def restart(self) -> None:
        """Start a lap now; waiting before it is nobody's time."""
        self.lap()
