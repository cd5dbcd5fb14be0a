"""A whole federation's keys, made for one simulation and gone with its folder: authority, coordinator, nodes, enclaves.

Only the simulation's own authority certifies them, so nothing that they sign counts anywhere else.
"""

import secrets
from collections.abc import Iterable
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path

from core.clock import Clock
from core.learning.orders import AUTHORITY
from security.authority import CertificateAuthority, RevocationReason
from security.certificates import Certificate, Trust
from security.identity import Identity
from security.keys import KeyStore, MasterKey


@dataclass
class Board:
    """What the authority has published; a `federated.coordinator.Directory`, from which no key can be reached.

    Attributes:
        list_der: newest revocation list.
        sealing: party -> sealing certificate, DER.
        signing: party -> signing certificate.
    """

    list_der: bytes
    sealing: dict[str, bytes] = field(default_factory=dict)
    signing: dict[str, Certificate] = field(default_factory=dict)

    def crl(self) -> bytes:
        """See `Directory.crl`."""
        return self.list_der

    def certificates(self) -> list[bytes]:
        """See `Directory.certificates`."""
        return list(self.sealing.values())


class ThrowAwayKeys:
    """Makes and certifies parties below a folder.

    Attributes:
        board: what the authority has published.
    """

    def __init__(self, folder: Path, *, clock: Clock) -> None:
        self._folder = folder
        self._clock = clock
        self._master = MasterKey(secrets.token_bytes(32))
        self._office = CertificateAuthority.create(KeyStore(folder, AUTHORITY, self._master), clock.now())
        self._revoked: list[tuple[str, datetime, str]] = []
        self.board = Board(self._office.revocation_list([], number=0, now=clock.now()))

    def enrol(self, party: str) -> Identity:
        """Make a party's keys and certificates; only the caller gets them."""
        store = KeyStore(self._folder, party, self._master)
        identity = Identity.enrol(store, self._office, now=self._clock.now())
        self.board.sealing[party] = identity.sealing_certificate.der
        self.board.signing[party] = identity.signing_certificate
        return identity

    def certificate(self, party: str) -> Certificate:
        """Return a party's sealing certificate."""
        return Certificate(self.board.sealing[party])

    def trust(self) -> Trust:
        """The root and the newest revocation list."""
        return Trust(self._office.root, self.board.list_der)

    def revoke(self, identities: Iterable[Identity]) -> None:
        """Revoke both certificates of each identity and publish the list."""
        reason = RevocationReason.UNSPECIFIED.value
        for identity in identities:
            for certificate in (identity.signing_certificate, identity.sealing_certificate):
                self._revoked.append((certificate.serial, self._clock.now(), reason))
        number = self.trust().crl_number + 1
        self.board.list_der = self._office.revocation_list(self._revoked, number=number, now=self._clock.now())
