"""Presenter mode: the script plays from start to end by itself, and what it claims is measured while it plays."""

import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray

from core.clock import FixedClock
from core.errors import DemoOnly, InvalidInput
from core.evaluation.attacks.cloud import Tampering
from core.evaluation.attacks.gradient_inversion import Inverted, invert
from core.evaluation.attacks.metrics import psnr
from core.evaluation.demonstration import dropping_out, hospitals, inverting, modes, perform, tampering
from core.evaluation.demonstration.journal import EntryKind, Journal, Removed, hold, is_held, read_entries
from core.evaluation.demonstration.outcome import Outcome
from core.evaluation.demonstration.script import SCENES, StepName
from core.services import presentation, presentation_process, processes
from core.services.accounts import Role
from core.services.app import App
from core.services.audit import list_entries
from core.services.presentation import PLAYED_APART, StepState
from core.settings import ROOT, Mode
from federated.notary import Notary
from federated.smooth import SmoothLearner, gradients
from federated.transport.base import Transport
from pages._ui.registry import pages_for
from tests.conftest import Installation
from tests.integration.page_support import draw, words
from tests.integration.world import World, build_world

LIMIT_S = 300
"""What the script may take from start to end."""


def silent(_text: str, _share: float) -> None:
    """Hear what a step says."""


@pytest.fixture(scope="module")
def world(installation: Installation, tmp_path_factory: pytest.TempPathFactory) -> Iterator[World]:
    """An installation of this file's own."""
    made = build_world(installation, tmp_path_factory.mktemp("presentation") / "data")
    yield made
    made.app.engine.dispose()


@pytest.fixture
def app(world: World) -> Iterator[App]:
    """Its application, with nothing played."""
    presentation_process.clear(world.app.settings)
    yield world.app
    presentation_process.clear(world.app.settings)


def test_the_script_runs_from_start_to_end_by_itself_and_every_step_comes_out_as_told() -> None:
    done = subprocess.run(
        [sys.executable, "-m", "core", "present"],
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=LIMIT_S,
        check=False,
    )

    assert done.returncode == 0, done.stdout + done.stderr
    assert "6 of 6 steps came out as told" in done.stdout
    for scene in SCENES.values():
        assert scene.title in done.stdout


def test_a_step_that_the_script_does_not_have_is_named_and_nothing_runs() -> None:
    command = [sys.executable, "-m", "core", "present", "magic"]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)

    assert done.returncode == 2
    assert "known steps are hospitals, modes" in done.stderr.replace("\n", " ")


def test_the_script_lasts_ten_minutes_and_has_words_for_every_step() -> None:
    assert list(SCENES) == list(StepName) == list(perform.PLAYS)
    assert sum(scene.minutes for scene in SCENES.values()) == 10
    assert all(scene.notes and scene.real and scene.small for scene in SCENES.values())


