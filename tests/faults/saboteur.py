"""The worker's process with a journal and one fault in it: what is wrapped is the transport's host, not the parties.

Everything else is the product: worker, coordinator, parties, database store, ledgers. Only the learner is the tests'
NumPy one; what it computes is written outside the installation, so that a search knows what must not be found in it.
"""

import errno
import logging
import os
import signal
import tempfile
import threading
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from unittest.mock import patch

from sqlalchemy import Engine, event
from sqlmodel import Session

import db.engine
import federated.coordinator
import federated.dbstore.queue
import federated.worker
from core.learning.weights import Weights
from core.settings import Mode, Settings
from federated.aggregation.blind.fixed_point import Encoding
from federated.ledger import FileLedger
from federated.messages import Header, pack
from federated.softmax import SoftmaxLearner
from tests.faults.journal import Journal
from tests.faults.machines import Machines, RememberingWorker, note_of
from tests.faults.plan import AT_ANSWERS, AT_WRITES, Fault, Kind, Note, What

SHORT_LEASE_S = 4.0
SHORT_HEARTBEAT_S = 0.5
SHORT_BUSY_S = 2
SHORT_POLL_S = 0.1
ANOTHER_LIVES = 3
_WRITES = ("INSERT", "UPDATE", "DELETE")
_FILE_OF_SECRETS = "numbers.bin"


@dataclass(frozen=True, kw_only=True)
class Post:
    """Where a worker works.

    Attributes:
        data_dir: the installation.
        database_url: its database.
        journal: file of the journal.
        secrets: folder outside the installation for what must not be found in it.
        temporary: folder for temporary files.
        gate: file whose appearance lets a fault that others bring about go on.
        short: leases, waits and polls are shortened.
    """

    data_dir: Path
    database_url: str
    journal: Path
    secrets: Path
    temporary: Path
    gate: Path
    short: bool = True

    def settings(self) -> Settings:
        """The installation's settings."""
        return Settings(data_dir=self.data_dir, database_url=self.database_url, master_key=None, mode=Mode.DEMO)


def work(post: Post, fault: Fault | None) -> None:
    """Be the worker until told to end, and run into `fault` on the way. The target of a process."""
    tempfile.tempdir = str(post.temporary)
    settings = post.settings()
    settings.run_dir.mkdir(parents=True, exist_ok=True)
    log = os.open(settings.run_dir / "worker.log", os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o600)
    os.dup2(log, 1)
    os.dup2(log, 2)
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(levelname)s %(name)s: %(message)s")
    _Saboteur(post, fault).install()
    if post.short:
        federated.dbstore.queue.LEASE_S = SHORT_LEASE_S
        federated.dbstore.queue.HEARTBEAT_S = SHORT_HEARTBEAT_S
        db.engine._BUSY_TIMEOUT_S = SHORT_BUSY_S
        federated.worker.POLL_S = SHORT_POLL_S
    learner = _Learner(post.secrets)
    lived = federated.worker.serve(settings, learner_for=lambda *_: learner, idle_exit_s=600)
    os._exit(0 if lived else ANOTHER_LIVES)


class _Learner(SoftmaxLearner):
    """Keeps what it computed."""

    def __init__(self, secrets: Path) -> None:
        super().__init__()
        self._file = secrets / _FILE_OF_SECRETS

    def fit(self, weights: Weights, *arguments: Any, **options: Any) -> Any:
        """Train, and note weights and update."""
        new, report = super().fit(weights, *arguments, **options)
        with self._file.open("ab") as file:
            for name, array in new.items():
                file.write(array.astype("<f4").tobytes() + (array - weights[name]).astype("<f4").tobytes())
        return new, report


