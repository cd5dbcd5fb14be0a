"""Recovery of the root key: any m of n shares bring it back, fewer or others do not, and slips are found."""

from itertools import combinations
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from security.authority import CertificateAuthority
from security.errors import KeyMissing, SecurityError, ShareBroken
from security.keys import KeyStore, KeyUse, MasterKey
from security.recovery import FILE, RecoveryShare, prepare, recover
from tests.unit.security.conftest import NOW


@pytest.fixture
def store(tmp_path: Path) -> KeyStore:
    """A new authority's folder."""
    store = KeyStore(tmp_path, "authority", MasterKey(bytes(range(32))))
    CertificateAuthority.create(store, NOW)
    return store


def made(store: KeyStore, needed: int = 3, people: int = 5) -> list[RecoveryShare]:
    return prepare(store, CertificateAuthority.open(store).root.fingerprint, needed=needed, people=people)


def lose_key(store: KeyStore) -> None:
    (store.folder / "issue.p8").unlink()


def test_any_three_of_five_bring_the_same_key_back_on_a_machine_with_another_master_key(store: KeyStore) -> None:
    before, shares = CertificateAuthority.open(store).root, made(store)
    lose_key(store)
    elsewhere = KeyStore(store.folder.parent, "authority", MasterKey(bytes(range(1, 33))))
    for chosen in combinations(shares, 3):
        recover(elsewhere, [RecoveryShare.of_text(share.to_text()) for share in chosen])
        assert CertificateAuthority.open(elsewhere).root == before
        lose_key(elsewhere)


def test_two_shares_open_nothing(store: KeyStore) -> None:
    shares = made(store)
    lose_key(store)
    for chosen in combinations(shares, 2):
        with pytest.raises(ShareBroken):
            recover(store, list(chosen))
        doubled = [*chosen, chosen[0]]
        with pytest.raises(ShareBroken):
            recover(store, doubled)
        pretended = [RecoveryShare(share.root, share.number, 2, share.value) for share in chosen]
        with pytest.raises(ShareBroken):
            recover(store, pretended)
    assert not store.has(KeyUse.ISSUE)


def test_shares_made_before_are_void(store: KeyStore) -> None:
    old, new = made(store), made(store)
    lose_key(store)
    for chosen in (old[:3], [*old[:2], new[2]]):
        with pytest.raises(ShareBroken):
            recover(store, chosen)
    recover(store, new[2:])


def test_a_key_that_is_there_is_not_overwritten_and_without_a_file_nothing_comes_back(store: KeyStore) -> None:
    shares = made(store)
    with pytest.raises(SecurityError):
        recover(store, shares)
    lose_key(store)
    (store.folder / FILE).unlink()
    with pytest.raises(KeyMissing):
        recover(store, shares)
    with pytest.raises(ShareBroken):
        recover(store, [])


@pytest.mark.parametrize(("needed", "people"), [(1, 3), (4, 3), (2, 16), (0, 0)])
def test_a_choice_that_protects_nothing_is_refused(store: KeyStore, needed: int, people: int) -> None:
    with pytest.raises(ValueError, match="people expected"):
        made(store, needed, people)
    assert not (store.folder / FILE).exists()


def test_the_recovery_file_does_not_show_the_key(store: KeyStore) -> None:
    made(store)
    text = (store.folder / FILE).read_text(encoding="ascii")
    assert text.startswith("-----BEGIN ENCRYPTED PRIVATE KEY-----")
    assert (store.folder / FILE).stat().st_mode & 0o077 == 0


SHARE = RecoveryShare("0123abcd", 7, 3, bytes(range(33)))


def test_a_share_is_read_as_it_was_written_whatever_its_capitals_and_spaces() -> None:
    text = SHARE.to_text()
    assert RecoveryShare.of_text(text) == SHARE
    assert RecoveryShare.of_text(f"  {text.lower()} ".replace(" ", "  ")) == SHARE
    assert "010203" not in repr(SHARE)


@given(st.data())
def test_a_mistyped_digit_is_found(data: st.DataObject) -> None:
    text = SHARE.to_text()
    places = [place for place, sign in enumerate(text) if sign in "0123456789abcdef"]
    place = data.draw(st.sampled_from(places))
    other = data.draw(st.sampled_from([sign for sign in "0123456789abcdef" if sign != text[place]]))
    with pytest.raises(ShareBroken):
        RecoveryShare.of_text(text[:place] + other + text[place + 1 :])


@given(st.text())
def test_rubbish_is_no_share(text: str) -> None:
    with pytest.raises(ShareBroken):
        RecoveryShare.of_text(text)