def test_a_hospital_that_did_not_drop_out_is_told_from_one_that_did(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(dropping_out, "training_party", lambda _slug: "nobody.training")  # its line is never cut

    assert not dropping_out.show_drop_out(silent).as_told


def test_a_cloud_that_changes_nothing_is_not_said_to_be_caught(monkeypatch: pytest.MonkeyPatch) -> None:

    def harmless(transport: Transport, notary: Notary, *, coordinate: int, by: int) -> Transport:
        return Tampering(transport, notary, coordinate=coordinate, by=0)

    monkeypatch.setattr(tampering, "Tampering", harmless)

    assert not tampering.show_tampering(silent).as_told


def test_numbers_in_the_clouds_hands_that_resemble_the_update_are_not_said_to_hide_it(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(modes, "_alike", lambda *_: 1.0)

    assert not modes.show_modes(silent).as_told


def test_an_attack_that_gets_no_effort_is_not_said_to_succeed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(inverting, "ITERATIONS", 1)

    assert not inverting.show_inversion(silent).as_told


def test_inversion_finds_a_picture_from_its_gradient_and_not_from_another_vector() -> None:
    learner, rng = SmoothLearner(), np.random.default_rng(5)
    weights = learner.initial(1)
    rows = np.linspace(0.2, 0.8, 32)
    picture = np.stack([np.add.outer(rows, rows) / 2, np.tile(rows, (32, 1)), np.full((32, 32), 0.6)], axis=2)
    exact = {name: array.astype(np.float64) for name, array in weights.items()}
    found = gradients(exact, picture[None] - 0.5, np.eye(2)[[1]]).of_weights
    wanted = np.concatenate([one.ravel() for one in found.values()])

    def attacked(vector: NDArray[np.float64]) -> Inverted:
        drawn = np.random.default_rng(0)
        return invert(vector, weights, side=32, iterations=150, rng=drawn, progress=lambda _done: None)

    true, false = attacked(wanted), attacked(rng.permutation(wanted))

    flat = psnr(np.broadcast_to(picture.mean(axis=(0, 1)), picture.shape), picture)
    assert psnr(true.picture, picture) > flat + 10
    assert psnr(false.picture, picture) < flat


def test_gradients_written_by_hand_are_those_of_the_loss() -> None:
    rng = np.random.default_rng(2)
    weights = {name: array.astype(np.float64) for name, array in SmoothLearner().initial(3).items()}
    inputs, targets = rng.uniform(-0.5, 0.5, (3, 32, 32, 3)), np.eye(2)[[0, 1, 1]]
    found = gradients(weights, inputs, targets)
    for name, array in weights.items():
        way = rng.normal(size=array.shape)
        ahead, behind = ({**weights, name: array + by * way} for by in (1e-6, -1e-6))
        slope = (gradients(ahead, inputs, targets).loss - gradients(behind, inputs, targets).loss) / 2e-6
        assert slope == pytest.approx(float((found.of_weights[name] * way).sum()), rel=1e-5), name
    way = rng.normal(size=inputs.shape)
    slope = (gradients(weights, inputs + 1e-6 * way, targets).loss - found.loss) / 1e-6
    assert slope == pytest.approx(float((found.of_inputs * way).sum()), rel=1e-4)


# --- journal ---------------------------------------------------------------------------------------------------------


def test_an_outcome_with_its_pictures_survives_the_journal(tmp_path: Path) -> None:
    outcome = hospitals.show_hospitals(silent)
    Journal(tmp_path, clock=FixedClock()).write(StepName.HOSPITALS, EntryKind.ENDED, outcome=outcome)

    assert [entry.outcome for entry in read_entries(tmp_path, StepName.HOSPITALS)] == [outcome]
    assert outcome.pictures[0].png.startswith(b"\x89PNG")


def test_a_line_that_is_being_written_is_left_for_the_next_look(tmp_path: Path) -> None:
    Journal(tmp_path, clock=FixedClock()).write(StepName.MODES, EntryKind.BEGUN)
    with (tmp_path / "modes.jsonl").open("a") as file:
        file.write('{"kind":"progr')

    assert [entry.kind for entry in read_entries(tmp_path, StepName.MODES)] == [EntryKind.BEGUN]


def test_a_step_that_fails_is_told_without_its_reason_and_the_others_are_played(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def broken(_say: object) -> Outcome:
        raise ValueError("a secret path")

    good = Outcome(headline="well", as_told=True)
    monkeypatch.setattr(perform, "PLAYS", {StepName.MODES: broken, StepName.DROP_OUT: lambda _say: good})

    failed = perform.perform([StepName.MODES, StepName.DROP_OUT], Journal(tmp_path, clock=FixedClock()))

    assert failed == [StepName.MODES]
    assert "secret" not in (tmp_path / "modes.jsonl").read_text()
    assert read_entries(tmp_path, StepName.DROP_OUT)[-1].outcome == good


def test_only_one_process_plays_in_a_folder_and_a_removed_folder_ends_it(tmp_path: Path) -> None:
    folder = tmp_path / "played"
    folder.mkdir()
    assert not is_held(folder)
    with hold(folder):
        assert is_held(folder)
        with pytest.raises(Removed), hold(folder):
            pass
    assert not is_held(folder)
    journal = Journal(tmp_path / "gone", clock=FixedClock())
    with pytest.raises(Removed):
        perform.perform([StepName.HOSPITALS], journal)


# --- service ---------------------------------------------------------------------------------------------------------


@pytest.fixture
def launched(monkeypatch: pytest.MonkeyPatch) -> list[list[str]]:
    """Commands that would have been started."""
    commands: list[list[str]] = []
    monkeypatch.setattr(processes, "start", lambda _settings, words, **_: commands.append(list(words)))
    return commands


def test_steps_are_played_in_the_scripts_order_by_another_process_and_it_is_in_the_log(
    world: World, app: App, launched: list[list[str]]
) -> None:
    authority = world.people["authority"]
    presentation.play(app, authority, [StepName.TAMPERING, StepName.HOSPITALS])

    assert launched[0][:4] == ["core", "present", "hospitals", "tampering"]
    states = {view.step: view.state for view in presentation.look(app, authority)}
    assert states[StepName.HOSPITALS] is states[StepName.TAMPERING] is StepState.WAITING
    assert states[StepName.MODES] is StepState.TO_COME
    entry = list_entries(app, authority, limit=1)[0]
    assert (entry.action, set(entry.details)) == ("presentation.play", {"step.tampering", "step.hospitals"})
    with pytest.raises(InvalidInput):
        presentation.play(app, authority, [StepName.MODES])


def test_results_stay_until_they_are_reset(world: World, app: App, launched: list[list[str]]) -> None:
    authority, good = world.people["authority"], Outcome(headline="well", as_told=True)
    presentation.play(app, authority, PLAYED_APART)
    folder = presentation_process.folder_of(app.settings)
    with hold(folder):
        journal = Journal(folder, clock=app.clock)
        journal.write(StepName.HOSPITALS, EntryKind.BEGUN)
        journal.write(StepName.HOSPITALS, EntryKind.ENDED, share=1.0, outcome=good)
        journal.write(StepName.MODES, EntryKind.BEGUN)
        journal.write(StepName.MODES, EntryKind.PROGRESS, "at work", 0.5)
        seen = {view.step: view for view in presentation.look(app, authority)}
        assert (seen[StepName.HOSPITALS].state, seen[StepName.HOSPITALS].outcome) == (StepState.DONE, good)
        assert (seen[StepName.MODES].state, seen[StepName.MODES].share) == (StepState.PLAYING, 0.5)
    lost = {view.step: view.state for view in presentation.look(app, authority)}
    assert lost[StepName.MODES] is StepState.LOST
    presentation.play(app, authority, [StepName.MODES])
    assert presentation.look(app, authority)[0].outcome == good

    presentation.reset(app, authority)

    assert {view.state for view in presentation.look(app, authority)} == {StepState.TO_COME}


def test_outside_demo_mode_nothing_is_presented(
    world: World, app: App, launched: list[list[str]], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(app.settings, "mode", Mode.PRODUCTION)
    authority = world.people["authority"]
    for act in (
        lambda: presentation.look(app, authority),
        lambda: presentation.play(app, authority, PLAYED_APART),
        lambda: presentation.book(app, authority),
        lambda: presentation.cancel_booking(app, authority, world.appointment),
        lambda: presentation.reset(app, authority),
    ):
        with pytest.raises(DemoOnly):
            act()
    assert launched == []


# --- page ------------------------------------------------------------------------------------------------------------


def test_the_page_has_every_step_with_its_words_and_shows_what_came_out(
    world: World, app: App, launched: list[list[str]], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("pages._ui.state.app", lambda: app)
    tab = draw(app, "authority/present", "demo-authority")
    assert [heading.value for heading in tab.header] == [
        f"{number}. {scene.title}" for number, scene in enumerate(SCENES.values(), 1)
    ]
    assert all(note in words(tab) for scene in SCENES.values() for note in scene.notes)

    tab.button(key="present_play_hospitals").click().run()

    assert launched[0][2] == "hospitals"
    assert tab.button(key="present_all").disabled
    folder = presentation_process.folder_of(app.settings)
    with hold(folder):
        journal = Journal(folder, clock=app.clock)
        assert not perform.perform([StepName.HOSPITALS], journal)
    tab.run()
    assert any("4 hospitals, each with a stain" in box.value for box in tab.success)
    assert not tab.button(key="present_all").disabled
    assert not tab.exception


def test_an_installation_that_is_no_demo_has_the_page_in_nobodys_menu() -> None:
    in_demo = {page.url_path for page in pages_for(Role.AUTHORITY, demo=True)}

    assert in_demo - {page.url_path for page in pages_for(Role.AUTHORITY, demo=False)} == {"present"}
    assert not any("present" in {page.url_path for page in pages_for(role)} for role in Role if role != Role.AUTHORITY)
