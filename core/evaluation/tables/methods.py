"""The methods of the comparison and of the ablation, as docs/results.md defines them: train, and judge the test part.

Training and judging are the product's: federated methods are whole runs of its protocol, in one process.
"""

from collections.abc import Callable
from dataclasses import dataclass, field, replace
from enum import StrEnum
from typing import Any

import numpy as np

from core.evaluation.answers import answers, judged_of
from core.evaluation.colour_baseline import colours, judged_by_colour
from core.evaluation.held_out import Rule, centralised, plainly_judged
from core.evaluation.tables.material import Materials
from core.evaluation.tables.profile import HOSPITALS, Budget
from core.evaluation.tables.sealed_way import judged_sealed
from core.imaging.datasets import Part
from core.learning.metric_sums import summary_of
from core.learning.metrics import Judged
from core.learning.orders import AggregationMode
from core.learning.run_figures import totals_of
from core.learning.training import TrainingOptions
from core.learning.weights import Weights, decode_weights
from core.studies import Preprocessing, Study
from federated.learner import KerasLearner
from federated.shares import Say, SimulationOptions
from federated.simulation import Simulated, simulate

PLAIN_CNN, TRANSFORMER, FROZEN_FEATURES = "groupnorm-small", "vit-small", "efficientnet-lite0-linear"


class Method(StrEnum):
    """Rows of the tables: those of the comparison, and those of the ablation that are not among them."""

    CONVENTIONAL = "Conventional CNN"
    SECURE = "Secure CNN"
    FEDERATED = "Federated Learning Model"
    WITHOUT_OPTIMISATION = "without the optimisation of learning"
    TRANSFORMER = "Vision Transformer"
    HYBRID = "Hybrid Cloud Analytics"
    PROPOSED = "Proposed"
    IN_ONE_PLACE = "ours in one place"
    COLOUR = "colour alone"
    WITHOUT_ENCRYPTION = "without encryption"
    WITHOUT_CLOUD_LAYER = "without the cloud security layer"
    WITHOUT_PREPROCESSING = "without preprocessing"

    def step(self, seed: int) -> str:
        """Name of the step that trains and judges it."""
        return f"{self.lower().replace(' ', '-')}-{seed}"


COMPARED = (
    Method.CONVENTIONAL,
    Method.SECURE,
    Method.FEDERATED,
    Method.TRANSFORMER,
    Method.HYBRID,
    Method.PROPOSED,
    Method.IN_ONE_PLACE,
    Method.COLOUR,
)
ABLATED = (
    Method.WITHOUT_ENCRYPTION,
    Method.WITHOUT_PREPROCESSING,
    Method.WITHOUT_CLOUD_LAYER,
    Method.WITHOUT_OPTIMISATION,
    Method.PROPOSED,
)


@dataclass(frozen=True, eq=False, kw_only=True)
class Outcome:
    """What came of one method and seed.

    Attributes:
        judged: answers to the test part.
        facts: how it came about, as JSON values.
        weights: of the trained network, where another method needs them.
    """

    judged: Judged
    facts: dict[str, Any]
    weights: Weights | None = None


@dataclass(kw_only=True)
class Workshop:
    """What methods work with. It keeps one compiled network at a time.

    Attributes:
        study: the study.
        budget: how long every method is trained.
        materials: images, seed by seed.
        weights_of: the weights that another method's step has kept.
        say: told what is done: (what, done, total).
    """

    study: Study
    budget: Budget
    materials: Materials
    weights_of: Callable[[Method, int], Weights]
    say: Say
    _learner: tuple[Study, KerasLearner] | None = field(default=None, init=False)

    def learner(self, study: Study) -> KerasLearner:
        """Return what trains a study's architecture with its preprocessing and orientations."""
        if self._learner is None or self._learner[0] != study:
            self._learner = study, KerasLearner(study.architecture, study)
        return self._learner[1]

    @property
    def bare(self) -> Study:
        """The study with a plain network, asked in one orientation."""
        return replace(self.study, architecture=PLAIN_CNN, orientations=1)


def make(method: Method, seed: int, shop: Workshop) -> Outcome:
    """Train a method with a seed and judge the test part.

    Raises:
        DatasetRefused: the data do not allow it.
        RunRefused: a federated run failed; the text says why.
    """
    return _MAKERS[method](shop, seed)


def _in_one_place_plainly(shop: Workshop, seed: int, architecture: str) -> Outcome:
    study = replace(shop.study, architecture=architecture, orientations=1)
    material, trainer = shop.materials.of(seed, study), shop.learner(study).trainer
    options = shop.budget.of_the_paper()
    weights = centralised(
        trainer,
        material.together(Part.TRAINING),
        options,
        rounds=shop.budget.rounds,
        seed=seed,
        progress=_steps(shop.say),
    )
    judged = plainly_judged(trainer, weights, material.together(Part.TEST))
    return Outcome(judged=judged, facts=_facts(study, options, weights), weights=weights)


def _secure(shop: Workshop, seed: int) -> Outcome:
    study = shop.bare
    weights, trainer = shop.weights_of(Method.CONVENTIONAL, seed), shop.learner(study).trainer
    judged, facts = judged_sealed(shop.materials.of(seed, study), study, weights, trainer, shop.say)
    return Outcome(judged=judged, facts={**_facts(study, shop.budget.of_the_paper(), weights), **facts})


def _federated(shop: Workshop, seed: int, study: Study, mode: AggregationMode, options: TrainingOptions) -> Simulated:
    material = shop.materials.of(seed, study)
    ordered = SimulationOptions(hospitals=HOSPITALS, rounds=shop.budget.rounds, mode=mode, seed=seed, training=options)
    return simulate(material.hospitals, study, ordered, learner=shop.learner(study), on_progress=shop.say)


