"""A small world for the tests of `security`: one authority, a few parties, one trust; and an impostor of each."""

from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

import pytest

from security.authority import CertificateAuthority
from security.certificates import Certificate, Trust
from security.context import Context, Purpose
from security.identity import Identity
from security.keys import KeyStore, MasterKey

NOW = datetime(2026, 1, 5, 9, 0, tzinfo=UTC)
PARTIES = ("authority", "app", "aggregation", "north.training", "north.serving")


@dataclass(frozen=True)
class World:
    """An authority and its parties."""

    folder: Path
    master: MasterKey
    authority: CertificateAuthority
    parties: dict[str, Identity]
    trust: Trust

    def __getitem__(self, party: str) -> Identity:
        """Return a party's identity."""
        return self.parties[party]

    def store(self, party: str) -> KeyStore:
        """Open a party's key store."""
        return KeyStore(self.folder, party, self.master)

    def box(self, *parties: str) -> list[Certificate]:
        """Return the sealing certificates of the parties."""
        return [self[party].sealing_certificate for party in parties]


def build_world(folder: Path) -> World:
    master = MasterKey(bytes(range(32)))
    authority = CertificateAuthority.create(KeyStore(folder, "authority", master), NOW)
    parties = {party: Identity.enrol(KeyStore(folder, party, master), authority, now=NOW) for party in PARTIES}
    trust = Trust(authority.root, authority.revocation_list([], number=0, now=NOW))
    return World(folder, master, authority, parties, trust)


@pytest.fixture(scope="session")
def world(tmp_path_factory: pytest.TempPathFactory) -> World:
    return build_world(tmp_path_factory.mktemp("world"))


@pytest.fixture(scope="session")
def impostor(tmp_path_factory: pytest.TempPathFactory) -> World:
    """Parties of the same names under another root."""
    return build_world(tmp_path_factory.mktemp("impostor"))


@pytest.fixture
def context() -> Context:
    return Context(purpose=Purpose.IMAGE, study="leukemia", sender="app", object_id="case-1")
