"""Where a chaos run happens: an installation with people and data, and beside it what its processes are told."""

import json
import os
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import datetime, timedelta
from pathlib import Path

from sqlmodel import select

from core.clock import SystemClock
from core.evaluation.throwaway import serving_installation
from core.services import processes
from core.services.accounts import Profile, Role, new_user
from core.services.app import Actor, App
from core.services.consents import CONSENT_TEXTS, record_consents
from core.services.demo import offer_times
from core.services.sessions import actor_of
from core.settings import Mode, Settings
from db.engine import read_scope, session_scope
from db.models import User
from tests.integration.runs_support import give_data

PATIENTS = tuple(f"chaos-patient-{number}" for number in range(4))
NAME = "Chaos Patientsdotter"
"""How the patients are called; it must not be found on the disk."""
_DISK = "2g"
_UPLOADS = 10**6


@dataclass(frozen=True)
class Place:
    """A folder with an installation in it and, beside that, what only the run knows.

    Attributes:
        folder: everything lies below it.
        database_url: a MySQL schema, or "" for SQLite in the installation's own folder.
        is_own_disk: the installation's folder is a file system of its own, which can be filled.
    """

    folder: Path
    database_url: str
    is_own_disk: bool

    @property
    def data_dir(self) -> Path:
        """The installation."""
        return self.folder / "installation"

    @property
    def temporary(self) -> Path:
        """Where its processes put temporary files."""
        return self.folder / "temporary"

    @property
    def diary(self) -> Path:
        """What its people noted."""
        return self.folder / "diary.jsonl"

    @property
    def weather(self) -> "Weather":
        """What its processes are told."""
        return Weather(self.folder / "weather.json")

    def settings(self) -> Settings:
        """The installation's settings."""
        return Settings(
            data_dir=self.data_dir,
            database_url=self.database_url,
            mode=Mode.DEMO,
            master_key=None,
            vault_dir=None,
            uploads_per_hour=_UPLOADS,
        )

    def environment(self) -> dict[str, str]:
        """What its app's process gets to know."""
        own = {"HEMASEAL_UPLOADS_PER_HOUR": str(_UPLOADS), "TMPDIR": str(self.temporary)}
        return {**processes.environment(self.settings()), **own}


@contextmanager
def furnished(folder: Path, *, database_url: str = "", own_disk: bool) -> Iterator[Place]:
    """Set up four hospitals, a model in service, patients who agreed, times to book and a data set each.

    Args:
        folder: a new folder, which the caller removes.
        database_url: an empty MySQL schema; "" makes a SQLite file.
        own_disk: mount a file system in memory for the installation; where that is not permitted there is none.
    """
    place = Place(folder, database_url, own_disk and _mount(folder / "installation"))
    place.temporary.mkdir()
    place.weather.write({})
    try:
        with serving_installation(place.data_dir, database_url=database_url) as app:
            _add_patients(app)
            offer_times(app)
            give_data(app)
        yield place
    finally:
        if place.is_own_disk:
            subprocess.run(["umount", "--lazy", str(place.data_dir)], check=False)


def person(app: App, username: str) -> Actor:
    """Return an account."""
    with read_scope(app.engine) as session:
        return actor_of(app, session.exec(select(User).where(User.username == username)).one())


def _add_patients(app: App) -> None:
    for name in PATIENTS:
        user = new_user(
            app, username=name, password=os.urandom(16).hex(), role=Role.PATIENT, profile=Profile(NAME), rounds=4
        )
        with session_scope(app.engine) as session:
            session.add(user)
            session.flush()
            record_consents(app, session, actor_of(app, user), CONSENT_TEXTS)


def _mount(folder: Path) -> bool:
    folder.mkdir(mode=0o700)
    command = ["mount", "-t", "tmpfs", "-o", f"size={_DISK},mode=0700", "tmpfs", str(folder)]
    return subprocess.run(command, capture_output=True, check=False).returncode == 0


@contextmanager
def filled(folder: Path) -> Iterator[None]:
    """Leave no byte free on a file system that `furnished` mounted, until the block's end."""
    while True:
        status = os.statvfs(folder)
        if _resize(folder, str((status.f_blocks - status.f_bfree) * status.f_frsize)):
            break  # else somebody has written meanwhile
    try:
        yield
    finally:
        _resize(folder, _DISK)


def _resize(folder: Path, size: str) -> bool:
    command = ["mount", "-o", f"remount,size={size}", str(folder)]
    return subprocess.run(command, capture_output=True, check=False).returncode == 0


@dataclass(frozen=True)
class Weather:
    """A file in which processes read what is the matter: how wrong their clocks are, and which node is in trouble."""

    file: Path

    def read(self) -> dict[str, object]:
        """Return what is the matter."""
        found: dict[str, object] = json.loads(self.file.read_text(encoding="ascii"))
        return found

    def write(self, said: dict[str, object]) -> None:
        """Say something else, in one step."""
        draft = self.file.with_suffix(".draft")
        draft.write_text(json.dumps(said), encoding="ascii")
        draft.replace(self.file)

    def change(self, **said: object) -> None:
        """Say something else about some matters; None takes one back."""
        self.write({name: value for name, value in {**self.read(), **said}.items() if value is not None})


@dataclass(frozen=True)
class SkewedClock:
    """The machine's clock, wrong by the seconds that the weather says."""

    weather: Weather
    whose: str

    def now(self) -> datetime:
        """See `core.clock.Clock`."""
        wrong_by = self.weather.read().get(self.whose, 0.0)
        assert isinstance(wrong_by, float | int)
        return SystemClock().now() + timedelta(seconds=wrong_by)
