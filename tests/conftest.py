"""Fixtures that all tests share: a clock, settings in a throw-away folder, a database of each engine.

A test that takes `database_url` (or anything built on it) runs on SQLite and on MySQL. A test for which the engine does
not matter says so: ``@pytest.mark.parametrize("database_url", ["sqlite"], indirect=True)``.
MySQL is the server of ``TEST_DATABASE_URL``, else the one on 127.0.0.1:3306 (root, no password).
"""

import os
import shutil
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cache
from pathlib import Path

import hypothesis
import pytest
from sqlalchemy import Engine, create_engine, make_url, text
from sqlalchemy.exc import SQLAlchemyError
from sqlmodel import SQLModel, select
from streamlit.components.v2 import manifest_scanner

import db.models
from core.clock import FixedClock
from core.diagnosis.bundle import ServingModel
from core.services import setup
from core.services.accounts import new_user
from core.services.app import Actor, App
from core.services.consents import ConsentPurpose, record_consents
from core.services.context import Profile
from core.services.sessions import actor_of
from core.settings import Mode, Settings
from db import migrate
from db.copying import copy_rows
from db.engine import make_engine, read_scope, session_scope
from db.models import Role, User

assert db.models.__all__
hypothesis.settings.register_profile("tests", deadline=None)  # machines are busy
hypothesis.settings.load_profile("tests")

MYSQL_URL = os.environ.get("TEST_DATABASE_URL", "mysql+pymysql://root@127.0.0.1:3306/")


@pytest.fixture(autouse=True)
def main_module() -> Iterator[None]:
    """Put the main module back: drawing a page leaves the page in its place, and forked servers would import that."""
    main = sys.modules["__main__"]
    yield
    sys.modules["__main__"] = main


@pytest.fixture(scope="session", autouse=True)
def installed_components() -> Iterator[None]:
    """Look once for Streamlit's components in what is installed: `AppTest` does at every run of a page, for 0.2 s."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(manifest_scanner, "scan_component_manifests", cache(manifest_scanner.scan_component_manifests))
        yield


@pytest.fixture
def clock() -> FixedClock:
    """A clock at 2026-01-05 09:00 UTC (a Monday) that moves only when told to."""
    return FixedClock()


@pytest.fixture(scope="session")
def mysql_schema() -> Iterator[str]:
    """The URL of a migrated MySQL schema of this test process; dropped at the end."""
    server = make_url(MYSQL_URL)
    name = f"hemaseal_test_{os.getpid()}"
    admin = create_engine(server.set(database=None), connect_args={"connect_timeout": 3})
    try:
        with admin.connect() as connection:
            connection.execute(text(f"DROP DATABASE IF EXISTS {name}"))
            connection.execute(text(f"CREATE DATABASE {name} CHARACTER SET utf8mb4"))
    except SQLAlchemyError:
        admin.dispose()
        pytest.skip(f"no MySQL answers at {server.host}:{server.port or 3306}: data-layer tests on MySQL left out")
    url = server.set(database=name).render_as_string(hide_password=False)
    try:
        engine = make_engine(url)
        migrate.upgrade(engine)
        engine.dispose()
        yield url
    finally:
        with admin.connect() as connection:
            connection.execute(text(f"DROP DATABASE {name}"))
        admin.dispose()


@pytest.fixture
def empty_mysql(mysql_schema: str) -> str:
    """The URL of that schema without a row."""
    engine = make_engine(mysql_schema)
    empty_tables(engine)
    engine.dispose()
    return mysql_schema


@pytest.fixture(scope="session")
def sqlite_template(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A migrated, empty SQLite file, copied for each test."""
    path = tmp_path_factory.mktemp("template") / "empty.db"
    engine = make_engine(f"sqlite:///{path}")
    migrate.upgrade(engine)
    engine.dispose()
    return path


def fill(source_url: str, target_url: str) -> None:
    """Copy all rows into a database without any."""
    source, target = make_engine(source_url), make_engine(target_url)
    copy_rows(source, target)
    source.dispose()
    target.dispose()


def empty_tables(engine: Engine) -> None:
    """Delete every row of every table."""
    with engine.begin() as connection:
        if engine.dialect.name == "mysql":
            connection.execute(text("SET FOREIGN_KEY_CHECKS=0"))
        for table in reversed(SQLModel.metadata.sorted_tables):
            connection.execute(table.delete())
        if engine.dialect.name == "mysql":
            connection.execute(text("SET FOREIGN_KEY_CHECKS=1"))


