"""Train the models that ship in models/: one documented, seeded federated run for each study, in blind mode.

    python -m benchmarks.shipped_model leukemia --data DIR --work DIR --out models/leukemia.model

DIR is the study's folder with its index.csv. Four hospitals hold its images, whole patients each, split 70/15/15 by
patient; for `leukemia` a fifth, synthetic hospital holds drawn cells, so that the demo's smears are understood too. It
gives 5 % of its patients to validation, because the decision rule is to fit real cells. The work folder gets what
`federated simulate` leaves too, ``split.json`` (of the real patients) and ``result.json``; the model is written in
clear. It is judged with

    python -m core evaluate --checkpoint models/leukemia.model --data DIR --split DIR/split.json --part test

The recipes (`core.learning.recipes`) were chosen without the test patients; that of `leukemia` is the fourth, and what
the ones before reached on them was known (docs/results.md). One seed is trained, not the best of several. Where the
recipe says so, rare kinds of normal images, by the index's ``source_label``, are given several times.
"""

import argparse
import json
import sys
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np

from core.diagnosis.bundle import ServingModel
from core.diagnosis.checkpoint_file import write_clear
from core.evaluation.held_out import kinds_of
from core.imaging.datasets import DatasetArrays, Part, load_arrays, read_index, split_by_patient
from core.imaging.synthetic import generate_mixed_dataset
from core.learning import architectures
from core.learning.orders import AggregationMode
from core.learning.rare_kinds import RareKinds
from core.learning.recipes import recipe_of
from core.learning.run_events import EventKind
from core.learning.weights import decode_weights, encode_weights, rounded_to_half, sha256_of
from core.studies import STUDIES, Study
from federated.shares import SimulationOptions, share_out
from federated.simulation import simulate
from federated.simulation_report import report
from federated.store import Event

HOSPITALS = 4
SEED = 0
SYNTHETIC_SEED = 2026
SYNTHETIC_SHARES = (0.90, 0.05, 0.05)


def synthetic_hospital(cells: int, folder: Path, study: Study) -> DatasetArrays:
    """Draw cells into `folder` and return them as a hospital's data set."""
    generate_mixed_dataset(folder, cells=cells, seed=SYNTHETIC_SEED)
    parts = split_by_patient(read_index(folder, study), fractions=SYNTHETIC_SHARES, seed=SEED)
    arrays, _ = load_arrays(parts, folder, study)
    return arrays


def with_rare_kinds(arrays: DatasetArrays, kinds: Sequence[str], study: Study, rare: RareKinds) -> DatasetArrays:
    """Return a data set whose training part has rare kinds of normal images several times."""
    training = len(arrays.part(Part.TRAINING))
    given = rare.positions(arrays.labels[:training], kinds[:training], study)
    taken = np.concatenate([given, np.arange(training, len(arrays))])
    return DatasetArrays(
        images=arrays.images[taken],
        labels=arrays.labels[taken],
        patients=tuple(arrays.patients[position] for position in taken),
        parts=arrays.parts[taken],
    )


def compact(model: ServingModel) -> ServingModel:
    """Return the model with its weights as float16, named by what they are then: half of their bytes in the file.

    It serves the same network. Where an architecture is not served with such weights, nothing is changed.
    """
    if model.weights is None or not architectures.find(model.manifest.architecture).half:
        return model
    weights, metadata = decode_weights(model.standing_alone().weights or b"")
    half = encode_weights(weights, metadata, half=True)
    named = replace(model.manifest, weights_sha256=sha256_of(rounded_to_half(weights)))
    return ServingModel(manifest=named, litert=model.litert, weights=half)


def show(event: Event) -> None:
    """Print each round's global figures."""
    if event.kind is EventKind.ROUND_FINISHED:
        print("round", event.round, json.dumps(dict(event.payload), default=str)[:400], flush=True)


def main() -> None:
    """Draw, share out, train, write."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("study", choices=sorted(STUDIES))
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--work", type=Path, required=True)
    parser.add_argument("--out", type=Path, required=True)
    chosen = parser.parse_args()
    study = STUDIES[chosen.study]
    recipe = recipe_of(study)
    options = SimulationOptions(
        hospitals=HOSPITALS,
        rounds=recipe.rounds,
        mode=AggregationMode.BLIND,
        seed=SEED,
        training=recipe.training,
        clinical=True,
    )
    chosen.work.mkdir(parents=True, exist_ok=True)
    shares = share_out(chosen.data, study, options, lambda _what, _done, _total: None)
    (chosen.work / "split.json").write_text(json.dumps(shares.split(), indent=1))
    data = dict(shares.arrays)
    if recipe.rare_kinds:
        kinds = kinds_of(chosen.data)
        for hospital, arrays in shares.arrays.items():
            own = [kinds[path] for path in shares.paths[hospital]]
            data[hospital] = with_rare_kinds(arrays, own, study, recipe.rare_kinds)
    if recipe.synthetic:
        data["synthetic"] = synthetic_hospital(recipe.synthetic, chosen.work / "synthetic", study)
    simulated = simulate(data, study, options, on_event=show)
    result = report(simulated, shares, study, options, command=sys.argv)
    (chosen.work / "result.json").write_text(json.dumps(result, indent=1))
    shipped = compact(simulated.model)
    write_clear(chosen.out, shipped)
    print(f"{chosen.out}: {chosen.out.stat().st_size:,} bytes, weights {shipped.manifest.weights_sha256}")


if __name__ == "__main__":
    main()