class _Saboteur:
    """Puts journal and fault into this process."""

    def __init__(self, post: Post, fault: Fault | None) -> None:
        self._gate = post.gate
        self._numbers = post.secrets / _FILE_OF_SECRETS
        self._journal = Journal(post.journal)
        self._fault = fault
        self._commits = 0

    def install(self) -> None:
        """Wrap the places where things can go wrong."""
        saboteur = self

        def packed(header: Header, *arguments: Any, **options: Any) -> bytes:
            letter = pack(header, *arguments, **options)
            saboteur.pass_by(note_of(What.SENT, header, header.recipient))
            return letter

        write_line = FileLedger._write

        def write(ledger: FileLedger, line: str) -> None:
            saboteur.write_ledger(ledger, line, write_line)

        Machines.saboteur = self
        patch.object(federated.coordinator, "pack", packed).start()
        patch.object(FileLedger, "_write", write).start()
        patch.object(Encoding, "quantise", _kept(Encoding.quantise, self._numbers)).start()
        patch.object(federated.worker, "InProcessHost", Machines).start()
        patch.object(federated.worker, "Worker", RememberingWorker).start()
        event.listen(Engine, "before_cursor_execute", self._before_write)
        event.listen(Engine, "commit", lambda _connection: self._at_write(What.COMMIT, Kind.KILLED_IN_COMMIT))
        event.listen(Session, "after_commit", lambda _session: self._after_commit())

    def pass_by(self, note: Note) -> Note:
        """Note where the run is; if the fault of the whole worker belongs here, let it happen."""
        fault = self._fault
        self._journal.note(note)
        if fault is not None and fault.kind not in AT_ANSWERS and fault.kind not in AT_WRITES and note.is_at(fault.at):
            self._happen(fault.kind)
        return note

    def strikes(self, note: Note) -> Kind | None:
        """Tell which fault of a party happens here, once."""
        fault = self._fault
        if fault is None or fault.kind not in AT_ANSWERS or not note.is_at(fault.at):
            return None
        self._fault = None
        self._journal.note(Note(what=What.HERE))
        return fault.kind

    def write_ledger(self, ledger: FileLedger, line: str, original: Any) -> None:
        """Write a ledger line, or half of it."""
        note = self._journal.note(Note(what=What.LEDGER))
        fault = self._fault
        if fault is None or AT_WRITES.get(fault.kind) is not What.LEDGER or note.order < fault.at.order:
            return original(ledger, line)
        self._journal.note(Note(what=What.HERE))
        with ledger._file.open("a", encoding="ascii") as file:
            file.write(f"\n{line}"[: len(line) // 2])
        if fault.kind is Kind.LEDGER_TORN:
            self._die()
        if fault.kind is Kind.DISK_FULL:
            self._fault = None
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    def _before_write(self, _connection: object, _cursor: object, statement: str, *_more: object) -> None:
        if statement.lstrip().upper().startswith(_WRITES):
            self._at_write(What.WRITE, Kind.KILLED_IN_WRITE)

    def _at_write(self, what: What, kind: Kind) -> None:
        note = self._journal.note(Note(what=what))
        fault = self._fault
        if fault is not None and fault.kind is kind and note.order == fault.at.order:
            self._die()
        if what is What.COMMIT:
            self._commits = note.order

    def _after_commit(self) -> None:
        fault = self._fault
        if fault is not None and fault.kind is Kind.KILLED_AFTER_COMMIT and self._commits >= fault.at.order:
            self._die()

    def _die(self) -> None:
        self._journal.note(Note(what=What.HERE))
        os.kill(os.getpid(), signal.SIGKILL)

    def _happen(self, kind: Kind) -> None:
        self._fault = None
        self._journal.note(Note(what=What.HERE))
        if kind in {Kind.KILLED, Kind.MACHINE_RESTART, Kind.TAKEN_OVER, Kind.DATABASE_LATE, Kind.KILLED_TWICE}:
            os.kill(os.getpid(), signal.SIGKILL)
        elif kind is Kind.STALLED:
            os.kill(os.getpid(), signal.SIGSTOP)
        elif kind is Kind.STOPPED:
            os.kill(os.getpid(), signal.SIGTERM)
        elif kind is not Kind.TWO_WORKERS:
            while not self._gate.exists():  # somebody outside takes the database away
                threading.Event().wait(0.005)


def _kept(quantise: Callable[..., int], file: Path) -> Callable[..., int]:
    """Note the words of each vector before they are masked."""

    def quantise_and_keep(encoding: Encoding, values: Any, weight: float, out: Any) -> int:
        clipped = quantise(encoding, values, weight, out)
        with file.open("ab") as numbers:
            numbers.write(out.tobytes())
        return clipped

    return quantise_and_keep
