"""The commands of docs/tutorial.md, exactly as printed, in a fresh folder beside a running app; then the app's view."""

import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from sqlmodel import select

from core.services import case_reading, models, run_views, worker_process
from core.services.app import Actor, App
from core.services.datasets import datasets
from core.services.runs import AggregationMode, RunStatus
from core.services.sessions import actor_of
from core.settings import ROOT, Settings
from db.blobs import get_blob
from db.engine import read_scope
from db.models import Checkpoint, User
from security.keys import KeyUse
from security.sealed_format import recipients_of
from tests.browser.harness import Server, environment, set_up

TUTORIAL = ROOT / "docs" / "tutorial.md"
HOSPITALS = ("demo-hospital", "demo-hospital-east", "demo-hospital-south", "demo-hospital-west")
TRAINING = {f"{slug}.training" for slug in ("north", "east", "south", "west")}


def printed_commands() -> list[str]:
    """Return the blocks of commands, in order."""
    return re.findall(r"^```sh\n(.*?)^```", TUTORIAL.read_text(encoding="utf-8"), re.MULTILINE | re.DOTALL)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """What the reader's clone is to the tutorial: `.venv` is there, `var` is what ``make run`` made."""
    folder = tmp_path_factory.mktemp("clone")
    (folder / ".venv").symlink_to(sys.prefix)
    set_up(folder / "var")
    return folder


@pytest.fixture(scope="module")
def said(folder: Path) -> Iterator[str]:
    """Run the tutorial in one shell; what it printed."""
    first, *rest = printed_commands()
    assert first == "make run\n"  # `folder` and the server below do what it does
    quiet = {"TF_CPP_MIN_LOG_LEVEL": "3", "PYTHONPATH": str(ROOT)}
    server = Server(folder / "var").start()
    try:
        done = subprocess.run(
            ["bash", "-euo", "pipefail", "-c", "\n".join(rest)],
            cwd=folder,
            env={**environment(folder / "var", {}), **quiet},
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            check=False,
        )
        assert done.returncode == 0, done.stdout + done.stderr
        yield done.stdout
    finally:
        server.stop()
        worker_process.stop(Settings(data_dir=folder / "var", database_url=""))


@pytest.fixture(scope="module")
def app(folder: Path, said: str) -> Iterator[App]:
    """The application on what the tutorial left."""
    app = App.start(Settings(data_dir=folder / "var", database_url="", master_key=None))
    yield app
    app.engine.dispose()


def person(app: App, username: str) -> Actor:
    with read_scope(app.engine) as session:
        return actor_of(app, session.exec(select(User).where(User.username == username)).one())


def test_the_makefile_starts_the_app_as_the_test_does() -> None:
    recipe = (ROOT / "Makefile").read_text(encoding="utf-8").partition("\nrun:")[2].partition("\n\n")[0]

    assert re.findall(r"\$\(PY\) -m (core \w+)", recipe) == ["core setup", "core serve"]


def test_every_hospital_has_its_own_quarter_of_the_folder(app: App, folder: Path) -> None:
    newest = [datasets(app, person(app, name))[0] for name in HOSPITALS]

    index = (folder / "cells" / "index.csv").read_text(encoding="utf-8").splitlines()
    assert sum(view.images for view in newest) == len(index) - 1 == 240
    assert all(view.provenance.value == "synthetic" for view in newest)
    assert not any(view.rejected for view in newest)


def test_the_run_finished_blind_with_all_four_and_its_checkpoints_are_sealed_for_them(app: App, said: str) -> None:
    authority = person(app, "demo-authority")
    (run,) = run_views.list_runs(app, authority)

    assert (run.status, run.mode) == (RunStatus.FINISHED, AggregationMode.BLIND)
    assert run.rounds_done == run.rounds
    assert f"run {run.id}: finished" in said
    members = run_views.run_detail(app, authority, run.id).members
    assert {f"{member.slug}.training" for member in members} == TRAINING
    with read_scope(app.engine) as session:
        made = session.exec(select(Checkpoint).where(Checkpoint.run_id == run.id)).all()
        sealed = {row.round_number: get_blob(session, row.weights_blob_id) for row in made}
    assert max(sealed) == run.rounds
    nodes = {app.certificate_of(party, KeyUse.SEAL).serial for party in TRAINING}
    authority_serial = app.certificate_of("authority", KeyUse.SEAL).serial
    for blob in sealed.values():
        assert set(recipients_of(blob)) == {*nodes, authority_serial}


def test_the_published_sums_were_added_up_again(said: str) -> None:
    assert said.count("Verified: the sum of 4 uploads") >= 1


def test_the_runs_model_serves_and_gave_the_patient_the_answer(app: App, said: str) -> None:
    authority, patient = person(app, "demo-authority"), person(app, "demo-patient")
    (run,) = run_views.list_runs(app, authority)
    (serving,) = [
        view
        for view in models.list_models(app, authority)
        if view.study == "leukemia" and view.status is models.CheckpointStatus.IN_SERVICE
    ]
    (case,) = case_reading.own_cases(app, patient)
    answer = case_reading.read_case(app, patient, case.case.id).result

    assert serving.run_id == run.id
    assert serving.verified
    assert answer is not None
    assert answer.checkpoint_id == serving.id
    assert case.case.number in said
    assert "not a medical device" in said


def test_what_the_page_shows_of_outputs_is_what_comes_out(said: str) -> None:
    shown = re.findall(r"^```text\n(.*?)^```", TUTORIAL.read_text(encoding="utf-8"), re.MULTILINE | re.DOTALL)

    assert shown
    for line in "".join(shown).splitlines():
        assert re.search(".*".join(map(re.escape, line.split("…"))), said), line


def test_the_readme_says_the_same_in_short() -> None:
    readme = (ROOT / "README.md").read_text(encoding="utf-8").partition("\n## A federated run of your own\n")[2]
    block = readme.partition("```sh\n")[2].partition("```")[0]
    plain = [" ".join(line.partition("#")[0].split()) for line in block.splitlines()]
    printed = [" ".join(line.split()) for line in "".join(printed_commands()).splitlines()]

    assert len(plain) > 5
    assert [line for line in plain if line not in printed] == ["python -m core promote --as demo-authority"]  # asks
