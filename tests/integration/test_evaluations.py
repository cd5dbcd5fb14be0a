"""Evaluations of the installation: ordered, watched, stopped, gone on with, and read on the authority's page."""

import json
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from filelock import FileLock

from core.clock import FixedClock, SystemClock
from core.errors import DatasetRefused, EvaluationBroken, InvalidInput, NotAuthorised, NotFound
from core.evaluation import ordered, perform_order
from core.evaluation.attacks import lab
from core.evaluation.ordered import LOCK, STANDING, STOP, Order, Phase, Standing
from core.evaluation.tables.figures import number
from core.evaluation.tables.question import Question
from core.services import evaluation_orders, evaluations, processes
from core.services.app import App
from core.services.audit import list_entries
from core.settings import ROOT, Mode
from tests.conftest import Installation
from tests.integration.page_support import draw, words
from tests.integration.world import World, build_world
from tests.kept_evaluation import keep_evaluation

NAME = "20260107-090000-leukemia"


@pytest.fixture(scope="module")
def kept(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A finished evaluation, and the cells that it attacked beside it."""
    folder = tmp_path_factory.mktemp("evaluation")
    keep_evaluation(folder / NAME, folder / "cells")
    return folder


@pytest.fixture(scope="module")
def world(installation: Installation, tmp_path_factory: pytest.TempPathFactory) -> Iterator[World]:
    """An installation of this file's own."""
    made = build_world(installation, tmp_path_factory.mktemp("evaluations") / "data")
    yield made
    made.app.engine.dispose()


@pytest.fixture
def app(world: World, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> App:
    """Its application, with an empty place for evaluations."""
    monkeypatch.setattr(type(world.app.settings), "evaluation_dir", tmp_path / "evaluation")
    return world.app


@pytest.fixture
def launched(monkeypatch: pytest.MonkeyPatch) -> list[list[str]]:
    """Commands that would have been started."""
    commands: list[list[str]] = []
    monkeypatch.setattr(processes, "start", lambda _settings, words, **_: commands.append(list(words)))
    return commands


def place(app: App, kept: Path) -> Path:
    """Put the finished evaluation where the installation looks for one."""
    app.settings.evaluation_dir.mkdir(exist_ok=True)
    folder = app.settings.evaluation_dir / NAME
    folder.symlink_to(kept / NAME)
    return folder


def asked(world: World, app: App, folder: Path, **changes: object) -> str:
    """Order the quick profile of both parts."""
    options: dict[str, object] = {"folder": folder, "study": "leukemia", "full": False, "tables": True}
    options |= {"attacks": True, "is_public": True}
    return evaluation_orders.order(app, world.people["authority"], **{**options, **changes})  # type: ignore[arg-type]


def an_order(data: Path, *, tables: bool = True) -> Order:
    return Order(data=data, study="leukemia", full=False, tables=tables, attacks=True, at=FixedClock().now())


# --- the service -----------------------------------------------------------------------------------------------------


def test_an_order_starts_a_process_of_its_own_and_is_in_the_log(
    world: World, app: App, kept: Path, launched: list[list[str]]
) -> None:
    authority = world.people["authority"]
    name = asked(world, app, kept / "cells")
    folder = app.settings.evaluation_dir / name

    assert launched == [["core.evaluation.perform_order", str(folder)]]
    entry = list_entries(app, authority, limit=1)[0]
    assert (entry.action, entry.object_id, entry.details["full"]) == ("evaluation.order", name, False)
    (view,) = evaluations.evaluations(app, authority)
    assert view.standing is not None
    assert (view.standing.phase, view.is_moving, view.may_go_on) == (Phase.WAITING, True, False)
    with pytest.raises(InvalidInput, match="under way"):
        asked(world, app, kept / "cells")
    with pytest.raises(InvalidInput, match="stop it"):
        evaluation_orders.remove(app, authority, name)


def test_what_may_not_be_evaluated_is_refused_and_nothing_starts(
    world: World, app: App, kept: Path, launched: list[list[str]], monkeypatch: pytest.MonkeyPatch
) -> None:
    with pytest.raises(InvalidInput, match="public"):
        asked(world, app, kept / "cells", is_public=False)
    with pytest.raises(InvalidInput, match="study"):
        asked(world, app, kept / "cells", study="hair")
    with pytest.raises(InvalidInput, match="tables, attacks"):
        asked(world, app, kept / "cells", tables=False, attacks=False)
    with pytest.raises(DatasetRefused, match=r"index\.csv"):
        asked(world, app, kept)
    with pytest.raises(DatasetRefused):
        asked(world, app, app.settings.data_dir)
    monkeypatch.setattr(app.settings, "mode", Mode.PRODUCTION)
    monkeypatch.setattr(app.settings, "second_factor", False)
    with pytest.raises(NotAuthorised):
        asked(world, app, kept / "cells")
    assert launched == []
    assert evaluations.evaluations(app, world.people["authority"]) == []


def test_what_lost_its_process_can_go_on_and_what_is_finished_cannot(
    world: World, app: App, kept: Path, launched: list[list[str]]
) -> None:
    authority = world.people["authority"]
    name = asked(world, app, kept / "cells")
    folder = app.settings.evaluation_dir / name
    with FileLock(folder / LOCK):
        ordered.note(folder, Standing(phase=Phase.RUNNING, at=app.clock.now(), part="attacks", done=2, total=8))
        view = evaluations.evaluations(app, authority)[0]
        assert view.standing is not None
        assert (view.standing.phase, view.standing.share) == (Phase.RUNNING, 0.25)
        evaluation_orders.stop(app, authority, name)
        assert ordered.standing(folder) == view.standing.model_copy(update={"phase": Phase.STOPPING})
    lost = evaluations.evaluations(app, authority)[0]
    assert lost.standing is not None
    assert (lost.standing.phase, lost.may_go_on) == (Phase.LOST, True)

    evaluation_orders.go_on(app, authority, name)

    assert len(launched) == 2
    assert not (folder / STOP).exists()
    ordered.note(folder, Standing(phase=Phase.FINISHED, at=app.clock.now()))
    with pytest.raises(InvalidInput, match="nothing is left"):
        evaluation_orders.go_on(app, authority, name)
    evaluation_orders.remove(app, authority, name)
    assert not folder.exists()


def test_results_are_read_from_their_files_and_no_other_file_is(world: World, app: App, kept: Path) -> None:
    authority, folder = world.people["authority"], place(app, kept)
    chapters = evaluations.contents(app, authority, NAME)

    assert list(chapters) == [
        "Table of metrics",
        "Comparison of methods",
        "Ablation",
        "Security and cloud",
        "How this was made",
        "Attacks",
    ]
    metrics = json.loads((folder / "steps" / "metrics.json").read_text())
    (table,) = chapters["Table of metrics"]
    assert isinstance(table, evaluations.Table)
    assert ("AUC", number(metrics["auc"]["value"])) in [row[:2] for row in table.rows]
    attacks = [one for one in chapters["Attacks"] if isinstance(one, evaluations.Plot)]
    stored = {row["view"]: row for row in json.loads((folder / "attacks.json").read_text())["attacks"]}
    share = stored["stored-clear"]["successes"] / stored["stored-clear"]["trials"]
    assert share > 0.9
    assert attacks[0].numbers.rows[0][:2] == ("stored-images", number(share))
    there = evaluations.kept(app, authority, NAME)
    assert {"report.html", "report.pdf"} <= set(there.reports)
    assert {"steps/tables.json", "attacks/objects.json", "attacks.json"} <= set(there.steps)
    assert evaluations.read_file(app, authority, NAME, "report.pdf").startswith(b"%PDF")
    for path in ("steps/proposed-0.npz", "../../master.key", "log.txt"):
        with pytest.raises(NotFound):
            evaluations.read_file(app, authority, NAME, path)
    for name in ("..", ".", "", "another"):
        with pytest.raises(NotFound):
            evaluations.contents(app, authority, name)


def test_files_that_no_command_wrote_are_named_as_such(world: World, app: App) -> None:
    folder = app.settings.evaluation_dir / "changed"
    folder.mkdir(parents=True)
    (folder / "attacks.json").write_text('{"attacks": [{"attack": "one"}]}')
    with pytest.raises(EvaluationBroken):
        evaluations.contents(app, world.people["authority"], "changed")


# --- the process -----------------------------------------------------------------------------------------------------


def test_a_process_stops_when_it_is_asked_to_and_the_next_one_goes_on(
    tmp_path: Path, kept: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder, parts = tmp_path / "one", list[str]()
    ordered.ask(folder, an_order(kept / "cells"), clock=FixedClock())

    def attacks(*_: object, **told: object) -> None:
        parts.append("attacks")
        told["begun"]("tampering", 4, 8)  # type: ignore[operator]
        if len(parts) == 1:
            (folder / STOP).touch()
            time.sleep(30)  # until it is interrupted

    monkeypatch.setattr(lab, "run", attacks)
    monkeypatch.setattr(Question, "ask", lambda **_: None)
    monkeypatch.setattr(perform_order, "make_tables", lambda *_, **__: parts.append("tables"))

    assert perform_order.go_on(folder, clock=SystemClock()) is Phase.STOPPED
    stopped = ordered.standing(folder)
    assert stopped is not None
    assert (stopped.phase, stopped.step, stopped.share) == (Phase.STOPPED, "tampering", 0.5)
    ordered.ask(folder, None, clock=FixedClock())
    assert perform_order.go_on(folder, clock=SystemClock()) is Phase.FINISHED
    assert parts == ["attacks", "attacks", "tables"]


def test_a_process_whose_folder_is_removed_ends(tmp_path: Path, kept: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = tmp_path / "one"
    ordered.ask(folder, an_order(kept / "cells", tables=False), clock=FixedClock())

    def attacks(*_: object, **__: object) -> None:
        folder.rename(tmp_path / "elsewhere")
        time.sleep(30)

    monkeypatch.setattr(lab, "run", attacks)
    assert perform_order.go_on(folder, clock=SystemClock()) is Phase.STOPPED
    assert not folder.exists()


def test_an_error_that_nobody_expected_is_told_without_its_words(
    tmp_path: Path, kept: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    ordered.ask(tmp_path / "one", an_order(kept / "cells"), clock=FixedClock())

    def broken(*_: object, **__: object) -> None:
        raise ValueError("a secret path")

    monkeypatch.setattr(lab, "run", broken)
    with pytest.raises(ValueError, match="secret"):
        perform_order.go_on(tmp_path / "one", clock=SystemClock())
    assert "failed" in (tmp_path / "one" / STANDING).read_text()
    assert "secret" not in (tmp_path / "one" / STANDING).read_text()


def test_a_real_process_says_why_it_cannot_do_what_was_ordered(world: World, tmp_path: Path) -> None:
    (tmp_path / "data").mkdir()
    (tmp_path / "data" / "index.csv").write_text("path,label\n", encoding="utf-8")
    folder = tmp_path / "one"
    ordered.ask(folder, an_order(tmp_path / "data"), clock=SystemClock())
    command = [sys.executable, "-m", "core.evaluation.perform_order", str(folder)]
    settings = processes.environment(world.app.settings)
    done = subprocess.run(command, cwd=ROOT, env=settings, capture_output=True, text=True, check=False)

    assert done.returncode == 0, done.stderr
    ended = ordered.standing(folder)
    assert ended is not None
    assert ended.phase is Phase.FAILED
    assert "index.csv" in ended.reason


# --- the page --------------------------------------------------------------------------------------------------------


def test_the_page_is_empty_then_takes_an_order_and_shows_how_far_it_is(
    world: World, app: App, kept: Path, launched: list[list[str]], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("pages._ui.state.app", lambda: app)
    tab = draw(app, "authority/evaluation", "demo-authority")
    assert "No evaluation yet" in words(tab)
    assert "Not a medical device" in words(tab)

    tab.segmented_control(key="evaluation_section").set_value("New evaluation").run()
    tab.text_input(key="evaluation_folder").set_value(str(kept / "cells"))
    tab.button(key="evaluation_send").click().run()
    assert "only public or drawn images" in words(tab)
    tab.checkbox(key="evaluation_public").check()
    tab.button(key="evaluation_send").click().run()
    assert not tab.exception
    assert len(launched) == 1

    (folder,) = app.settings.evaluation_dir.iterdir()
    with FileLock(folder / LOCK):
        now = Standing(phase=Phase.RUNNING, at=app.clock.now(), part="attacks", step="tampering", done=4, total=8)
        ordered.note(folder, now)
        tab.segmented_control(key="evaluation_section").set_value("Results").run()
        assert "running" in words(tab)
        assert "appear here when they are finished" in words(tab)
        tab.button(key="evaluation_stop").click().run()
        assert "stops as soon as it can" in words(tab)
    tab.run()
    assert "its process ended before it was done" in words(tab)
    tab.button(key="evaluation_go_on").click().run()
    assert len(launched) == 2
    ordered.note(folder, Standing(phase=Phase.FAILED, at=app.clock.now(), reason="Too few patients."))
    tab.run()
    assert "Too few patients." in words(tab)
    assert not tab.exception

    place(app, kept)
    evaluation_orders.remove(app, world.people["authority"], folder.name)
    tab.run()
    assert not tab.exception
    assert "made by a command" in words(tab)


def test_the_page_shows_every_part_of_what_came_out(
    world: World, app: App, kept: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("pages._ui.state.app", lambda: app)
    place(app, kept)
    tab = draw(app, "authority/evaluation", "demo-authority")
    assert "made by a command" in words(tab)
    parts = tab.segmented_control(key=f"evaluation_part_{NAME}")
    for part in list(parts.options):
        tab.segmented_control(key=f"evaluation_part_{NAME}").set_value(part).run()
        assert not tab.exception, part
        assert tab.dataframe
    security = json.loads((kept / NAME / "steps" / "tables.json").read_text())["security"]
    tab.segmented_control(key=f"evaluation_part_{NAME}").set_value("Security and cloud").run()
    shown = tab.dataframe[0].value
    assert list(shown["outcome"]) == [
        {None: "", True: "reached", False: "missed"}[one["reached"]] for one in security.values()
    ]
