"""The parties of a demonstration, each in a house of its own: a folder with its master key, its keys and its data set.

On several machines each house is a machine; here one process founds them all, as an authority does at a ceremony, and
keeps only the coordinator's and the authority's keys.
"""

from dataclasses import dataclass, field
from pathlib import Path

from core.clock import Clock
from core.imaging.archive import Archive, seal_dataset
from core.imaging.arrays import DatasetArrays
from core.learning.orders import APP, AUTHORITY, training_party
from core.settings import Settings
from core.studies import Study
from federated.throwaway import Board
from security.authority import CertificateAuthority
from security.certificates import Certificate, Trust
from security.identity import Identity
from security.keys import KeyStore, MasterKey


@dataclass(kw_only=True)
class Houses:
    """Founds houses below a folder and certifies who lives there.

    Attributes:
        folder: where.
        clock: tells certificates' times.
        office: the authority's certificate authority.
        board: what the authority has published.
    """

    folder: Path
    clock: Clock
    office: CertificateAuthority = field(init=False)
    board: Board = field(init=False)

    def __post_init__(self) -> None:
        """Make the authority."""
        self.office = CertificateAuthority.create(self._store(AUTHORITY), self.clock.now())
        self.board = Board(self.office.revocation_list([], number=0, now=self.clock.now()))
        self.crl.write_bytes(self.board.list_der)

    @property
    def crl(self) -> Path:
        """The revocation list as a file."""
        return self.folder / "revoked.crl"

    @property
    def trust(self) -> Trust:
        """What everybody trusts."""
        return Trust(self.office.root, self.board.list_der)

    def house(self, party: str) -> Path:
        """A party's data directory."""
        return self.folder / party

    def enrol(self, party: str) -> Identity:
        """Make and certify a party's keys in its own house."""
        identity = Identity.enrol(self._store(party), self.office, now=self.clock.now())
        self.board.sealing[party] = identity.sealing_certificate.der
        self.board.signing[party] = identity.signing_certificate
        return identity

    def admit(self, hospitals: dict[str, DatasetArrays], study: Study) -> None:
        """Enrol each hospital's node and put its data set, sealed for it, into its house."""
        app = self.enrol(APP)
        for hospital, arrays in hospitals.items():
            node = self.enrol(training_party(hospital)).sealing_certificate
            archive, file = Archive(arrays, "synthetic"), self.dataset(hospital)
            seal_dataset(file, archive, sender=app, recipient=node, study=study, dataset_id=hospital)

    def dataset(self, hospital: str) -> Path:
        """A hospital's sealed data set."""
        return self.house(training_party(hospital)) / "dataset.sealed"

    def certificate(self, party: str) -> Certificate:
        """A party's sealing certificate."""
        return Certificate(self.board.sealing[party])

    def _store(self, party: str) -> KeyStore:
        settings = Settings(data_dir=self.house(party))
        settings.data_dir.mkdir(parents=True, mode=0o700, exist_ok=True)
        return KeyStore(
            settings.keys_dir, party, MasterKey.load(secret=None, file=settings.master_key_file, create=True)
        )
