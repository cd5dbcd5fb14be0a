"""What working together is worth: one split, one network, several ways to train it, the same held-out patients.

    python -m benchmarks.comparison --data DIR --json FILE

What is compared, fixed before the code. Patients are divided 70/15/15; every way trains the study's network from the
same first weights on the same training patients, for the same number of epochs (`--rounds` times `--epochs`). The
validation patients give each way its calibration and threshold, the test patients its figures (docs/results.md), with
95 % intervals over patients.

- `centralised`: all images in one place: what federation is measured against;
- `single hospital`: each of four hospitals by itself, on its own patients; the mean of each figure over the four;
- `federated, alike`: federated averaging over the four hospitals;
- `federated, by classes`: patients dealt by Dirichlet(`--alpha`) over mostly-normal and mostly-positive patients;
- `federated, by stain`: each hospital has its own range of stain colours (stained studies);
- `federated, by site`: sites stay together (where the data have enough);
- `federated, private`: alike, with differential privacy by patient (`--noise`; epsilon for delta 1e-5 is reported), if
  the architecture can be trained so.

A way that the data do not allow is left out and named. One run is one split; `--seed` makes another. The reduced budget
of docs/results.md is `--rounds 6 --epochs 1 --every 2`: half of the pictures and a third of the shipped model's epochs
for every way, so a sixth of its steps. It orders the ways; it does not show how good each can be.
"""

import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Annotated, Any

import numpy as np
import typer

from benchmarks.cross_validation import KEYS, of_fold, plain
from core.errors import DatasetRefused
from core.evaluation.held_out import Images, Rule, centralised, federated
from core.imaging.datasets import (
    Assignment,
    Part,
    Record,
    assign_to_hospitals,
    load_arrays,
    patient_stains,
    read_index,
    split_by_patient,
)
from core.learning import architectures
from core.learning.metrics import figures
from core.learning.privacy import epsilon_by_round, units_of
from core.learning.private_training import PrivateTrainer
from core.learning.recipes import recipe_of
from core.learning.run_choices import PrivacyOptions
from core.learning.training import TrainingOptions
from core.learning.weights import Weights
from core.studies import STUDIES

HOSPITALS = 4


def main(  # noqa: PLR0917 - typer makes them options
    data: Annotated[Path, typer.Option(exists=True, file_okay=False, help="Folder with index.csv.")],
    study_name: Annotated[str, typer.Option("--study")] = "leukemia",
    rounds: Annotated[int, typer.Option(help="0 for the shipped model's.")] = 0,
    epochs: Annotated[int, typer.Option(help="Epochs of a round; 0 for the shipped model's.")] = 0,
    alpha: Annotated[float, typer.Option(help="Of the Dirichlet way; small values differ more.")] = 0.3,
    noise: Annotated[float, typer.Option(help="Noise multiplier of the private way.")] = 1.0,
    every: Annotated[int, typer.Option(min=1, help="Use every n-th picture only.")] = 1,
    only: Annotated[list[str] | None, typer.Option(help="Only these ways.")] = None,
    seed: Annotated[int, typer.Option()] = 0,
    json_file: Annotated[Path | None, typer.Option("--json")] = None,
) -> None:
    """Train every way, judge it, print it."""
    study = STUDIES[study_name]
    records = read_index(data, study)[::every]
    arrays, _ = load_arrays({Part.TEST: records}, data, study)
    images = Images(np.asarray(arrays.images), arrays.labels, np.array(arrays.patients))
    parts = split_by_patient(records, seed=seed)
    training, validation, test = (images.of(parts[part]) for part in Part)
    trainer = PrivateTrainer(study.architecture, study)
    recipe = recipe_of(study)
    options = replace(recipe.training, epochs=epochs or recipe.training.epochs)
    rounds = rounds or recipe.rounds
    privacy = PrivacyOptions(noise_multiplier=noise)

    def private(weights: Weights, own: Images, local: TrainingOptions) -> Weights:
        units, _ = units_of(own.patients.tolist())
        return trainer.fit_privately(weights, own.pixels, own.labels, units, local, privacy=privacy)[0]

    def shares(how: Assignment) -> list[Images]:
        chosen: list[Record] = parts[Part.TRAINING]
        stains = patient_stains(chosen, data, seed=seed) if how == "stain" else {}
        groups = assign_to_hospitals(chosen, HOSPITALS, how=how, alpha=alpha, seed=seed, stains=stains)
        return [images.of(group) for group in groups]

    def together(how: Assignment) -> Weights:
        return federated(trainer, shares(how), options, rounds=rounds, seed=seed)

    ways: dict[str, Callable[[], list[Weights]]] = {
        "centralised": lambda: [centralised(trainer, training, options, rounds=rounds, seed=seed)],
        "single hospital": lambda: [
            centralised(trainer, own, options, rounds=rounds, seed=seed) for own in shares("patients")
        ],
        "federated, alike": lambda: [together("patients")],
        "federated, by classes": lambda: [together("dirichlet")],
        "federated, by site": lambda: [together("site")],
    }
    if study.is_stained:
        ways["federated, by stain"] = lambda: [together("stain")]
    if architectures.find(study.architecture).private:
        ways["federated, private"] = lambda: [
            federated(trainer, shares("patients"), options, rounds=rounds, seed=seed, fit=private)
        ]
    budget = {"rounds": rounds, "epochs": options.epochs, "every": every, "alpha": alpha, "noise": noise}
    result: dict[str, Any] = {"study": study_name, "seed": seed, **budget, "training_images": len(training)}
    result |= {"test_images": len(test), "test_patients": len(set(test.patients)), "ways": {}, "left_out": {}}
    result["epsilon"] = epsilon_by_round(privacy, epochs=options.epochs, rounds=rounds)[-1]
    for name in only or ways:
        try:
            made = ways[name]()
        except DatasetRefused as error:
            result["left_out"][name] = error.detail or error.text
            continue
        judged = [Rule.chosen_on(trainer, weights, validation).judged(test) for weights in made]
        if len(judged) == 1:
            result["ways"][name] = plain(figures(judged[0], study, alarm_rate=1.0))
        else:
            each = [of_fold(one, study) for one in judged]
            result["ways"][name] = {key: round(float(np.mean([one[key] for one in each])), 4) for key in KEYS}
        print(name, json.dumps(result["ways"][name]), flush=True)
        if json_file is not None:
            json_file.write_text(json.dumps(result, indent=1), encoding="utf-8")
    print(json.dumps({key: result[key] for key in ("left_out", "epsilon")}))


if __name__ == "__main__":
    typer.run(main)
