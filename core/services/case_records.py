"""What services and pages know of a case: plain values, and the sealed summary that lists are drawn from.

Nothing is authorised here; `case_access` does that before anything of a case is read.
"""

import json
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field
from datetime import datetime
from typing import Any

from sqlmodel import Session, col, select

from core.diagnosis.conclusion import Conclusion
from core.diagnosis.predictor import Outcome
from core.errors import RecordDamaged
from core.services.app import APP_PARTY, App
from core.services.context import display_name
from core.services.genuine import is_genuine
from core.services.routing import Reason, RoutingDecision, explain
from core.services.vault import key_of
from core.studies import LEUKEMIA, STUDIES_BY_CODE, Study
from db.models import Case, CaseStatus, Hospital, PatientKey, User
from security.context import Context, Purpose
from security.errors import SealBroken
from security.records import RecordCipher

__all__ = ["CaseStatus", "CaseSummary", "CaseView", "HospitalRef", "Outcome", "case_views", "seal_summary"]

_RANK = {Outcome.POSITIVE: 0, Outcome.UNCERTAIN: 1, Outcome.NEGATIVE: 2}
_DAMAGED, _UNANSWERED = -1, 3


@dataclass(frozen=True)
class HospitalRef:
    """A hospital as people know it."""

    id: str
    slug: str
    name: str
    city: str


@dataclass(frozen=True)
class CaseSummary:
    """The preliminary answer in short; probabilities and shares are in 0..1 (`core.diagnosis.conclusion`).

    Attributes:
        outcome, label_index, positive_probability, confidence: of the case.
        threshold: positive probability from which the model calls a cell positive.
        images, cells, positive: how many, and how many cells reach the threshold.
        share_low, share_high: interval of 95 % of the share of positive cells.
        by_alarm: several cells were judged together.
        figures: of light, focus and colour of each image, as its enclave measured them (`core.imaging.drift`).
    """

    outcome: Outcome
    label_index: int
    positive_probability: float
    confidence: float
    threshold: float
    images: int = 1
    cells: int = 1
    positive: int = 0
    share_low: float = 0.0
    share_high: float = 1.0
    by_alarm: bool = False
    figures: tuple[tuple[float, ...], ...] = ()

    @classmethod
    def of(cls, conclusion: Conclusion, threshold: float, figures: tuple[tuple[float, ...], ...] = ()) -> "CaseSummary":
        """Take the short form of a conclusion from verified results."""
        return cls(
            conclusion.outcome,
            conclusion.label_index,
            conclusion.positive_probability,
            conclusion.confidence,
            threshold,
            images=conclusion.images,
            cells=conclusion.cells,
            positive=conclusion.positive,
            share_low=conclusion.share_low,
            share_high=conclusion.share_high,
            by_alarm=conclusion.by_alarm,
            figures=figures,
        )


@dataclass(frozen=True, kw_only=True)
class CaseView:
    """A case as its patient and its doctors may see it in a list.

    Attributes:
        id: the case.
        study: what was asked.
        status: waiting, answered or reviewed.
        created_at: upload, UTC.
        answered_at: when the enclave answered, UTC.
        patient_id: the account of the patient.
        patient_name: how the patient is addressed.
        hospital: where it was sent.
        fallback: who may answer in its place.
        answered_by: who answered.
        routing_reason: why that hospital, as sentences.
        summary: the preliminary answer, None while it waits or if it is damaged.
        is_referred: another hospital has referred it to the one where it is now, or it was brought back from there.
        is_damaged: the stored case was changed from outside; its answer, or whose it is, is not shown.
        stages_ms: milliseconds of each stage, only in the answer to an upload.
    """

    id: str
    study: Study
    status: CaseStatus
    created_at: datetime
    answered_at: datetime | None
    patient_id: str
    patient_name: str
    hospital: HospitalRef
    fallback: HospitalRef | None
    answered_by: HospitalRef | None
    routing_reason: str
    summary: CaseSummary | None
    is_referred: bool = False
    is_damaged: bool = False
    stages_ms: Mapping[str, float] = field(default_factory=dict)

    @property
    def number(self) -> str:
        """A short number that people can say to each other."""
        return f"{self.id[:4]}-{self.id[4:8]}".upper()

    @property
    def care(self) -> HospitalRef:
        """The hospital whose doctors look at it."""
        return self.answered_by or self.hospital

    @property
    def urgency(self) -> tuple[int, float, datetime]:
        """Sorts worklists: damaged, positive, uncertain, negative, waiting; by probability; the oldest first."""
        if self.summary is None:
            return (_DAMAGED if self.is_damaged else _UNANSWERED, 0.0, self.created_at)
        return (_RANK[self.summary.outcome], -self.summary.positive_probability, self.created_at)


