"""The federated worker: ``python -m federated.worker`` takes queued runs from the database and plays them.

In the demo all parties of a run live in this process, each an object that opened its own key folder only; they exchange
bytes through the in-process transport. One worker per installation and host: it holds a file lock while it lives, so
that a run whose owner held that lock before is known to be orphaned and is resumed at once; a run of another host is
resumed when its lease ends. TensorFlow is imported with the first training, not before.
"""

import argparse
import base64
import hashlib
import logging
import os
import signal
import socket
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from functools import partial

from filelock import FileLock, Timeout
from sqlalchemy import Engine

from core.clock import Clock, SystemClock
from core.errors import ClockWrong, DatabaseUnavailable, HemaSealError, StorageFailed
from core.learning.orders import COORDINATOR, Member, RunOptions, slug_of
from core.learning.run_events import EventKind
from core.log_lines import begin_log
from core.services.app import load_master_key
from core.services.dataset_store import sealed_path
from core.services.worker_process import LOCK_NAME, note_started
from core.settings import Settings
from core.studies import STUDIES_BY_CODE, Study
from db.engine import make_engine, read_scope
from db.models import Run
from federated.answering import Answering
from federated.board import FileBoard, file_board, published_attempts
from federated.coordinator import Coordinator
from federated.dbstore import DbDirectory, DbRunStore, Lease, Office, Progress, Switches, claim_run
from federated.hosting import DatasetFile, Hosting
from federated.learner import KerasLearner, Learner
from federated.memory import keep_large_buffers
from federated.newest_list import NewestList
from federated.node import TrainingNode
from federated.notary import Notary
from federated.store import Ending, Event, StoreLost
from federated.timing import Stopwatch
from federated.transport.base import Transport, TransportClosed
from federated.transport.flower.transport import FlowerTransport
from federated.transport.inprocess import InProcessHost, Lines
from security.errors import SecurityError
from security.identity import Identity, load_root
from security.keys import KeyStore

log = logging.getLogger(__name__)

LearnerFor = Callable[[str, Study], Learner]

POLL_S = 1.0
IDLE_EXIT_S = 900.0
_LOCK_WAIT_S = 3.0
"""Somebody who only asks whether a worker lives holds the lock for a moment; a loaded machine makes it a long one."""


