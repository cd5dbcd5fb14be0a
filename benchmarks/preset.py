"""A training in one place by a preset: the second paper's table 2 (`paper`) or this project's (`tuned`).

    python -m benchmarks.preset paper --study leukemia --data DIR --json FILE

What is measured, fixed before the code. Patients are divided by the preset's shares (70/15/15). The study's network is
trained at the preset's size and with its options; the validation patients stop it (the weights with the lowest
cross-entropy on them come back) and give calibration and threshold; the test patients give the figures of
docs/results.md with 95 % intervals over patients. ``--epochs`` and ``--every`` (every n-th picture) make a shorter
trial of it, which the result says.
"""

import json
import time
from dataclasses import replace
from pathlib import Path
from typing import Annotated, Any

import numpy as np
import typer

from benchmarks.cross_validation import plain
from core.evaluation.held_out import Images, Rule
from core.imaging.datasets import Part, load_arrays, read_index, split_by_patient
from core.learning.metrics import figures
from core.learning.training import EarlyStopping, Trainer
from core.learning.training_options import PRESETS
from core.studies import STUDIES


def main(  # noqa: PLR0917 - typer makes them options
    name: Annotated[str, typer.Argument(metavar=f"[{'|'.join(PRESETS)}]")],
    data: Annotated[Path, typer.Option(exists=True, file_okay=False, help="Folder with index.csv.")],
    study_name: Annotated[str, typer.Option("--study")] = "leukemia",
    architecture: Annotated[str, typer.Option(help="The study's own by default.")] = "",
    epochs: Annotated[int, typer.Option(help="At most so many; 0 for the preset's.")] = 0,
    every: Annotated[int, typer.Option(min=1, help="Use every n-th picture only.")] = 1,
    seed: Annotated[int, typer.Option()] = 0,
    json_file: Annotated[Path | None, typer.Option("--json")] = None,
) -> None:
    """Train, judge, print."""
    preset = PRESETS[name]
    study = STUDIES[study_name]
    study = replace(study, input_size=preset.input_size or study.input_size)
    records = read_index(data, study)[::every]
    arrays, _ = load_arrays({Part.TEST: records}, data, study)
    images = Images(np.asarray(arrays.images), arrays.labels, np.array(arrays.patients))
    parts = split_by_patient(records, fractions=preset.shares, seed=seed)
    training, validation, test = (images.of(parts[part]) for part in Part)
    options = replace(preset.training, epochs=epochs or preset.training.epochs, seed=seed)
    watched = EarlyStopping(images=validation.pixels, labels=validation.labels, patience=preset.patience)
    trainer = Trainer(architecture or study.architecture, study)
    begun = time.perf_counter()
    weights, told = trainer.fit(
        trainer.initial(seed), training.pixels, training.labels, options, early_stopping=watched
    )
    took = time.perf_counter() - begun
    judged = Rule.chosen_on(trainer, weights, validation).judged(test)
    result: dict[str, Any] = {
        "preset": name,
        "study": study_name,
        "architecture": trainer.architecture,
        "input_size": study.input_size,
        "most_epochs": options.epochs,
        "epochs": told.epochs,
        "every": every,
        "seed": seed,
        "images": [len(part) for part in (training, validation, test)],
        "seconds": round(took, 1),
        "figures": plain(figures(judged, study, alarm_rate=1.0)),
    }
    print(json.dumps(result))
    if json_file is not None:
        json_file.write_text(json.dumps(result, indent=1), encoding="utf-8")


if __name__ == "__main__":
    typer.run(main)
