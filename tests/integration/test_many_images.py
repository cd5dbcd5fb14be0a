"""Cases of many images and fields of many cells, with real enclave processes and the shipped model."""

import shutil
from collections.abc import Iterator

import numpy as np
import pytest
from sqlmodel import col, delete, func, select

from core.clock import FixedClock
from core.diagnosis.checkpoint_file import load_checkpoint
from core.diagnosis.predictor import Outcome
from core.errors import CaseTooLarge, ImageRefused, ImageTypeRefused, InvalidInput, NotAuthorised, NotFound
from core.evaluation.throwaway import SHIPPED_MODEL
from core.imaging.decode import decode_upload, encode_png
from core.imaging.smear.recipes import CellKind
from core.imaging.smear.style import STYLES
from core.imaging.synthetic import generate_cell
from core.imaging.synthetic_field import generate_field
from core.services import audit, case_images
from core.services.app import Actor, App
from core.services.case_cells import view_cells
from core.services.case_images import MAX_IMAGES, look_at, studies_served
from core.services.case_reading import own_cases, read_case, view_pictures
from core.services.case_records import CaseStatus, CaseView
from core.services.cases import retry_waiting, submit
from core.services.models import install
from core.services.plain_words import words_for
from core.services.reviews import Decision, sign_review
from core.services.worklist import worklist
from core.studies import LEUKEMIA
from db.engine import read_scope, session_scope
from db.models import Blob, Case, CaseImage
from tests.integration.clinic import hospital_id

KINDS = (CellKind.BLAST,) * 4 + (CellKind.LYMPHOCYTE, CellKind.NEUTROPHIL)
EMPTY_SLIDE = encode_png(np.full((300, 300, 3), 250, np.uint8))


@pytest.fixture
def clinic(app: App) -> Iterator[App]:
    """The application with the shipped model in service; enclaves start when they are asked."""
    model = load_checkpoint(SHIPPED_MODEL, settings=app.settings, at=FixedClock().now())
    with session_scope(app.engine) as session:
        install(app, session, model)
    yield app
    app.supervisor.stop_all()


def cell(seed: int, *, blast: bool) -> bytes:
    return encode_png(generate_cell(np.random.default_rng(seed), blast=blast, style=STYLES["north"]))


def field(*kinds: CellKind, seed: int = 3) -> bytes:
    rng = np.random.default_rng(seed)
    return encode_png(
        generate_field(rng, kinds=kinds, style=STYLES["north"], height=480, width=640, touching=0.0).pixels
    )


def send(app: App, patient: Actor, *files: bytes) -> CaseView:
    return submit(app, patient, files=files, study="leukemia", preferred=hospital_id(app, "north"))


def size(png: bytes) -> tuple[int, ...]:
    return decode_upload(png, max_bytes=2**24, max_pixels=10**7).pixels.shape


def test_a_field_and_single_cells_become_one_answer_with_counts_and_the_worst_cells_first(
    clinic: App, patient: Actor, doctor: Actor, authority: Actor
) -> None:
    case = send(clinic, patient, field(*KINDS), cell(7, blast=True), cell(8, blast=False))
    assert case.status is CaseStatus.ANSWERED
    assert case.summary is not None
    assert (case.summary.images, case.summary.cells, case.summary.by_alarm) == (3, 8, True)
    assert case.summary.outcome is Outcome.POSITIVE
    assert case.summary.share_low < case.summary.positive / 8 < case.summary.share_high

    detail = read_case(clinic, doctor, case.id)
    assert detail.conclusion is not None
    assert [len(result.cells) for result in detail.results] == [6, 0, 0]
    assert [(result.image, result.images) for result in detail.results] == [(0, 3), (1, 3), (2, 3)]

    cells = view_cells(clinic, doctor, case.id)
    assert len(cells) == 8
    chances = [one.finding.positive_probability for one in cells]
    assert chances == sorted(chances, reverse=True)
    assert {size(one.original) for one in cells} == {(160, 160, 3)}
    assert cells[0].with_heat_map is not None
    assert {one.image for one in cells} == {0, 1, 2}

    framed = view_pictures(clinic, doctor, case.id, image=0)
    assert framed.with_frames is not None
    assert size(framed.with_frames) == size(framed.original) == (480, 640, 3)
    whole = view_pictures(clinic, doctor, case.id, image=1)
    assert whole.with_frames is None
    assert whole.with_heat_map is not None
    with pytest.raises(NotFound):
        view_pictures(clinic, doctor, case.id, image=3)

    entry = own_cases(clinic, patient)[0]
    assert "8 white blood cells in your 3 pictures" in words_for(entry).meaning
    seen = [
        (entry.action, entry.details.get("image"), entry.details.get("cells"))
        for entry in audit.list_entries(clinic, authority, object_id=case.id, action="image.view")
    ]
    assert sorted(seen, key=str) == sorted(
        [("image.view", None, 8), ("image.view", 1, None), ("image.view", 2, None)], key=str
    )
    sign_review(clinic, doctor, case.id, decision=Decision.AGREE)
    assert "at your pictures" in words_for(own_cases(clinic, patient)[0]).headline


@pytest.mark.parametrize("database_url", ["sqlite"], indirect=True)
def test_few_normal_cells_are_uncertain_and_the_patient_is_told_how_many_it_takes(clinic: App, patient: Actor) -> None:
    send(clinic, patient, field(CellKind.LYMPHOCYTE, CellKind.NEUTROPHIL, CellKind.LYMPHOCYTE))
    entry = own_cases(clinic, patient)[0]
    assert entry.case.summary is not None
    assert entry.case.summary.outcome is Outcome.UNCERTAIN
    assert "too few cells" in words_for(entry).headline
    assert "100 cells or more" in words_for(entry).meaning


