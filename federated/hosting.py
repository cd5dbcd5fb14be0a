"""Bringing up the parties of a run on this machine: each opens its own key folder, and a node its own data set.

In the demo one process hosts them all; on several machines each would run this for its own party only.
"""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from core.clock import Clock
from core.imaging.archive import open_dataset
from core.learning.orders import AGGREGATION
from core.studies import Study
from federated.aggregation.enclave import AggregationEnclave
from federated.learner import Learner
from federated.ledger import FileLedger
from federated.newest_list import NewestList
from federated.node import TrainingNode
from federated.notary import Notary
from federated.spend import FileSpendBook
from federated.timing import Stopwatch
from security.identity import Identity, load_root
from security.keys import KeyStore, MasterKey

LEDGER_NAME = "answered.log"


@dataclass(frozen=True, kw_only=True)
class DatasetFile:
    """A hospital's sealed data set.

    Attributes:
        id: its id, to which the seal is bound.
        path: where the sealed file lies.
    """

    id: str
    path: Path


@dataclass(frozen=True, kw_only=True)
class Hosting:
    """Opens parties for one run; short-lived, since it holds the master key.

    Attributes:
        keys_dir: the key folders.
        master: the installation's master key.
        crl: a revocation list, DER, or empty; each party checks it and keeps the newest that it has seen.
        study: whose run it is.
        clock: tells the time.
    """

    keys_dir: Path
    master: MasterKey
    crl: bytes
    study: Study
    clock: Clock

    def aggregation(self) -> AggregationEnclave:
        """Open the aggregation party.

        Raises:
            SecurityError: its keys do not open, or it knows of no revocation list.
        """
        store, notary, _ = self._open(AGGREGATION)
        return AggregationEnclave(notary=notary, ledger=FileLedger(store.folder / LEDGER_NAME))

    def node(
        self,
        party: str,
        file: DatasetFile,
        *,
        learner: Learner,
        should_stop: Callable[[], bool],
        progress: Callable[[int, int], None],
        has_left: Callable[[], bool] = lambda: False,
    ) -> TrainingNode:
        """Open a hospital's training node with its data set.

        A hospital with a process of its own for it leaves by ending that, so it need not say `has_left`.

        Raises:
            SecurityError: its keys do not open, or it knows of no revocation list.
            DatasetRefused: the sealed file does not open for this node.
            OSError: the sealed file cannot be read.
        """
        store, notary, identity = self._open(party)
        archive = open_dataset(
            file.path,
            node=identity,
            trust=notary.trust,
            study=self.study,
            dataset_id=file.id,
            at=self.clock.now(),
        )
        return TrainingNode(
            notary=notary,
            ledger=FileLedger(store.folder / LEDGER_NAME),
            learner=learner,
            dataset=file.id,
            data=archive.arrays,
            clinical=archive.clinical,
            spend=FileSpendBook(store.folder),
            has_left=has_left,
            should_stop=should_stop,
            progress=progress,
        )

    def _open(self, party: str) -> tuple[KeyStore, Notary, Identity]:
        store = KeyStore(self.keys_dir, party, self.master)
        identity, newest = Identity.load(store), NewestList(load_root(store), store.folder)
        notary = Notary(
            identity,
            newest.take(self.crl),
            study=self.study.code,
            clock=self.clock,
            watch=Stopwatch(),
            keep=newest.take,
        )
        return store, notary, identity
