"""Grouped cross-validation: every patient is judged once, by a network that saw none of that patient's images.

    python -m benchmarks.cross_validation --data DIR --external DIR --json FILE

What is measured, fixed before the code. The patients of a study are dealt to `--folds` folds, alike in their share of
positives and in images. For each fold the other folds' patients are divided 85/15 by patient into training and
validation. Two networks of the same architecture, epochs and first weights are trained on the training part: in one
place, and by federated averaging over four hospitals that hold whole patients. Epochs and options are those of the
shipped model (`benchmarks.shipped_model`), without drawn cells and with each image once. The validation part gives
calibration and threshold (as in a run: by the study's policy); the fold is judged with them. Reported, for each way:

- *by fold*: AUC, balanced accuracy and expected calibration error of each fold, and their means;
- *pooled*: the figures of docs/results.md over all judged images, with 95 % intervals over patients; each image is
  judged with the calibration and threshold of its own fold;
- *by modality*: of the same, the AUC of any positive class against none within each modality that has both;
- *colour alone*: `core.evaluation.colour_baseline`, fitted on the same training patients, on the same images;
- *external*: share of the images of `--external` that each fold's rule does not call positive, all of which are normal
  (labels `--external-label`), mean over the folds; none of them is trained or calibrated on.

One run of `--seeds` 1 is one deal of folds and one draw of first weights. Folds are written to `--json` as they end,
their answers to a file beside it; the same command later goes on with the folds that are missing there.
Keras trains on any backend (``KERAS_BACKEND=jax`` for a GPU).
"""

import json
import time
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Annotated, Any

import numpy as np
import typer
from numpy.typing import NDArray

from core.evaluation.colour_baseline import colours, judged_by_colour
from core.evaluation.held_out import Images, Rule, centralised, federated, joined, judged_arrays, judged_from
from core.imaging.datasets import Part, Record, assign_to_hospitals, load_arrays, read_index, split_by_patient
from core.imaging.decode import decode_upload
from core.imaging.index import COLUMNS
from core.imaging.preprocess import preprocess
from core.imaging.splits import by_share, patients_of
from core.learning.metrics import Figure, Judged, areas_by_modality, figures
from core.learning.recipes import recipe_of
from core.learning.training import Trainer
from core.studies import STUDIES, Study

HOSPITALS = 4
SHARES = (0.85, 0.15, 0.0)
NORMAL_CELLS = ("neutrophil", "eosinophil", "basophil", "lymphocyte", "monocyte")
KEYS = ("auc", "accuracy", "balanced_accuracy", "recall", "specificity", "f1", "mcc", "kappa", "jaccard", "ece")


def folds_of(records: list[Record], folds: int, seed: int) -> list[list[Record]]:
    """Deal patients to folds, alike in share of positives and number of images."""
    dealt: list[list[Record]] = [[] for _ in range(folds)]
    ordered = by_share(patients_of(records), np.random.default_rng(seed))
    for start in range(0, len(ordered), folds):
        block = sorted(ordered[start : start + folds], key=lambda patient: -len(patient.records))
        for fold, patient in zip(sorted(dealt, key=len), block, strict=False):
            fold.extend(patient.records)
    return dealt


def external_pixels(folder: Path, study: Study, labels: tuple[str, ...]) -> NDArray[np.uint8]:
    """Return the preprocessed images of another source that bear one of `labels`."""
    rows = [line.split(",") for line in (folder / "index.csv").read_text(encoding="utf-8").splitlines()]
    path, label = (rows[0].index(name) for name in COLUMNS[:2])
    chosen = [folder / row[path] for row in rows[1:] if row[label] in labels]
    decoded = (decode_upload(file.read_bytes(), max_bytes=2**26, max_pixels=40_000_000).pixels for file in chosen)
    return np.stack([preprocess(pixels, study.input_size, study.preprocessing) for pixels in decoded])


