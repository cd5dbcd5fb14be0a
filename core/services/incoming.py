"""Pictures that come to a hospital beside the pictures that it trained on: has their light, focus or colour drifted?

Figures of a picture are measured by the enclave that answers for it and lie in the case's summary, sealed under its
patient's key (erasing the patient erases them). An administrator sees shares over at least
`core.imaging.drift.LEAST_PATIENTS` patients and never a picture's or a patient's own figures.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta

from sqlalchemy import func
from sqlmodel import Session, col, select

from core.errors import NotFound, RecordDamaged
from core.imaging.drift import (
    FIGURES,
    LEAST_DISTANCE,
    LEAST_PATIENTS,
    LEAST_TRAINED,
    LEVEL,
    Drift,
    compare,
)
from core.services import audit
from core.services.app import Actor, App
from core.services.authorise import Action
from core.services.case_records import open_summary
from core.services.dataset_store import open_looks, open_name
from core.services.genuine import is_genuine
from core.services.own_hospital import own_hospital
from core.studies import STUDIES_BY_CODE, Study
from db.engine import session_scope
from db.models import Case, CaseStatus, Dataset

__all__ = ["DAYS", "FIGURE_TITLES", "LEAST_DISTANCE", "LEAST_PATIENTS", "LEVEL", "Drift", "Incoming", "incoming"]

DAYS = 90
MOST_CASES = 500
"""The newest ones of these days are looked at."""

FIGURE_TITLES: dict[str, str] = {
    "brightness": "Brightness of the background",
    "clipped": "Share of pure white",
    "contrast": "Contrast",
    "sharpness": "Sharpness of edges",
    "detail": "Fine detail",
    "chroma": "Strength of colour",
    "stained": "Share of violet stain",
    "stain": "Tone of the stain",
}


@dataclass(frozen=True)
class Incoming:
    """A data set and the pictures that came for its study.

    Attributes:
        dataset_id: id of the data set.
        dataset: its name.
        study: what its images show.
        trained_images, trained_patients: how many training images were measured, of how many patients; 0 for a data set
            from before they were measured, or whose figures were changed.
        images, patients: how many pictures came in the last `DAYS` days, of how many patients.
        since: the oldest of them; None where there is none.
        drift: each figure; empty where there are too few to judge.
    """

    dataset_id: str
    dataset: str
    study: Study
    trained_images: int
    trained_patients: int
    images: int
    patients: int
    since: datetime | None
    drift: Sequence[Drift]

    @property
    def drifted(self) -> list[str]:
        """The titles of the figures that have drifted, the most distant first."""
        found = sorted((one for one in self.drift if one.drifted), key=lambda one: -one.distance)
        return [FIGURE_TITLES[one.figure] for one in found]

    @property
    def missing_patients(self) -> int:
        """How many more patients must send pictures before anything is judged."""
        return max(0, LEAST_PATIENTS - self.patients)

    @property
    def is_comparable(self) -> bool:
        """Whether the data set itself can be compared with."""
        return self.trained_patients >= LEAST_TRAINED


def incoming(app: App, actor: Actor, dataset_id: str) -> Incoming:
    """Return how the pictures that came to the actor's hospital differ from the training images of its data set.

    Raises:
        NotAuthorised: the actor does not administer a hospital.
        NotFound: the hospital has no such data set.
    """
    with session_scope(app.engine) as session:
        hospital = own_hospital(app, session, actor, Action.READ_INCOMING, object_id=dataset_id)
        row = session.get(Dataset, dataset_id)
        if row is None or row.hospital_id != hospital.id:
            raise NotFound
        looks = open_looks(app, row)
        cases = _cases(app, session, hospital.id, row.study_code)
        new: dict[str, list[tuple[float, ...]]] = {}
        since: datetime | None = None
        for case in cases:
            figures = _figures(app, session, case)
            if figures:
                new.setdefault(case.patient_id, []).extend(figures)
                since = case.created_at
        audit.append(app, session, actor, "incoming.read", object_id=dataset_id, details={"cases": len(cases)})
    return Incoming(
        dataset_id=row.id,
        dataset=open_name(app, row),
        study=STUDIES_BY_CODE[row.study_code],
        trained_images=looks.images if looks else 0,
        trained_patients=looks.patients if looks else 0,
        images=sum(map(len, new.values())),
        patients=len(new),
        since=since,
        drift=compare(looks, new) if looks else [],
    )


def _cases(app: App, session: Session, hospital_id: str, study_code: str) -> list[Case]:
    """Return the newest genuine, answered cases of a hospital's last days, the newest first."""
    answered_by = func.coalesce(Case.answered_by_hospital_id, Case.hospital_id)
    rows = session.exec(
        select(Case)
        .where(
            answered_by == hospital_id,
            Case.study_code == study_code,
            Case.status != CaseStatus.WAITING,
            col(Case.created_at) > app.clock.now() - timedelta(days=DAYS),
        )
        .order_by(col(Case.created_at).desc())
        .limit(MOST_CASES)
    ).all()
    return [case for case in rows if is_genuine(app, case)]


def _figures(app: App, session: Session, case: Case) -> list[tuple[float, ...]]:
    """Return the figures of a case's images; none where it is damaged, erased, or from before they were measured."""
    try:
        summary = open_summary(app, session, case)
    except RecordDamaged:
        return []
    return [] if summary is None else [one for one in summary.figures if len(one) == len(FIGURES)]
