"""From an upload to a preliminary answer, with real enclave processes and the shipped model, on both databases."""

import shutil
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from datetime import timedelta
from pathlib import Path

import cv2
import numpy as np
import pytest
from sqlalchemy import Connection, create_engine, event, text, update
from sqlmodel import col, func, select

from core.clock import FixedClock
from core.diagnosis.bundle import ServingModel
from core.diagnosis.checkpoint_file import load_checkpoint
from core.diagnosis.supervisor import EnclaveSupervisor
from core.errors import (
    ConsentMissing,
    DatabaseUnavailable,
    HemaSealError,
    ImageBroken,
    ImageRefused,
    ImageTooLarge,
    ImageTypeRefused,
    InvalidInput,
    NoHospital,
    NoModel,
    NotAuthorised,
    NotFound,
    RecordDamaged,
    TooBusy,
)
from core.evaluation.throwaway import SHIPPED_MODEL
from core.imaging.decode import decode_upload, encode_png
from core.imaging.drift import figures_of
from core.imaging.smear.style import STYLES
from core.imaging.synthetic import generate_cell
from core.services import answering, audit, cases, dispatch
from core.services.accounts import set_active
from core.services.app import MOST_ANSWERED, Actor, App
from core.services.approvals import in_force
from core.services.case_reading import own_cases, read_case, view_pictures
from core.services.case_records import CaseStatus, CaseView
from core.services.cases import MAX_RETRIED, retry_waiting, submit
from core.services.consents import ConsentPurpose, give_consent, withdraw_consent
from core.services.members import revoke_certificate
from core.services.messages import read_thread
from core.services.models import install
from core.services.node_health import EnclaveState, health
from core.services.plain_words import words_for
from core.services.reviews import Decision, reviews_of, sign_review
from core.services.slots import free_slots
from core.services.worklist import Narrowing, WorklistFilter, worklist
from core.settings import Settings
from core.studies import LEUKEMIA
from db.engine import READ_ONLY, read_scope, session_scope
from db.models import Blob, BlobPart, Case, CaseImage, CertificateRecord, RateLimit, Role
from security.keys import KeyUse
from tests.conftest import Installation
from tests.integration.clinic import NEGATIVE, POSITIVE, UNCERTAIN, hospital_id, stored_case


@pytest.fixture(scope="module")
def model(installation: Installation) -> ServingModel:
    """The shipped model."""
    settings = Settings(data_dir=installation.data_dir, database_url="", master_key=None)
    return load_checkpoint(SHIPPED_MODEL, settings=settings, at=FixedClock().now())


