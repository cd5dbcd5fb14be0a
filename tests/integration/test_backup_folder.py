"""`core backup` and `core restore`: all that was stored opens elsewhere, on either database; what is wrong is named."""

import json
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest
from sqlmodel import SQLModel

from core.clock import FixedClock
from core.errors import BackupRefused
from core.services import audit
from core.services.app import Actor, App
from core.services.backup import DATABASE, KEYS, MANIFEST, backup, read, restore
from core.services.rekey import rekey
from core.settings import Settings
from db.engine import make_engine
from tests.integration.keys_support import build, check_all_opens

ON_SQLITE = pytest.mark.parametrize("database_url", ["sqlite"], indirect=True)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Where the backup goes."""
    return tmp_path / "backup"


def elsewhere(settings: Settings, place: Path, *, database: str = "") -> Settings:
    """Return an empty machine with the same master key."""
    place.mkdir()
    shutil.copy(settings.master_key_file, place)
    return Settings(data_dir=place, database_url=database, master_key=None, mode=settings.mode)


def rows_of(url: str) -> dict[str, list[tuple[object, ...]]]:
    engine = make_engine(url)
    with engine.connect() as connection:
        found = {
            table.name: sorted((tuple(row) for row in connection.execute(table.select())), key=repr)
            for table in SQLModel.metadata.sorted_tables
        }
    engine.dispose()
    return found


def test_all_that_was_stored_opens_on_another_machine(  # noqa: PLR0917
    app: App, clock: FixedClock, patient: Actor, doctor: Actor, authority: Actor, tmp_path: Path, folder: Path
) -> None:
    estate = build(app, clock, patient=patient, doctor=doctor, authority=authority)
    before = rows_of(app.settings.database)
    made = backup(app.settings, folder, clock=clock)
    assert made == read(folder)
    assert made.rows == {name: len(rows) for name, rows in before.items()}
    assert "installation.backup" in [entry.action for entry in audit.list_entries(app, authority)]
    assert not any("vault" in name or "master" in name for name in made.files)
    assert all(path.stat().st_mode & 0o077 == 0 for path in (folder, folder / DATABASE, folder / MANIFEST))

    there = elsewhere(app.settings, tmp_path / "there")
    assert restore(there, folder, vault=app.settings.vault) == made
    assert rows_of(there.database) == before
    again = App.start(there, clock=clock)
    check_all_opens(again, estate, doctor=doctor, authority=authority)
    again.engine.dispose()
    done = rekey(there, new_root=False, clock=clock, tell=lambda _: None)
    assert (done.damaged, done.voided) == ({}, 1)


@pytest.mark.mysql
@ON_SQLITE
def test_an_installation_moves_from_sqlite_to_mysql(  # noqa: PLR0917
    app: App, clock: FixedClock, tmp_path: Path, folder: Path, authority: Actor, empty_mysql: str
) -> None:
    before = rows_of(app.settings.database)
    backup(app.settings, folder, clock=clock)
    there = elsewhere(app.settings, tmp_path / "there", database=empty_mysql)
    restore(there, folder, vault=_vault(app, tmp_path))
    assert rows_of(there.database) == before
    again = App.start(there, clock=clock)
    assert audit.verify(again, authority).size
    again.engine.dispose()


def _vault(app: App, tmp_path: Path) -> Path:
    """A mirror of the vault, which has no keys yet."""
    app.settings.vault.mkdir(exist_ok=True)
    return Path(shutil.copytree(app.settings.vault, tmp_path / "mirror", dirs_exist_ok=True))


def _without_manifest(folder: Path, _there: Settings) -> None:
    (folder / MANIFEST).unlink()


def _manifest_cut(folder: Path, _there: Settings) -> None:
    (folder / MANIFEST).write_bytes((folder / MANIFEST).read_bytes()[:100])


def _older(folder: Path, _there: Settings) -> None:
    values = json.loads((folder / MANIFEST).read_bytes())
    (folder / MANIFEST).write_text(json.dumps({**values, "revision": "0001_first"}))


def _one_bit(folder: Path, _there: Settings) -> None:
    data = bytearray((folder / DATABASE).read_bytes())
    data[len(data) // 2] ^= 1
    (folder / DATABASE).write_bytes(data)


def _key_lost(folder: Path, _there: Settings) -> None:
    next((folder / KEYS).glob("app/*.p8")).unlink()


def _file_added(folder: Path, _there: Settings) -> None:
    (folder / KEYS / "app" / "more.p8").write_text("x")


def _other_master_key(_folder: Path, there: Settings) -> None:
    there.master_key_file.write_text("0123456789abcdef" * 4)


def _keys_there(_folder: Path, there: Settings) -> None:
    (there.keys_dir / "app").mkdir(parents=True)


def _database_there(folder: Path, there: Settings) -> None:
    shutil.copy(folder / DATABASE, there.data_dir / "hemaseal.db")


def _no_vault(_folder: Path, there: Settings) -> None:
    shutil.rmtree(there.data_dir.parent / "mirror")


@ON_SQLITE
@pytest.mark.parametrize(
    ("spoil", "said"),
    [
        (_without_manifest, "never finished"),
        (_manifest_cut, "damaged"),
        (_older, "another version"),
        (_one_bit, f"{DATABASE} is missing or damaged"),
        (_key_lost, "is missing or damaged"),
        (_file_added, "not part of it"),
        (_other_master_key, "master key"),
        (_keys_there, "is not empty"),
        (_database_there, "database is not empty"),
        (_no_vault, "mirror is missing"),
    ],
)
def test_what_cannot_be_restored_is_refused_and_nothing_is_in_its_place(  # noqa: PLR0917
    app: App, clock: FixedClock, tmp_path: Path, folder: Path, spoil: Callable[[Path, Settings], None], said: str
) -> None:
    backup(app.settings, folder, clock=clock)
    there, mirror = elsewhere(app.settings, tmp_path / "there"), _vault(app, tmp_path)
    spoil(folder, there)
    with pytest.raises(BackupRefused, match=said):
        restore(there, folder, vault=mirror)
    assert not list(there.keys_dir.glob("*/*"))
    assert not there.hospitals_dir.exists()


@ON_SQLITE
def test_a_restoration_that_was_stopped_is_begun_again(
    app: App, clock: FixedClock, tmp_path: Path, folder: Path, authority: Actor
) -> None:
    backup(app.settings, folder, clock=clock)
    there, mirror = elsewhere(app.settings, tmp_path / "there"), _vault(app, tmp_path)

    def stop(line: str) -> None:
        if line.startswith("database: user_account"):
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        restore(there, folder, vault=mirror, tell=stop)
    restore(there, folder, vault=mirror)
    again = App.start(there, clock=clock)
    assert audit.verify(again, authority).size
    again.engine.dispose()


@ON_SQLITE
def test_no_backup_is_made_over_something_or_while_keys_are_exchanged(
    app: App, clock: FixedClock, folder: Path
) -> None:
    folder.mkdir()
    (folder / "mine").write_text("x")
    with pytest.raises(BackupRefused, match="not empty"):
        backup(app.settings, folder, clock=clock)
    (folder / "mine").unlink()

    def stop(_progress: object) -> None:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        rekey(app.settings, new_root=False, clock=clock, tell=stop)
    with pytest.raises(BackupRefused, match="exchanged"):
        backup(app.settings, folder, clock=clock)
    assert not list(folder.iterdir())
