"""Set-up: repeatable, safe to run twice at once, for either database, and strict in production."""

import os
import secrets
import shutil
import sqlite3
import stat
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from dataclasses import fields, is_dataclass
from pathlib import Path

import pytest
from pydantic import SecretStr
from sqlmodel import col, select

from core.clock import FixedClock
from core.errors import DatabaseUnavailable, MemberRefused, SettingsError
from core.services import audit, members, setup
from core.services.accounts import Role, check_password, redeem_code, session_actor
from core.services.app import Actor, App
from core.services.demo import DEMO_ACCOUNTS, DEMO_PASSWORD
from core.settings import ROOT, Mode, Settings
from db import engine
from db.engine import read_scope, session_scope
from db.models import CertificateRecord, Hospital, User
from security.identity import Identity
from security.keys import KeyStore, KeyUse, PrivateKey
from tests.conftest import Installation, empty_tables

KEY = secrets.token_hex(32)


def _run(settings: Settings, clock: FixedClock) -> list[str]:
    lines: list[str] = []
    setup.run(settings, clock=clock, say=lines.append, demo_contents=False, rounds=4)
    return lines


def _production(data_dir: Path, **changes: object) -> Settings:
    values: dict[str, object] = {
        "mode": Mode.PRODUCTION,
        "behind_tls": True,
        "master_key": SecretStr(KEY),
        "admin_user": "admin-one",
        "admin_password": SecretStr("a long first one"),
    }
    return Settings(data_dir=data_dir, database_url="", **{**values, **changes})  # type: ignore[arg-type]


def test_the_first_run_names_the_master_key_and_the_second_has_nothing_to_do(
    tmp_path: Path, clock: FixedClock, database_url: str
) -> None:
    settings = Settings(data_dir=tmp_path / "new", database_url=database_url, master_key=None, mode=Mode.DEMO)
    first = _run(settings, clock)
    assert str(settings.master_key_file) in first[0]
    assert stat.S_IMODE(settings.master_key_file.stat().st_mode) == 0o600
    assert _run(settings, clock) == ["Ready (demo mode)."]


def test_every_demo_account_signs_in_with_its_role_and_hospital(app: App) -> None:
    with read_scope(app.engine) as session:
        slugs = {row.id: row.slug for row in session.exec(select(Hospital)).all()}
    for account in DEMO_ACCOUNTS:
        actor = session_actor(app, redeem_code(app, check_password(app, account.username, DEMO_PASSWORD)))
        assert (actor.role, slugs.get(actor.hospital_id or "", "")) == (account.role, account.hospital)


def test_two_set_ups_at_once_make_one_installation(tmp_path: Path, clock: FixedClock, database_url: str) -> None:
    settings = Settings(data_dir=tmp_path / "new", database_url=database_url, master_key=None, mode=Mode.DEMO)
    with ThreadPoolExecutor(3) as pool:
        list(pool.map(lambda _: _run(settings, clock), range(3)))
    app = App.start(settings, clock=clock)
    with read_scope(app.engine) as session:
        assert len(session.exec(select(User)).all()) == len(DEMO_ACCOUNTS)
        assert len(session.exec(select(CertificateRecord)).all()) == 24
    app.engine.dispose()


def test_an_empty_database_is_filled_again_from_the_keys_on_disk(app: App, authority: Actor) -> None:
    serial = app.certificate_of("north.training", KeyUse.SIGN).serial
    kept = app.certificate_of("east.serving", KeyUse.SEAL)
    members.revoke_certificate(app, authority, serial, "keyCompromise")
    app.trust()
    empty_tables(app.engine)
    _run(app.settings, FixedClock())
    again = App.start(app.settings, clock=app.clock)
    assert again.certificate_of("east.serving", KeyUse.SEAL) == kept
    with pytest.raises(MemberRefused):
        again.certificate_of("north.training", KeyUse.SIGN)
    assert again.trust().crl_number == 1
    again.engine.dispose()


def test_an_installation_that_was_not_set_up_says_so(tmp_path: Path) -> None:
    settings = Settings(data_dir=tmp_path / "new", database_url="", master_key=None, mode=Mode.DEMO)
    with pytest.raises(SettingsError):
        App.start(settings)


@pytest.mark.parametrize("database_url", ["sqlite"], indirect=True)
def test_another_master_key_opens_nothing(settings: Settings, clock: FixedClock) -> None:
    other = settings.model_copy(update={"master_key": SecretStr(KEY)})
    with pytest.raises(SettingsError, match="does not open under this master key"):
        App.start(other, clock=clock)


@pytest.mark.parametrize("database_url", ["sqlite"], indirect=True)
def test_a_database_without_tables_is_refused_with_the_command_that_helps(settings: Settings) -> None:
    (settings.data_dir / "hemaseal.db").unlink()
    with pytest.raises(SettingsError, match="python -m core setup"):
        App.start(settings)