@pytest.mark.parametrize("database_url", ["sqlite"], indirect=True)
def test_each_file_is_judged_before_anything_is_sent(app: App, patient: Actor, doctor: Actor) -> None:
    seen = look_at(app, patient, field(*KINDS), study="leukemia")
    assert (seen.problem, seen.cells, seen.width, seen.height) == (None, 6, 640, 480)
    assert max(size(seen.thumbnail)) == 144
    single = look_at(app, patient, cell(1, blast=True), study="leukemia")
    assert (single.problem, single.cells) == (None, None)
    blank = look_at(app, patient, EMPTY_SLIDE, study="leukemia")
    assert isinstance(blank.problem, ImageRefused)
    assert blank.thumbnail
    text = look_at(app, patient, b"no picture", study="leukemia")
    assert isinstance(text.problem, ImageTypeRefused)
    assert text.thumbnail == b""
    with pytest.raises(NotAuthorised):
        look_at(app, doctor, EMPTY_SLIDE, study="leukemia")
    with pytest.raises(InvalidInput):
        look_at(app, patient, EMPTY_SLIDE, study="astrology")


@pytest.mark.parametrize("database_url", ["sqlite"], indirect=True)
def test_only_studies_with_a_model_in_service_are_offered(clinic: App, patient: Actor) -> None:
    assert studies_served(clinic, patient) == [LEUKEMIA]


@pytest.mark.parametrize("database_url", ["sqlite"], indirect=True)
def test_a_bad_picture_among_good_ones_is_named_and_nothing_is_stored(clinic: App, patient: Actor) -> None:
    before = stored(clinic)
    with pytest.raises(ImageRefused, match="picture 2 of 3: nearly blank"):
        send(clinic, patient, cell(1, blast=True), EMPTY_SLIDE, cell(2, blast=True))
    assert stored(clinic) == before


@pytest.mark.parametrize("database_url", ["sqlite"], indirect=True)
def test_a_case_holds_at_least_one_picture_and_no_more_than_allowed(
    clinic: App, patient: Actor, monkeypatch: pytest.MonkeyPatch
) -> None:
    before = stored(clinic)
    with pytest.raises(InvalidInput):
        send(clinic, patient)
    with pytest.raises(CaseTooLarge, match="at most 50"):
        send(clinic, patient, *[cell(1, blast=True)] * (MAX_IMAGES + 1))
    monkeypatch.setattr(case_images, "MAX_CASE_BYTES", 60_000)
    with pytest.raises(CaseTooLarge, match="from picture 2 on"):
        send(clinic, patient, cell(1, blast=True), cell(2, blast=True))
    assert stored(clinic) == before


def stored(app: App) -> tuple[int, ...]:
    with read_scope(app.engine) as session:
        return tuple(session.exec(select(func.count()).select_from(table)).one() for table in (Case, CaseImage, Blob))


def test_a_case_of_many_images_waits_whole_and_is_answered_whole(clinic: App, patient: Actor) -> None:
    away = clinic.settings.data_dir / "away"
    shutil.move(clinic.settings.keys_dir / "north.serving", away)
    case = send(clinic, patient, cell(1, blast=True), cell(2, blast=False))
    assert case.status is CaseStatus.WAITING
    shutil.move(away, clinic.settings.keys_dir / "north.serving")
    assert retry_waiting(clinic, patient) == 1
    assert len(read_case(clinic, patient, case.id).results) == 2


@pytest.mark.parametrize("database_url", ["sqlite"], indirect=True)
def test_an_image_that_is_taken_away_or_exchanged_within_a_case_is_noticed(
    clinic: App, patient: Actor, doctor: Actor
) -> None:
    first = send(clinic, patient, cell(1, blast=True), cell(2, blast=False))
    second = send(clinic, patient, cell(3, blast=True), cell(4, blast=False))
    with session_scope(clinic.engine) as session:
        session.connection().execute(
            delete(CaseImage).where(col(CaseImage.case_id) == first.id, col(CaseImage.number) == 1)
        )
        rows = [session.get_one(CaseImage, (second.id, number)) for number in (0, 1)]
        rows[0].result_blob_id, rows[1].result_blob_id = rows[1].result_blob_id, rows[0].result_blob_id
    for case in (first, second):
        detail = read_case(clinic, doctor, case.id)
        assert detail.results == ()
        assert "no longer be verified" in detail.problem
    assert view_cells(clinic, doctor, first.id) == []


@pytest.mark.parametrize("database_url", ["sqlite"], indirect=True)
def test_nobody_else_sees_the_cells_of_a_case(clinic: App, patient: Actor, strangers: list[Actor]) -> None:
    case = send(clinic, patient, cell(1, blast=True), cell(2, blast=True))
    for stranger in strangers:
        with pytest.raises(NotAuthorised):
            view_cells(clinic, stranger, case.id)


@pytest.mark.parametrize("database_url", ["sqlite"], indirect=True)
def test_the_worklist_tells_of_counts(clinic: App, patient: Actor, doctor: Actor) -> None:
    send(clinic, patient, field(*KINDS))
    listed = worklist(clinic, doctor)
    assert [(entry.case.summary.cells, entry.case.summary.images) for entry in listed if entry.case.summary] == [(6, 1)]