@pytest.fixture(scope="module")
def enclaves(installation: Installation, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """The folder that says how the enclaves of north and east are reached; started once for this file."""
    data_dir = tmp_path_factory.mktemp("enclaves") / "data"
    shutil.copytree(installation.data_dir / "keys", data_dir / "keys")
    shutil.copy(installation.data_dir / "master.key", data_dir / "master.key")
    shutil.copy(installation.database, data_dir / "hemaseal.db")
    app = App.start(Settings(data_dir=data_dir, database_url="", master_key=None), clock=FixedClock())
    supervisor = EnclaveSupervisor(app.settings, ["north.serving", "east.serving"])
    try:
        for party in supervisor.parties:
            supervisor.ensure(party, identity=app.identity, trust=app.trust(), approvals=in_force(app))
        yield app.settings.run_dir
    finally:
        supervisor.stop_all()
        app.engine.dispose()


@pytest.fixture
def clinic(app: App, model: ServingModel, enclaves: Path) -> Iterator[App]:
    """The application with the shipped model in service and the enclaves of this file."""
    with session_scope(app.engine) as session:
        install(app, session, model)
    app.settings.run_dir.symlink_to(enclaves)
    yield app
    app.supervisor.stop_all()


@pytest.fixture
def silent_north(app: App, model: ServingModel) -> Iterator[App]:
    """The same with enclaves of its own, and none that could start at hospital north."""
    with session_scope(app.engine) as session:
        install(app, session, model)
    shutil.move(app.settings.keys_dir / "north.serving", app.settings.data_dir / "away")
    yield app
    app.supervisor.stop_all()


def test_the_enclave_measures_how_a_picture_looks_and_the_summary_keeps_it(clinic: App, patient: Actor) -> None:
    view = upload(clinic, patient)
    assert view.summary is not None
    assert view.summary.figures == (
        figures_of(decode_upload(picture(), max_bytes=2**20, max_pixels=10**6).pixels, LEUKEMIA),
    )
    kept = own_cases(clinic, patient)[0].case.summary
    assert kept == view.summary


def test_an_enclave_that_answers_is_seen_to_do_so(clinic: App, patient: Actor, hospital: Actor) -> None:
    upload(clinic, patient)
    found = health(clinic, hospital)
    assert (found.enclave, found.models >= 1, found.memory_mib > 0) == (EnclaveState.ANSWERS, True, True)


def repair(app: App) -> None:
    shutil.move(app.settings.data_dir / "away", app.settings.keys_dir / "north.serving")


def picture(*, blast: bool = True, seed: int = 7) -> bytes:
    return encode_png(generate_cell(np.random.default_rng(seed), blast=blast, style=STYLES["north"]))


def large_photograph() -> bytes:
    """A grainy JPEG of few bytes and 36 megapixels that becomes a PNG of more than 60 MiB."""
    cell = generate_cell(np.random.default_rng(7), blast=True, style=STYLES["north"])
    large = cv2.resize(cell, (6000, 6000), interpolation=cv2.INTER_CUBIC).astype(np.int16)
    grain = np.tile(np.random.default_rng(8).integers(-20, 21, (1500, 1500, 1), dtype=np.int16), (4, 4, 1))
    grainy = np.clip(large + grain, 0, 255).astype(np.uint8)
    done, jpeg = cv2.imencode(".jpg", cv2.cvtColor(grainy, cv2.COLOR_RGB2BGR), [cv2.IMWRITE_JPEG_QUALITY, 60])
    assert done
    return bytes(jpeg)


def upload(app: App, actor: Actor, *, slug: str | None = "north", allow_fallback: bool = False) -> CaseView:
    preferred = hospital_id(app, slug) if slug else None
    return submit(
        app,
        actor,
        files=[picture()],
        study="leukemia",
        preferred=preferred,
        place="Oslo, Norway",
        allow_fallback=allow_fallback,
    )


def count(app: App, table: type[Case | Blob]) -> int:
    with read_scope(app.engine) as session:
        return session.exec(select(func.count()).select_from(table)).one()


def actions(app: App, authority: Actor, object_id: str) -> list[tuple[str, str]]:
    return [(entry.action, entry.outcome) for entry in audit.list_entries(app, authority, object_id=object_id)][::-1]


def test_more_cases_at_once_than_this_process_takes_are_turned_away_and_leave_nothing(
    clinic: App, patient: Actor
) -> None:
    before = count(clinic, Blob)
    with ExitStack() as others:
        for _ in range(MOST_ANSWERED):
            others.enter_context(clinic.place())
        with pytest.raises(TooBusy, match="was not taken"):
            upload(clinic, patient)
    with read_scope(clinic.engine) as session:
        assert session.exec(select(func.count()).select_from(RateLimit)).one() == 0
    assert (count(clinic, Case), count(clinic, Blob)) == (0, before)
    assert upload(clinic, patient).status is CaseStatus.ANSWERED


def test_cases_wait_on_while_this_process_answers_as_many_as_it_takes(silent_north: App, patient: Actor) -> None:
    waiting = upload(silent_north, patient)
    assert waiting.status is CaseStatus.WAITING
    repair(silent_north)
    with ExitStack() as others:
        for _ in range(MOST_ANSWERED):
            others.enter_context(silent_north.place())
        assert retry_waiting(silent_north, patient) == 0
    assert retry_waiting(silent_north, patient) == 1


def test_an_upload_is_answered_stored_sealed_and_audited(
    clinic: App, patient: Actor, doctor: Actor, authority: Actor
) -> None:
    data = picture()
    case = submit(
        clinic, patient, files=[data], study="leukemia", place="Oslo, Norway", preferred=hospital_id(clinic, "north")
    )
    assert case.status is CaseStatus.ANSWERED
    assert case.summary is not None
    assert case.answered_by == case.hospital
    assert case.routing_reason.startswith("North Hospital (demo) was asked because you chose it.")
    assert {"decode", "gate", "encode", "route", "seal", "store", "enclave", "enclave.infer", "record", "total"} <= set(
        case.stages_ms
    )

    detail = read_case(clinic, patient, case.id)
    assert detail.result is not None
    assert detail.result.outcome is case.summary.outcome
    assert sum(detail.result.probabilities) == pytest.approx(1, abs=1e-6)

    pictures = view_pictures(clinic, doctor, case.id)
    assert np.array_equal(_pixels(pictures.original), _pixels(data))
    assert pictures.with_heat_map is not None
    assert _pixels(pictures.with_heat_map).shape == _pixels(data).shape

    assert [entry.case.id for entry in own_cases(clinic, patient)] == [case.id]
    assert actions(clinic, authority, case.id) == [
        ("case.submit", "done"),
        ("case.answer", "done"),
        ("result.read", "done"),
        ("image.view", "done"),
    ]
    with read_scope(clinic.engine) as session:
        stored = b"".join(session.exec(select(BlobPart.data)).all())
    assert data[100:200] not in stored
    assert b"IHDR" not in stored


def _pixels(png: bytes) -> np.ndarray:
    return decode_upload(png, max_bytes=2**24, max_pixels=10**7).pixels


@pytest.mark.parametrize(
    ("data", "error"),
    [
        (b"<html>a text file named .png</html>", ImageTypeRefused),
        (picture()[:400], ImageBroken),
        (b"\x89PNG\r\n\x1a\n" + b"\0" * (21 * 2**20), ImageTooLarge),
        (large_photograph(), ImageTooLarge),
        (encode_png(np.full((160, 160, 3), 255, np.uint8)), ImageRefused),
        (b"", ImageTypeRefused),
    ],
    ids=["text", "truncated", "too large", "too large once unpacked", "blank", "empty"],
)
@pytest.mark.parametrize("database_url", ["sqlite"], indirect=True)
def test_a_bad_image_gets_a_clear_error_and_stores_nothing(
    clinic: App, patient: Actor, data: bytes, error: type[HemaSealError]
) -> None:
    blobs = count(clinic, Blob)
    with pytest.raises(error):
        submit(clinic, patient, files=[data], study="leukemia")
    assert (count(clinic, Case), count(clinic, Blob)) == (0, blobs)


@pytest.mark.parametrize("database_url", ["sqlite"], indirect=True)
def test_an_unknown_study_or_place_is_refused(clinic: App, patient: Actor) -> None:
    with pytest.raises(InvalidInput):
        submit(clinic, patient, files=[picture()], study="astrology")
    with pytest.raises(InvalidInput):
        submit(clinic, patient, files=[picture()], study="leukemia", place="Atlantis")


@pytest.mark.parametrize("database_url", ["sqlite"], indirect=True)
def test_without_consent_nothing_is_looked_at(clinic: App, patient: Actor) -> None:
    withdraw_consent(clinic, patient, ConsentPurpose.FALLBACK_HOSPITAL)
    with pytest.raises(ConsentMissing):
        upload(clinic, patient, allow_fallback=True)
    assert upload(clinic, patient).status is CaseStatus.ANSWERED
    withdraw_consent(clinic, patient, ConsentPurpose.DIAGNOSIS)
    with pytest.raises(ConsentMissing):
        upload(clinic, patient)


@pytest.mark.parametrize("database_url", ["sqlite"], indirect=True)
def test_without_a_model_in_service_nothing_is_stored(app: App, patient: Actor) -> None:
    with pytest.raises(NoModel):
        submit(app, patient, files=[picture()], study="leukemia")
    assert count(app, Case) == 0


def test_the_fallback_answers_when_the_chosen_hospital_does_not(
    silent_north: App, patient: Actor, doctor: Actor, authority: Actor
) -> None:
    _revoke_by_hand(silent_north, "south.serving", "west.serving")
    case = upload(silent_north, patient, allow_fallback=True)
    assert case.status is CaseStatus.ANSWERED
    assert case.hospital.slug == "north"
    assert case.answered_by is not None
    assert case.answered_by.slug == "east"
    assert "It did not answer in time, so East Hospital (demo) answered in its place" in case.routing_reason
    assert ("case.answer", "failed") in actions(silent_north, authority, case.id)


def _revoke_by_hand(app: App, *parties: str) -> None:
    with session_scope(app.engine) as session:
        session.connection().execute(
            update(CertificateRecord)
            .where(col(CertificateRecord.party).in_(parties))
            .values(revoked_at=app.clock.now())
        )


def test_a_case_waits_without_an_answer_and_is_taken_up_again(
    silent_north: App, clock: FixedClock, patient: Actor, doctor: Actor
) -> None:
    case = upload(silent_north, patient)
    assert (case.status, case.summary) == (CaseStatus.WAITING, None)
    assert retry_waiting(silent_north, patient) == 0
    repair(silent_north)
    assert retry_waiting(silent_north, patient) == 1
    assert [entry.case.status for entry in own_cases(silent_north, patient)] == [CaseStatus.ANSWERED]
    assert retry_waiting(silent_north, doctor) == 0


@pytest.mark.parametrize("database_url", ["sqlite"], indirect=True)
def test_a_waiting_case_stays_where_it_is_after_the_consent_was_withdrawn(silent_north: App, patient: Actor) -> None:
    upload(silent_north, patient)
    repair(silent_north)
    withdraw_consent(silent_north, patient, ConsentPurpose.DIAGNOSIS)
    assert retry_waiting(silent_north, patient) == 0


def test_a_fallback_is_not_asked_again_after_its_consent_was_withdrawn(silent_north: App, patient: Actor) -> None:
    _revoke_by_hand(silent_north, "south.serving", "west.serving")
    east = silent_north.settings.keys_dir / "east.serving"
    shutil.move(east, silent_north.settings.data_dir / "east away")
    assert upload(silent_north, patient, allow_fallback=True).status is CaseStatus.WAITING
    shutil.move(silent_north.settings.data_dir / "east away", east)
    withdraw_consent(silent_north, patient, ConsentPurpose.FALLBACK_HOSPITAL)
    assert retry_waiting(silent_north, patient) == 0
    give_consent(silent_north, patient, ConsentPurpose.FALLBACK_HOSPITAL)
    assert retry_waiting(silent_north, patient) == 1


def test_cases_that_cannot_be_answered_do_not_keep_others_from_being_asked_again(
    silent_north: App, clock: FixedClock, patient: Actor, doctor: Actor, strangers: list[Actor]
) -> None:
    other_patient, *_, authority = strangers
    for _ in range(MAX_RETRIED):
        stored_case(silent_north, other_patient, None)
        stored_case(silent_north, patient, None)
    withdraw_consent(silent_north, other_patient, ConsentPurpose.DIAGNOSIS)
    clock.advance(timedelta(minutes=1))
    case = upload(silent_north, patient)
    repair(silent_north)
    assert retry_waiting(silent_north, doctor) == 1
    entries = audit.list_entries(silent_north, authority, action="case.retry")
    assert [(entry.actor, entry.object_id) for entry in entries] == [(doctor.user_id, case.id)]


@pytest.mark.parametrize("use", [KeyUse.SEAL, KeyUse.SIGN])
def test_a_case_that_only_a_revoked_hospital_could_open_says_so(
    silent_north: App, patient: Actor, authority: Actor, use: KeyUse
) -> None:
    upload(silent_north, patient)
    repair(silent_north)
    assert [entry.is_out_of_reach for entry in own_cases(silent_north, patient)] == [False]
    serial = silent_north.certificate_of("north.serving", use).serial
    revoke_certificate(silent_north, authority, serial, "keyCompromise")
    entry = own_cases(silent_north, patient)[0]
    assert entry.is_out_of_reach
    assert "send the picture again" in words_for(entry).next_step
    assert retry_waiting(silent_north, patient) == 0


@pytest.mark.parametrize("use", [KeyUse.SEAL, KeyUse.SIGN])
@pytest.mark.parametrize("database_url", ["sqlite"], indirect=True)
def test_a_revoked_hospital_is_not_asked(clinic: App, patient: Actor, authority: Actor, use: KeyUse) -> None:
    serial = clinic.certificate_of("north.serving", use).serial
    revoke_certificate(clinic, authority, serial, "keyCompromise")
    with pytest.raises(NoHospital, match="the hospital you chose cannot answer now"):
        upload(clinic, patient)
    moved = upload(clinic, patient, allow_fallback=True)
    assert moved.hospital.slug != "north"
    assert "could not answer" in moved.routing_reason


@pytest.mark.parametrize("database_url", ["sqlite"], indirect=True)
def test_a_case_that_was_sealed_for_a_key_that_is_revoked_meanwhile_is_not_stored(
    clinic: App, patient: Actor, authority: Actor, monkeypatch: pytest.MonkeyPatch
) -> None:
    def overtaken(*arguments: object, **options: object) -> object:
        way = dispatch.route(*arguments, **options)  # type: ignore[arg-type]
        revoke_certificate(clinic, authority, way.recipients[0].serial, "superseded")
        return way

    monkeypatch.setattr(cases, "route", overtaken)
    with pytest.raises(NoHospital):
        upload(clinic, patient)
    assert own_cases(clinic, patient) == []


@pytest.mark.parametrize("database_url", ["sqlite"], indirect=True)
def test_an_answer_under_a_key_that_is_revoked_meanwhile_is_not_taken(
    clinic: App, patient: Actor, authority: Actor, monkeypatch: pytest.MonkeyPatch
) -> None:
    def overtaken(app: App, question: answering.Question) -> list[answering.Answer]:
        answers = answering.ask(app, question)
        revoke_certificate(app, authority, app.certificate_of("north.serving", KeyUse.SIGN).serial, "superseded")
        return answers

    monkeypatch.setattr(cases, "ask", overtaken)
    view = upload(clinic, patient)
    assert (view.status, view.summary) == (CaseStatus.WAITING, None)
    assert read_case(clinic, patient, view.id).problem == ""


@pytest.mark.parametrize("database_url", ["sqlite"], indirect=True)
def test_a_hospital_without_an_active_doctor_is_not_asked(
    clinic: App, patient: Actor, authority: Actor, doctor: Actor, second_doctor: Actor
) -> None:
    for person in (doctor, second_doctor):
        set_active(clinic, authority, person.user_id, active=False)
    with pytest.raises(NoHospital):
        upload(clinic, patient)


def test_a_database_that_goes_away_before_the_case_is_stored_stores_nothing(clinic: App, patient: Actor) -> None:
    blobs = count(clinic, Blob)
    with _database_away(clinic, after=COUNTED), pytest.raises(DatabaseUnavailable):
        upload(clinic, patient)
    assert (count(clinic, Case), count(clinic, Blob)) == (0, blobs)


def test_a_database_that_goes_away_after_the_case_is_stored_leaves_it_waiting(clinic: App, patient: Actor) -> None:
    with _database_away(clinic, after=COUNTED + 1):
        assert upload(clinic, patient).status is CaseStatus.WAITING
    assert retry_waiting(clinic, patient) == 1


def test_a_clock_that_goes_wrong_after_the_case_is_stored_leaves_it_waiting(
    clinic: App, patient: Actor, clock: FixedClock
) -> None:
    """Whoever is refused sends the picture again, and then there are two."""
    right, written = clock.now(), 0

    def go_wrong(connection: Connection) -> None:
        nonlocal written
        written += not connection.get_execution_options().get(READ_ONLY)
        if written > COUNTED + 1:
            clock.at = right - timedelta(days=2)

    event.listen(clinic.engine, "begin", go_wrong)
    try:
        assert upload(clinic, patient).status is CaseStatus.WAITING
    finally:
        event.remove(clinic.engine, "begin", go_wrong)
    clock.at = right
    assert retry_waiting(clinic, patient) == 1


COUNTED = 3
"""Writing transactions in which a person's first upload is counted (`rate_limits`); the next one stores it."""


@contextmanager
def _database_away(app: App, *, after: int) -> Iterator[None]:
    """Let `after` writing transactions pass, then take the database away: kill the connection, or fill the disk."""
    left = after

    def take_away(connection: Connection) -> None:
        nonlocal left
        if connection.get_execution_options().get(READ_ONLY):
            return
        left -= 1
        if left >= 0:
            return
        if app.engine.dialect.name == "sqlite":
            connection.exec_driver_sql("PRAGMA max_page_count=1")
            return
        number = connection.connection.driver_connection.thread_id()  # type: ignore[union-attr]
        with create_engine(app.settings.database).connect() as other:
            other.execute(text(f"KILL {number}"))

    event.listen(app.engine, "begin", take_away)
    try:
        yield
    finally:
        event.remove(app.engine, "begin", take_away)
        app.engine.dispose()


@pytest.mark.parametrize("database_url", ["sqlite"], indirect=True)
def test_nobody_else_sees_a_case(clinic: App, patient: Actor, strangers: list[Actor]) -> None:
    case = upload(clinic, patient, allow_fallback=True)
    for stranger in strangers:
        for act in (read_case, view_pictures):
            with pytest.raises(NotAuthorised):
                act(clinic, stranger, case.id)
    with pytest.raises(NotFound):
        read_case(clinic, patient, "0" * 32)


ALL = WorklistFilter.ALL
ROLES = ("patient", "doctor", "hospital", "authority")
ACTS: dict[str, tuple[tuple[str, ...], Callable[[App, Actor], object]]] = {
    "submit": (("patient",), lambda app, who: submit(app, who, files=[picture()], study="leukemia")),
    "own_cases": (("patient",), own_cases),
    "worklist": (("doctor",), worklist),
    "retry_waiting": (("patient", "doctor"), retry_waiting),
}


@pytest.mark.parametrize(
    ("act", "role"), [(act, role) for act, (own, _) in ACTS.items() for role in ROLES if role not in own]
)
@pytest.mark.parametrize("database_url", ["sqlite"], indirect=True)
def test_acts_of_other_roles_are_refused(app: App, request: pytest.FixtureRequest, act: str, role: str) -> None:
    with pytest.raises(NotAuthorised):
        ACTS[act][1](app, request.getfixturevalue(role))


def test_the_worklist_is_in_order_of_urgency_and_of_the_own_hospital_only(
    clinic: App, clock: FixedClock, patient: Actor, doctor: Actor, doctor_east: Actor
) -> None:
    negative = stored_case(clinic, patient, NEGATIVE)
    uncertain = stored_case(clinic, patient, UNCERTAIN)
    positive = stored_case(clinic, patient, POSITIVE)
    waiting = stored_case(clinic, patient, None)
    stored_case(clinic, patient, POSITIVE, slug="east")
    assert [entry.case.id for entry in worklist(clinic, doctor, only=WorklistFilter.ALL)] == [
        positive,
        uncertain,
        negative,
        waiting,
    ]
    assert len(worklist(clinic, doctor_east)) == 1
    sign_review(clinic, doctor, positive, decision=Decision.AGREE)
    sign_review(clinic, doctor, negative, decision=Decision.DEFER, reason="another picture")
    assert [entry.case.id for entry in worklist(clinic, doctor)] == [uncertain]
    assert [entry.case.id for entry in worklist(clinic, doctor, only=WorklistFilter.REVIEWED)] == [positive]
    assert [entry.case.id for entry in worklist(clinic, doctor, only=WorklistFilter.DEFERRED)] == [negative]
    assert worklist(clinic, doctor, narrowed=Narrowing(search="nobody")) == []
    assert len(worklist(clinic, doctor, only=WorklistFilter.ALL, narrowed=Narrowing(search="demo PATIENT"))) == 4


def test_an_open_case_is_listed_however_many_are_newer(
    app: App, clock: FixedClock, patient: Actor, doctor: Actor, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("core.services.worklist.MOST_REVIEWED", 2)
    oldest = stored_case(app, patient, POSITIVE)
    for _ in range(3):
        clock.advance(timedelta(minutes=1))
        stored_case(app, patient, NEGATIVE)
        sign_review(app, doctor, stored_case(app, patient, NEGATIVE), decision=Decision.AGREE)
    for only, reviewed in ((WorklistFilter.OPEN, 0), (ALL, 2)):
        listed = [entry.case for entry in worklist(app, doctor, only=only)]
        assert listed[0].id == oldest
        assert len([case for case in listed if case.status is CaseStatus.ANSWERED]) == 4
        assert len([case for case in listed if case.status is CaseStatus.REVIEWED]) == reviewed


def test_changing_one_row_marks_that_case_only(clinic: App, patient: Actor, doctor: Actor) -> None:
    good, bad = stored_case(clinic, patient), stored_case(clinic, patient)
    with session_scope(clinic.engine) as session:
        other = session.get_one(Case, good).summary
        session.get_one(Case, bad).summary = other
    listed = {entry.case.id: entry.is_damaged for entry in worklist(clinic, doctor)}
    assert listed == {good: False, bad: True}
    with pytest.raises(RecordDamaged):
        read_case(clinic, doctor, bad)


@pytest.mark.parametrize("field", ["patient_id", "hospital_id", "fallback_hospital_id", "answered_by_hospital_id"])
def test_a_case_given_to_somebody_else_in_the_database_is_shown_to_nobody_and_the_log_says_so(
    app: App, patient: Actor, doctor: Actor, strangers: list[Actor], field: str
) -> None:
    other_patient, doctor_east, _, authority = strangers
    case = stored_case(app, patient)
    sign_review(app, doctor, case, decision=Decision.AGREE, note="particular")
    value = other_patient.user_id if field == "patient_id" else hospital_id(app, "east")
    with session_scope(app.engine) as session:
        session.connection().execute(update(Case).values({field: value}))
    for person in (patient, other_patient, doctor, doctor_east):
        for act in (read_case, view_pictures, reviews_of, read_thread, free_slots):
            with pytest.raises(RecordDamaged):
                act(app, person, case)
        listed = own_cases(app, person) if person.role is Role.PATIENT else worklist(app, person, only=ALL)
        shown = [(entry.is_damaged, entry.case.patient_name, entry.case.summary, entry.review) for entry in listed]
        assert set(shown) <= {(True, "", None, None)}
    refused = audit.list_entries(app, authority, object_id=case, outcome=audit.Outcome.REFUSED)
    assert {entry.action for entry in refused} >= {"refused.result.read", "refused.image.view", "refused.review.read"}
    assert {entry.details["reason"] for entry in refused} == {"changed-outside"}


@pytest.mark.parametrize("database_url", ["sqlite"], indirect=True)
def test_a_waiting_case_given_to_somebody_else_is_not_answered(silent_north: App, patient: Actor) -> None:
    upload(silent_north, patient)
    repair(silent_north)
    with session_scope(silent_north.engine) as session:
        session.connection().execute(update(Case).values(fallback_hospital_id=hospital_id(silent_north, "east")))
    assert retry_waiting(silent_north, patient) == 0


@pytest.mark.parametrize("database_url", ["sqlite"], indirect=True)
def test_an_image_that_was_exchanged_in_the_database_is_not_shown(clinic: App, patient: Actor, doctor: Actor) -> None:
    first, second = upload(clinic, patient), upload(clinic, patient)
    with session_scope(clinic.engine) as session:
        other = session.get_one(CaseImage, (second.id, 0))
        row = session.get_one(CaseImage, (first.id, 0))
        row.image_blob_id, row.result_blob_id = other.image_blob_id, other.result_blob_id
    with pytest.raises(RecordDamaged):
        view_pictures(clinic, doctor, first.id)
    detail = read_case(clinic, doctor, first.id)
    assert detail.result is None
    assert "no longer be verified" in detail.problem
