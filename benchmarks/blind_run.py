"""A real run in `blind` beside the same in `plain`: what the protection costs and what it changes.

    python -m benchmarks.blind_run --data ../shared/data/leukemia_cells --json FILE

What is measured, fixed before the code:

- `cryptography_share`: seconds that coordinator and nodes spent on signing, checking, sealing, sharing, masking,
  hashing and adding, by the duration of the run (`--rounds` rounds of `blind`, `--hospitals` hospitals, this machine).
- `largest_difference`: of any weight after one round of `blind` from that after one round of `plain`. Both start from
  the same weights, and the nodes' trainings are the same to the bit, so only fixed point and rounding to float32 lie
  between them.
- `bound`: what the fixed point may cost at most (`Encoding.mean_error` with the round's images), plus one half of
  float32's spacing at the largest weight for each of the two roundings to float32.
"""

import json
from dataclasses import replace
from pathlib import Path
from typing import Annotated, Any

import numpy as np
import typer

from core.imaging.datasets import Part
from core.learning.orders import AggregationMode
from core.learning.run_choices import DEFAULT_CLIP
from core.learning.run_figures import totals_of
from core.learning.training import TrainingOptions
from core.learning.weights import Weights, decode_weights
from core.studies import LEUKEMIA
from federated.aggregation.blind.fixed_point import Encoding
from federated.shares import Shares, SimulationOptions, share_out
from federated.simulation import Simulated, simulate


def main(
    data: Annotated[Path, typer.Option(exists=True, file_okay=False, help="Folder with index.csv and its images.")],
    json_file: Annotated[Path, typer.Option("--json", help="Where the figures go.")],
    hospitals: Annotated[int, typer.Option(min=3)] = 4,
    rounds: Annotated[int, typer.Option(min=1)] = 5,
    seed: Annotated[int, typer.Option()] = 0,
) -> None:
    """Run both modes and write the figures."""
    options = SimulationOptions(
        hospitals=hospitals, rounds=1, seed=seed, mode=AggregationMode.PLAIN, training=TrainingOptions(epochs=3)
    )
    shares = share_out(data, LEUKEMIA, options, lambda _what, _done, _total: None)
    plain = simulate(shares.arrays, LEUKEMIA, options)
    blind = simulate(shares.arrays, LEUKEMIA, replace(options, mode=AggregationMode.BLIND))
    figures = compared(_weights(plain), _weights(blind), shares, options)
    whole = simulate(shares.arrays, LEUKEMIA, replace(options, mode=AggregationMode.BLIND, rounds=rounds))
    seconds = totals_of(whole.rounds)
    figures |= {
        "hospitals": hospitals,
        "rounds": rounds,
        "run_s": whole.wall_s,
        **seconds,
        "cryptography_share": seconds["cryptography_s"] / whole.wall_s,
        "auc": whole.model.manifest.metrics["auc"],
    }
    json_file.write_text(json.dumps(figures, indent=1), encoding="utf-8")
    print(json.dumps(figures, indent=1))


def compared(plain: Weights, blind: Weights, shares: Shares, options: SimulationOptions) -> dict[str, Any]:
    """Return the largest difference of two rounds' weights, and what it may be."""
    images = [len(arrays.part(Part.TRAINING)) for arrays in shares.arrays.values()]
    encoding = Encoding.for_members(options.hospitals, clip=DEFAULT_CLIP)
    largest = max(float(np.abs(array).max()) for array in plain.values())
    difference = max(
        float(np.abs(array.astype(np.float64) - blind[name].astype(np.float64)).max()) for name, array in plain.items()
    )
    return {
        "largest_difference": difference,
        "bound": encoding.mean_error(sum(images) / max(images)) + float(np.spacing(np.float32(largest))),
        "largest_weight": largest,
    }


def _weights(simulated: Simulated) -> Weights:
    return decode_weights(simulated.model.weights or b"")[0]


if __name__ == "__main__":
    typer.run(main)