class Worker:
    """Plays runs, one at a time."""

    def __init__(
        self, settings: Settings, *, clock: Clock | None = None, learner_for: LearnerFor = KerasLearner
    ) -> None:
        """Open the coordinator's keys; a database that does not answer yet is waited for when there is work to do.

        Args:
            settings: which installation.
            clock: tells the time.
            learner_for: makes the nodes' learner from (architecture, study); kept for the process's life.

        Raises:
            SettingsError: there is no usable master key.
            SecurityError: the coordinator's keys do not open, or it knows of no revocation list.
        """
        self.ending = threading.Event()
        self._settings = settings
        self._clock = clock or SystemClock()
        self._learner_for = learner_for
        self._learners: dict[tuple[str, str], Learner] = {}
        self._engine: Engine = make_engine(settings.database)
        store = KeyStore(settings.keys_dir, COORDINATOR, load_master_key(settings))
        self._office = Office(
            engine=self._engine,
            clock=self._clock,
            worker=_worker_name(settings),
            signer=Identity.load(store),
            newest=NewestList(load_root(store), store.folder),
        )
        with suppress(DatabaseUnavailable), read_scope(self._engine) as session:
            self._office.trust(session)

    def run_one(self) -> bool:
        """Claim and play one run; returns whether there was one, and a way to its parties.

        Raises:
            DatabaseUnavailable: the database did not answer when asked for work.
        """
        if not self._reaches_somebody():
            return False
        asked_at = time.monotonic()
        run = claim_run(self._office)
        if run is None:
            return False
        log.info("run %s: begun", run)
        with Lease(self._office, run, since=asked_at) as lease:
            store = DbRunStore(self._office, run, lease=lease, ending=self.ending)
            try:
                self._play(run, store, lease)
            except StoreLost:
                if self.ending.is_set():
                    store.release()
                log.info("run %s: given up", run)
            except (ClockWrong, DatabaseUnavailable, TransportClosed) as error:
                log.warning("run %s: interrupted (%s); the last finished round is kept", run, type(error).__name__)
                self.ending.wait(POLL_S)
            except Exception as error:  # or the next worker takes the run and ends in the same way
                log.exception("run %s: fails", run)
                self._fail(store, _reason_of(error))
        return True

    def run_until_idle(self, *, idle_exit_s: float = IDLE_EXIT_S) -> None:
        """Play runs as they are queued; return when there was none for `idle_exit_s`, or when told to end."""
        idle_since = time.monotonic()
        while not self.ending.is_set():
            try:
                if self.run_one():
                    idle_since = time.monotonic()
                    continue
            except DatabaseUnavailable:
                log.warning("the database does not answer; trying again")
            if time.monotonic() - idle_since >= idle_exit_s:
                return
            self.ending.wait(POLL_S)

    def close(self) -> None:
        """Let go of the database."""
        self._engine.dispose()

    def _play(self, run: str, store: DbRunStore, lease: Lease) -> None:
        with read_scope(self._engine) as session:
            row = session.get_one(Run, run)
            trust = self._office.trust(session)
        study = STUDIES_BY_CODE[row.study_code]
        order = _bytes_of(row, "order")
        notary = Notary(self._office.signer, trust, study=study.code, clock=self._clock, watch=Stopwatch())
        options = notary.read_order(order, run=run)
        with self._reaching(run, options, study, trust.crl_der or b"", lease) as transport:
            coordinator = Coordinator(
                notary=notary,
                run=run,
                order=order,
                transport=transport,
                store=store,
                directory=DbDirectory(self._engine),
                group=_bytes_of(row, "group"),
                boards=partial(self._board, run, store),
            )
            ending = coordinator.play()
        log.info("run %s: %s", run, ending)

    def _reaches_somebody(self) -> bool:
        """Whether runs can be played: here always, over Flower while its server app listens."""
        path = self._settings.flower_socket
        return path is None or FlowerTransport(path).is_open()

    @contextmanager
    def _reaching(self, run: str, options: RunOptions, study: Study, crl: bytes, lease: Lease) -> Iterator[Transport]:
        """The way to a run's parties: over Flower where the settings say so, or in this process, which hosts them."""
        if self._settings.flower_socket is not None:
            yield FlowerTransport(self._settings.flower_socket)
            return
        lines = Lines()
        switches = Switches(self._engine, run, lease.tenure.is_lost, self.ending, lines.given_up)
        parties = self._parties(run, options, study, crl, switches)
        log.info("run %s: %d parties", run, len(parties))
        with InProcessHost(parties, is_down=switches.is_down, lines=lines) as host:
            yield host.transport

    def _parties(self, run: str, options: RunOptions, study: Study, crl: bytes, switches: Switches) -> list[Answering]:
        """Bring up aggregation and nodes; none of them is given anything that leads to another party's keys."""
        hosting = Hosting(
            keys_dir=self._settings.keys_dir,
            master=load_master_key(self._settings),
            crl=crl,
            study=study,
            clock=self._clock,
        )
        return [hosting.aggregation(), *self._nodes(run, options, hosting, switches)]

    def _nodes(self, run: str, options: RunOptions, hosting: Hosting, switches: Switches) -> Iterator[TrainingNode]:
        """Bring up the members' nodes; one that cannot come up is absent, and the round counts it as dropped out."""
        learner = self._learner(options.architecture, hosting.study)
        for member in options.members:
            try:
                yield hosting.node(
                    member.party,
                    self._dataset_file(member),
                    learner=learner,
                    has_left=partial(switches.has_left, member.party),
                    should_stop=partial(switches.should_stop, member.party),
                    progress=Progress(self._engine, self._clock, run, self._office.worker, member.party),
                )
            except (HemaSealError, SecurityError, OSError) as error:
                log.warning("%s does not come up: %s", member.party, error)

    def _dataset_file(self, member: Member) -> DatasetFile:
        return DatasetFile(id=member.dataset, path=sealed_path(self._settings, slug_of(member.party), member.dataset))

    def _board(self, run: str, store: DbRunStore, attempt: str, name: str) -> FileBoard:
        """Where a sum's uploads are published: anybody may read them. Of a run, the last finished round's stay."""
        folder = self._settings.data_dir / "published" / run
        last = store.last_finished(published_attempts(folder) - {attempt})
        return file_board(folder, attempt, name, last=last)

    def _learner(self, architecture: str, study: Study) -> Learner:
        key = (architecture, study.code)
        if key not in self._learners:
            self._learners[key] = self._learner_for(architecture, study)
        return self._learners[key]

    def _fail(self, store: DbRunStore, reason: str) -> None:
        event = Event(kind=EventKind.RUN_FAILED, round=0, party=COORDINATOR, payload={"reason": reason})
        with suppress(StoreLost, DatabaseUnavailable, ClockWrong):
            store.end(Ending.FAILED, reason, event)


