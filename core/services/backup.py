"""Backup of an installation as one folder, and its restoration where nothing is; docs/how-to/backup-and-restore.md.

A backup holds the keys of the parties (encrypted under the master key), the database as one SQLite file whatever the
installation's database is, and the hospitals' sealed data sets; never the master key, and never the patients' keys:
destroying one is how an erasure reaches every backup. Keys are copied before the database: keys that have seen more
than the database take it for an older one that somebody put back.
"""

import hashlib
import json
import shutil
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from sqlalchemy import Engine
from sqlalchemy.exc import OperationalError

from core.clock import Clock
from core.errors import BackupRefused, SettingsError
from core.services import audit
from core.services.app import APP_PARTY, App, load_master_key
from core.services.rollover import lock
from core.services.rollover_plan import Plan
from core.settings import Settings
from db import migrate
from db.copying import copy_rows
from db.engine import make_engine, session_scope
from security.errors import SecurityError
from security.identity import Identity, load_root
from security.keys import KeyStore
from security.private_files import write_private

FORMAT = 1
MANIFEST, DATABASE, KEYS, HOSPITALS = "manifest.json", "database.db", "keys", "hospitals"
_UNDER_WAY = "restoring"
_UNFINISHED = shutil.ignore_patterns(".*")
"""Files that are being written have such a name (`security.private_files.private_file`)."""
Tell = Callable[[str], None]


@dataclass(frozen=True)
class Backup:
    """What a backup says of itself.

    Attributes:
        format: version of this description.
        revision: of the database.
        made_at: when the copy was begun, ISO 8601, UTC.
        root: SHA-256 fingerprint of the authority's root key, hex.
        rows: of the database, by table.
        files: path below the folder -> size in bytes and SHA-256.
    """

    format: int
    revision: str
    made_at: str
    root: str
    rows: dict[str, int]
    files: dict[str, tuple[int, str]]

    @property
    def bytes(self) -> int:
        """Size of all files."""
        return sum(size for size, _ in self.files.values())


def backup(settings: Settings, folder: Path, *, clock: Clock, tell: Tell = lambda _line: None) -> Backup:
    """Copy an installation into a new folder; app and worker may go on meanwhile.

    Args:
        settings: the installation.
        folder: where to; made, or empty. Only its owner can read it.
        clock: tells the time.
        tell: told what is being copied.

    Raises:
        BackupRefused: the folder is not empty, keys are being exchanged, or a file cannot be copied. What was copied so
            far has no description, so nobody takes it for a backup.
        SettingsError: the installation does not start.
        DatabaseUnavailable: the database did not answer.
    """
    if folder.exists() and any(folder.iterdir()):
        raise BackupRefused(f"{folder} is not empty")
    root = _fingerprint(settings.keys_dir, settings)
    made_at = clock.now().isoformat(timespec="seconds")
    with _files_named(), lock(settings):
        if Plan.read(settings) is not None:
            raise BackupRefused("keys are being exchanged; finish that first")
        folder.mkdir(parents=True, exist_ok=True)
        folder.chmod(0o700)
        tell("keys of the parties")
        shutil.copytree(settings.keys_dir, folder / KEYS, ignore=_UNFINISHED)
    with _files_named():
        source, target = make_engine(settings.database), make_engine(f"sqlite:///{folder / DATABASE}")
        try:
            migrate.upgrade(target)
            rows = copy_rows(source, target, tell=lambda table, count: tell(f"database: {table}, {count} rows"))
        finally:
            source.dispose()
            target.dispose()
        (folder / DATABASE).chmod(0o600)
        tell("sealed data sets of the hospitals")
        if settings.hospitals_dir.is_dir():
            shutil.copytree(settings.hospitals_dir, folder / HOSPITALS, ignore=_UNFINISHED)
        files = {name: _size_and_hash(folder / name) for name in _names(folder)}
        made = Backup(FORMAT, migrate.head(), made_at, root, rows, files)
        write_private(folder / MANIFEST, json.dumps(asdict(made), indent=1).encode(), exclusive=True)
    _note(settings, made, clock)
    return made


