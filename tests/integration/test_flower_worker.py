"""A run from the database over Flower's local sockets, each party behind its own desk; Flower itself is left out.

What `federated.transport.flower.serverapp` and `clientapp` do with Flower between them, one thread does here.
"""

import threading
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path

import pytest

from core.clock import FixedClock
from core.services.app import Actor, App
from core.services.dataset_store import sealed_path
from core.settings import Settings
from core.studies import LEUKEMIA
from db.engine import read_scope
from db.models import Run
from db.models.federation import RunStatus
from federated.answering import Answering
from federated.hosting import DatasetFile, Hosting
from federated.transport.flower.desk import Desk
from federated.transport.flower.lines import END, Line, LineEnded, Listener
from security.keys import MasterKey
from tests.federation import SLUGS, SoftmaxLearner
from tests.integration.runs_support import give_data, queue_run, worker_for

pytestmark = pytest.mark.parametrize("database_url", ["sqlite"], indirect=True)


def opened(app: App, clock: FixedClock, datasets: list[str]) -> list[Answering]:
    """The parties, each opened from its own folder."""
    settings = app.settings
    hosting = Hosting(
        keys_dir=settings.keys_dir,
        master=MasterKey.load(secret=None, file=settings.master_key_file),
        crl=app.trust().crl_der or b"",
        study=LEUKEMIA,
        clock=clock,
    )
    return [
        hosting.aggregation(),
        *(
            hosting.node(
                f"{slug}.training",
                DatasetFile(id=dataset, path=sealed_path(settings, slug, dataset)),
                learner=SoftmaxLearner(),
                should_stop=lambda: False,
                progress=lambda _done, _total: None,
            )
            for slug, dataset in zip(SLUGS, datasets, strict=True)
        ),
    ]


@contextmanager
def at_desk(party: Answering, folder: Path) -> Iterator[None]:
    desk, path = Desk(), folder / f"{party.party}.sock"
    thread = threading.Thread(target=desk.serve, args=(party, path))
    thread.start()
    while not path.exists():
        time.sleep(0.01)
    yield
    desk.ending.set()
    thread.join()


@contextmanager
def flower(folder: Path) -> Iterator[Path]:
    """Pass letters on to the desks, in the place of Flower's apps; yields the socket of the server app."""
    ending, post = threading.Event(), folder / "flower.sock"

    def pass_on(line: Line) -> None:
        line.receive_seconds()
        letters = []
        while (letter := line.receive()) != END:
            letters.append(letter)
        for letter in letters:
            with Line.to(folder / f"{letter.party}.sock") as onward:
                onward.send(letter)
                line.send(onward.receive())

    def serve(listener: Listener) -> None:
        while not ending.is_set():
            line = listener.accept(wait_s=0.1)
            if line is not None:
                with line, suppress(LineEnded):  # some only ask whether anybody listens
                    pass_on(line)

    with Listener(post) as listener:
        thread = threading.Thread(target=serve, args=(listener,))
        thread.start()
        yield post
        ending.set()
        thread.join()


def test_with_the_setting_the_worker_hosts_no_party_and_plays_the_run_over_flower(
    app: App, clock: FixedClock, authority: Actor, tmp_path: Path
) -> None:
    datasets = give_data(app)
    run = queue_run(app, authority, datasets, rounds=1)
    parties = opened(app, clock, datasets)
    for folder in app.settings.keys_dir.iterdir():  # what the worker's machine does not hold, it cannot use
        if folder.name.endswith(".training") or folder.name == "aggregation":
            folder.rename(tmp_path / f"away-{folder.name}")
    with ExitStack() as stack:
        for party in parties:
            stack.enter_context(at_desk(party, tmp_path))
        post = stack.enter_context(flower(tmp_path))
        settings: Settings = app.settings.model_copy(update={"flower_socket": post})
        worker = worker_for(settings, clock)
        assert worker.run_one()
        worker.close()

    with read_scope(app.engine) as session:
        assert session.get_one(Run, run).status is RunStatus.FINISHED


def test_while_nobody_listens_a_run_stays_queued(app: App, clock: FixedClock, authority: Actor, tmp_path: Path) -> None:
    run = queue_run(app, authority, give_data(app), rounds=1)
    left = tmp_path / "left.sock"
    with Listener(left):
        left.rename(tmp_path / "kept")
    (tmp_path / "kept").rename(left)  # what a server app that was killed leaves behind
    for path in (tmp_path / "nobody.sock", left):
        worker = worker_for(app.settings.model_copy(update={"flower_socket": path}), clock)
        assert not worker.run_one()
        worker.close()

    with read_scope(app.engine) as session:
        assert session.get_one(Run, run).status is RunStatus.QUEUED


def test_a_run_whose_server_app_ends_is_kept_for_the_next_try(
    app: App, clock: FixedClock, authority: Actor, tmp_path: Path
) -> None:
    run = queue_run(app, authority, give_data(app), rounds=1)
    with Listener(tmp_path / "post") as listener:

        def hang_up() -> None:
            for _ in range(2):  # once for the question whether somebody listens, once for the first letters
                line = listener.accept(wait_s=30)
                assert line is not None
                with line:
                    pass

        thread = threading.Thread(target=hang_up)
        thread.start()
        worker = worker_for(app.settings.model_copy(update={"flower_socket": tmp_path / "post"}), clock)
        assert worker.run_one()
        worker.close()
        thread.join()

    with read_scope(app.engine) as session:
        assert session.get_one(Run, run).status is RunStatus.RUNNING