@pytest.mark.parametrize("database_url", ["sqlite"], indirect=True)
def test_a_database_that_is_only_busy_is_not_called_unready(
    settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(engine, "_BUSY_TIMEOUT_S", 0)
    with closing(sqlite3.connect(settings.data_dir / "hemaseal.db", isolation_level=None)) as holder:
        holder.execute("PRAGMA locking_mode=EXCLUSIVE")
        holder.execute("BEGIN EXCLUSIVE")
        with pytest.raises(DatabaseUnavailable):
            App.start(settings)
    App.start(settings).engine.dispose()


def test_production_seeds_one_authority_and_nothing_of_the_demo(tmp_path: Path, clock: FixedClock) -> None:
    settings = _production(tmp_path / "new")
    lines = _run(settings, clock)
    assert "Authority account made: admin-one" in lines
    assert not settings.master_key_file.exists()
    app = App.start(settings, clock=clock)
    actor = session_actor(app, redeem_code(app, check_password(app, "admin-one", "a long first one")))
    assert actor.role is Role.AUTHORITY
    assert members.hospitals(app, actor) == []
    waits, ready = _run(settings, clock)
    assert "approve-measurement" in waits
    assert ready == "Ready (production mode)."
    with read_scope(app.engine) as session:
        assert len(session.exec(select(User)).all()) == 1
    app.engine.dispose()


def test_production_without_a_first_account_says_how_to_make_one(tmp_path: Path, clock: FixedClock) -> None:
    lines = _run(_production(tmp_path / "new", admin_user="", admin_password=None), clock)
    assert any("HEMASEAL_ADMIN_USER" in line for line in lines)


@pytest.mark.parametrize("master_key", [None, SecretStr("0" * 64), SecretStr("ab" * 32), SecretStr("not hex")])
def test_production_refuses_a_missing_or_guessable_master_key(
    tmp_path: Path, clock: FixedClock, master_key: SecretStr | None
) -> None:
    settings = _production(tmp_path / "new", master_key=master_key)
    with pytest.raises(SettingsError):
        _run(settings, clock)
    assert not (tmp_path / "new" / "keys").exists()


def test_production_is_served_over_tls_only(tmp_path: Path, clock: FixedClock) -> None:
    with pytest.raises(SettingsError, match="HEMASEAL_BEHIND_TLS=true"):
        _run(_production(tmp_path / "new", behind_tls=False), clock)
    assert not (tmp_path / "new" / "keys").exists()


def test_production_refuses_a_key_file_and_active_demo_accounts(
    installation: Installation, tmp_path: Path, clock: FixedClock
) -> None:
    shutil.copytree(installation.data_dir, tmp_path / "data")
    file = tmp_path / "data" / "master.key"
    settings = _production(tmp_path / "data", master_key=SecretStr(file.read_text().strip()))
    with pytest.raises(SettingsError, match="key file"):
        App.start(settings, clock=clock)
    file.unlink()
    with pytest.raises(SettingsError, match="demo accounts"):
        App.start(settings, clock=clock)


@pytest.mark.parametrize("database_url", ["sqlite"], indirect=True)
def test_the_log_begins_with_the_set_up_and_its_signature_holds(app: App, authority: Actor) -> None:
    audit.verify(app, authority)
    first = audit.list_entries(app, authority, before=2)[0]
    assert (first.number, first.actor, first.action) == (1, "app", "installation.create")


@pytest.mark.parametrize("database_url", ["sqlite"], indirect=True)
def test_the_app_holds_no_key_of_another_party(app: App, patient: Actor) -> None:
    app.certificate_of("north.serving", KeyUse.SEAL)
    held = [found for found in _walk(app, set()) if isinstance(found, PrivateKey | KeyStore | Identity)]
    own = {app.identity.signing_key.fingerprint, app.identity.sealing_key.fingerprint}
    assert {found.fingerprint for found in held if isinstance(found, PrivateKey)} == own
    assert {found.party for found in held if not isinstance(found, PrivateKey)} == {"app"}


def _walk(value: object, seen: set[int]) -> list[object]:
    """Return every object of the project's own that can be reached from `value`."""
    if id(value) in seen or not type(value).__module__.startswith(("core.", "security.", "db.", "builtins")):
        return []
    seen.add(id(value))
    parts: list[object] = []
    if isinstance(value, dict):
        parts = list(value.values())
    elif isinstance(value, list | tuple | set | frozenset):
        parts = list(value)
    elif is_dataclass(value):
        parts = [getattr(value, field.name) for field in fields(value)]
    parts += list(getattr(value, "__dict__", {}).values())
    for name in getattr(type(value), "__slots__", ()):
        parts.append(getattr(value, name, None))
    return [value, *(found for part in parts for found in _walk(part, seen))]


def test_importing_every_service_loads_neither_tensorflow_nor_streamlit_nor_matplotlib() -> None:
    names = sorted(file.stem for file in (ROOT / "core" / "services").glob("*.py") if file.stem != "__init__")
    code = ";".join(f"import core.services.{name}" for name in names) + (
        ";import sys;heavy={'tensorflow','keras','streamlit','matplotlib'};"
        "print(sorted(heavy & {name.partition('.')[0] for name in sys.modules}))"
    )
    done = subprocess.run(
        [sys.executable, "-c", code], cwd=ROOT, env=os.environ, capture_output=True, text=True, check=False
    )
    assert (done.stdout.strip(), done.returncode) == ("[]", 0), done.stderr


@pytest.mark.parametrize("database_url", ["sqlite"], indirect=True)
def test_a_closed_demo_account_stays_closed_after_set_up(app: App, clock: FixedClock) -> None:
    with session_scope(app.engine) as session:
        session.exec(select(User).where(col(User.username) == "demo-doctor")).one().is_active = False
    _run(app.settings, clock)
    with read_scope(app.engine) as session:
        assert not session.exec(select(User).where(col(User.username) == "demo-doctor")).one().is_active
