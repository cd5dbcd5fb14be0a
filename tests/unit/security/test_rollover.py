"""A party's next keys: a stop at any write loses nothing, former keys only open, destroyed ones not even that."""

import secrets
import shutil
from collections.abc import Callable
from datetime import timedelta
from pathlib import Path

import pytest

import security.keys
from security import private_files
from security.authority import CertificateAuthority
from security.certificates import Trust
from security.context import Context, Purpose
from security.enrolment import Request, install, issue, pack
from security.errors import CertificateRefused, KeyMissing, SealBroken, SecurityError
from security.identity import Identity
from security.keys import KeyStore, KeyUse, MasterKey
from security.rollover import (
    destroy_former,
    has_former,
    is_prepared,
    prepare,
    prepare_root,
    take_over,
    take_over_root,
)
from security.sealing import open_sealed, seal
from tests.unit.security.conftest import NOW

PARTY = "north.training"
CONTEXT = Context(purpose=Purpose.DATASET, study="s", sender=PARTY, object_id="1")


@pytest.fixture
def master() -> MasterKey:
    return MasterKey(secrets.token_bytes(32))


@pytest.fixture
def office(tmp_path: Path, master: MasterKey) -> CertificateAuthority:
    return CertificateAuthority.create(KeyStore(tmp_path, "authority", master), NOW)


@pytest.fixture
def store(tmp_path: Path, master: MasterKey, office: CertificateAuthority) -> KeyStore:
    store = KeyStore(tmp_path, PARTY, master)
    Identity.enrol(store, office, now=NOW)
    return store


def sealed_for(party: Identity) -> bytes:
    return seal(b"body", sender=party, recipients=[party.sealing_certificate], context=CONTEXT)


def opened(sealed: bytes, party: Identity, office: CertificateAuthority) -> bytes:
    return open_sealed(sealed, recipient=party, trust=Trust(office.root), context=CONTEXT, sender=PARTY, at=NOW)


def exchange(store: KeyStore, office: CertificateAuthority, *, new_keys: bool = True) -> None:
    prepare(store, office, now=NOW, days=100, new_keys=new_keys)
    take_over(store)


class Stopped(Exception):
    """The machine stops."""