def _reason_of(error: Exception) -> str:
    """The sentence that people read about a run that failed; of an unforeseen error it tells nothing."""
    if isinstance(error, HemaSealError):
        return error.public_text
    if isinstance(error, OSError) and not isinstance(error, ConnectionError | TimeoutError):
        return StorageFailed().public_text
    if isinstance(error, SecurityError):
        return f"A signature or key does not hold: {error}."
    return "Something unforeseen ended the run; the worker's log says what."


def _worker_name(settings: Settings) -> str:
    """``host/installation/process``: the first two parts are the same for all workers that share a lock file."""
    place = hashlib.sha256(str(settings.run_dir.resolve()).encode()).hexdigest()[:12]
    return f"{socket.gethostname()[:24]}/{place}/{os.getpid()}"


def _bytes_of(run: Run, name: str) -> bytes:
    """Return order or group key as they are stored with the options; empty if not there, which no party accepts."""
    try:
        return base64.b64decode(str(run.options.get(name, "")), validate=True)
    except ValueError:
        return b""


def serve(
    settings: Settings,
    *,
    clock: Clock | None = None,
    learner_for: LearnerFor = KerasLearner,
    idle_exit_s: float = IDLE_EXIT_S,
) -> bool:
    """Be the worker of this installation on this host; returns after a moment, with False, if another is.

    Raises:
        SettingsError, SecurityError: see `Worker`.
    """
    keep_large_buffers()
    settings.run_dir.mkdir(parents=True, exist_ok=True)
    try:
        with FileLock(settings.run_dir / LOCK_NAME, timeout=_LOCK_WAIT_S):
            note_started(settings)
            worker = Worker(settings, clock=clock, learner_for=learner_for)
            for number in (signal.SIGTERM, signal.SIGINT):
                signal.signal(number, lambda *_: worker.ending.set())
            try:
                worker.run_until_idle(idle_exit_s=idle_exit_s)
            finally:
                worker.close()
    except Timeout:
        return False
    return True


def parser() -> argparse.ArgumentParser:
    """Return what reads the command line."""
    made = argparse.ArgumentParser(prog="python -m federated.worker", description=__doc__)
    made.add_argument("--idle-exit-s", type=float, default=IDLE_EXIT_S, help="end after so many seconds without work")
    return made


def main() -> None:
    """Run the worker until it has been idle for a while; return after a moment if another one lives here."""
    arguments = parser().parse_args()
    begin_log()
    if not serve(Settings(), idle_exit_s=arguments.idle_exit_s):
        log.info("another worker lives here already")


if __name__ == "__main__":
    main()
