"""Master key, key stores and handles: who can open what, and what never leaves a handle."""

import copy
import pickle
import stat
from pathlib import Path

import pytest
from cryptography.hazmat.primitives.asymmetric import ec

from security.errors import KeyMissing, SecurityError
from security.keys import KeyStore, KeyUse, MasterKey, PrivateKey, folders_of_parties
from security.records import RecordCipher
from tests.unit.security.conftest import World

MASTER = MasterKey(bytes(32))


def test_the_first_start_makes_a_master_key_file_that_only_its_owner_may_read(tmp_path: Path) -> None:
    file = tmp_path / "var" / "master.key"
    made = MasterKey.load(secret=None, file=file, create=True)
    assert stat.S_IMODE(file.stat().st_mode) == 0o600
    assert len(bytes.fromhex(file.read_text())) == 32
    again = MasterKey.load(secret=None, file=file, create=True)
    assert again.passphrase_for("app") == made.passphrase_for("app")
    assert list(file.parent.iterdir()) == [file]


def test_a_master_key_that_is_missing_malformed_or_open_to_others_is_refused(tmp_path: Path) -> None:
    file = tmp_path / "master.key"
    with pytest.raises(KeyMissing, match="no master key"):
        MasterKey.load(secret=None, file=file)
    for text in ("", "0" * 63, "g" * 64, "0" * 65):
        file.write_text(text)
        file.chmod(0o600)
        with pytest.raises(KeyMissing, match="64 hex digits"):
            MasterKey.load(secret=None, file=file)
    with pytest.raises(KeyMissing, match="64 hex digits"):
        MasterKey.load(secret="not a key", file=file)
    file.write_text("0" * 64)
    file.chmod(0o640)
    with pytest.raises(KeyMissing, match="0600"):
        MasterKey.load(secret=None, file=file)


def test_the_setting_goes_before_the_file(tmp_path: Path) -> None:
    key = MasterKey.load(secret="00" * 32, file=tmp_path / "none", create=True)
    assert key.passphrase_for("app") == MASTER.passphrase_for("app")
    assert not (tmp_path / "none").exists()


def test_each_party_has_its_own_passphrase() -> None:
    assert len({MASTER.passphrase_for(party) for party in ("app", "authority", "north.serving", "north.training")}) == 4


@pytest.mark.parametrize("party", ["", "..", "../app", "a/b", "North", "a.b.c", ".serving", "a\n", "a" * 60])
def test_a_party_name_that_could_leave_its_folder_is_refused(tmp_path: Path, party: str) -> None:
    with pytest.raises(ValueError, match="party name"):
        KeyStore(tmp_path, party, MASTER)


def test_a_folder_of_another_name_is_nobodys(tmp_path: Path) -> None:
    for name in ("north.training", "app", "lost+found", ".cache"):
        (tmp_path / name).mkdir()
    (tmp_path / "east.training").write_text("no folder")
    assert folders_of_parties(tmp_path) == ["app", "north.training"]


def test_a_key_is_kept_encrypted_and_opens_with_the_right_master_key_only(tmp_path: Path) -> None:
    store = KeyStore(tmp_path, "app", MASTER)
    key = store.create(KeyUse.SIGN)
    file = tmp_path / "app" / "sign.p8"
    assert b"BEGIN ENCRYPTED PRIVATE KEY" in file.read_bytes()
    assert stat.S_IMODE(file.stat().st_mode) == 0o600
    assert stat.S_IMODE(file.parent.stat().st_mode) == 0o700
    assert store.load(KeyUse.SIGN).fingerprint == key.fingerprint
    with pytest.raises(KeyMissing, match="does not open"):
        KeyStore(tmp_path, "app", MasterKey(b"x" * 32)).load(KeyUse.SIGN)


def test_a_key_file_moved_to_another_party_does_not_open(tmp_path: Path) -> None:
    KeyStore(tmp_path, "app", MASTER).create(KeyUse.SIGN)
    (tmp_path / "app").rename(tmp_path / "aggregation")
    with pytest.raises(KeyMissing, match="does not open"):
        KeyStore(tmp_path, "aggregation", MASTER).load(KeyUse.SIGN)


def test_a_key_is_never_overwritten(tmp_path: Path) -> None:
    store = KeyStore(tmp_path, "app", MASTER)
    before = store.create(KeyUse.SEAL).fingerprint
    with pytest.raises(SecurityError, match="already"):
        store.create(KeyUse.SEAL)
    assert store.load(KeyUse.SEAL).fingerprint == before


def test_absent_and_damaged_keys_are_named(tmp_path: Path) -> None:
    store = KeyStore(tmp_path, "app", MASTER)
    assert not store.has(KeyUse.SIGN)
    with pytest.raises(KeyMissing, match="no key for 'sign'"):
        store.load(KeyUse.SIGN)
    store.write("sign.p8", b"rubbish")
    with pytest.raises(KeyMissing, match="does not open"):
        store.load(KeyUse.SIGN)


def test_small_secrets_come_back_and_are_bound_to_party_and_name(tmp_path: Path) -> None:
    store = KeyStore(tmp_path, "app", MASTER)
    store.save_secret("records", b"one")
    store.save_secret("records", b"two")
    assert store.load_secret("records") == b"two"
    assert b"two" not in (store.folder / "records.secret").read_bytes()
    (store.folder / "other.secret").write_bytes((store.folder / "records.secret").read_bytes())
    (store.folder / "short.secret").write_bytes(b"12345")
    for name in ("other", "short", "absent"):
        with pytest.raises(KeyMissing, match=name):
            store.load_secret(name)
    with pytest.raises(ValueError, match="name"):
        store.save_secret("../records", b"")


def test_a_key_does_one_thing_only() -> None:
    key = ec.generate_private_key(ec.SECP256R1())
    with pytest.raises(SecurityError, match="'sign' expected"):
        PrivateKey(key, KeyUse.SEAL).sign(b"")
    with pytest.raises(SecurityError, match="'seal' expected"):
        PrivateKey(key, KeyUse.SIGN).unwrap(bytes(65), b"", info=b"", aad=b"")
    with pytest.raises(SecurityError, match="'issue' expected"):
        PrivateKey(key, KeyUse.SIGN).issuing_key()
    with pytest.raises(KeyMissing, match="P-256"):
        PrivateKey(ec.generate_private_key(ec.SECP384R1()), KeyUse.SIGN)


def test_nothing_that_holds_a_secret_can_be_pickled_copied_or_printed(world: World) -> None:
    secret = world.master._key
    holders = [world.master, world.store("app"), world["app"], world["app"].signing_key, RecordCipher(secret)]
    for holder in holders:
        for take in (pickle.dumps, copy.copy, copy.deepcopy):
            with pytest.raises(TypeError, match="secret"):
                take(holder)
        assert not hasattr(holder, "__dict__")
        assert secret.hex() not in repr(holder)
        assert repr(secret) not in repr(holder)


def test_a_store_does_not_keep_the_master_key(world: World) -> None:
    store = world.store("app")
    held = [getattr(store, name) for name in store.__slots__]
    assert world.master not in held
    assert world.master._key not in held
