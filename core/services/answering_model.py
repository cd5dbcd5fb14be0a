"""Which model gave a stored answer, and how well it did on validation, by its signed lineage. Authorises nothing."""

from sqlmodel import Session

from core.diagnosis.result import DiagnosisResult
from core.errors import CheckpointRefused
from core.learning.lineage import Lineage, read_lineage
from core.services.app import App
from db.models import Checkpoint


def lineage_of(app: App, session: Session, result: DiagnosisResult) -> Lineage | None:
    """Return the signed lineage of the model that gave a verified result; None where it is gone or no longer holds."""
    row = session.get(Checkpoint, result.checkpoint_id)
    if row is None:
        return None
    try:
        return read_lineage(
            row.lineage,
            study=row.study_code,
            weights_sha256=result.weights_sha256,
            trust=app.trust(session),
            at=app.clock.now(),
        )
    except CheckpointRefused:
        return None


def figure(lineage: Lineage | None, name: str) -> float | None:
    """Return a figure of the summed validation (`core.learning.metric_sums.Summary`), None where there is none."""
    return None if lineage is None else lineage.metrics.get(name)