class Finished:
    """What is known of finished folds: figures and answers, kept in two files beside each other."""

    def __init__(self, file: Path | None, made_with: dict[str, Any], modalities: Mapping[str, str]) -> None:
        """Read what an earlier run left, if there is something; ValueError if it was made with other settings.

        `modalities` names each patient's.
        """
        self._file, self._modalities = file, modalities
        self.result: dict[str, Any] = {**made_with, "folds": []}
        self._arrays: dict[str, NDArray[Any]] = {}
        if file is not None and file.exists():
            self.result = json.loads(file.read_text(encoding="utf-8"))
            if {key: self.result.get(key) for key in made_with} != made_with:
                raise ValueError(f"{file} was made with other settings")
            with np.load(file.with_suffix(".npz")) as kept:
                self._arrays = dict(kept)

    def has(self, seed: int, fold: int) -> bool:
        """Whether a fold is there."""
        return any((entry["seed"], entry["fold"]) == (seed, fold) for entry in self.result["folds"])

    def add(self, entry: dict[str, Any], judged: dict[str, Judged], study: Study) -> None:
        """Add a fold, form means and pooled figures anew, and write."""
        self.result["folds"].append(entry)
        for way, own in judged.items():
            place = f"{entry['seed']}/{entry['fold']}/{way}"
            self._arrays |= {f"{place}/{name}": array for name, array in judged_arrays(own).items()}
        folds = self.result["folds"]
        self.result["mean"] = {
            way: {key: float(np.mean([fold[way][key] for fold in folds])) for key in entry[way]} for way in judged
        }
        self.result["pooled"] = {
            way: plain(figures(joined([self._judged(fold, way) for fold in folds]), study, alarm_rate=1.0))
            for way in judged
        }
        self.result["by_modality"] = {
            way: self._by_modality(joined([self._judged(fold, way) for fold in folds]), study) for way in judged
        }
        if self._file is not None:
            np.savez(self._file.with_suffix(".npz"), **self._arrays)  # type: ignore[arg-type]  # names, not options
            self._file.write_text(json.dumps(self.result, indent=1), encoding="utf-8")

    def _by_modality(self, judged: Judged, study: Study) -> dict[str, list[float]]:
        positive = list(study.positive_indices)
        found = areas_by_modality(
            judged.probabilities[:, positive].sum(axis=1),
            np.isin(judged.labels, positive),
            judged.patients,
            [self._modalities[patient] for patient in judged.patients],
        )
        return {name: rounded(figure) for name, figure in found.items()}

    def _judged(self, fold: dict[str, Any], way: str) -> Judged:
        place = f"{fold['seed']}/{fold['fold']}/{way}"
        names = ("labels", "predicted", "probabilities", "patients")
        return judged_from({name: self._arrays[f"{place}/{name}"] for name in names})


def of_fold(judged: Judged, study: Study) -> dict[str, float]:
    """Return the figures of one fold, without intervals."""
    found = figures(judged, study, alarm_rate=1.0, replicates=1)
    return {key: found[key].value for key in KEYS}


def plain(found: dict[str, Figure]) -> dict[str, list[float]]:
    """Return value, low and high of each figure."""
    return {key: rounded(found[key]) for key in KEYS}


def rounded(figure: Figure) -> list[float]:
    """Return value, low and high."""
    return [round(x, 4) for x in (figure.value, figure.low, figure.high)]