@pytest.fixture(params=["sqlite", pytest.param("mysql", marks=pytest.mark.mysql)])
def database_url(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    """The URL of a migrated, empty database, once for each engine."""
    if request.param == "sqlite":
        path = tmp_path / "data" / "hemaseal.db"
        path.parent.mkdir(exist_ok=True)
        shutil.copyfile(request.getfixturevalue("sqlite_template"), path)
        return f"sqlite:///{path}"
    url: str = request.getfixturevalue("empty_mysql")
    return url


@pytest.fixture
def engine(database_url: str) -> Iterator[Engine]:
    """An engine on `database_url`."""
    engine = make_engine(database_url)
    yield engine
    engine.dispose()


@dataclass(frozen=True)
class Installation:
    """A set-up demo installation (keys, accounts, no contents), made once and copied for each test."""

    data_dir: Path
    database: Path


@pytest.fixture(scope="session")
def installation(tmp_path_factory: pytest.TempPathFactory) -> Installation:
    """Set up a demo installation on SQLite, with quick password hashes and certificates that hold for ten years."""
    data_dir = tmp_path_factory.mktemp("installation") / "data"
    settings = Settings(data_dir=data_dir, database_url="", master_key=None, mode=Mode.DEMO)
    setup.run(settings, clock=FixedClock(), demo_contents=False, rounds=4, certificate_days=3650)
    return Installation(data_dir, data_dir / "hemaseal.db")


@pytest.fixture
def settings(installation: Installation, database_url: str, tmp_path: Path) -> Settings:
    """Settings of an installation of this test's own: its folder, its keys, its database with the demo accounts."""
    data_dir = tmp_path / "data"
    shutil.copytree(installation.data_dir, data_dir, dirs_exist_ok=True)
    if not database_url.startswith("sqlite"):
        fill(f"sqlite:///{installation.database}", database_url)
    return Settings(data_dir=data_dir, database_url=database_url, master_key=None, mode=Mode.DEMO)


@pytest.fixture
def app(settings: Settings, clock: FixedClock) -> Iterator[App]:
    """The application on a demo installation: four hospitals, all demo accounts, no cases, data sets or model."""
    app = App.start(settings, clock=clock)
    yield app
    app.engine.dispose()


def _demo_actor(app: App, username: str) -> Actor:
    with read_scope(app.engine) as session:
        return actor_of(app, session.exec(select(User).where(User.username == username)).one())


@pytest.fixture
def patient(app: App) -> Actor:
    """The demo patient, who has given both consents."""
    return _demo_actor(app, "demo-patient")


@pytest.fixture
def other_patient(app: App) -> Actor:
    """A second patient, who has given both consents."""
    user = new_user(
        app,
        username="second-patient",
        password="quite long enough",
        role=Role.PATIENT,
        profile=Profile("Second patient"),
        rounds=4,
    )
    with session_scope(app.engine) as session:
        session.add(user)
        session.flush()
        record_consents(app, session, actor_of(app, user), ConsentPurpose)
    return actor_of(app, user)


@pytest.fixture
def doctor(app: App) -> Actor:
    """The demo doctor of hospital north."""
    return _demo_actor(app, "demo-doctor")


@pytest.fixture
def second_doctor(app: App) -> Actor:
    """The second demo doctor of hospital north."""
    return _demo_actor(app, "demo-doctor-second")


@pytest.fixture
def doctor_east(app: App) -> Actor:
    """The demo doctor of hospital east."""
    return _demo_actor(app, "demo-doctor-east")


@pytest.fixture
def hospital(app: App) -> Actor:
    """The administrator of hospital north."""
    return _demo_actor(app, "demo-hospital")


@pytest.fixture
def hospital_east(app: App) -> Actor:
    """The administrator of hospital east."""
    return _demo_actor(app, "demo-hospital-east")


@pytest.fixture
def authority(app: App) -> Actor:
    """The trusted authority."""
    return _demo_actor(app, "demo-authority")


@pytest.fixture
def strangers(other_patient: Actor, doctor_east: Actor, hospital: Actor, authority: Actor) -> list[Actor]:
    """Everybody who must not see what the demo patient shares with hospital north."""
    return [other_patient, doctor_east, hospital, authority]


@pytest.fixture(scope="session")
def serving_model() -> ServingModel:
    """An untrained but complete model, exported once (this imports TensorFlow)."""
    from tests.serving import model_of, untrained  # noqa: PLC0415  only tests that ask for a model wait for TensorFlow

    return model_of(untrained())
