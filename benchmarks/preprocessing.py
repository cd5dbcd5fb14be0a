"""What each step of preprocessing is worth to the network.

``python -m benchmarks.preprocessing --data ROOT --json FILE``; ROOT holds leukemia_cells and
normal_blood_cells. Definitions, fixed before any run:

- *Choices*: nothing but the square and min-max; each of CLAHE, bilateral, guided, Reinhard and Macenko alone; CLAHE
  with bilateral, the papers' chain. All else is equal.
- *Trials*: for each seed (0, 1, 2 unless told otherwise) patients are split anew (70/15/15, `split_by_patient`), a
  groupnorm-small is trained at 96 px from the same first weights for ``--epochs`` (12) on the training part, in the
  same order of images for each choice, with the study's recipe and augmentation. Nothing is tuned; no epoch is chosen.
- *Judged* on the patients of the validation and test parts (no choice was made on either): AUC, and balanced accuracy
  and specificity on the mature white cells of normal_blood_cells (another laboratory; never trained on) at the
  threshold 0.5 of the plain softmax.
- *Worth*: mean over seeds of the difference to nothing on the same split, and its range. A step helps if AUC rises on
  every seed. The other laboratory is shown and decides nothing: what is chosen by it can no longer be tested on it.
- *Colour baseline*: the same splits and figures for `core.evaluation.colour_baseline` on the picture as it is.

The reduced budget of docs/results.md: ``--seeds 2 --epochs 6 --every 4``: two splits, a quarter of the pictures, a
twelfth of the recipe's steps. It can show a gain or loss of about 0.02 AUC and none that is smaller.

``--jobs`` splits the (choice, seed) trials over processes. ``KERAS_BACKEND=jax`` trains the same code on a GPU.
"""

import json
import os
from collections.abc import Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import replace
from functools import cache
from itertools import product
from multiprocessing import get_context
from pathlib import Path
from typing import Annotated, Any, NamedTuple

import numpy as np
import typer
from numpy.typing import NDArray

from benchmarks.gate import MATURE, OTHER_LABORATORY
from core.evaluation.colour_baseline import colours, judged_by_colour
from core.imaging.datasets import Part, Record, read_index, split_by_patient
from core.imaging.decode import Pixels, decode_upload
from core.imaging.preprocess import preprocess
from core.learning.recipes import recipe_of
from core.learning.training import Trainer
from core.studies import LEUKEMIA, Preprocessing, StainNormalisation

SIDE = 96
STUDY = replace(LEUKEMIA, input_size=SIDE, orientations=1)
FOLDER = "leukemia_cells"
ARCHITECTURE = "groupnorm-small"
CHOICES: dict[str, Preprocessing] = {
    "nothing": Preprocessing(),
    "CLAHE": Preprocessing(clahe=True),
    "bilateral": Preprocessing(bilateral=True),
    "guided": Preprocessing(guided=True),
    "Reinhard": Preprocessing(stain=StainNormalisation.REINHARD),
    "Macenko": Preprocessing(stain=StainNormalisation.MACENKO),
    "CLAHE and bilateral": Preprocessing(clahe=True, bilateral=True),
}
COLOUR = "colour baseline"


class Trial(NamedTuple):
    """What one process is asked."""

    data: Path
    choice: str
    seed: int
    epochs: int
    every: int


class Pictures(NamedTuple):
    """Decoded pictures of the study, and of another laboratory."""

    records: list[Record]
    own: list[Pixels]
    other: list[Pixels]


@cache
def pictures(data: Path, every: int) -> Pictures:
    """Decode every n-th picture once for each process."""
    records = read_index(data / FOLDER, STUDY)[::every]
    other = [path for kind in MATURE for path in sorted((data / OTHER_LABORATORY / kind).glob("*.jpg"))][::every]
    return Pictures(records, [_read(data / FOLDER / r.path) for r in records], [_read(path) for path in other])


def _read(path: Path) -> Pixels:
    return decode_upload(path.read_bytes(), max_bytes=2**26, max_pixels=40_000_000).pixels


@cache
def _trainer() -> Trainer:
    return Trainer(ARCHITECTURE, STUDY, threads=2)


def run(trial: Trial) -> dict[str, Any]:
    """Train and judge one choice on one split."""
    found = pictures(trial.data, trial.every)
    labels = np.array([record.label_index for record in found.records], np.int64)
    trained = {record.path for record in split_by_patient(found.records, seed=trial.seed)[Part.TRAINING]}
    inside = np.array([record.path in trained for record in found.records])
    by = by_colour if trial.choice == COLOUR else by_network
    held, other = by(trial, found, labels, inside)
    return {"choice": trial.choice, "seed": trial.seed, **figures(held, labels[~inside], other)}


