"""What the worker leaves published of a blind run, and that an auditor needs nothing else of the installation."""

import pytest
from sqlmodel import select
from typer.testing import CliRunner

from core.clock import FixedClock
from core.learning.orders import AggregationMode
from core.services.app import Actor, App
from core.services.runs import start_run
from core.settings import Settings
from core.studies import LEUKEMIA
from db.engine import read_scope
from db.models import RunAttempt
from federated.__main__ import commands
from federated.board import FileBoard, published_attempts
from tests.integration.runs_support import give_data, worker_for


def test_of_a_run_the_last_rounds_sums_stay_published_and_verify_with_root_and_list_alone(
    app: App, authority: Actor, settings: Settings, clock: FixedClock, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("core.clock.SystemClock", lambda: clock)
    mode = AggregationMode.BLIND
    run = start_run(app, authority, study=LEUKEMIA.name, mode=mode, rounds=3, dataset_ids=give_data(app))
    folder = settings.data_dir / "published" / run
    FileBoard(folder / "of-a-lost-attempt" / "update").publish("north.training", b"", memoryview(b""))
    worker = worker_for(settings, clock)
    assert worker.run_one()
    worker.close()
    with read_scope(app.engine) as session:
        rows = session.exec(select(RunAttempt).where(RunAttempt.run_id == run)).all()
        attempts = {row.round_number: row.id for row in sorted(rows, key=lambda row: -row.number)}
    assert published_attempts(folder) == {attempts[2], attempts[3]}
    keys = settings.keys_dir / "coordinator"
    for name in ("update", "figures"):
        sums = folder / attempts[3] / name
        result = CliRunner().invoke(
            commands, ["verify", str(sums), "--root", str(keys / "root.crt"), "--crl", str(keys / "newest.crl")]
        )
        assert result.exit_code == 0, result.output
        assert f"Sum '{name}' of round 3, run {run}, attempt {attempts[3]}" in result.output