def seal_summary(key: RecordCipher, case_id: str, summary: CaseSummary) -> bytes:
    """Return the summary of a case, sealed under its patient's key."""
    return key.seal(json.dumps(asdict(summary)).encode(), context=summary_context(case_id))


def open_summary(app: App, session: Session, case: Case) -> CaseSummary | None:
    """Return the summary of a case, None while it waits.

    Raises:
        RecordDamaged: the row was changed, or belongs to another case; or the patient's key is gone.
    """
    if case.summary is None:
        return None
    try:
        key = key_of(app, session, case.patient_id)
        stored: dict[str, Any] = json.loads(key.open(case.summary, context=summary_context(case.id)))
    except SealBroken as error:
        raise RecordDamaged from error
    figures = tuple(tuple(one) for one in stored.get("figures", ()))
    return CaseSummary(**{**stored, "outcome": Outcome(stored["outcome"]), "figures": figures})


def case_views(app: App, session: Session, cases: Iterable[Case], *, to_patient: bool) -> list[CaseView]:
    """Return what may be shown of cases that the caller was authorised to read, in the order given.

    Reasons are said `to_patient` or to a doctor. A damaged row marks its own case only, so that nobody can hide a
    worklist by changing one; of a case that was given to somebody else nothing is shown but its number.
    """
    listed = list(cases)
    genuine = {case.id for case in listed if is_genuine(app, case)}
    hospitals = hospital_refs(session, listed)
    names = {key: hospital.name for key, hospital in hospitals.items()}
    people = {
        who: display_name(app, session, who) for who in {case.patient_id for case in listed if case.id in genuine}
    }
    summaries = {
        case.id: _summary_or_damage(app, session, case) if case.id in genuine else (None, True) for case in listed
    }
    ways = {case.id: _way(case) if case.id in genuine else None for case in listed}
    return [
        CaseView(
            id=case.id,
            study=STUDIES_BY_CODE.get(case.study_code, LEUKEMIA),
            status=case.status,
            created_at=case.created_at,
            answered_at=case.answered_at,
            patient_id=case.patient_id,
            patient_name=people[case.patient_id] if case.id in genuine else "",
            hospital=hospitals[case.hospital_id],
            fallback=hospitals.get(case.fallback_hospital_id or ""),
            answered_by=hospitals.get(case.answered_by_hospital_id or ""),
            routing_reason="" if (way := ways[case.id]) is None else explain(way, names, to_patient=to_patient),
            summary=summaries[case.id][0],
            is_referred=way is not None and way.reason is Reason.REFERRED,
            is_damaged=summaries[case.id][1] or way is None,
        )
        for case in listed
    ]


@contextmanager
def patients_at_hand(session: Session, cases: Iterable[Case]) -> Iterator[None]:
    """Read the accounts and keys of many cases' patients at once: within the block the session has them."""
    ids = {case.patient_id for case in cases}
    both = select(User, PatientKey).join(PatientKey, col(PatientKey.user_id) == col(User.id), isouter=True)
    held = session.exec(both.where(col(User.id).in_(ids))).all()
    yield
    del held


def _way(case: Case) -> RoutingDecision | None:
    try:
        return RoutingDecision.from_json(case.routing)
    except RecordDamaged:
        return None


def _summary_or_damage(app: App, session: Session, case: Case) -> tuple[CaseSummary | None, bool]:
    try:
        return open_summary(app, session, case), False
    except RecordDamaged:
        return None, True


def hospital_refs(session: Session, cases: Iterable[Case]) -> dict[str, HospitalRef]:
    """Return the hospitals that cases name, by id."""
    ids = {
        key
        for case in cases
        for key in (case.hospital_id, case.fallback_hospital_id, case.answered_by_hospital_id)
        if key is not None
    }
    rows = session.exec(select(Hospital).where(col(Hospital.id).in_(ids))).all() if ids else ()
    return {row.id: HospitalRef(row.id, row.slug, row.name, row.city) for row in rows}


def summary_context(case_id: str) -> Context:
    """Return what the seal of a case's summary binds."""
    return Context(purpose=Purpose.SUMMARY, study="", sender=APP_PARTY, object_id=case_id)
