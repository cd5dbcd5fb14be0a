"""`federated.store.RunStore` in the database.

Every write checks, in its own transaction, that this worker still owns the run: a worker that was thought dead and
comes back writes nothing. Sealed blobs, signed lineages, codes, bytes and seconds are all that is stored.
"""

import math
import threading
from collections.abc import Collection, Iterator
from contextlib import contextmanager

from sqlalchemy import delete, update
from sqlmodel import Session, col, select

from core.diagnosis.exports import encode_exports
from core.errors import CheckpointRefused
from core.learning.lineage import read_lineage, sha256_of_lineage
from core.learning.orders import training_party
from core.learning.run_events import EventKind, Wish
from core.services import audit
from db.blobs import get_blob, put_blob
from db.engine import read_scope, session_scope
from db.models import Checkpoint, Hospital, Run, RunAttempt, RunEvent, RunMember
from db.models.federation import RunStatus
from federated.aggregation.base import GlobalModel, Served
from federated.dbstore.office import Office
from federated.dbstore.queue import Lease
from federated.messages import Model
from federated.store import AttemptOutcome, Ending, Event, StoreLost

_REASON_LENGTH = 512


class DbRunStore:
    """`federated.store.RunStore` for a claimed run."""

    def __init__(self, office: Office, run: str, *, lease: Lease, ending: threading.Event) -> None:
        """Work on a run that `claim_run` returned.

        Args:
            office: the worker's database side.
            run: id of the run.
            lease: keeps it ours.
            ending: set when the worker itself shall end.
        """
        self._office = office
        self._run = run
        self._lease = lease
        self._ending = ending

    def wish(self) -> Wish:
        """See `RunStore.wish`."""
        with read_scope(self._office.engine) as session:
            run = session.get_one(Run, self._run)
            self._check(run)
            return Wish(run.wish.value)

    def left(self) -> Collection[str]:
        """See `RunStore.left`."""
        with read_scope(self._office.engine) as session:
            slugs = session.exec(
                select(Hospital.slug)
                .join(RunMember, col(RunMember.hospital_id) == col(Hospital.id))
                .where(RunMember.run_id == self._run, col(RunMember.left_at).is_not(None))
            ).all()
        return frozenset(training_party(slug) for slug in slugs)

    def latest(self) -> GlobalModel | None:
        """See `RunStore.latest`.

        Raises:
            CheckpointRefused: the stored bytes or the lineage were changed.
        """
        with read_scope(self._office.engine) as session:
            row = self._latest(session)
            return None if row is None else self._model(session, row)

    def losses(self) -> list[float]:
        """See `RunStore.losses`."""
        ours = select(Checkpoint.metrics).where(Checkpoint.run_id == self._run)
        with read_scope(self._office.engine) as session:
            rows = session.exec(ours.order_by(col(Checkpoint.round_number))).all()
            return [metrics.get("loss", math.nan) for metrics in rows]

    def starting_model(self) -> Model | None:
        """See `RunStore.starting_model`.

        Raises:
            CheckpointRefused: the model that the order names is not there any more, or was changed.
        """
        with read_scope(self._office.engine) as session:
            row = self._start(session)
            return None if row is None else self._model(session, row).wire

    def begin_attempt(self, round_number: int) -> str:
        """See `RunStore.begin_attempt`."""
        with self._writing() as (session, run):
            still_open = (col(RunAttempt.run_id) == self._run) & col(RunAttempt.outcome).is_(None)
            session.connection().execute(
                update(RunAttempt).where(still_open).values(outcome=AttemptOutcome.ABANDONED.value)
            )
            run.attempts += 1
            attempt = RunAttempt(
                run_id=self._run, round_number=round_number, number=run.attempts, started_at=self._office.clock.now()
            )
            session.add(attempt)
            return attempt.id

    def end_attempt(self, attempt: str, outcome: AttemptOutcome) -> None:
        """See `RunStore.end_attempt`."""
        with self._writing() as (session, _run):
            self._end_attempt(session, attempt, outcome)

    def record(self, event: Event) -> None:
        """See `RunStore.record`."""
        with self._writing() as (session, _run):
            self._add(session, event)

    def finish_round(self, attempt: str, model: GlobalModel, event: Event) -> None:
        """See `RunStore.finish_round`."""
        with self._writing() as (session, run):
            parent = self._latest(session) or self._start(session)
            wire = model.wire
            session.add(
                Checkpoint(
                    study_code=run.study_code,
                    run_id=self._run,
                    round_number=wire.round,
                    parent_id=parent.id if parent else None,
                    weights_sha256=wire.weights_sha256,
                    weights_blob_id=put_blob(session, wire.sealed, "weights", self._office.clock).id,
                    lineage=wire.lineage,
                    metrics=dict(model.metrics),
                    created_at=self._office.clock.now(),
                )
            )
            run.rounds_done = wire.round
            progress = (col(RunEvent.run_id) == self._run) & (col(RunEvent.kind) == EventKind.PROGRESS.value)
            session.connection().execute(delete(RunEvent).where(progress))
            self._end_attempt(session, attempt, AttemptOutcome.FINISHED)
            self._add(session, event)

    def finish_run(self, attempt: str, served: Served, event: Event) -> None:
        """See `RunStore.finish_run`."""
        with self._writing() as (session, run):
            row = self._latest(session)
            if row is None:
                raise CheckpointRefused("the run has no model")
            row.serving_blob_id = put_blob(session, served.sealed, "serving", self._office.clock).id
            row.serving_sender = served.exporter
            row.exports = encode_exports(dict(served.statements))
            session.add(row)
            self._end_attempt(session, attempt, AttemptOutcome.FINISHED)
            self._close(session, run, Ending.FINISHED, "", event)

    def end(self, ending: Ending, reason: str, event: Event) -> None:
        """See `RunStore.end`."""
        with self._writing() as (session, run):
            self._close(session, run, ending, reason, event)

    def last_finished(self, attempts: Collection[str]) -> str:
        """Return which of the run's attempts finished last; empty if none of them did."""
        finished = col(RunAttempt.outcome) == AttemptOutcome.FINISHED.value
        ours = (col(RunAttempt.run_id) == self._run) & col(RunAttempt.id).in_(sorted(attempts))
        newest = col(RunAttempt.number).desc()
        with read_scope(self._office.engine) as session:
            row = session.exec(select(RunAttempt).where(finished & ours).order_by(newest).limit(1)).first()
            return "" if row is None else row.id

    def release(self) -> None:
        """Give an unfinished run back to the queue: the worker ends, the run does not."""
        with session_scope(self._office.engine) as session:
            ours = (col(Run.id) == self._run) & (col(Run.worker) == self._office.worker)
            unfinished = col(Run.status) == RunStatus.RUNNING
            back = {"status": RunStatus.QUEUED, "worker": None, "lease_until": None}
            session.connection().execute(update(Run).where(ours & unfinished).values(**back))

    @contextmanager
    def _writing(self) -> Iterator[tuple[Session, Run]]:
        """A transaction with the run's row locked and known to be ours."""
        with session_scope(self._office.engine) as session:
            run = session.get_one(Run, self._run, with_for_update=True)
            self._check(run)
            yield session, run
            session.add(run)

    def _check(self, run: Run) -> None:
        if run.worker != self._office.worker or self._lease.tenure.is_lost() or self._ending.is_set():
            raise StoreLost

    def _latest(self, session: Session) -> Checkpoint | None:
        newest = col(Checkpoint.round_number).desc()
        return session.exec(select(Checkpoint).where(Checkpoint.run_id == self._run).order_by(newest).limit(1)).first()

    def _start(self, session: Session) -> Checkpoint | None:
        """The finished model that the order names by the hash of its lineage."""
        run = session.get_one(Run, self._run)
        wanted = run.options.get("start_from")
        if not wanted:
            return None
        rows = select(Checkpoint).where(
            Checkpoint.study_code == run.study_code, col(Checkpoint.serving_blob_id).is_not(None)
        )
        for row in session.exec(rows):
            if sha256_of_lineage(row.lineage) == wanted:
                return row
        raise CheckpointRefused("the model that the run starts from is not there any more")

    def _model(self, session: Session, row: Checkpoint) -> GlobalModel:
        lineage = read_lineage(
            row.lineage,
            study=row.study_code,
            weights_sha256=row.weights_sha256,
            trust=self._office.trust(session).for_stored(),
            at=self._office.clock.now(),
        )
        wire = Model(
            run=lineage.run,
            round=lineage.round,
            sealed=get_blob(session, row.weights_blob_id),
            weights_sha256=row.weights_sha256,
            lineage=row.lineage,
        )
        return GlobalModel(wire=wire, members=lineage.members, metrics=lineage.metrics)

    def _end_attempt(self, session: Session, attempt: str, outcome: AttemptOutcome) -> None:
        row = session.get_one(RunAttempt, attempt)
        row.outcome = outcome.value
        session.add(row)

    def _add(self, session: Session, event: Event) -> None:
        session.add(
            RunEvent(
                run_id=self._run,
                round_number=event.round,
                kind=event.kind.value,
                party=event.party,
                at=self._office.clock.now(),
                payload=dict(event.payload),
                sealed=event.sealed,
            )
        )

    def _close(self, session: Session, run: Run, ending: Ending, reason: str, event: Event) -> None:
        run.status, run.reason = RunStatus(ending.value), reason[:_REASON_LENGTH] or None
        run.worker = run.lease_until = None
        run.finished_at = None if ending is Ending.PAUSED else self._office.clock.now()
        self._add(session, event)
        session.add(run)
        session.flush()
        audit.append_signed(
            session,
            clock=self._office.clock,
            signer=self._office.signer,
            trust=self._office.newest.known(),
            actor=self._office.signer.party,
            action=f"run.{ending.value}",
            object_id=self._run,
            outcome=audit.Outcome.FAILED if ending is Ending.FAILED else audit.Outcome.DONE,
            details={"rounds": run.rounds_done},
        )
