"""What a candidate for a study's recipe is worth, without a look at test patients or at another laboratory.

    python -m benchmarks.recipe_trials --data DIR --split SPLIT --json FILE --option batch=8 --change camera=0.2

What is measured, fixed before the code. The test patients of SPLIT (the shipped model's ``split.json``) are left out.
The other patients are dealt to three folds; the first is judged, the others train: by federated averaging over four
hospitals that hold whole patients, or in one place. Recipe and augmentation are the study's, but for ``--rounds``,
``--option`` (a field of `TrainingOptions`), ``--change`` (a field of `augment.Changes`) and ``--step`` (a field of
`Preprocessing`, which comes after what an invented laboratory does).

Judged by one orientation, with the threshold that the unchanged pictures of the fold give (best balanced accuracy: a
little too good, alike for all candidates): AUC and balanced accuracy; and on the same pictures as invented laboratories
would have made them (`LABORATORIES`) AUC and specificity, mean and worst. The laboratories change statistics of CIE
L*a*b*, framing and sharpness, each in one fixed way, while augmentation changes optical densities by chance.

FILE gets a line of JSON for each trial.
"""

import json
import time
from collections.abc import Callable
from dataclasses import asdict, replace
from pathlib import Path
from typing import Annotated, Any

import cv2
import numpy as np
import typer
from numpy.typing import NDArray

from benchmarks.cross_validation import HOSPITALS, folds_of
from core.evaluation.evaluate import read_split
from core.evaluation.held_out import Images, Rule, centralised, federated
from core.imaging.datasets import Part, assign_to_hospitals, load_arrays, read_index
from core.imaging.preprocess import preprocess
from core.learning.augment import CHANGES
from core.learning.metrics import figures
from core.learning.recipes import recipe_of
from core.learning.training import Trainer
from core.studies import STUDIES, Preprocessing

FOLDS = 3
Pixels = NDArray[np.uint8]


def _tinted(shift: tuple[float, float, float], stretch: tuple[float, float, float]) -> Callable[[Pixels], Pixels]:
    """Return what moves the 8-bit L*a*b* of a picture from its median by factors and offsets."""

    def change(image: Pixels) -> Pixels:
        lab = cv2.cvtColor(image, cv2.COLOR_RGB2LAB).astype(np.float32)
        middle = np.median(lab, axis=(0, 1))
        moved = (lab - middle) * np.array(stretch, np.float32) + middle + np.array(shift, np.float32)
        return np.asarray(cv2.cvtColor(np.clip(np.rint(moved), 0, 255).astype(np.uint8), cv2.COLOR_LAB2RGB), np.uint8)

    return change


def _framed(scale: float) -> Callable[[Pixels], Pixels]:
    """Return what shows the cell `scale` times as large; beyond the border is the picture mirrored."""

    def change(image: Pixels) -> Pixels:
        side = image.shape[0]
        offset = (side - 1) / 2 * (1 - scale)
        matrix = np.array([[scale, 0, offset], [0, scale, offset]])
        how = cv2.INTER_CUBIC if scale > 1 else cv2.INTER_AREA
        return np.asarray(cv2.warpAffine(image, matrix, (side, side), None, how, cv2.BORDER_REFLECT_101), np.uint8)

    return change


def _sharpened(amount: float) -> Callable[[Pixels], Pixels]:
    """Return what adds `amount` times the difference to a blurred copy; below 0 it blurs."""

    def change(image: Pixels) -> Pixels:
        return np.asarray(
            cv2.addWeighted(image, 1 + amount, cv2.GaussianBlur(image, (0, 0), 1.2), -amount, 0), np.uint8
        )

    return change


LABORATORIES: dict[str, Callable[[Pixels], Pixels]] = {
    "lighter": _tinted((15, 0, 0), (0.8, 1, 1)),
    "darker": _tinted((-20, 0, 0), (1.15, 1, 1)),
    "redder": _tinted((0, 8, 4), (1, 1.1, 1)),
    "bluer": _tinted((0, -3, -8), (1, 0.9, 1.1)),
    "strong colours": _tinted((0, 0, 0), (1, 1.4, 1.4)),
    "weak colours": _tinted((0, 0, 0), (1, 0.65, 0.65)),
    "cells larger": _framed(1.35),
    "cells smaller": _framed(0.74),
    "blurred": _sharpened(-0.9),
    "sharpened": _sharpened(1.0),
}


