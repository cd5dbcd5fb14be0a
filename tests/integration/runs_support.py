"""Runs in a set-up installation, with the NumPy learner in place of Keras."""

from collections.abc import Callable

from sqlmodel import select

from core.clock import FixedClock
from core.imaging.datasets import DatasetArrays
from core.services.app import Actor, App
from core.services.dataset_store import store_arrays
from core.services.runs import AggregationMode, start_run
from core.settings import Settings
from core.studies import LEUKEMIA, Study
from db.engine import read_scope
from db.models import Dataset, Hospital
from db.models.federation import Provenance
from federated.learner import Learner
from federated.worker import Worker
from tests.federation import SLUGS, SoftmaxLearner, tiny_data


def softmax(_architecture: str, study: Study) -> Learner:
    """The tests' learner, whatever the order's architecture."""
    return SoftmaxLearner(study)


def worker_for(settings: Settings, clock: FixedClock) -> Worker:
    """A worker in this process."""
    return Worker(settings, clock=clock, learner_for=softmax)


def give_data(
    app: App,
    *,
    provenance: Provenance = Provenance.SYNTHETIC,
    slugs: tuple[str, ...] = SLUGS,
    change: Callable[[DatasetArrays], DatasetArrays] = lambda data: data,
) -> list[str]:
    """Give hospitals tiny sealed data sets, changed as wanted; returns their ids."""
    with read_scope(app.engine) as session:
        hospitals = {row.slug: row for row in session.exec(select(Hospital)).all()}
    rows: list[Dataset] = [
        store_arrays(
            app, "app", hospitals[slug], change(tiny_data(number)), study=LEUKEMIA, name="Tiny", provenance=provenance
        )
        for number, slug in enumerate(slugs)
    ]
    return [row.id for row in rows]


def queue_run(
    app: App, authority: Actor, datasets: list[str], *, rounds: int = 2, start_from: str | None = None
) -> str:
    """Order a sealed run over data sets."""
    return start_run(
        app,
        authority,
        study=LEUKEMIA.name,
        mode=AggregationMode.SEALED,
        rounds=rounds,
        dataset_ids=datasets,
        start_from=start_from,
    )
