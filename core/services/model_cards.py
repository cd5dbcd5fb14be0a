"""Model cards (Mitchell et al. 2019): what a model is for, how it was made, its figures and its limits, as Markdown.

A shipped model has a card written by people, in ``models/``, found by the hash of its weights. The card of a model that
a run made here is written from its signed lineage and the run's order: nothing in it is typed in.
"""

from collections.abc import Mapping, Sequence

from sqlmodel import Session, select

from core.errors import CheckpointRefused
from core.services.app import Actor, App
from core.services.models import CheckpointStatus, ModelView, model
from core.services.privacy_spend import describe
from core.services.run_plans import choices_of
from core.settings import ROOT
from core.studies import STUDIES, Study
from db.engine import read_scope
from db.models import Dataset, Provenance, Run, RunMember

__all__ = ["FIGURES", "WHOLE", "figure_text", "model_card"]

FOLDER = ROOT / "models"
FIGURES = {
    "auc": "AUC",
    "accuracy": "Accuracy",
    "balanced_accuracy": "Balanced accuracy",
    "sensitivity": "Sensitivity at the threshold",
    "specificity": "Specificity at the threshold",
    "loss": "Loss (nats)",
    "threshold": "Threshold",
    "temperature": "Temperature",
    "alarm_rate": "Alarm rate",
    "false_alarm_rate": "False alarms among all-normal patients",
    "images": "Validation images",
}
WHOLE = frozenset({"images"})
_STATES = {
    CheckpointStatus.CANDIDATE: "candidate: it has not answered patients' images",
    CheckpointStatus.IN_SERVICE: "approved by the authority, in service",
    CheckpointStatus.RETIRED: "was in service; a newer model replaced it",
    CheckpointStatus.ROLLED_BACK: "was in service and was rolled back",
}
_LIMITS = {
    Provenance.SYNTHETIC: "Drawn images were among the training images: figures on them say nothing about patients.",
    Provenance.PUBLIC: "Public images were among the training images: they may differ from those of your laboratory.",
    Provenance.CLINICAL: "Clinical images are of the hospitals named above: other laboratories stain otherwise.",
}
_ALWAYS = (
    (
        "The figures are of validation patients, on whom threshold and calibration were chosen too: expect lower ones "
        "on patients that nobody used. `python -m core evaluate` measures that, with intervals over patients."
    ),
    "It answers for what the study asks, about images that are like those it was trained on, and for nothing else.",
    "A probability says how such images were labelled in the training data. It is no diagnosis.",
)


def figure_text(metrics: Mapping[str, float], name: str) -> str | None:
    """Return a figure as text, None where there is none."""
    value = metrics.get(name)
    return None if value is None else f"{value:,.0f}" if name in WHOLE else f"{value:.3f}"


def model_card(app: App, actor: Actor, checkpoint_id: str) -> str:
    """Return the card of a model, Markdown.

    Raises:
        NotAuthorised: the role may not see models.
        NotFound: there is no such model.
        CheckpointRefused: its lineage does not hold, so that nothing can be said about it.
    """
    view = model(app, actor, checkpoint_id)
    if not view.verified:
        raise CheckpointRefused(view.problem)
    shipped = _shipped(view.weights_sha256)
    if shipped:
        return shipped
    with read_scope(app.engine) as session:
        run = session.get(Run, view.run_id) if view.run_id else None
        origins = _origins(session, run)
        return _card(view, STUDIES.get(view.study), run, origins)


def _shipped(weights_sha256: str) -> str:
    """Return the card in ``models/`` that names these weights; empty if none does."""
    for path in sorted(FOLDER.glob("*.md")):
        text = path.read_text(encoding="utf-8")
        if f"`{weights_sha256}`" in text:
            return text
    return ""


def _origins(session: Session, run: Run | None) -> list[Provenance]:
    if run is None:
        return []
    used = select(Dataset.provenance).join(RunMember, RunMember.dataset_id == Dataset.id)  # type: ignore[arg-type]
    return sorted({Provenance(one) for one in session.exec(used.where(RunMember.run_id == run.id)).all()})


def _card(view: ModelView, study: Study | None, run: Run | None, origins: Sequence[Provenance]) -> str:
    hospitals = ", ".join(sorted(party.partition(".")[0].capitalize() for party in view.members)) or "unknown"
    rows = {
        "study": study.title if study else view.study,
        "state": _STATES[view.status],
        "made by": _made_by(view, run),
        "hospitals in its last round": hospitals,
        "training images": _images(run),
        "where images are from": ", ".join(origin.value for origin in origins) or "unknown",
        "differential privacy": describe(view.privacy),
        "weights": f"SHA-256 `{view.weights_sha256}`",
        "lineage": f"signed at each of {view.steps} links back to the first weights; verified when this was written",
        "stored": f"{view.created_at:%Y-%m-%d %H:%M} UTC",
    }
    figures = [(title, figure_text(view.metrics, name)) for name, title in FIGURES.items()]
    limits = [*(_LIMITS[origin] for origin in origins), *_ALWAYS]
    return "\n".join(
        [
            f"# Model card: {rows['study']}",
            "",
            "**Research use. Not a medical device.** A doctor looks at every image that it answers.",
            "",
            "| | |",
            "|---|---|",
            *(f"| {name} | {text} |" for name, text in rows.items()),
            "",
            "## Figures on the validation patients of its hospitals",
            "",
            "| figure | value |",
            "|---|---|",
            *(f"| {title} | {text} |" for title, text in figures if text is not None),
            "",
            "## Limits",
            "",
            *(f"- {limit}" for limit in limits),
            "",
        ]
    )


def _made_by(view: ModelView, run: Run | None) -> str:
    if run is None:
        return "brought here by the authority"
    training = run.options.get("training")
    epochs = f", {training['epochs']} local epochs each" if isinstance(training, dict) else ""
    network = str(run.options.get("architecture", "unknown"))
    choices = "".join(f"; {choice}" for choice in choices_of(run.options))
    return f"round {view.round_number} of a federated run in mode `{view.mode}`{epochs}, network `{network}`{choices}"


def _images(run: Run | None) -> str:
    members = run.options.get("members") if run else None
    if not isinstance(members, list):
        return "unknown"
    return f"{sum(int(member['images']) for member in members):,} at {len(members)} hospitals"
