"""Reading cases: a patient's own, a doctor's worklist, one case with its result and image. Every read is audited."""

from dataclasses import dataclass, field
from enum import StrEnum

from sqlmodel import Session, col, or_, select

from core.diagnosis.conclusion import Conclusion, conclude
from core.diagnosis.heatmap import SCALE, colour_stops, is_blank, lay_over, with_frames
from core.diagnosis.result import Box, DiagnosisResult
from core.errors import CheckpointRefused, NotFound, RecordDamaged
from core.imaging.decode import decode_upload
from core.services import audit
from core.services.answering import ImageOfCase, open_result, view
from core.services.app import Actor, App
from core.services.authorise import Action, Relation, authorise
from core.services.case_access import case_for
from core.services.case_objects import ObjectKind, get_object, image_rows, sealed_objects
from core.services.case_records import CaseView, HospitalRef, case_views
from core.services.genuine import is_genuine
from core.services.rate_limits import VIEWS, spend
from core.services.reach import out_of_reach
from core.services.review_records import Decision, ReviewView, current_reviews
from core.services.vault import key_of
from db.engine import session_scope
from db.models import Case, CaseStatus, Role

__all__ = [
    "HEAT_MAP_SCALE",
    "CaseDetail",
    "DiagnosisResult",
    "ListedCase",
    "Pictures",
    "WorklistFilter",
    "colour_stops",
    "own_cases",
    "read_case",
    "view_pictures",
    "worklist",
]

HEAT_MAP_SCALE = SCALE
MAX_LISTED = 500
_NO_REVIEW = object()


class WorklistFilter(StrEnum):
    """Which cases a worklist shows."""

    OPEN = "open"
    DEFERRED = "deferred"
    REVIEWED = "reviewed"
    WAITING = "waiting"
    ALL = "all"


_STATES: dict[WorklistFilter, tuple[CaseStatus, ...]] = {
    WorklistFilter.OPEN: (CaseStatus.ANSWERED,),
    WorklistFilter.DEFERRED: (CaseStatus.ANSWERED,),
    WorklistFilter.REVIEWED: (CaseStatus.REVIEWED,),
    WorklistFilter.WAITING: (CaseStatus.WAITING,),
    WorklistFilter.ALL: tuple(CaseStatus),
}


@dataclass(frozen=True)
class ListedCase:
    """A case with the review in force.

    Attributes:
        case: the case.
        review: the review in force; None before the first, or if it is damaged.
        is_damaged: summary or review were changed from outside and are not shown.
        is_out_of_reach: it waits, and no hospital that it was sealed for can answer it any more.
    """

    case: CaseView
    review: ReviewView | None
    is_damaged: bool
    is_out_of_reach: bool = False


@dataclass(frozen=True)
class CaseDetail:
    """A case with its verified results.

    Attributes:
        case: the case.
        review: the review in force, None before the first.
        results: the enclave's answer for each image; empty while the case waits, or when `problem` says why they
            cannot be shown.
        conclusion: what the results say together; None without them.
        problem: why the stored results are not shown, "" if they are.
    """

    case: CaseView
    review: ReviewView | None
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


def own_cases(app: App, actor: Actor) -> list[ListedCase]:
    """Return a patient's own cases, the newest first.

    Raises:
        NotAuthorised: not a patient.
    """
    with session_scope(app.engine) as session:
        relation = Relation.SELF if actor.role is Role.PATIENT else Relation.ANY
        authorise(app, session, actor, Action.LIST_CASES, relation, object_id=actor.user_id)
        mine = select(Case).where(Case.patient_id == actor.user_id).order_by(col(Case.created_at).desc())
        listed = _listed(app, session, list(session.exec(mine.limit(MAX_LISTED)).all()), for_patient=True)
        audit.append(app, session, actor, "case.list", object_id=actor.user_id, details={"cases": len(listed)})
    return listed


