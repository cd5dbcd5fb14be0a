"""Reading cases: a patient's own, one case with its result and its images. Every read is audited."""

from dataclasses import dataclass, field

from sqlmodel import Session, col, select

from core.diagnosis.conclusion import Conclusion, conclude
from core.diagnosis.heatmap import OPACITY, SCALE, colour_stops, is_blank, lay_over, with_frames
from core.diagnosis.result import Box, DiagnosisResult
from core.errors import CheckpointRefused, NotFound, RecordDamaged
from core.imaging.decode import decode_upload
from core.services import audit
from core.services.answering import ImageOfCase, open_result, view
from core.services.app import Actor, App
from core.services.authorise import Action, Relation, authorise
from core.services.case_access import case_for
from core.services.case_objects import ObjectKind, get_object, image_rows, sealed_objects
from core.services.case_records import CaseView, HospitalRef, case_views, patients_at_hand
from core.services.genuine import is_genuine
from core.services.rate_limits import VIEWS, spend
from core.services.reach import out_of_reach
from core.services.review_records import ReviewView, current_reviews
from core.services.second_readings import Outstanding
from core.services.vault import key_of
from db.engine import session_scope
from db.models import Case, Role

__all__ = [
    "HEAT_MAP_OPACITY",
    "HEAT_MAP_SCALE",
    "CaseDetail",
    "DiagnosisResult",
    "ListedCase",
    "Pictures",
    "at_opacity",
    "colour_stops",
    "own_cases",
    "read_case",
    "view_pictures",
]

HEAT_MAP_SCALE = SCALE
HEAT_MAP_OPACITY = OPACITY
MAX_LISTED = 500
_NO_REVIEW = object()


@dataclass(frozen=True)
class ListedCase:
    """A case with the review in force.

    Attributes:
        case: the case.
        review: the review in force; None before the first, or if it is damaged.
        is_damaged: summary or review were changed from outside and are not shown.
        is_out_of_reach: it waits, and no hospital that it was sealed for can answer it any more.
        unread: messages of the patient that nobody of the hospital has opened; counted for worklists only.
        second: what a second reading still asks for; for worklists only.
    """

    case: CaseView
    review: ReviewView | None
    is_damaged: bool
    is_out_of_reach: bool = False
    unread: int = 0
    second: Outstanding | None = None


@dataclass(frozen=True)
class CaseDetail:
    """A case with its verified results.

    Attributes:
        case: the case.
        review: the review in force, None before the first.
        images: how many images it has.
        results: the enclave's answer for each image; empty while the case waits, or when `problem` says why they
            cannot be shown.
        conclusion: what the results say together; None without them.
        problem: why the stored results are not shown, "" if they are.
    """

    case: CaseView
    review: ReviewView | None
    images: int
    results: tuple[DiagnosisResult, ...]
    conclusion: Conclusion | None
    problem: str

    @property
    def result(self) -> DiagnosisResult | None:
        """The answer for the first image."""
        return self.results[0] if self.results else None


@dataclass(frozen=True)
class Pictures:
    """An original image and, where it was answered as a whole, the same with its heat map laid on (PNG each).

    Attributes:
        original: the image as it was stored.
        overlay: the heat map alone (RGBA PNG), to be laid on anew by `at_opacity`; None where `with_heat_map` is.
        with_heat_map: None before an answer, where the heat map has nothing to show, and for a field of cells.
        is_blank: there is an answer, and its heat map has nothing to show.
        is_undrawn: there is an answer, but no heat map: the enclave had the model's head encrypted.
        with_frames: of a field of cells, the same with a frame around each cell; the most suspicious of the case are
            numbered in the order of `Conclusion.worst`.
    """

    original: bytes = field(repr=False)
    with_heat_map: bytes | None = field(repr=False)
    is_blank: bool = False
    is_undrawn: bool = False
    with_frames: bytes | None = field(default=None, repr=False)
    overlay: bytes | None = field(default=None, repr=False)


def own_cases(app: App, actor: Actor) -> list[ListedCase]:
    """Return a patient's own cases, the newest first.

    Raises:
        NotAuthorised: not a patient.
    """
    with session_scope(app.engine) as session:
        relation = Relation.SELF if actor.role is Role.PATIENT else Relation.ANY
        authorise(app, session, actor, Action.LIST_CASES, relation, object_id=actor.user_id)
        mine = select(Case).where(Case.patient_id == actor.user_id).order_by(col(Case.created_at).desc())
        listed = listed_cases(app, session, list(session.exec(mine.limit(MAX_LISTED)).all()), for_patient=True)
        audit.append(app, session, actor, "case.list", object_id=actor.user_id, details={"cases": len(listed)})
    return listed


def read_case(app: App, actor: Actor, case_id: str) -> CaseDetail:
    """Return a case with its result.

    Raises:
        NotFound: there is no such case.
        NotAuthorised: it is not this person's.
        RecordDamaged: the summary or the review was changed.
    """
    with session_scope(app.engine) as session:
        case = case_for(app, session, actor, case_id, Action.READ_RESULT)
        entry = listed_cases(app, session, [case], for_patient=actor.role is Role.PATIENT)[0]
        if entry.is_damaged:
            raise RecordDamaged
        results, problem = results_of(app, session, case, entry.case)
        images = len(image_rows(session, case.id))
        audit.append(app, session, actor, "result.read", object_id=case.id, details={"verified": not problem})
    conclusion = conclude(results, entry.case.study) if results else None
    return CaseDetail(entry.case, entry.review, images, results, conclusion, problem)


