"""A run's state in the database; with `federated.worker` the only place of this package that knows the database."""

from federated.dbstore.node_links import Progress, Switches
from federated.dbstore.office import DbDirectory, Office
from federated.dbstore.queue import HEARTBEAT_S, LEASE_S, Lease, claim_run
from federated.dbstore.run_store import DbRunStore

__all__ = [
    "HEARTBEAT_S",
    "LEASE_S",
    "DbDirectory",
    "DbRunStore",
    "Lease",
    "Office",
    "Progress",
    "Switches",
    "claim_run",
]
