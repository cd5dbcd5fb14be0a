"""A real, small-effort model for tests: untrained weights, exported and packed like those of a run."""

import numpy as np

from core.diagnosis.bundle import ServingModel, make_serving_model
from core.learning.architectures import DEFAULT_ARCHITECTURE, build
from core.learning.export import export_litert
from core.learning.metric_sums import summarise, sums_of
from core.learning.weights import Weights
from core.studies import LEUKEMIA

RUN = "test-run"


def untrained(seed: int = 0) -> Weights:
    """Weights with plausible sizes, without compiling anything."""
    model = build(DEFAULT_ARCHITECTURE, input_size=LEUKEMIA.input_size, classes=len(LEUKEMIA.classes))
    rng = np.random.default_rng(seed)
    return {v.path: rng.normal(0.05, 0.1, tuple(v.shape)).astype(np.float32) for v in model.weights}


def model_of(weights: Weights, *, run: str = RUN) -> ServingModel:
    """Pack weights with the rule of a made-up validation set."""
    rng = np.random.default_rng(1)
    labels = rng.integers(0, 2, 400)
    logits = rng.normal(0, 1, (400, 2)) + 2 * np.eye(2)[labels]
    return make_serving_model(
        weights=weights,
        litert=export_litert(weights, DEFAULT_ARCHITECTURE, LEUKEMIA),
        architecture=DEFAULT_ARCHITECTURE,
        study=LEUKEMIA,
        summary=summarise(sums_of(logits, labels, LEUKEMIA), LEUKEMIA),
        run_id=run,
        round_number=1,
        members=("north.training", "south.training"),
    )