def view_pictures(app: App, actor: Actor, case_id: str, *, image: int = 0, heat_map: bool = True) -> Pictures:
    """Return an image of a case through an enclave that it was sealed for; the viewing is audited before it happens.

    Args:
        app: the application.
        actor: the patient, or a doctor of the hospital.
        case_id: the case.
        image: number of the image in the case, from 0.
        heat_map: whether a heat map is asked for.

    Raises:
        NotFound: there is no such case or image.
        NotAuthorised: it is not this person's.
        EnclaveUnavailable: no enclave answered.
        RecordDamaged, ImageBroken: the stored image was changed.
        TooOften: more images than a person may open in an hour.
    """
    spend(app, VIEWS, actor.user_id)
    with session_scope(app.engine) as session:
        case = case_for(app, session, actor, case_id, Action.VIEW_IMAGE)
        entry = case_views(app, session, [case], to_patient=actor.role is Role.PATIENT)[0]
        which, sealed = sealed_image_of(app, session, entry, image)
        results = results_of(app, session, case, entry)[0] if heat_map else ()
        audit.append(app, session, actor, "image.view", object_id=case.id, details={"image": image + 1})
    original = view(app, which=which, slug=viewing_hospital(entry, actor).slug, sealed_image=sealed)
    if not results:
        return Pictures(original, None)
    limits = {"max_bytes": len(original), "max_pixels": app.settings.max_pixels}
    if results[image].cells:
        frames = _frames(conclude(results, entry.study), results[image])
        return Pictures(original, None, with_frames=with_frames(decode_upload(original, **limits).pixels, frames))
    overlay = results[image].heat_map_png
    if not overlay:
        return Pictures(original, None, is_undrawn=True)
    if is_blank(overlay):
        return Pictures(original, None, is_blank=True)
    return Pictures(original, lay_over(decode_upload(original, **limits).pixels, overlay), overlay=overlay)


def at_opacity(app: App, pictures: Pictures, opacity: float) -> bytes:
    """Return an image that was opened, with its heat map laid on at an opacity of 0 to 1, as PNG; nothing is read.

    Raises:
        ValueError: it has no heat map, or the opacity is out of range.
    """
    if pictures.overlay is None:
        raise ValueError("there is no heat map to lay on")
    limits = {"max_bytes": len(pictures.original), "max_pixels": app.settings.max_pixels}
    return lay_over(decode_upload(pictures.original, **limits).pixels, pictures.overlay, opacity=opacity)


def _frames(conclusion: Conclusion, result: DiagnosisResult) -> list[tuple[Box, str]]:
    ranks = {
        suspect.finding.box: str(rank)
        for rank, suspect in enumerate(conclusion.worst, 1)
        if suspect.image == result.image
    }
    return [(cell.box, ranks.get(cell.box, "")) for cell in result.cells]


def sealed_image_of(app: App, session: Session, case: CaseView, image: int) -> tuple[ImageOfCase, bytes]:
    """Return which image of a case this is, and its sealed object.

    Raises:
        NotFound: the case has no image of this number.
        RecordDamaged: the stored bytes were changed, or the patient's key is gone.
    """
    rows = image_rows(session, case.id)
    if not 0 <= image < len(rows):
        raise NotFound
    try:
        key = key_of(app, session, case.patient_id)
        sealed = get_object(session, rows[image], ObjectKind.IMAGE, key=key)
    except (CheckpointRefused, NotFound) as error:
        raise RecordDamaged from error
    return ImageOfCase(case_id=case.id, study=case.study, number=image, images=len(rows)), sealed


def viewing_hospital(case: CaseView, actor: Actor) -> HospitalRef:
    """A doctor looks through the own hospital's enclave, a patient through that of the hospital that cares."""
    return next(
        (known for known in (case.hospital, case.answered_by) if known and known.id == actor.hospital_id), case.care
    )


def results_of(app: App, session: Session, case: Case, entry: CaseView) -> tuple[tuple[DiagnosisResult, ...], str]:
    """Return the verified results of all images, or none and why there is none to show."""
    if entry.answered_by is None or case.answered_at is None:
        return (), ""
    try:
        trust, key = app.trust(session).for_stored(), key_of(app, session, case.patient_id)
        sealed = sealed_objects(session, case.id, ObjectKind.RESULT, key=key)
        return tuple(
            open_result(
                app,
                trust,
                result,
                which=ImageOfCase(case_id=case.id, study=entry.study, number=number, images=len(sealed)),
                slug=entry.answered_by.slug,
                at=app.clock.now(),
            )
            for number, result in enumerate(sealed)
        ), ""
    except (CheckpointRefused, NotFound, RecordDamaged):
        return (), "The stored result can no longer be verified, so its numbers and heat map are not shown."


def listed_cases(app: App, session: Session, cases: list[Case], *, for_patient: bool) -> list[ListedCase]:
    """Return cases that the caller was authorised to read with their reviews in force, in the order given."""
    genuine = [case for case in cases if is_genuine(app, case)]
    with patients_at_hand(session, genuine):
        reviews = current_reviews(app, session, genuine, for_patient=for_patient)
        lost = out_of_reach(app, session, genuine)
        views = case_views(app, session, cases, to_patient=for_patient)
    return [
        ListedCase(
            case, reviews.get(case.id), case.is_damaged or reviews.get(case.id, _NO_REVIEW) is None, case.id in lost
        )
        for case in views
    ]
