"""The vault's files: what opens, what was exchanged or put back, and what a destroyed key leaves behind."""

import hashlib
import os
import shutil
import stat
from dataclasses import replace
from pathlib import Path

import pytest

from security.context import Context, Purpose
from security.errors import KeyDestroyed, KeyMissing, SealBroken
from security.keys import MasterKey
from security.sealed_format import front_length
from security.sealing import open_sealed, seal
from security.vault import SUITE, Vault, VaultKey, unwrap_front, wrap_front, wrapped_length
from tests.unit.security.conftest import NOW, World

MASTER = MasterKey(bytes(range(32)))
ANNA, BORIS = "a" * 32, "b" * 32
WHERE = Context(purpose=Purpose.VAULT_OBJECT, study="", sender="app", object_id="case-1/image/0")


@pytest.fixture
def vault(tmp_path: Path) -> Vault:
    return Vault(tmp_path / "vault", MASTER)


def file_of(vault: Vault, key: VaultKey) -> Path:
    return vault.folder / f"{key.name}.kek"


def test_a_key_opens_what_it_sealed_also_after_a_restart_and_its_file_is_private(vault: Vault) -> None:
    key = vault.create(ANNA)
    record = vault.open(key.name, ANNA).seal(b"text", context=WHERE)
    again = Vault(vault.folder, MASTER).open(key.name, ANNA)
    assert again.open(record, context=WHERE) == b"text"
    file = file_of(vault, key)
    assert stat.S_IMODE(file.stat().st_mode) == 0o600
    assert stat.S_IMODE(vault.folder.stat().st_mode) == 0o700
    assert hashlib.sha256(file.read_bytes()).hexdigest() == key.digest
    assert "0x" not in repr(vault)
    assert repr(vault) == "<Vault>"


def test_names_and_keys_are_random_and_tell_nothing_of_the_owner(vault: Vault) -> None:
    one, two = vault.create(ANNA), vault.create(ANNA)
    assert one.name != two.name
    record = vault.open(one.name, ANNA).seal(b"text", context=WHERE)
    with pytest.raises(SealBroken):
        vault.open(two.name, ANNA).open(record, context=WHERE)
    assert all(ANNA.encode() not in file.read_bytes() + file.name.encode() for file in vault.folder.iterdir())


def test_exchanged_changed_missing_and_foreign_files_are_refused(vault: Vault, tmp_path: Path) -> None:
    anna, boris = vault.create(ANNA), vault.create(BORIS)
    with pytest.raises(KeyMissing):
        vault.open(anna.name, BORIS)
    with pytest.raises(KeyMissing):
        Vault(vault.folder, MasterKey(bytes(32))).open(anna.name, ANNA)
    first, second = file_of(vault, anna), file_of(vault, boris)
    genuine = first.read_bytes()
    shutil.copy(second, first)
    for owner in (ANNA, BORIS):
        with pytest.raises(KeyMissing):
            vault.open(anna.name, owner)
    for broken in (genuine[:-1], genuine + b"\0", b"", *(_flipped(genuine, bit) for bit in range(8 * len(genuine)))):
        first.write_bytes(broken)
        with pytest.raises(KeyMissing):
            vault.open(anna.name, ANNA)
    first.write_bytes(genuine)
    vault.open(anna.name, ANNA)
    first.unlink()
    with pytest.raises(KeyMissing):
        vault.open(anna.name, ANNA)
    with pytest.raises(KeyMissing):
        vault.destroy(anna.name, ANNA)