def prepared(squares: Pixels, steps: Preprocessing) -> Pixels:
    """Return squares uint8 [n, s, s, 3] after the steps of preprocessing."""
    return np.stack([preprocess(square, square.shape[0], steps) for square in squares])


def changed(fields: list[str] | None, like: dict[str, Any]) -> dict[str, Any]:
    """Return ``name=value`` fields with values of the kind that `like` has."""
    named = dict(field.split("=", 1) for field in fields or [])
    return {name: type(like[name])(json.loads(value)) for name, value in named.items()}


def main(  # noqa: PLR0917 - typer makes them options
    data: Annotated[Path, typer.Option(exists=True, file_okay=False, help="Folder with index.csv.")],
    split: Annotated[Path, typer.Option(exists=True, help="split.json of the shipped model.")],
    study_name: Annotated[str, typer.Option("--study")] = "leukemia",
    way: Annotated[str, typer.Option(help="federated or centralised.")] = "federated",
    rounds: Annotated[int, typer.Option(help="0 for the recipe's.")] = 0,
    option: Annotated[list[str] | None, typer.Option(help="name=value of the training.")] = None,
    change: Annotated[list[str] | None, typer.Option(help="name=value of the augmentation.")] = None,
    step: Annotated[list[str] | None, typer.Option(help="name=value of the preprocessing.")] = None,
    seed: Annotated[int, typer.Option()] = 0,
    json_file: Annotated[Path | None, typer.Option("--json")] = None,
) -> None:
    """Train one candidate, judge it, print it."""
    study = replace(STUDIES[study_name], orientations=1)
    kept_apart = set(read_split(split, Part.TEST))
    records = [record for record in read_index(data, study) if record.patient not in kept_apart]
    arrays, _ = load_arrays({Part.TEST: records}, data, replace(study, preprocessing=Preprocessing()))
    pictures = Images(np.asarray(arrays.images), arrays.labels, np.array(arrays.patients))
    steps = replace(study.preprocessing, **changed(step, asdict(study.preprocessing)))
    images = replace(pictures, pixels=prepared(pictures.pixels, steps))
    judged_on, *others = folds_of(records, FOLDS, seed)
    training = [record for fold in others for record in fold]
    recipe = recipe_of(study)
    options = replace(recipe.training, **changed(option, asdict(recipe.training)))
    changes = changed(change, asdict(CHANGES[study.subject]))
    CHANGES[study.subject] = replace(CHANGES[study.subject], **changes)
    rounds = rounds or recipe.rounds
    trainer = Trainer(study.architecture, study)
    begun = time.perf_counter()
    if way == "federated":
        places = [images.of(group) for group in assign_to_hospitals(training, HOSPITALS, seed=seed)]
        weights = federated(trainer, places, options, rounds=rounds, seed=seed)
    else:
        weights = centralised(trainer, images.of(training), options, rounds=rounds, seed=seed)
    took = time.perf_counter() - begun
    kept = images.of(judged_on)
    rule = Rule.chosen_on(trainer, weights, kept)
    untouched = pictures.of(judged_on).pixels
    made = {"as it is": untouched}
    made |= {name: np.stack([act(image) for image in untouched]) for name, act in LABORATORIES.items()}
    by_laboratory = {}
    for name, seen in made.items():
        judged = rule.judged(replace(kept, pixels=prepared(seen, steps)))
        found = figures(judged, study, alarm_rate=1.0, replicates=1)
        keys = ("auc", "balanced_accuracy", "specificity")
        by_laboratory[name] = {key: round(found[key].value, 4) for key in keys}
    elsewhere = [by_laboratory[name] for name in LABORATORIES]
    result = {
        "way": way,
        "rounds": rounds,
        "option": option or [],
        "change": change or [],
        "preprocessing": steps.version,
        "seed": seed,
        "as it is": by_laboratory["as it is"],
        "elsewhere, mean": {key: round(float(np.mean([own[key] for own in elsewhere])), 4) for key in keys},
        "elsewhere, worst": {key: min(own[key] for own in elsewhere) for key in keys},
        "laboratories": by_laboratory,
        "seconds": round(took, 1),
    }
    print(json.dumps(result), flush=True)
    if json_file is not None:
        with json_file.open("a", encoding="utf-8") as file:
            file.write(json.dumps(result) + "\n")


if __name__ == "__main__":
    typer.run(main)
