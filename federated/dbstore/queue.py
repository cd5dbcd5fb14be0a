"""Which run is whose: claiming, and the lease that keeps a run ours."""

import logging
import threading
import time
from datetime import timedelta

from sqlalchemy import or_, update
from sqlmodel import col, select

from core.errors import DatabaseUnavailable
from db.engine import session_scope
from db.models import Run
from db.models.federation import RunStatus
from federated.dbstore.office import Office

log = logging.getLogger(__name__)

LEASE_S = 15.0
HEARTBEAT_S = 3.0
_CLAIMABLE = (RunStatus.QUEUED, RunStatus.RUNNING)


def claim_run(office: Office) -> str | None:
    """Take the oldest run that waits or whose worker is gone; returns its id.

    A worker is gone when its lease has ended, or when it was another process of this installation on this host: only
    one at a time can hold the installation's lock, and the caller holds it.
    """
    mine = office.worker.rpartition("/")[0] + "/"
    now = office.clock.now()
    with session_scope(office.engine) as session:
        ownerless = or_(
            col(Run.status) == RunStatus.QUEUED,
            col(Run.lease_until).is_(None),
            col(Run.lease_until) < now,
            col(Run.worker).startswith(mine, autoescape=True),
        )
        run = session.exec(
            select(Run)
            .where(col(Run.status).in_(_CLAIMABLE), ownerless)
            .order_by(col(Run.created_at))
            .limit(1)
            .with_for_update()
        ).first()
        if run is None:
            return None
        run.status, run.worker = RunStatus.RUNNING, office.worker
        run.lease_until = now + timedelta(seconds=LEASE_S)
        run.started_at = run.started_at or now
        session.add(run)
        return run.id


class Tenure:
    """Whether a run is still ours: all that parties get to know of a lease, and no way to whose it is."""

    def __init__(self, good_until: float) -> None:
        """Begin.

        Args:
            good_until: monotonic time until which the run is ours.
        """
        self.taken = threading.Event()
        self.good_until = good_until

    def is_lost(self) -> bool:
        """Whether the run is no longer ours, or may not be: also right after this process stood still for a while."""
        return self.taken.is_set() or time.monotonic() > self.good_until


class Lease:
    """Keeps a claimed run ours while the block runs: a thread renews it. A context manager."""

    def __init__(self, office: Office, run: str, *, since: float) -> None:
        """Hold the lease of a run that `claim_run` returned.

        Args:
            office: the worker's database side.
            run: id of the run.
            since: monotonic time before it was claimed.
        """
        self.tenure = Tenure(since + LEASE_S)
        self._office = office
        self._run = run
        self._ended = threading.Event()
        self._thread = threading.Thread(target=self._renew, name="federated-lease", daemon=True)

    def __enter__(self) -> "Lease":  # noqa: PYI034 - not meant to be subclassed
        """Start renewing."""
        self._thread.start()
        return self

    def __exit__(self, *_exc: object) -> None:
        """Stop renewing."""
        self._ended.set()
        self._thread.join()

    def _renew(self) -> None:
        while not self._ended.wait(HEARTBEAT_S):
            begun = time.monotonic()
            try:
                with session_scope(self._office.engine) as session:
                    until = self._office.clock.now() + timedelta(seconds=LEASE_S)
                    ours = (col(Run.id) == self._run) & (col(Run.worker) == self._office.worker)
                    renewed = session.connection().execute(update(Run).where(ours).values(lease_until=until))
                if renewed.rowcount != 1:
                    self.tenure.taken.set()
                    return
                self.tenure.good_until = begun + LEASE_S
            except DatabaseUnavailable:
                log.info("the lease of run %s could not be renewed", self._run)
