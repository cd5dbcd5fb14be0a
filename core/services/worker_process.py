"""The federated worker as a process: started when a run is queued, found again by the lock that it holds.

A worker in the middle of a run lives on when the app ends, until it has been idle for a while; a second one started by
mistake ends at once, and one that works on another database than the app now uses is ended to make room.
"""

import hashlib
import os
import signal
import subprocess
import time
from contextlib import suppress
from pathlib import Path

from filelock import FileLock, Timeout
from sqlalchemy import make_url

from core.services import processes
from core.settings import Settings

LOCK_NAME = "worker.lock"
LOG_NAME = "worker.log"
PID_NAME = "worker.pid"
STARTING_NAME = "worker.starting"
START_S = 30.0


def is_running(settings: Settings) -> bool:
    """Tell whether a worker of this installation, with this database, lives on this host."""
    return _is_locked(settings) and not _is_of_another_database(settings)


def _is_locked(settings: Settings) -> bool:
    """Tell whether any worker lives here, whatever its database."""
    settings.run_dir.mkdir(parents=True, exist_ok=True)
    try:
        with FileLock(settings.run_dir / LOCK_NAME, timeout=0):
            return False
    except Timeout:
        return True


def ensure_running(settings: Settings) -> bool:
    """Start a worker unless one lives or is starting; returns whether one was started. Does not wait for it.

    Where the settings say that workers are elsewhere none is started, nor ended. One of another database is asked to
    end; a later call, when it has gone, starts one.
    """
    if not settings.start_worker:
        return False
    if _is_locked(settings):
        if _is_of_another_database(settings):
            stop(settings)
        return False
    if _is_starting(settings):
        return False
    (settings.run_dir / STARTING_NAME).touch()
    processes.start(settings, ["federated.worker"], log=settings.run_dir / LOG_NAME)
    return True


def note_started(settings: Settings) -> None:
    """Note, as the worker that holds the lock, that it lives: its process id, since when, and on which database."""
    pid = os.getpid()
    (settings.run_dir / PID_NAME).write_text(f"{pid}\n{_started_at(pid)}\n{_database_mark(settings)}", encoding="utf-8")
    (settings.run_dir / STARTING_NAME).unlink(missing_ok=True)


def _is_starting(settings: Settings) -> bool:
    """Tell whether a worker was started moments ago and has not come as far as its lock."""
    try:
        return time.time() - (settings.run_dir / STARTING_NAME).stat().st_mtime < START_S
    except OSError:
        return False


def stop(settings: Settings) -> bool:
    """Ask the worker of this installation to end after the training step in hand; returns whether one lived.

    A run that it had begun goes back to the queue.
    """
    if not _is_locked(settings):
        return False
    with suppress(OSError):
        if (noted := _noted(settings)) is not None:
            os.kill(noted[0], signal.SIGTERM)
    return True


def _noted(settings: Settings) -> tuple[int, str] | None:
    """Return process id and database mark of the worker that noted itself last; None if it lives no more."""
    with suppress(OSError, ValueError):
        text = (settings.run_dir / PID_NAME).read_text(encoding="utf-8")
        pid, started_at, mark = [*text.split("\n"), ""][:3]
        if started_at and _started_at(int(pid)) == started_at:  # else the number is another process's by now
            return int(pid), mark
    return None


def _is_of_another_database(settings: Settings) -> bool:
    """Tell whether the worker that noted itself works on another database; one that has not yet is taken for ours."""
    noted = _noted(settings)
    return noted is not None and noted[1] != _database_mark(settings)


def _database_mark(settings: Settings) -> str:
    """Return a hash that tells databases apart; the password is not in it, so that the file gives nothing to guess."""
    url = make_url(settings.database)
    place = url.database or ""
    if url.get_backend_name() == "sqlite":
        place = str(Path(place).resolve())
    where = "\n".join((url.get_backend_name(), url.host or "", str(url.port or ""), place))
    return hashlib.sha256(where.encode()).hexdigest()


def _started_at(pid: int) -> str:
    """Return when a process began, as its system tells it; empty if there is no such process or no answer."""
    stat = Path(f"/proc/{pid}/stat")
    try:
        if Path("/proc/self/stat").exists():  # the 22nd field; the second is a name in brackets that may hold anything
            return stat.read_text(encoding="utf-8", errors="replace").rpartition(")")[2].split()[19]
        return subprocess.check_output(["ps", "-o", "lstart=", "-p", str(pid)], text=True).strip()
    except (OSError, subprocess.CalledProcessError):
        return ""