def _federated_plainly(shop: Workshop, seed: int, study: Study, mode: AggregationMode) -> Outcome:
    options = shop.budget.of_the_paper()
    run = _federated(shop, seed, study, mode, options)
    weights = _weights(run)
    test = shop.materials.of(seed, study).together(Part.TEST)
    judged = plainly_judged(shop.learner(study).trainer, weights, test)
    return Outcome(judged=judged, facts=_facts(study, options, weights) | _of_run(run, mode))


def _ours(shop: Workshop, seed: int, mode: AggregationMode) -> Outcome:
    """Train by the recipe in a mode, and judge from the files with the model that would serve."""
    study, options = shop.study, shop.budget.recipe(shop.study)
    run = _federated(shop, seed, study, mode, options)
    material = shop.materials.of(seed, study)
    given, _ = answers(
        run.model, material.folder, material.test_records, lambda done, total: shop.say("judging", done, total)
    )
    judged = judged_of(given, run.model.manifest)
    return Outcome(judged=judged, facts=_facts(study, options, _weights(run)) | _of_run(run, mode))


def _ours_without_preprocessing(shop: Workshop, seed: int) -> Outcome:
    """As `_ours`, but asked in Keras: serving refuses a model of another preprocessing than the study's."""
    study = replace(shop.study, preprocessing=Preprocessing(minmax=False))
    options = shop.budget.recipe(shop.study)
    run = _federated(shop, seed, study, AggregationMode.BLIND, options)
    weights = _weights(run)
    rule = Rule(shop.learner(study).trainer, weights, summary_of(run.model.manifest.metrics))
    judged = rule.judged(shop.materials.of(seed, study).together(Part.TEST))
    return Outcome(judged=judged, facts=_facts(study, options, weights) | _of_run(run, AggregationMode.BLIND))


def _ours_in_one_place(shop: Workshop, seed: int) -> Outcome:
    study, options = shop.study, shop.budget.recipe(shop.study)
    material, trainer = shop.materials.of(seed, study), shop.learner(study).trainer
    weights = centralised(
        trainer,
        material.together(Part.TRAINING),
        options,
        rounds=shop.budget.rounds,
        seed=seed,
        progress=_steps(shop.say),
    )
    rule = Rule.chosen_on(trainer, weights, material.together(Part.VALIDATION))
    return Outcome(judged=rule.judged(material.together(Part.TEST)), facts=_facts(study, options, weights))


def _colour_alone(shop: Workshop, seed: int) -> Outcome:
    material = shop.materials.of(seed, shop.study)
    training, test = (material.together(part) for part in (Part.TRAINING, Part.TEST))
    fitted, judged = (np.array([colours(pixels) for pixels in part.pixels]) for part in (training, test))
    found = judged_by_colour(
        (fitted, training.labels),
        judged,
        test.labels,
        tuple(test.patients.tolist()),
        classes=len(shop.study.classes),
    )
    return Outcome(judged=found, facts={"features": fitted.shape[1]})


_MAKERS: dict[Method, Callable[[Workshop, int], Outcome]] = {
    Method.CONVENTIONAL: lambda shop, seed: _in_one_place_plainly(shop, seed, PLAIN_CNN),
    Method.SECURE: _secure,
    Method.FEDERATED: lambda shop, seed: _federated_plainly(shop, seed, shop.bare, AggregationMode.PLAIN),
    Method.TRANSFORMER: lambda shop, seed: _in_one_place_plainly(shop, seed, TRANSFORMER),
    Method.HYBRID: lambda shop, seed: _in_one_place_plainly(shop, seed, FROZEN_FEATURES),
    Method.PROPOSED: lambda shop, seed: _ours(shop, seed, AggregationMode.BLIND),
    Method.IN_ONE_PLACE: _ours_in_one_place,
    Method.COLOUR: _colour_alone,
    Method.WITHOUT_ENCRYPTION: lambda shop, seed: _ours(shop, seed, AggregationMode.PLAIN),
    Method.WITHOUT_CLOUD_LAYER: lambda shop, seed: _ours(shop, seed, AggregationMode.SEALED),
    Method.WITHOUT_PREPROCESSING: _ours_without_preprocessing,
    Method.WITHOUT_OPTIMISATION: lambda shop, seed: _federated_plainly(
        shop, seed, replace(shop.study, orientations=1), AggregationMode.BLIND
    ),
}


def _weights(run: Simulated) -> Weights:
    return decode_weights(run.model.weights or b"")[0]


def _steps(say: Say) -> Callable[[int, int, float], None]:
    return lambda done, total, _loss: say("training", done, total)


def _facts(study: Study, options: TrainingOptions, weights: Weights) -> dict[str, Any]:
    return {
        "architecture": study.architecture,
        "parameters": int(sum(np.size(array) for array in weights.values())),
        "orientations": study.orientations,
        "preprocessing": study.preprocessing.version,
        "training": {**vars(options), "class_weights": list(options.class_weights)},
    }


def _of_run(run: Simulated, mode: AggregationMode) -> dict[str, Any]:
    totals = totals_of(run.rounds)
    return {
        "mode": mode.value,
        "run_s": run.wall_s,
        **totals,
        "useful_share": useful_share(totals, run.wall_s),
        "auc_by_round": [one.metrics.get("auc") for one in run.rounds if one.round > 0],
    }


def useful_share(totals: dict[str, float], run_s: float) -> float:
    """Return the cloud efficiency of a run: seconds of training and of the network's answers by its duration."""
    return (totals["training_s"] + totals["evaluation_s"]) / run_s
