"""Does what was ordered in a folder and is not done yet: ``python -m core.evaluation.perform_order FOLDER``.

The attacks come first, so that the tables can count them. It ends within moments when the file `STOP` lies there, or
when the folder is gone.
"""

import signal
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from filelock import FileLock, Timeout

from core.clock import Clock, SystemClock
from core.errors import HemaSealError
from core.evaluation.attacks import bench, lab
from core.evaluation.ordered import LOCK, ORDER, STOP, Order, Phase, Standing, note, read_order
from core.evaluation.tables.profile import FULL, QUICK
from core.evaluation.tables.question import Question
from core.evaluation.tables.run import make_tables
from core.studies import STUDIES

_WRITE_S, _LOOK_S = 0.5, 0.3


def go_on(folder: Path, *, clock: Clock) -> Phase:
    """Do what is not done yet, note how far it is, and return how it ended.

    Raises:
        Timeout: another process works in the folder.
        FileNotFoundError: nothing was ordered there, or the folder was removed meanwhile.
    """
    order = read_order(folder)
    if order is None:
        raise FileNotFoundError(folder / ORDER)
    with FileLock(folder / LOCK, timeout=0):
        teller = _Teller(folder, clock)
        try:
            with _interrupted(folder):
                _do(order, folder, teller)
        except KeyboardInterrupt:
            return teller.end(Phase.STOPPED)
        except HemaSealError as error:
            return teller.end(Phase.FAILED, f"{error.text} {error.detail}".strip())
        except Exception:  # whatever it is, the page must not show a process that works
            teller.end(Phase.FAILED, "Its process met an error that it does not know; the log in its folder has it.")
            raise
        return teller.end(Phase.FINISHED)


class _Teller:
    """Notes progress, not more often than somebody could read it."""

    def __init__(self, folder: Path, clock: Clock) -> None:
        self._folder, self._clock = folder, clock
        self._now = Standing(phase=Phase.RUNNING, at=clock.now())
        self._written = 0.0
        self._lock = threading.Lock()  # parties of a run tell of their training from threads of their own

    def part(self, name: str) -> None:
        """A part begins."""
        self._now = Standing(phase=Phase.RUNNING, at=self._clock.now(), part=name)
        self._write()

    def begun(self, step: str, done: int, total: int) -> None:
        """A step of the part begins."""
        update = {"step": step, "done": done, "total": total, "what": "", "inside": 0, "of": 0, "at": self._clock.now()}
        self._now = self._now.model_copy(update=update)
        self._write()

    def say(self, what: str, done: int, total: int) -> None:
        """So far is the step."""
        update = {"what": what, "inside": done, "of": total, "at": self._clock.now()}
        self._now = self._now.model_copy(update=update)
        if time.monotonic() - self._written > _WRITE_S:
            self._write()

    def end(self, phase: Phase, reason: str = "") -> Phase:
        """The process is about to end."""
        update = {"phase": phase, "reason": reason, "at": self._clock.now()}
        self._now = self._now.model_copy(update=update)
        with suppress(FileNotFoundError):  # the folder was removed
            self._write()
        return phase

    def _write(self) -> None:
        with self._lock:
            note(self._folder, self._now)
            self._written = time.monotonic()


def _do(order: Order, folder: Path, teller: _Teller) -> None:
    study = STUDIES[order.study]
    if order.attacks:
        teller.part("attacks")
        profile = bench.FULL if order.full else bench.QUICK
        lab.run(order.data, study, folder, profile=profile, seed=0, say=teller.say, begun=teller.begun)
    if order.tables:
        teller.part("tables")
        asked = Question.ask(
            data=order.data,
            study=study,
            profile=FULL if order.full else QUICK,
            checkpoint=None,
            split=None,
            say=teller.say,
        )
        make_tables(asked, folder, say=teller.say, begun=teller.begun)


@contextmanager
def _interrupted(folder: Path) -> Iterator[None]:
    """Raise KeyboardInterrupt inside when the folder holds `STOP`, or is gone, or the process is told to end."""
    ended, main = threading.Event(), threading.main_thread().ident

    def watch() -> None:
        while not ended.wait(_LOOK_S):
            if main is not None and ((folder / STOP).exists() or not folder.is_dir()):
                signal.pthread_kill(main, signal.SIGINT)
                return

    before = {number: signal.signal(number, signal.default_int_handler) for number in (signal.SIGINT, signal.SIGTERM)}
    watcher = threading.Thread(target=watch, name="stop", daemon=True)
    watcher.start()
    try:
        yield
    finally:
        ended.set()
        watcher.join()
        for number, handler in before.items():
            signal.signal(number, handler)


if __name__ == "__main__":
    try:
        go_on(Path(sys.argv[1]), clock=SystemClock())
    except Timeout:
        sys.exit("another process works in this folder")