def main(  # noqa: PLR0917 - typer makes them options
    data: Annotated[Path, typer.Option(exists=True, file_okay=False, help="Folder with index.csv.")],
    study_name: Annotated[str, typer.Option("--study")] = "leukemia",
    external: Annotated[Path | None, typer.Option(help="Folder of normal images of another source.")] = None,
    external_label: Annotated[list[str] | None, typer.Option(help="Labels of it that are used.")] = None,
    folds: Annotated[int, typer.Option(min=2)] = 5,
    only: Annotated[list[int] | None, typer.Option(help="Only these folds, from 0.")] = None,
    seeds: Annotated[int, typer.Option(min=1, help="Repetitions, with seeds 0, 1, ...")] = 1,
    way: Annotated[list[str] | None, typer.Option(help="centralised, federated; both by default.")] = None,
    architecture: Annotated[str, typer.Option(help="The study's own by default.")] = "",
    input_size: Annotated[int, typer.Option(help="0 for the study's own.")] = 0,
    rounds: Annotated[int, typer.Option(help="Rounds of federated averaging; 0 for the shipped model's.")] = 0,
    epochs: Annotated[int, typer.Option(help="Epochs of a round, in one place rounds times as many; 0 likewise.")] = 0,
    json_file: Annotated[Path | None, typer.Option("--json")] = None,
) -> None:
    """Train and judge every fold, and print what came out."""
    study = STUDIES[study_name]
    study = replace(study, input_size=input_size or study.input_size)
    records = read_index(data, study)
    arrays, _ = load_arrays({Part.TEST: records}, data, study)
    images = Images(np.asarray(arrays.images), arrays.labels, np.array(arrays.patients))
    features = np.array([colours(pixels) for pixels in images.pixels])
    others = external_pixels(external, study, tuple(external_label or NORMAL_CELLS)) if external else None
    trainer = Trainer(architecture or study.architecture, study)
    recipe = recipe_of(study)
    options = replace(recipe.training, epochs=epochs or recipe.training.epochs)
    rounds = rounds or recipe.rounds
    ways = way or ["centralised", "federated"]
    finished = Finished(
        json_file,
        {
            "study": study_name,
            "architecture": architecture or study.architecture,
            "input_size": study.input_size,
            "rounds": rounds,
            "epochs": options.epochs,
            "of": folds,
            "ways": ways,
        },
        {record.patient: record.modality for record in records},
    )
    for seed in range(seeds):
        dealt = folds_of(records, folds, seed)
        for number in only or range(folds):
            if finished.has(seed, number):
                continue
            rest = [record for other, fold in enumerate(dealt) if other != number for record in fold]
            parts = split_by_patient(rest, fractions=SHARES, seed=seed)
            training, validation, test = (
                images.of(part) for part in (parts[Part.TRAINING], parts[Part.VALIDATION], dealt[number])
            )
            entry: dict[str, Any] = {"seed": seed, "fold": number, "patients": len(set(test.patients))}
            judged: dict[str, Judged] = {}
            for name in ways:
                begun = time.perf_counter()
                if name == "centralised":
                    weights = centralised(trainer, training, options, rounds=rounds, seed=seed)
                else:
                    groups = assign_to_hospitals(parts[Part.TRAINING], HOSPITALS, seed=seed)
                    places = [images.of(group) for group in groups]
                    weights = federated(trainer, places, options, rounds=rounds, seed=seed)
                rule = Rule.chosen_on(trainer, weights, validation)
                judged[name] = rule.judged(test)
                entry[name] = of_fold(judged[name], study)
                if others is not None:
                    entry[name]["external_specificity"] = float((~rule.positive(rule.probabilities(others))).mean())
                entry[name]["seconds"] = round(time.perf_counter() - begun, 1)
            fitted, kept = (np.isin(images.patients, part.patients) for part in (training, test))
            by_colour = judged_by_colour(
                (features[fitted], images.labels[fitted]),
                features[kept],
                images.labels[kept],
                tuple(images.patients[kept].tolist()),
                classes=len(study.classes),
            )
            judged["colour alone"] = by_colour
            entry["colour alone"] = of_fold(by_colour, study)
            print(json.dumps(entry), flush=True)
            finished.add(entry, judged, study)
    print(json.dumps({key: finished.result[key] for key in ("mean", "pooled", "by_modality")}, indent=1))


if __name__ == "__main__":
    typer.run(main)
