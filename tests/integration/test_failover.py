"""An address that leads to another database server: acts are done there or refused, and nothing confirmed is lost."""

import shutil
import threading
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path

import pytest
from sqlmodel import Session, select

from core.errors import DatabaseUnavailable
from core.services import audit
from core.services.app import Actor, App
from core.services.sessions import actor_of
from core.settings import Settings
from db import migrate
from db.engine import make_engine, read_scope, session_scope
from db.models import User
from tests.conftest import Installation, fill
from tests.faults.database_servers import ACCOUNT, SCHEMA, DatabaseServer, made_folder, primary_and_replica
from tests.faults.proxy import Proxy

pytestmark = pytest.mark.mysql
Servers = tuple[DatabaseServer, DatabaseServer]


@pytest.fixture(scope="module")
def empty(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return made_folder(tmp_path_factory.mktemp("servers") / "empty")


@pytest.fixture
def servers(empty: Path, tmp_path: Path) -> Iterator[Servers]:
    with primary_and_replica(empty, tmp_path / "servers") as made:
        yield made


@pytest.fixture
def address(servers: Servers) -> Iterator[Proxy]:
    """The one address under which applications know the database."""
    with Proxy("127.0.0.1", servers[0].port) as made:
        yield made


@pytest.fixture
def app(installation: Installation, address: Proxy, tmp_path: Path) -> Iterator[App]:
    """The application on a database behind that address."""
    url = f"mysql+pymysql://{ACCOUNT}@127.0.0.1:{address.port}/{SCHEMA}"
    engine = make_engine(url)
    migrate.upgrade(engine)
    engine.dispose()
    fill(f"sqlite:///{installation.database}", url)
    data_dir = tmp_path / "data"
    shutil.copytree(installation.data_dir / "keys", data_dir / "keys")
    shutil.copy(installation.data_dir / "master.key", data_dir / "master.key")
    made = App.start(Settings(data_dir=data_dir, database_url=url, master_key=None))
    yield made
    made.engine.dispose()


@pytest.fixture
def authority(app: App) -> Actor:
    with read_scope(app.engine) as session:
        return actor_of(app, session.exec(select(User).where(User.username == "demo-authority")).one())


def act(app: App, actor: Actor, name: str) -> None:
    with session_scope(app.engine) as session:
        audit.append(app, session, actor, "test.act", object_id=name)


def done(app: App, authority: Actor) -> set[str]:
    """Return the acts that the log holds, once it was verified from its beginning."""
    audit.verify(app, authority)
    return {entry.object_id for entry in audit.list_entries(app, authority, action="test.act", limit=10_000)}


def is_active(session: Session) -> bool:
    return session.exec(select(User.is_active).where(User.username == "demo-patient")).one()


def until(holds: Callable[[], bool]) -> None:
    """Wait for what other threads do."""
    waited = threading.Event()
    for _ in range(6000):
        if holds():
            return
        waited.wait(0.01)
    raise AssertionError("it did not come about in a minute")


def test_a_switch_to_another_server_costs_only_what_was_under_way_and_nobody_reads_on_from_the_first(
    app: App, authority: Actor, servers: Servers, address: Proxy
) -> None:
    """The first one lives on, read-only, and answers on the connections that there are: with what was true before."""
    first, second = servers
    act(app, authority, "before")

    def under_way() -> None:
        with session_scope(app.engine) as session:
            assert is_active(session)
            first.run("SET GLOBAL read_only=1")
            audit.append(app, session, authority, "test.act", object_id="under way")

    with pytest.raises(DatabaseUnavailable):
        under_way()
    with read_scope(app.engine) as session:
        assert is_active(session), "a new connection, but to the first one still"
    with pytest.raises(DatabaseUnavailable):
        act(app, authority, "too early")
    second.catch_up_with(first)
    with read_scope(app.engine) as session, read_scope(app.engine) as other:
        assert is_active(session)
        assert is_active(other)
    address.lead_to("127.0.0.1", second.port)
    second.run("UPDATE hemaseal.user_account SET is_active = 0 WHERE username = 'demo-patient'")
    with read_scope(app.engine) as session, read_scope(app.engine) as other:
        assert not is_active(session)
        assert not is_active(other)
    act(app, authority, "after")
    assert done(app, authority) == {"before", "after"}


def test_when_the_server_dies_under_many_acts_all_that_were_confirmed_are_on_the_next_one(
    app: App, authority: Actor, servers: Servers, address: Proxy
) -> None:
    first, second = servers
    confirmed: list[str] = []
    ended = threading.Event()

    def go_on(who: int) -> None:
        number = 0
        while not ended.wait(0.001):
            number += 1
            with suppress(DatabaseUnavailable):
                act(app, authority, f"{who}/{number}")
                confirmed.append(f"{who}/{number}")

    writers = [threading.Thread(target=go_on, args=(who,)) for who in range(3)]
    for writer in writers:
        writer.start()
    try:
        until(lambda: len(confirmed) > 20)
        first.kill()
        second.take_over()
        before = len(confirmed)
        address.lead_to("127.0.0.1", second.port)
        until(lambda: len(confirmed) > before + 20)
    finally:
        ended.set()
        for writer in writers:
            writer.join()
    assert set(confirmed) <= done(app, authority)