def by_network(
    trial: Trial, found: Pictures, labels: NDArray[np.int64], inside: NDArray[np.bool_]
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Return the network's probabilities of the positive class, held-out and other laboratory."""
    own, other = (
        np.stack([preprocess(pixels, SIDE, CHOICES[trial.choice]) for pixels in group])
        for group in (found.own, found.other)
    )
    trainer = _trainer()
    options = replace(recipe_of(STUDY).training, epochs=trial.epochs, seed=trial.seed)
    weights, _ = trainer.fit(trainer.initial(trial.seed), own[inside], labels[inside], options)
    held, foreign = (trainer.logits(weights, group).astype(np.float64) for group in (own[~inside], other))
    return _positive(held), _positive(foreign)


def by_colour(
    _trial: Trial, found: Pictures, labels: NDArray[np.int64], inside: NDArray[np.bool_]
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Return the colour baseline's probabilities of the positive class, held-out and other laboratory."""
    own, other = (np.stack([colours(pixels) for pixels in group]) for group in (found.own, found.other))
    judged = np.concatenate([own[~inside], other])
    zeros, nobody = np.zeros(len(judged), np.int64), ("",) * len(judged)
    probabilities = judged_by_colour((own[inside], labels[inside]), judged, zeros, nobody, classes=2).probabilities
    held, foreign = np.split(np.asarray(probabilities)[:, 1], [int((~inside).sum())])
    return held, foreign


def _positive(logits: NDArray[np.float64]) -> NDArray[np.float64]:
    return 1 / (1 + np.exp(logits[:, 0] - logits[:, 1]))


def figures(held: NDArray[np.float64], labels: NDArray[np.int64], other: NDArray[np.float64]) -> dict[str, float]:
    """Return the figures of a trial from probabilities of the positive class."""
    from sklearn.metrics import balanced_accuracy_score, roc_auc_score  # noqa: PLC0415  not needed by the parent

    return {
        "auc": float(roc_auc_score(labels, held)),
        "balanced_accuracy": float(balanced_accuracy_score(labels, held >= 0.5)),  # noqa: PLR2004
        "specificity_elsewhere": float((other < 0.5).mean()),  # noqa: PLR2004
    }


def summary(trials: Sequence[dict[str, Any]]) -> dict[str, dict[str, Any]]:
    """Return for each choice and figure the mean, and mean, least and greatest difference to nothing."""
    plain = {trial["seed"]: trial for trial in trials if trial["choice"] == "nothing"}
    result: dict[str, dict[str, Any]] = {}
    for choice in dict.fromkeys(trial["choice"] for trial in trials):
        own = [trial for trial in trials if trial["choice"] == choice]
        result[choice] = {}
        for name in ("auc", "balanced_accuracy", "specificity_elsewhere"):
            worth = [trial[name] - plain[trial["seed"]][name] for trial in own]
            result[choice][name] = {
                "mean": float(np.mean([trial[name] for trial in own])),
                "worth": float(np.mean(worth)),
                "least": min(worth),
                "greatest": max(worth),
            }
    return result


def main(  # noqa: PLR0917  Typer's options
    data: Annotated[Path, typer.Option(help="Folder of the data sets.")],
    json_file: Annotated[Path | None, typer.Option("--json", help="Write trials and summary here.")] = None,
    seeds: Annotated[int, typer.Option(help="Number of splits.")] = 3,
    epochs: Annotated[int, typer.Option(help="Of each training.")] = 12,
    every: Annotated[int, typer.Option(help="Use every n-th picture only.")] = 1,
    jobs: Annotated[int, typer.Option(help="Processes that train side by side.")] = 1,
    choice: Annotated[list[str] | None, typer.Option(help="Only these choices, beside nothing.")] = None,
) -> None:
    """Print a Markdown table."""
    wanted = ["nothing", *(name for name in (choice or [*CHOICES, COLOUR]) if name != "nothing")]
    trials = [Trial(data, name, seed, epochs, every) for seed, name in product(range(seeds), wanted)]
    os.environ.setdefault("XLA_PYTHON_CLIENT_PREALLOCATE", "false")  # several processes share a GPU
    with ProcessPoolExecutor(jobs, mp_context=get_context("spawn")) as pool:
        done = []
        for figure in pool.map(run, trials):
            print(json.dumps(figure), flush=True)
            done.append(figure)
    table = summary(done)
    print("\n| step | AUC | worth | balanced accuracy | worth | specificity elsewhere | worth |")
    print("|" + "---|" * 7)
    for name, own in table.items():
        cells = [
            f"{v['mean']:.3f} | {v['worth']:+.3f} ({v['least']:+.3f} to {v['greatest']:+.3f})" for v in own.values()
        ]
        print(f"| {name} | {' | '.join(cells)} |")
    if json_file is not None:
        json_file.write_text(json.dumps({"trials": done, "summary": table}, indent=1), encoding="utf-8")


if __name__ == "__main__":
    typer.run(main)
