"""The authority approves what enclaves run: by hand or, in a demo, by set-up; until then cases wait and are kept."""

from collections.abc import Iterator
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path

import numpy as np
import pytest
from pydantic import SecretStr
from sqlmodel import col, select
from typer.testing import CliRunner

from core.__main__ import app as commands
from core.clock import FixedClock
from core.diagnosis.approvals import Approvals
from core.diagnosis.bundle import ServingModel
from core.diagnosis.measurement import Measurement, measure, measure_with_model
from core.errors import InvalidInput, MeasurementRefused, NotFound
from core.imaging.decode import encode_png
from core.imaging.smear.style import STYLES
from core.imaging.synthetic import generate_cell
from core.services import answering, approvals, setup
from core.services.app import Actor, App
from core.services.approvals import Standing, approve, approve_own_code, in_force, overview, withdraw
from core.services.audit import EntryView, list_entries
from core.services.case_reading import read_case, view_pictures
from core.services.case_records import CaseStatus, CaseView
from core.services.cases import retry_waiting, submit
from core.services.models import install
from core.settings import Mode, Settings
from db.engine import read_scope, session_scope
from db.models import ApprovalList
from tests.integration.clinic import hospital_id
from tests.integration.page_support import draw, words
from tests.integration.test_enclave import make_installation

sqlite = pytest.mark.parametrize("database_url", ["sqlite"], indirect=True)
UPGRADED = Measurement(
    "cd" * 32, tuple("numpy 99" if line.startswith("numpy ") else line for line in measure().libraries)
)


@pytest.fixture
def clinic(app: App, serving_model: ServingModel) -> Iterator[App]:
    """The application with a model in service and enclaves of its own."""
    with session_scope(app.engine) as session:
        install(app, session, serving_model)
    yield app
    app.supervisor.stop_all()


def upload(app: App, patient: Actor) -> CaseView:
    picture = encode_png(generate_cell(np.random.default_rng(11), blast=True, style=STYLES["north"]))
    return submit(app, patient, files=[picture], study="leukemia", preferred=hospital_id(app))


def entries(app: App, authority: Actor, action: str) -> list[EntryView]:
    return [entry for entry in list_entries(app, authority) if entry.action == action]


def lists(app: App) -> dict[int, bytes]:
    with read_scope(app.engine) as session:
        return {row.number: row.statement for row in session.exec(select(ApprovalList)).all()}


def put_list(app: App, number: int, statement: bytes) -> None:
    """Write a row as somebody who has the database does."""
    with session_scope(app.engine) as session:
        session.add(ApprovalList(number=number, statement=statement, issued_at=datetime(2026, 1, 5, tzinfo=UTC)))


def delete_from(app: App, number: int) -> None:
    with session_scope(app.engine) as session:
        for row in session.exec(select(ApprovalList).where(col(ApprovalList.number) >= number)).all():
            session.delete(row)


def test_set_up_of_a_demo_approved_its_own_program_as_an_act_of_its_own(app: App, authority: Actor) -> None:
    view = overview(app, authority)
    assert (view.standing, view.number, len(view.approved)) == (Standing.APPROVED, 1, 1)
    assert view.approved[0].measurement == view.installed == measure()
    (made,) = entries(app, authority, "measurement.approve")
    assert (made.actor, made.object_id, made.details["list"]) == ("app", measure().sha256, 1)
    assert approve_own_code(app) == ""


@sqlite
def test_a_result_names_measurement_and_approval(
    clinic: App, patient: Actor, doctor: Actor, serving_model: ServingModel
) -> None:
    case = upload(clinic, patient)
    assert case.status is CaseStatus.ANSWERED
    result = read_case(clinic, doctor, case.id).result
    assert result is not None
    assert result.approval == 1
    assert result.measurement == measure_with_model(measure().sha256, serving_model.manifest.litert_sha256)