def worklist(
    app: App, actor: Actor, *, only: WorklistFilter = WorklistFilter.OPEN, search: str = ""
) -> list[ListedCase]:
    """Return the cases of a doctor's hospital, the most urgent first: all that are open, and the newest reviewed ones.

    Args:
        app: the application.
        actor: a doctor.
        only: which of them.
        search: part of a patient's name or of a case number; "" for all.

    Raises:
        NotAuthorised: not a doctor.
    """
    with session_scope(app.engine) as session:
        relation = Relation.OWN_HOSPITAL if actor.hospital_id else Relation.ANY
        authorise(app, session, actor, Action.READ_WORKLIST, relation, object_id=actor.hospital_id or "")
        ours = or_(col(Case.hospital_id) == actor.hospital_id, col(Case.answered_by_hospital_id) == actor.hospital_id)
        cases: list[Case] = []
        for status in _STATES[only]:
            statement = select(Case).where(ours, Case.status == status).order_by(col(Case.created_at).desc())
            capped = statement.limit(MAX_LISTED) if status is CaseStatus.REVIEWED else statement
            cases += session.exec(capped).all()
        listed = _listed(app, session, cases, for_patient=False)
        listed = [entry for entry in listed if _matches(entry, only, search)]
        details = {"cases": len(listed), "only": only.value}
        audit.append(app, session, actor, "worklist.read", object_id=actor.hospital_id or "", details=details)
    return sorted(listed, key=lambda entry: entry.case.urgency)


def read_case(app: App, actor: Actor, case_id: str) -> CaseDetail:
    """Return a case with its result.

    Raises:
        NotFound: there is no such case.
        NotAuthorised: it is not this person's.
        RecordDamaged: the summary or the review was changed.
    """
    with session_scope(app.engine) as session:
        case = case_for(app, session, actor, case_id, Action.READ_RESULT)
        entry = _listed(app, session, [case], for_patient=actor.role is Role.PATIENT)[0]
        if entry.is_damaged:
            raise RecordDamaged
        results, problem = results_of(app, session, case, entry.case)
        audit.append(app, session, actor, "result.read", object_id=case.id, details={"verified": not problem})
    conclusion = conclude(results, entry.case.study) if results else None
    return CaseDetail(entry.case, entry.review, results, conclusion, problem)


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
    return Pictures(original, lay_over(decode_upload(original, **limits).pixels, overlay))


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
        trust, key = app.trust(session), key_of(app, session, case.patient_id)
        sealed = sealed_objects(session, case.id, ObjectKind.RESULT, key=key)
        return tuple(
            open_result(
                app,
                trust,
                result,
                which=ImageOfCase(case_id=case.id, study=entry.study, number=number, images=len(sealed)),
                slug=entry.answered_by.slug,
                at=case.answered_at,
            )
            for number, result in enumerate(sealed)
        ), ""
    except (CheckpointRefused, NotFound, RecordDamaged):
        return (), "The stored result can no longer be verified, so its numbers and heat map are not shown."


def _listed(app: App, session: Session, cases: list[Case], *, for_patient: bool) -> list[ListedCase]:
    genuine = [case for case in cases if is_genuine(app, case)]
    reviews = current_reviews(app, session, genuine, for_patient=for_patient)
    lost = out_of_reach(app, session, genuine)
    return [
        ListedCase(
            case, reviews.get(case.id), case.is_damaged or reviews.get(case.id, _NO_REVIEW) is None, case.id in lost
        )
        for case in case_views(app, session, cases, to_patient=for_patient)
    ]


def _matches(entry: ListedCase, only: WorklistFilter, search: str) -> bool:
    deferred = entry.review is not None and entry.review.decision is Decision.DEFER
    if (only is WorklistFilter.DEFERRED and not deferred) or (only is WorklistFilter.OPEN and deferred):
        return False
    text = search.strip().casefold()
    return text in entry.case.patient_name.casefold() or text in entry.case.number.casefold()
