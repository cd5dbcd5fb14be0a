"""What every database side of the worker shares: engine, clock, this worker's name; and the public directory."""

from contextlib import suppress
from dataclasses import dataclass

from sqlalchemy import Engine
from sqlmodel import Session, col, select

from core.clock import Clock
from db.engine import read_scope
from db.models import CertificateRecord, RevocationList
from federated.newest_list import NewestList
from security.certificates import Certificate, Trust
from security.errors import CertificateRefused
from security.identity import Identity
from security.keys import KeyUse


@dataclass(frozen=True, kw_only=True)
class Office:
    """What the worker's database side works with.

    Attributes:
        engine: the database.
        clock: tells the time.
        worker: this worker's name: ``host/installation/process``.
        signer: the coordinator's identity, which signs the audit log's head.
        newest: the newest revocation list that the coordinator has seen, in its own folder.
    """

    engine: Engine
    clock: Clock
    worker: str
    signer: Identity
    newest: NewestList

    def trust(self, session: Session) -> Trust:
        """The root with the newest revocation list, of the database or seen before.

        Raises:
            CertificateRefused: the database's is not the authority's, or there is none at all.
        """
        newest = select(RevocationList.der).order_by(col(RevocationList.number).desc()).limit(1)
        return self.newest.take(session.exec(newest).first() or b"")


class DbDirectory:
    """Certificates and revocation list as the database publishes them (`federated.coordinator.Directory`)."""

    def __init__(self, engine: Engine) -> None:
        self._engine = engine

    def crl(self) -> bytes:
        """See `Directory.crl`."""
        with read_scope(self._engine) as session:
            newest = select(RevocationList.der).order_by(col(RevocationList.number).desc()).limit(1)
            return session.exec(newest).first() or b""

    def certificates(self) -> list[bytes]:
        """See `Directory.certificates`."""
        with read_scope(self._engine) as session:
            pems = session.exec(
                select(CertificateRecord.pem)
                .where(CertificateRecord.key_use == KeyUse.SEAL.value, col(CertificateRecord.revoked_at).is_(None))
                .order_by(col(CertificateRecord.issued_at))
            ).all()
        found = []
        for pem in pems:
            with suppress(CertificateRefused):  # a row that cannot be read is that party's harm, not every run's
                found.append(Certificate.from_pem(pem).der)
        return found