@sqlite
def test_a_case_waits_while_the_program_is_withdrawn_and_is_answered_after_a_new_approval(
    clinic: App, patient: Actor, doctor: Actor, authority: Actor
) -> None:
    first = upload(clinic, patient)
    assert withdraw(clinic, authority, measure().sha256) == 2
    assert overview(clinic, authority).standing is Standing.WITHDRAWN
    waiting = upload(clinic, patient)
    assert (first.status, waiting.status) == (CaseStatus.ANSWERED, CaseStatus.WAITING)
    assert clinic.supervisor.running() == {}
    (silence,) = [entry for entry in entries(clinic, authority, "case.answer") if entry.object_id == waiting.id]
    assert silence.details["code"] == "ENC-MEASURE"
    with pytest.raises(MeasurementRefused):
        view_pictures(clinic, doctor, first.id)
    assert read_case(clinic, doctor, first.id).result is not None  # what was answered before stays readable
    assert retry_waiting(clinic, patient) == 0
    assert approve(clinic, authority, measure().sha256) == 3
    assert retry_waiting(clinic, patient) == 1
    result = read_case(clinic, doctor, waiting.id).result
    assert result is not None
    assert result.approval == 3


@sqlite
@pytest.mark.parametrize("named", [{"measurement": "0" * 64}, {"approval": 7}, {"approval": 0}])
def test_a_result_that_names_no_approved_measurement_of_this_model_is_not_taken(
    clinic: App, patient: Actor, authority: Actor, monkeypatch: pytest.MonkeyPatch, named: dict[str, object]
) -> None:
    honest = answering.open_result

    def deceiving(*args: object, **which: object) -> object:
        return replace(honest(*args, **which), **named)  # type: ignore[arg-type]

    monkeypatch.setattr(answering, "open_result", deceiving)
    assert upload(clinic, patient).status is CaseStatus.WAITING
    assert [entry.details["code"] for entry in entries(clinic, authority, "case.answer")] == ["ENC-MEASURE"]


def test_an_old_list_that_is_put_back_is_found(app: App, authority: Actor) -> None:
    old = lists(app)[1]
    withdraw(app, authority, measure().sha256)
    delete_from(app, 2)
    with pytest.raises(MeasurementRefused, match="older list was put back: number 1, known is number 2"):
        in_force(app)
    put_list(app, 3, old)
    with pytest.raises(MeasurementRefused, match="older list was put back"):
        in_force(app)
    delete_from(app, 0)
    with pytest.raises(MeasurementRefused, match="the list is gone: known is number 2"):
        in_force(app)
    put_list(app, 1, old)
    told = approve_own_code(app)
    assert "the authority must look" in told
    with pytest.raises(MeasurementRefused):
        in_force(app)


def test_a_forged_list_changes_nothing_and_goes_with_the_next_genuine_one(
    app: App, authority: Actor, tmp_path: Path
) -> None:
    stranger = make_installation(tmp_path / "stranger").identities["authority"]
    forged = Approvals().approving(UPGRADED, number=5, at=app.clock.now()).signed(stranger)
    put_list(app, 5, forged.envelope)
    with pytest.raises(MeasurementRefused, match="not the authority's"):
        in_force(app)
    assert overview(app, authority).problem
    assert approve(app, authority, measure().sha256) == 2
    assert set(lists(app)) == {1, 2}
    assert in_force(app).find(UPGRADED.sha256) is None


def test_an_authority_approves_what_it_looked_at_and_nothing_else(app: App, authority: Actor) -> None:
    with pytest.raises(InvalidInput):
        approve(app, authority, UPGRADED.sha256)
    with pytest.raises(NotFound):
        withdraw(app, authority, UPGRADED.sha256)
    assert set(lists(app)) == {1}


def test_a_demo_says_what_an_upgrade_changed_and_approves_it_in_place_of_the_old(
    settings: Settings, clock: FixedClock, app: App, authority: Actor, monkeypatch: pytest.MonkeyPatch
) -> None:
    old = measure()
    monkeypatch.setattr("core.services.approvals.measure", lambda: UPGRADED)
    view = overview(app, authority)
    assert view.standing is Standing.NEVER_APPROVED
    assert [one.name for one in view.differences] == ["code", "numpy"]
    said: list[str] = []
    setup.run(settings, clock=clock, say=said.append, demo_contents=False, rounds=4)
    (told,) = [line for line in said if line.startswith("Program of the enclaves approved")]
    assert UPGRADED.sha256[:16] in told
    assert old.sha256[:16] in told
    assert "changed: code, numpy" in told
    listed = in_force(app)
    assert (listed.number, [one.measurement for one in listed.approved]) == (2, [UPGRADED])
    with pytest.raises(MeasurementRefused):
        listed.require(old.sha256)
    assert [entry.details["superseded"] for entry in entries(app, authority, "measurement.approve")] == [1, 0]