def _flipped(data: bytes, bit: int) -> bytes:
    changed = bytearray(data)
    changed[bit // 8] ^= 1 << bit % 8
    return bytes(changed)


@pytest.mark.parametrize("name", ["", "../../master", "A" * 32, "0" * 31, "0" * 32 + "\n"])
def test_a_name_that_is_none_leads_to_no_file(vault: Vault, name: str) -> None:
    for act in (lambda: vault.open(name, ANNA), lambda: vault.destroy(name, ANNA), lambda: vault.is_destroyed(name)):
        with pytest.raises(KeyMissing):
            act()


def test_a_destroyed_key_opens_nothing_even_if_its_file_is_put_back(vault: Vault) -> None:
    key, other = vault.create(ANNA), vault.create(BORIS)
    kept = file_of(vault, key).read_bytes()
    assert vault.destroy(key.name, ANNA) == key.digest
    assert not file_of(vault, key).exists()
    assert all(kept[-48:] not in file.read_bytes() for file in vault.folder.iterdir())
    file_of(vault, key).write_bytes(kept)
    with pytest.raises(KeyDestroyed):
        vault.open(key.name, ANNA)
    assert vault.destroy(key.name, ANNA) == key.digest
    assert not file_of(vault, key).exists()
    vault.open(other.name, BORIS)


def test_nobody_elses_key_is_destroyed_and_marks_name_their_owner(vault: Vault) -> None:
    anna, boris = vault.create(ANNA), vault.create(BORIS)
    unused = vault.create(ANNA)
    assert vault.names_of(ANNA) == sorted([anna.name, unused.name])
    with pytest.raises(KeyMissing):
        vault.destroy(boris.name, ANNA)
    vault.open(boris.name, BORIS)
    vault.destroy(anna.name, ANNA)
    with pytest.raises(KeyMissing):
        vault.destroy(anna.name, BORIS)
    found = [vault.was_destroyed(key.name, owner) for key in (anna, boris, unused) for owner in (ANNA, BORIS)]
    assert found == [True, False, False, False, False, False]
    shutil.copy(vault.folder / f"{anna.name}.destroyed", vault.folder / f"{boris.name}.destroyed")
    assert not vault.was_destroyed(boris.name, BORIS)
    assert vault.names_of(ANNA) == [unused.name]


class _Stop(Exception):
    """The machine stops here."""


@pytest.mark.parametrize("step", range(4))
def test_a_destruction_that_was_stopped_anywhere_is_finished_by_the_next_one(
    vault: Vault, monkeypatch: pytest.MonkeyPatch, step: int
) -> None:
    """It goes to the disk four times: the mark, its folder, the overwritten file, the folder without the file."""
    key, left, real = vault.create(ANNA), step, os.fsync

    def stop(descriptor: int) -> None:
        nonlocal left
        if left == 0:
            raise _Stop
        left -= 1
        real(descriptor)

    with monkeypatch.context() as patch:
        patch.setattr(os, "fsync", stop)
        with pytest.raises(_Stop):
            vault.destroy(key.name, ANNA)
    assert vault.is_destroyed(key.name) is (step > 0)
    if step > 0:
        with pytest.raises(KeyDestroyed):
            vault.open(key.name, ANNA)
    assert vault.destroy(key.name, ANNA) == key.digest
    assert not file_of(vault, key).exists()


def test_a_wrapped_object_opens_with_the_patients_key_and_its_body_stays_as_it_was(
    vault: Vault, world: World, context: Context
) -> None:
    body = bytes(range(256)) * 5000
    sealed = seal(body, sender=world["app"], recipients=world.box("north.serving"), context=context)
    key = vault.open(vault.create(ANNA).name, ANNA)
    stored = wrap_front(sealed, key=key, context=WHERE)
    front = front_length(sealed)
    assert sealed[front:] == stored[wrapped_length(stored) :]
    serial = world["north.serving"].sealing_certificate.serial.encode()
    assert serial in sealed
    assert serial not in stored
    again = unwrap_front(stored, key=key, context=WHERE)
    assert again == sealed
    opened = open_sealed(
        again, recipient=world["north.serving"], trust=world.trust, context=context, sender="app", at=NOW
    )
    assert opened == body
    assert unwrap_front(stored[: wrapped_length(stored)], key=key, context=WHERE) == sealed[:front]


def test_a_wrapped_object_is_refused_elsewhere_under_another_key_or_changed(
    vault: Vault, world: World, context: Context
) -> None:
    sealed = seal(b"body", sender=world["app"], recipients=world.box("north.serving"), context=context)
    anna, boris = vault.open(vault.create(ANNA).name, ANNA), vault.open(vault.create(BORIS).name, BORIS)
    stored = wrap_front(sealed, key=anna, context=WHERE)
    with pytest.raises(SealBroken):
        unwrap_front(stored, key=boris, context=WHERE)
    for other in (replace(WHERE, object_id="case-2/image/0"), replace(WHERE, purpose=Purpose.IMAGE)):
        with pytest.raises(SealBroken):
            unwrap_front(stored, key=anna, context=other)
    front = wrapped_length(stored)
    for bit in range(8 * front):
        with pytest.raises(SealBroken):
            unwrap_front(_flipped(stored, bit), key=anna, context=WHERE)
    for broken in (sealed, b"", stored[: front - 1], SUITE.encode()):
        with pytest.raises(SealBroken):
            unwrap_front(broken, key=anna, context=WHERE)
    for none in (stored, b"", sealed[: front_length(sealed) - 1]):
        with pytest.raises(SealBroken):
            wrap_front(none, key=anna, context=WHERE)
