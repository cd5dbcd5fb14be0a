"""The report on a case, with a real enclave and the shipped model; SQLite, since no row of it is stored."""

import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from core.clock import FixedClock
from core.diagnosis.checkpoint_file import load_checkpoint
from core.errors import EnclaveUnavailable, NotAuthorised, ReportRefused
from core.evaluation.throwaway import SHIPPED_MODEL
from core.services import audit, reports
from core.services.access_log import accesses
from core.services.app import Actor, App
from core.services.case_reading import read_case
from core.services.cases import submit
from core.services.models import install
from core.services.reports import case_report
from core.services.reviews import Decision, sign_review
from db.engine import session_scope
from tests.integration.clinic import hospital_id, stored_case
from tests.integration.test_many_images import cell
from tests.pdf_text import text_of

pytestmark = pytest.mark.parametrize("database_url", ["sqlite"], indirect=True)
WRITES = "wax+"


@pytest.fixture
def clinic(app: App) -> Iterator[App]:
    """The application with the shipped model in service; enclaves start when they are asked."""
    model = load_checkpoint(SHIPPED_MODEL, settings=app.settings, at=FixedClock().now())
    with session_scope(app.engine) as session:
        install(app, session, model)
    yield app
    app.supervisor.stop_all()


class Written:
    """Remembers which files this process opens for writing, while it is on."""

    def __init__(self) -> None:
        self.on, self.files = False, list[str]()
        sys.addaudithook(self)

    def __call__(self, event: str, arguments: tuple[object, ...]) -> None:
        """Note a file that is opened for writing."""
        if self.on and event == "open":
            path, mode, flags = arguments
            writes = any(letter in WRITES for letter in mode) if isinstance(mode, str) else bool(int(str(flags)) & 3)
            if writes:
                self.files.append(str(path))


@pytest.fixture(scope="module")
def written() -> Written:
    """The one hook of this file: a process never gets rid of one."""
    return Written()


def test_a_signed_case_has_a_report_for_patient_and_doctor_and_nothing_is_written_to_disk(
    clinic: App, patient: Actor, doctor: Actor, written: Written
) -> None:
    case = submit(clinic, patient, files=[cell(7, blast=True)], study="leukemia", preferred=hospital_id(clinic))
    with pytest.raises(ReportRefused):
        case_report(clinic, patient, case.id)
    detail = read_case(clinic, doctor, case.id)
    assert detail.result is not None
    sign_review(
        clinic, doctor, case.id, decision=Decision.OVERRIDE, conclusion=0, reason="a smudge", note="Nothing to fear."
    )
    case_report(clinic, patient, case.id)  # opens what is opened once
    before = {path for path in clinic.settings.data_dir.rglob("*") if path.is_file()}
    written.on = True
    try:
        pdf = case_report(clinic, patient, case.id)
    finally:
        written.on = False
    kept = {clinic.settings.data_dir / name for name in ("hemaseal.db", "hemaseal.db-wal", "hemaseal.db-shm")}
    assert {Path(name) for name in written.files} <= kept
    assert {path for path in clinic.settings.data_dir.rglob("*") if path.is_file()} <= before | kept
    assert pdf.count(b"/Subtype /Image") >= 2

    text = text_of(pdf)
    for part in (
        "Normal white cell",
        "Nothing to fear.",
        f"{detail.result.positive_probability:.1%} for",
        f"{detail.result.threshold:.1%}",
        "Interval of doubt",
        "Sensitivity there",
        detail.result.checkpoint_id,
        detail.result.weights_sha256[:40],
        "It does not show disease",
    ):
        assert part in text, part
    assert reports._UNVERIFIED not in text
    assert "a smudge" not in text
    assert "a smudge" in text_of(case_report(clinic, doctor, case.id))


def test_a_report_counts_the_cells_of_several_pictures(clinic: App, patient: Actor, doctor: Actor) -> None:
    files = [cell(1, blast=True), cell(2, blast=True), cell(3, blast=False)]
    case = submit(clinic, patient, files=files, study="leukemia", preferred=hospital_id(clinic))
    sign_review(clinic, doctor, case.id, decision=Decision.DEFER, reason="more cells")
    text = text_of(case_report(clinic, patient, case.id))
    assert "Interval of that share" in text
    assert "95 %, Wilson" in text
    assert "None yet" in text


def test_without_an_enclave_the_report_says_that_the_picture_could_not_be_opened(
    app: App, patient: Actor, doctor: Actor, monkeypatch: pytest.MonkeyPatch
) -> None:
    case = stored_case(app, patient)
    sign_review(app, doctor, case, decision=Decision.AGREE)

    def silent(*_: object, **__: object) -> None:
        raise EnclaveUnavailable

    monkeypatch.setattr(reports, "view_pictures", silent)
    text = text_of(case_report(app, patient, case))
    assert "could not be opened when this report was made" in text
    assert EnclaveUnavailable.code in text


def test_making_a_report_is_in_the_log_and_the_patient_sees_who_made_it(
    app: App, patient: Actor, doctor: Actor, authority: Actor, monkeypatch: pytest.MonkeyPatch
) -> None:
    case = stored_case(app, patient)
    sign_review(app, doctor, case, decision=Decision.AGREE)
    monkeypatch.setattr(reports, "_pictures", lambda *_: ([], "none"))
    case_report(app, doctor, case)
    made = audit.list_entries(app, authority, action="report.read")
    assert [(entry.actor, entry.object_id) for entry in made] == [(doctor.user_id, case)]
    assert "Made a report (PDF) on your picture" in [act.what for act in accesses(app, patient).acts]


def test_nobody_else_makes_a_report(app: App, patient: Actor, doctor: Actor, strangers: list[Actor]) -> None:
    case = stored_case(app, patient)
    sign_review(app, doctor, case, decision=Decision.AGREE)
    for stranger in strangers:
        with pytest.raises(NotAuthorised):
            case_report(app, stranger, case)