def test_set_up_of_a_demo_does_not_undo_a_withdrawal(app: App, authority: Actor) -> None:
    withdraw(app, authority, measure().sha256)
    assert "has withdrawn the installed program" in approve_own_code(app)
    assert in_force(app).approved == ()


def test_in_production_the_authority_approves_at_the_command_line_after_it_saw_what_differs(
    tmp_path: Path, clock: FixedClock, monkeypatch: pytest.MonkeyPatch
) -> None:
    key = "0123456789abcdef" * 4
    settings = Settings(
        mode=Mode.PRODUCTION,
        data_dir=tmp_path / "new",
        database_url="",
        behind_tls=True,
        master_key=SecretStr(key),
        admin_user="admin-one",
        admin_password=SecretStr("a long first one"),
    )
    said: list[str] = []
    setup.run(settings, say=said.append, rounds=4)
    assert any("cases wait until the authority approves it" in line for line in said)
    app = App.start(settings)
    with pytest.raises(MeasurementRefused, match="nothing was approved yet"):
        in_force(app)
    for name, value in {"MODE": "production", "BEHIND_TLS": "true", "MASTER_KEY": key}.items():
        monkeypatch.setenv(f"HEMASEAL_{name}", value)
    monkeypatch.setenv("HEMASEAL_DATA_DIR", str(settings.data_dir))
    declined = CliRunner().invoke(commands, ["approve-measurement"], input="n\n")
    assert declined.exit_code != 0
    assert lists(app) == {}
    done = CliRunner().invoke(commands, ["approve-measurement", "--yes"])
    assert done.exit_code == 0, done.output
    assert measure().sha256 in done.output
    assert in_force(app).require(measure().sha256).number == 1
    again = CliRunner().invoke(commands, ["approve-measurement", "--yes"])
    assert "approved already" in again.output
    monkeypatch.setattr("core.services.approvals.measure", lambda: UPGRADED)
    setup.run(settings, say=said.append, rounds=4)
    assert in_force(app).find(UPGRADED.sha256) is None
    upgraded = CliRunner().invoke(commands, ["approve-measurement", "--yes"])
    assert "  numpy: approved" in upgraded.output
    assert [one.measurement for one in in_force(app).approved] == [UPGRADED]
    app.engine.dispose()


def test_the_page_shows_what_differs_and_approves_only_after_a_look(
    app: App, authority: Actor, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("pages._ui.state.app", lambda: app)
    page = draw(app, "authority/enclaves", "demo-authority")
    assert not page.exception
    assert "✓ approved" in words(page)
    page.button(key="FormSubmitter:enclaves_withdrawal-Withdraw").click().run()
    assert not page.exception
    assert in_force(app).approved == ()
    assert "withdrawn: cases wait" in words(page)
    assert page.button(key="enclaves_approve").disabled
    page.checkbox(key="enclaves_looked").check().run()
    page.button(key="enclaves_approve").click().run()
    assert not page.exception
    assert overview(app, authority).standing is Standing.APPROVED
    monkeypatch.setattr("core.services.approvals.measure", lambda: UPGRADED)
    page.run()
    assert "differs from what was approved last" in words(page)


def test_what_was_withdrawn_meanwhile_does_not_come_back_with_an_approval_that_began_before(
    app: App, authority: Actor, monkeypatch: pytest.MonkeyPatch
) -> None:
    installed = measure()
    approve(app, authority, installed.sha256)
    older = [in_force(app)]
    withdraw(app, authority, installed.sha256)
    monkeypatch.setattr(approvals, "measure", lambda: UPGRADED)
    believed = approvals._believed
    with monkeypatch.context() as patch:  # the list is read before the other act is committed
        patch.setattr(approvals, "_believed", lambda *given: older.pop() if older else believed(*given))
        with pytest.raises(InvalidInput, match="meantime"):
            approve(app, authority, UPGRADED.sha256)
    assert in_force(app).find(installed.sha256) is None
    approve(app, authority, UPGRADED.sha256)
    assert [one.measurement for one in in_force(app).approved] == [UPGRADED]
