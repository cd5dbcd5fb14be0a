"""Enrolling a party whose keys are made on another machine, and certificates that must not be taken."""

import secrets
from pathlib import Path

import pytest

from core.clock import FixedClock
from security.authority import CertificateAuthority
from security.encoding import decode, encode
from security.enrolment import Request, install, issue, pack
from security.errors import CertificateRefused
from security.identity import Identity
from security.keys import KeyStore, MasterKey

CLOCK = FixedClock()


def store(folder: Path, party: str) -> KeyStore:
    return KeyStore(folder, party, MasterKey(secrets.token_bytes(32)))


def office(folder: Path) -> CertificateAuthority:
    return CertificateAuthority.create(store(folder, "authority"), CLOCK.now())


def granted(request: Request, authority: CertificateAuthority) -> bytes:
    crl = authority.revocation_list([], number=0, now=CLOCK.now())
    return pack(issue(request, authority, crl, now=CLOCK.now()))


def test_a_party_is_enrolled_without_its_private_keys_leaving_its_machine(tmp_path: Path) -> None:
    authority, own = office(tmp_path / "authority"), store(tmp_path / "hospital", "north.training")
    request = Request.read(Request.make(own).data)

    trust = install(granted(request, authority), own, root_fingerprint=authority.root.fingerprint, now=CLOCK.now())

    identity = Identity.load(own)
    assert identity.party == request.party == "north.training"
    assert trust.crl_number == 0
    assert not (tmp_path / "authority" / "north.training").exists()


def test_a_request_can_be_made_again_and_asks_for_the_same_keys(tmp_path: Path) -> None:
    own = store(tmp_path, "north.training")
    assert Request.make(own).keys == Request.make(own).keys


def test_a_request_that_was_changed_on_its_way_is_refused(tmp_path: Path) -> None:
    body, signature = decode(Request.make(store(tmp_path, "north.training")).data)
    kind, _, *keys = decode(body)
    for changed in (encode([encode([kind, "south.training", *keys]), signature]), b"", encode([body]), encode([1, 2])):
        with pytest.raises(CertificateRefused, match="not a request"):
            Request.read(changed)


def test_certificates_of_another_authority_or_for_other_keys_are_not_installed(tmp_path: Path) -> None:
    authority, impostor = office(tmp_path / "authority"), office(tmp_path / "impostor")
    own, other = store(tmp_path / "own", "north.training"), store(tmp_path / "other", "north.training")
    request, stranger = Request.make(own), Request.make(other)
    root = authority.root.fingerprint

    for grant in (granted(request, impostor), granted(stranger, authority), b"nothing", encode([1, {}])):
        with pytest.raises(CertificateRefused):
            install(grant, own, root_fingerprint=root, now=CLOCK.now())
    assert list(own.folder.glob("*.crt")) == []