def stop_after(writes: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """Let the machine stop before the write that follows so many."""
    real, done = private_files.write_private, [0]

    def write(file: Path, data: bytes, *, exclusive: bool) -> None:
        if done[0] == writes:
            raise Stopped
        done[0] += 1
        real(file, data, exclusive=exclusive)

    monkeypatch.setattr(security.keys, "write_private", write)


def test_former_keys_open_what_was_sealed_for_them_and_sign_nothing(
    store: KeyStore, office: CertificateAuthority
) -> None:
    first = Identity.load(store)
    sealed = sealed_for(first)
    exchange(store, office)
    second = Identity.load(store)
    assert second.signing_key.fingerprint != first.signing_key.fingerprint
    assert second.sealing_key.fingerprint != first.sealing_key.fingerprint
    assert opened(sealed, second, office) == b"body"
    with pytest.raises(SealBroken):
        opened(sealed_for(second), first, office)
    assert not list(store.folder.glob("former/*/sign.p8"))
    assert not list(store.folder.glob(".*.was"))


def test_destroyed_keys_open_nothing_and_the_one_in_use_goes_on(store: KeyStore, office: CertificateAuthority) -> None:
    sealed = sealed_for(Identity.load(store))
    exchange(store, office)
    now = sealed_for(Identity.load(store))
    assert has_former(store)
    destroy_former(store)
    destroy_former(store)
    assert not has_former(store)
    with pytest.raises(SealBroken):
        opened(sealed, Identity.load(store), office)
    assert opened(now, Identity.load(store), office) == b"body"


def test_a_renewed_certificate_opens_what_names_the_one_before(store: KeyStore, office: CertificateAuthority) -> None:
    first = Identity.load(store)
    sealed = sealed_for(first)
    for _ in range(2):
        exchange(store, office, new_keys=False)
    renewed = Identity.load(store)
    assert renewed.sealing_key.fingerprint == first.sealing_key.fingerprint
    assert renewed.sealing_certificate.serial != first.sealing_certificate.serial
    assert opened(sealed, renewed, office) == b"body"
    assert not list(store.folder.glob("former/*/seal.p8"))
    destroy_former(store)  # which destroys keys, not the names of the one in use
    assert opened(sealed, Identity.load(store), office) == b"body"
    exchange(store, office)
    assert opened(sealed, Identity.load(store), office) == b"body"  # by the former key, under its renewed certificate


@pytest.mark.parametrize("new_keys", [True, False])
def test_a_stop_at_any_write_loses_no_key_and_the_next_try_finishes(
    store: KeyStore, office: CertificateAuthority, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, new_keys: bool
) -> None:
    sealed, kept, writes = sealed_for(Identity.load(store)), tmp_path / "kept", 0
    shutil.copytree(store.folder, kept)
    while True:
        shutil.rmtree(store.folder)
        shutil.copytree(kept, store.folder)
        with monkeypatch.context() as patched:
            stop_after(writes, patched)
            try:
                exchange(store, office, new_keys=new_keys)
            except Stopped:
                writes += 1
            else:
                break
        exchange(store, office, new_keys=new_keys) if not is_prepared(store) else take_over(store)
        assert opened(sealed, Identity.load(store), office) == b"body"
    assert writes >= 6


def test_certificates_are_not_renewed_while_new_keys_are_on_their_way(
    store: KeyStore, office: CertificateAuthority
) -> None:
    prepare(store, office, now=NOW, days=100, new_keys=True)
    with pytest.raises(SecurityError, match="on their way"):
        prepare(store, office, now=NOW, days=100, new_keys=False)


def test_a_prepared_certificate_of_another_root_is_not_taken(
    store: KeyStore, office: CertificateAuthority, tmp_path: Path, master: MasterKey
) -> None:
    prepare(store, office, now=NOW, days=100, new_keys=True)
    following = prepare_root(KeyStore(tmp_path, "authority", master), NOW)
    made = prepare(store, following, now=NOW, days=100, new_keys=True)
    assert all(following.has_issued(one) and not office.has_issued(one) for one in made)


def test_a_new_root_takes_the_place_of_the_former_one_whose_key_is_gone(
    tmp_path: Path, master: MasterKey, office: CertificateAuthority, monkeypatch: pytest.MonkeyPatch
) -> None:
    store = KeyStore(tmp_path, "authority", master)
    following = prepare_root(store, NOW)
    assert prepare_root(store, NOW).root == following.root
    assert CertificateAuthority.open(store).root == office.root
    with monkeypatch.context() as patched:
        stop_after(1, patched)  # the key is exchanged, its certificate is not
        with pytest.raises(Stopped):
            take_over_root(store)
    with pytest.raises(CertificateRefused):
        CertificateAuthority.open(store)
    take_over_root(store)
    take_over_root(store)
    assert CertificateAuthority.open(store).root == following.root
    with pytest.raises(CertificateRefused):
        Trust(following.root).check(
            office.issue(following.root.public_key, party=PARTY, use=KeyUse.SIGN, now=NOW),
            party=PARTY,
            use=KeyUse.SIGN,
            at=NOW,
        )


def _granted(request: Request, office: CertificateAuthority) -> bytes:
    return pack(issue(request, office, office.revocation_list([], number=0, now=NOW), now=NOW))


Asked = Callable[..., Request]


def test_a_party_elsewhere_renews_and_gets_new_keys_by_requests(store: KeyStore, office: CertificateAuthority) -> None:
    first = Identity.load(store)
    sealed = sealed_for(first)
    for new_keys in (False, True):
        request = Request.make(store, new_keys=new_keys)
        assert Identity.load(store).sealing_key.fingerprint == first.sealing_key.fingerprint
        later = NOW + timedelta(days=1)
        install(_granted(request, office), store, root_fingerprint=office.root.fingerprint, now=later)
        now = Identity.load(store)
        assert (now.sealing_key.fingerprint != first.sealing_key.fingerprint) is new_keys
        assert opened(sealed, now, office) == b"body"
    destroy_former(store)
    with pytest.raises(SealBroken):
        opened(sealed, Identity.load(store), office)


def test_an_answer_to_the_former_keys_is_refused_while_new_ones_are_asked_for(
    store: KeyStore, office: CertificateAuthority
) -> None:
    old = Request.make(store)
    Request.make(store, new_keys=True)
    before = Identity.load(store).sealing_certificate
    with pytest.raises(CertificateRefused, match="not for the key"):
        install(_granted(old, office), store, root_fingerprint=office.root.fingerprint, now=NOW)
    assert Identity.load(store).sealing_certificate == before


def test_a_store_beside_is_a_folder_of_the_same_party_and_no_way_out_of_it(store: KeyStore) -> None:
    assert store.beside("next").folder == store.folder / "next"
    for name in ("..", "a/b", "", "Next"):
        with pytest.raises(ValueError, match="name"):
            store.beside(name)
    with pytest.raises(KeyMissing):
        store.beside("next").load(KeyUse.SEAL)
