"""A real, small-effort model for tests: untrained weights, exported and packed like those of a run."""

import numpy as np

from core.diagnosis.bundle import ServingModel, make_serving_model
from core.learning.architectures import DEFAULT_ARCHITECTURE, build
from core.learning.export import export_litert
from core.learning.metric_sums import summarise, sums_of
from core.learning.weights import Weights
from core.studies import LEUKEMIA, Study

RUN = "test-run"


def untrained(seed: int = 0, study: Study = LEUKEMIA) -> Weights:
    """Weights with plausible sizes, without compiling anything."""
    model = build(DEFAULT_ARCHITECTURE, input_size=study.input_size, classes=len(study.classes))
    rng = np.random.default_rng(seed)
    return {v.path: rng.normal(0.05, 0.1, tuple(v.shape)).astype(np.float32) for v in model.weights}


def model_of(weights: Weights, *, run: str = RUN, study: Study = LEUKEMIA) -> ServingModel:
    """Pack weights with the rule of a made-up validation set."""
    rng = np.random.default_rng(1)
    classes = len(study.classes)
    labels = rng.integers(0, classes, 200 * classes)
    logits = rng.normal(0, 1, (len(labels), classes)) + 2 * np.eye(classes)[labels]
    return make_serving_model(
        weights=weights,
        litert=export_litert(weights, DEFAULT_ARCHITECTURE, study),
        architecture=DEFAULT_ARCHITECTURE,
        study=study,
        summary=summarise(sums_of(logits, labels, study), study),
        run_id=run,
        round_number=1,
        members=("north.training", "south.training"),
    )
