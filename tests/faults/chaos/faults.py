"""Brings each kind of fault about, from outside of the processes that it hits, and ends it."""

import os
import resource
import signal
import sqlite3
import threading
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager, suppress
from itertools import chain
from pathlib import Path

from sqlalchemy import create_engine, make_url, text
from sqlalchemy.exc import DBAPIError

from tests.faults.chaos.place import Place, filled
from tests.faults.chaos.schedule import Fault, Kind
from tests.federation import SLUGS

_LOCK_WAIT_S = 10
_AGAIN_S = 0.2
PROGRAMS = {
    "app": "tests.faults.chaos.app",
    "worker": "tests.faults.chaos.worker",
    "enclave": "core.diagnosis.enclave",
}


class NothingToHit(Exception):
    """What a fault was meant for was not there."""


@contextmanager
def happening(fault: Fault, place: Place, app: Callable[[], int | None]) -> Iterator[None]:
    """Let a fault last as long as the block.

    Args:
        fault: what goes wrong.
        place: where.
        app: returns the app's process now, None while there is none.

    Raises:
        NothingToHit: no such process lives, or the database stayed busy.
    """
    with ExitStack() as stack:
        who, _, what = fault.kind.value.partition(" ")
        if what == "killed":
            os.kill(_victim(who, fault, place, app()), signal.SIGKILL)
        elif what == "hangs":
            victim = _victim(who, fault, place, app())
            os.kill(victim, signal.SIGSTOP)
            stack.callback(_go_on, victim)
        elif fault.kind is Kind.DATABASE_AWAY:
            stack.enter_context(_killed_connections(place) if place.database_url else _locked(place))
        elif fault.kind is Kind.DISK_FULL:
            stack.enter_context(filled(place.data_dir) if place.is_own_disk else _unwritable(place, app))
        else:
            said, back = _weather(fault)
            place.weather.change(**said)
            stack.callback(lambda: place.weather.change(**back))
        yield


def _weather(fault: Fault) -> tuple[dict[str, object], dict[str, object]]:
    """Return what is the matter, and what takes it back."""
    if fault.kind in {Kind.APP_CLOCK, Kind.WORKER_CLOCK}:
        name = "app_clock" if fault.kind is Kind.APP_CLOCK else "worker_clock"
        return {name: fault.skew_s}, {name: None}
    trouble = {Kind.NODE_AWAY: "away", Kind.NODE_LATE: "late", Kind.NODE_RESTARTS: "restart"}[fault.kind]
    slug = SLUGS[int(fault.draw * len(SLUGS))]
    return {"node": trouble, "slug": slug, "number": fault.number}, {"node": None}


def _victim(who: str, fault: Fault, place: Place, app_pid: int | None) -> int:
    """Return the process that a fault is meant for."""
    living = living_of(place, app_pid)[who]
    if not living:
        raise NothingToHit(who)
    return living[int(fault.draw * len(living))]


def living_of(place: Place, app_pid: int | None) -> dict[str, list[int]]:
    """Return the processes of an installation, by what they are; the enclaves are those of its present app."""
    own = {"app": str(place.folder), "worker": str(place.folder), "enclave": str(app_pid)}
    found: dict[str, list[int]] = {who: [] for who in own}
    for entry in Path("/proc").iterdir():
        with suppress(OSError):  # it has gone meanwhile
            words = (
                (entry / "cmdline").read_bytes().decode(errors="replace").split("\0")[1:]
                if entry.name.isdigit()
                else []
            )
            for who, tag in own.items():
                if PROGRAMS[who] in words and tag in words:
                    found[who].append(int(entry.name))
    return {who: sorted(pids) for who, pids in found.items()}


def _go_on(pid: int) -> None:
    with suppress(ProcessLookupError):
        os.kill(pid, signal.SIGCONT)


@contextmanager
def _locked(place: Place) -> Iterator[None]:
    """Hold SQLite's lock, so that nobody writes."""
    lock = sqlite3.connect(place.data_dir / "hemaseal.db", timeout=_LOCK_WAIT_S, isolation_level=None)
    try:
        try:
            lock.execute("BEGIN EXCLUSIVE")
        except sqlite3.OperationalError as error:  # somebody who hangs has it
            raise NothingToHit("database") from error
        yield
        lock.execute("ROLLBACK")
    finally:
        lock.close()


@contextmanager
def _killed_connections(place: Place) -> Iterator[None]:
    """Have MySQL end every connection to the schema, over and over; the server itself and others are left alone."""
    url = make_url(place.database_url)
    engine = create_engine(url.set(database=None))
    over = threading.Event()
    theirs = text("SELECT id FROM information_schema.processlist WHERE db = :schema AND id <> CONNECTION_ID()")

    def kill() -> None:
        with engine.connect() as connection:
            while not over.wait(_AGAIN_S):
                for (number,) in connection.execute(theirs, {"schema": url.database}).all():
                    with suppress(DBAPIError):  # it has gone meanwhile
                        connection.exec_driver_sql(f"KILL {int(number)}")

    thread = threading.Thread(target=kill)
    thread.start()
    try:
        yield
    finally:
        over.set()
        thread.join()
        engine.dispose()


@contextmanager
def _unwritable(place: Place, app: Callable[[], int | None]) -> Iterator[None]:
    """Where no disk can be filled: let the processes' writes to files fail (EFBIG in place of ENOSPC)."""
    _limit(place, app(), 1)
    try:
        yield
    finally:
        _limit(place, app(), None)  # also of those that were started meanwhile


def _limit(place: Place, app_pid: int | None, most: int | None) -> None:
    """Change how large the files of all processes of an installation may grow; None is as large as allowed."""
    for pid in chain.from_iterable(living_of(place, app_pid).values()):
        with suppress(OSError):
            _, hard = resource.prlimit(pid, resource.RLIMIT_FSIZE)
            resource.prlimit(pid, resource.RLIMIT_FSIZE, (hard if most is None else most, hard))