def restore(settings: Settings, folder: Path, *, vault: Path | None = None, tell: Tell = lambda _line: None) -> Backup:
    """Put a backup where there is no installation yet. Set up and exchange the keys afterwards, as `core restore` does.

    Everything is checked and copied beside its place first, so that it can be repeated if it is stopped.

    Args:
        settings: where to; the master key must be there already.
        folder: the backup.
        vault: mirror of the vault; None where the vault is in its place.
        tell: told what is being restored.

    Raises:
        BackupRefused: it is not whole, of another version or another master key, or there is something here already.
        SettingsError: there is no master key.
        DatabaseUnavailable: the database did not answer.
    """
    found = read(folder)
    if found.revision != migrate.head():
        raise BackupRefused("it is of another version of the program; restore with that one, then update")
    _require_room(settings, vault)
    if _fingerprint(folder / KEYS, settings) != found.root:
        raise BackupRefused("its keys are another installation's")
    beside = settings.data_dir / _UNDER_WAY
    parts = {KEYS: (folder / KEYS, settings.keys_dir), HOSPITALS: (folder / HOSPITALS, settings.hospitals_dir)}
    if vault:
        parts["vault"] = vault, settings.vault
    with _files_named():
        shutil.rmtree(beside, ignore_errors=True)
        for name, (kept, _) in parts.items():
            tell(name)
            if kept.is_dir():
                shutil.copytree(kept, beside / name)
        source, target = make_engine(f"sqlite:///{folder / DATABASE}"), make_engine(settings.database)
        try:
            _fill(source, target, tell)
        finally:
            source.dispose()
            target.dispose()
        for name, (_, place) in parts.items():
            if (beside / name).is_dir():
                if place.exists():
                    place.rmdir()  # empty, as was seen
                shutil.move(beside / name, place)
        beside.rmdir()
    return found


def _require_room(settings: Settings, vault: Path | None) -> None:
    """See that nothing is in the way, and that the vault is there or comes along."""
    for place in (settings.keys_dir, settings.hospitals_dir, *([settings.vault] if vault else [])):
        if place.exists() and any(place.iterdir()):
            raise BackupRefused(f"{place} is not empty")
    if not (vault or settings.vault).is_dir():
        raise BackupRefused(f"{vault or settings.vault} is missing: without the patients' keys nothing of theirs opens")


def read(folder: Path) -> Backup:
    """Return what a backup says of itself, when every file of it is what it was.

    Raises:
        BackupRefused: it is not whole, or not a backup.
    """
    try:
        values = json.loads((folder / MANIFEST).read_bytes())
        files = {str(name): (int(size), str(digest)) for name, (size, digest) in values["files"].items()}
        if values["format"] != FORMAT:
            raise BackupRefused("its description is of another version")
        found = Backup(**{**values, "files": files})
    except FileNotFoundError as error:
        raise BackupRefused(f"{folder} holds no {MANIFEST}: it was never finished, or is no backup") from error
    except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
        raise BackupRefused(f"{MANIFEST} is damaged") from error
    with _files_named():
        present = set(_names(folder)) - {MANIFEST}
        for name, stated in found.files.items():
            if name not in present or _size_and_hash(folder / name) != stated:
                raise BackupRefused(f"{name} is missing or damaged")
        if more := present - set(found.files):
            raise BackupRefused(f"{min(more)} is not part of it")
    return found


def _fill(source: Engine, target: Engine, tell: Tell) -> None:
    with suppress(OperationalError), target.connect() as connection:  # which the next line names
        if migrate.current(connection) not in {None, migrate.head()}:
            raise BackupRefused("the database is not empty")
    migrate.upgrade(target)
    try:
        copy_rows(source, target, tell=lambda table, count: tell(f"database: {table}, {count} rows"))
    except SettingsError as error:
        raise BackupRefused(error.detail) from error


def _note(settings: Settings, made: Backup, clock: Clock) -> None:
    """Write into the audit log that everything was copied."""
    app = App.start(settings, clock=clock)
    try:
        with session_scope(app.engine) as session:
            details: audit.Details = {"files": len(made.files), "bytes": made.bytes}
            audit.append(app, session, APP_PARTY, "installation.backup", details=details)
    finally:
        app.engine.dispose()


def _fingerprint(keys: Path, settings: Settings) -> str:
    """Return the root's fingerprint as the app's key folder has it, after opening the app's keys."""
    store = KeyStore(keys, APP_PARTY, load_master_key(settings))
    try:
        Identity.load(store)
        return load_root(store).fingerprint
    except SecurityError as error:
        raise BackupRefused("the keys do not open under this master key") from error


def _names(folder: Path) -> list[str]:
    return sorted(path.relative_to(folder).as_posix() for path in folder.rglob("*") if not path.is_dir())


def _size_and_hash(file: Path) -> tuple[int, str]:
    with file.open("rb") as stream:
        return file.stat().st_size, hashlib.file_digest(stream, "sha256").hexdigest()


@contextmanager
def _files_named() -> Iterator[None]:
    """Say which file could not be read or written."""
    try:
        yield
    except shutil.Error as error:
        raise BackupRefused(_first(error)) from error
    except OSError as error:
        raise BackupRefused(f"{error.filename or ''} {error.strerror or error}".strip()) from error


def _first(error: shutil.Error) -> str:
    failures: Any = error.args[0]
    return str(failures[0][2] if isinstance(failures, list) and failures else failures)
