"""Installations for faults: one with a queued run is made once for each mode, and copied for each fault."""

import base64
import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path

from sqlalchemy import create_engine, make_url, text
from sqlmodel import select

from core.clock import SystemClock
from core.learning.orders import AggregationMode, RunOptions, sign_order
from core.learning.run_choices import RoundRules
from core.services import runs, setup
from core.services.app import App
from core.services.authority import authority_office
from core.services.sessions import actor_of
from core.settings import Mode, Settings
from core.studies import LEUKEMIA
from db import migrate
from db.engine import make_engine, read_scope, session_scope
from db.models import Run, User
from tests.conftest import empty_tables, fill
from tests.faults.plan import DEADLINE_S
from tests.faults.proxy import Proxy
from tests.faults.saboteur import Post
from tests.integration.runs_support import give_data

ROUNDS = 2
RULES = RoundRules(deadline_s=DEADLINE_S, tries=3)
CERTIFICATE_DAYS = 3650


@dataclass(frozen=True, kw_only=True)
class Ground:
    """One installation with one run, for one fault.

    Attributes:
        post: where the worker works.
        direct_url: the database, past the proxy.
        run: id of the run.
        proxy: between worker and database, if it is MySQL.
    """

    post: Post
    direct_url: str
    run: str
    proxy: Proxy | None

    @property
    def folders(self) -> tuple[Path, ...]:
        """Folders of installations: this one's, and that of the other host, if there is one."""
        return tuple(folder for folder in (self.post.data_dir, self._elsewhere) if folder.exists())

    @property
    def _elsewhere(self) -> Path:
        return self.post.data_dir.parent / "elsewhere"

    def other_host(self) -> Post:
        """A second installation with the same keys and data that shares the database, as on another machine."""
        unshared = shutil.ignore_patterns("hemaseal.db*", "run")
        shutil.copytree(self.post.data_dir, self._elsewhere, ignore=unshared)
        return replace(self.post, data_dir=self._elsewhere)

    def direct(self) -> Settings:
        """The installation's settings with the database past the proxy."""
        return replace(self.post, database_url=self.direct_url).settings()


def make_template(folder: Path, mode: AggregationMode) -> str:
    """Set up a demo installation in `folder` with four tiny data sets and a queued run; returns the run's id."""
    clock = SystemClock()
    settings = Settings(data_dir=folder, database_url=f"sqlite:///{folder / 'hemaseal.db'}", mode=Mode.DEMO)
    setup.run(settings, clock=clock, demo_contents=False, rounds=4, certificate_days=CERTIFICATE_DAYS)
    app = App.start(settings, clock=clock)
    with read_scope(app.engine) as session:
        authority = actor_of(app, session.exec(select(User).where(User.username == "demo-authority")).one())
    run = runs.start_run(
        app, authority, study=LEUKEMIA.name, mode=mode, rounds=ROUNDS, dataset_ids=give_data(app), local_epochs=2
    )
    with session_scope(app.engine) as session, authority_office(settings, clock) as office:
        row = session.get_one(Run, run)
        stored = dict(row.options)
        beside = {key: stored.pop(key) for key in list(stored) if key not in RunOptions.__dataclass_fields__}
        options = replace(RunOptions.from_json(stored), round_rules=RULES)
        beside["order"] = base64.b64encode(sign_order(options, run=run, signer=office.identity)).decode("ascii")
        row.options = {**options.to_json(), **beside}
        session.add(row)
    app.engine.dispose()
    return run


class Arena:
    """Makes grounds: a copy of a template's folder, and its rows in a fresh database."""

    def __init__(self, folder: Path, *, mysql_url: str | None) -> None:
        """Prepare.

        Args:
            folder: everything is made below it.
            mysql_url: a MySQL or MariaDB server, or None.
        """
        self._folder = folder
        self._templates: dict[AggregationMode, tuple[Path, str]] = {}
        self.mysql_url = mysql_url
        self._schema = f"hemaseal_faults_{os.getpid()}"

    def template(self, mode: AggregationMode) -> tuple[Path, str]:
        """Return folder and run of a mode's template, made when first asked for."""
        if mode not in self._templates:
            place = self._folder / f"template-{mode.value}"
            self._templates[mode] = (place, make_template(place, mode))
        return self._templates[mode]

    @contextmanager
    def ground(self, mode: AggregationMode, *, mysql: bool, short: bool = True) -> Iterator[Ground]:
        """Yield a fresh installation; it is removed at the end."""
        template, run = self.template(mode)
        place = self._folder / "ground"
        shutil.rmtree(place, ignore_errors=True)
        for name in ("secrets", "temporary"):
            (place / name).mkdir(parents=True)
        data = place / "data"
        without_database = shutil.ignore_patterns("hemaseal.db*") if mysql else None
        shutil.copytree(template, data, ignore=without_database)
        proxy, url = None, f"sqlite:///{data / 'hemaseal.db'}"
        direct = url
        if mysql:
            direct = self._fill_schema(template)
            server = make_url(direct)
            proxy = Proxy(server.host or "127.0.0.1", server.port or 3306)
            near = server.set(host="127.0.0.1", port=proxy.port)
            url = near.render_as_string(hide_password=False)
        post = Post(
            data_dir=data,
            database_url=url,
            journal=place / "journal",
            secrets=place / "secrets",
            temporary=place / "temporary",
            gate=place / "gate",
            short=short,
        )
        ground = Ground(post=post, direct_url=direct, run=run, proxy=proxy)
        if proxy is None:
            yield ground
        else:
            with proxy:
                yield ground
        shutil.rmtree(place, ignore_errors=True)

    def _fill_schema(self, template: Path) -> str:
        """Put a template's rows into this arena's schema on the server; returns its URL."""
        assert self.mysql_url is not None
        server = make_url(self.mysql_url)
        url = server.set(database=self._schema).render_as_string(hide_password=False)
        admin = create_engine(server.set(database=None))
        with admin.connect() as connection:
            connection.execute(text(f"CREATE DATABASE IF NOT EXISTS {self._schema} CHARACTER SET utf8mb4"))
        admin.dispose()
        engine = make_engine(url)
        migrate.upgrade(engine)
        empty_tables(engine)
        engine.dispose()
        fill(f"sqlite:///{template / 'hemaseal.db'}", url)
        return url

    def close(self) -> None:
        """Remove the schema from the server."""
        if self.mysql_url is not None:
            admin = create_engine(make_url(self.mysql_url).set(database=None))
            with admin.connect() as connection:
                connection.execute(text(f"DROP DATABASE IF EXISTS {self._schema}"))
            admin.dispose()
