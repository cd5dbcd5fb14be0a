"""What the cloud holds of a real blind run beside the true change: proved, unlike, opened by the authority alone."""

import shutil
from pathlib import Path

import numpy as np
import pytest
from sqlmodel import select

from core.clock import FixedClock
from core.errors import CheckpointRefused, NotAuthorised, NotFound, RecordDamaged
from core.services import audit
from core.services.app import Actor, App
from core.services.cloud_uploads import EDGES, change_beside_uploads, uploads_in_cloud
from core.services.runs import AggregationMode, start_run
from core.services.sessions import actor_of
from core.settings import Mode, Settings
from core.studies import LEUKEMIA
from db.engine import read_scope, session_scope
from db.models import Checkpoint, Run, User
from tests.conftest import Installation
from tests.federation import SLUGS
from tests.integration.page_support import draw, words
from tests.integration.runs_support import give_data, queue_run, worker_for


@pytest.fixture(scope="module")
def installation(installation: Installation, tmp_path_factory: pytest.TempPathFactory) -> Installation:
    """One in which a blind run of two rounds is finished."""
    data_dir = shutil.copytree(installation.data_dir, tmp_path_factory.mktemp("finished") / "data")
    settings = Settings(data_dir=data_dir, database_url="", master_key=None, mode=Mode.DEMO)
    app = App.start(settings, clock=FixedClock())
    with read_scope(app.engine) as session:
        authority = actor_of(app, session.exec(select(User).where(User.username == "demo-authority")).one())
    datasets = give_data(app)
    start_run(app, authority, study=LEUKEMIA.name, mode=AggregationMode.BLIND, rounds=2, dataset_ids=datasets)
    worker = worker_for(settings, FixedClock())
    assert worker.run_one()
    worker.close()
    app.engine.dispose()
    return Installation(data_dir, data_dir / "hemaseal.db")


@pytest.fixture
def run(app: App) -> str:
    """The id of the finished run."""
    with read_scope(app.engine) as session:
        return session.exec(select(Run.id)).one()


def test_uploads_are_those_of_the_last_round_and_spread_over_all_words(app: App, authority: Actor, run: str) -> None:
    found = uploads_in_cloud(app, authority, run)
    assert found is not None
    assert (found.round, found.change) == (2, None)
    assert [one.slug for one in found.uploads] == sorted(SLUGS)
    for one in found.uploads:
        assert len(one.shares) == len(EDGES) - 1
        assert sum(one.shares) == pytest.approx(100)
        even = found.words / len(one.shares)  # words in a bin, if they fall evenly; their number varies by its root
        counts = np.array(one.shares) * found.words / 100
        assert ((counts - even) ** 2 / even).sum() < 80, "beyond 99.999 in 100 draws of even words (chi-square, 31)"


def test_the_true_change_is_narrow_and_no_upload_is_like_it(app: App, authority: Actor, run: str) -> None:
    found = change_beside_uploads(app, authority, run)
    assert found is not None
    assert found.change is not None
    middle = len(found.change.shares) // 2
    assert sum(found.change.shares[middle - 4 : middle + 4]) > 90
    assert 0 < found.change.typical <= found.change.largest
    assert all(one.alike is not None and abs(one.alike) < 3 * found.change.by_chance for one in found.uploads)
    (entry,) = audit.list_entries(app, authority, action="model.open")
    assert (entry.actor, entry.object_id) == (authority.user_id, run)


@pytest.mark.parametrize("database_url", ["sqlite"], indirect=True)
def test_a_changed_upload_is_not_shown(app: App, authority: Actor, run: str) -> None:
    for path in published(app, run).glob("*/update/north.training.vector"):
        data = bytearray(path.read_bytes())
        data[0] ^= 1
        path.write_bytes(data)
    with pytest.raises(RecordDamaged, match=r"north\.training"):
        uploads_in_cloud(app, authority, run)


@pytest.mark.parametrize("database_url", ["sqlite"], indirect=True)
def test_a_model_of_another_round_does_not_open(app: App, authority: Actor, run: str) -> None:
    with session_scope(app.engine) as session:
        rows = {row.round_number: row for row in session.exec(select(Checkpoint).where(Checkpoint.run_id == run)).all()}
        rows[2].weights_blob_id = rows[1].weights_blob_id
    with pytest.raises(CheckpointRefused, match="seal"):
        change_beside_uploads(app, authority, run)


def published(app: App, run: str) -> Path:
    return app.settings.data_dir / "published" / run


@pytest.mark.parametrize("database_url", ["sqlite"], indirect=True)
def test_where_nothing_is_published_nothing_is_shown_and_nothing_opened(app: App, authority: Actor, run: str) -> None:
    other = queue_run(app, authority, give_data(app))
    shutil.rmtree(published(app, run))
    for one in (run, other):
        assert uploads_in_cloud(app, authority, one) is None
        assert change_beside_uploads(app, authority, one) is None
    assert not audit.list_entries(app, authority, action="model.open")
    with pytest.raises(NotFound):
        uploads_in_cloud(app, authority, "nowhere")


@pytest.mark.parametrize("database_url", ["sqlite"], indirect=True)
@pytest.mark.parametrize("role", ["hospital", "doctor", "patient"])
def test_only_the_authority_looks_and_opens(
    app: App, authority: Actor, role: str, request: pytest.FixtureRequest
) -> None:
    queued = queue_run(app, authority, give_data(app))
    for service in (uploads_in_cloud, change_beside_uploads):
        with pytest.raises(NotAuthorised):
            service(app, request.getfixturevalue(role), queued)


@pytest.mark.parametrize("database_url", ["sqlite"], indirect=True)
def test_the_page_draws_both_on_request_and_says_who_can_see_which(served: App, authority: Actor, run: str) -> None:
    tab = draw(served, "authority/runs", "demo-authority", run_chosen=run)
    assert not any("Correlation" in str(list(one.value)) for one in tab.dataframe)
    tab.button(key="uploads_read").click().run()
    assert "round 2" in words(tab)
    tab.button(key="uploads_open").click().run()
    assert not tab.exception
    shown = next(one.value for one in tab.dataframe if "Correlation with the true change" in one.value)
    assert list(shown["Hospital"]) == [slug.capitalize() for slug in sorted(SLUGS)]
    assert "known to that hospital alone" in words(tab)
