"""What a tampering cloud gets away with in each mode, who finds it, and what finding it costs.

    OMP_NUM_THREADS=1 python -m benchmarks.verifiability --data DIR --json FILE [--trials 5] [--parameters 1000000]

Definitions, numbers of trials and what came out: docs/results.md, "Verifiability". The clouds are those of the attack
lab (`core.evaluation.attacks.tampering`), and those of a second round below, which remember something of the first.
"""

import json
import os
import platform
import tempfile
from collections import Counter
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any

import numpy as np
import typer

from core.evaluation.attacks.bench import QUICK, Bench
from core.evaluation.attacks.blind_sum import bytes_of, integers_of
from core.evaluation.attacks.cloud import with_sum
from core.evaluation.attacks.pictures import read_halves
from core.evaluation.attacks.tampering import KINDS, Cloud, Kind, Rewritten, play
from core.learning.orders import AggregationMode
from core.studies import STUDIES
from federated.aggregation.blind.messages import OpenRequest
from federated.bench.measure import bench
from federated.messages import AverageRequest, Message, Step

VERIFYING = (Step.REVEAL, Step.HASH)
"""Steps of a blind sum that are there for verification alone: coins for the point, and the hashes at it."""
PICTURES = 400


def _update_again(cloud: Cloud, _party: str, message: Message) -> Rewritten:
    """Hand in the victim's update of the first round in place of that of the second."""
    request = message.parse(AverageRequest)
    if not cloud.kept:
        cloud.kept = request.updates[cloud.victim]
        return None
    return request.model_copy(update={"updates": {**request.updates, cloud.victim: cloud.kept}}), b""


def _upload_again(cloud: Cloud, _party: str, message: Message) -> Rewritten:
    """Put the victim's upload of the first round into the sum of the second, in place of its own."""
    assert cloud.notary is not None  # noqa: S101
    if message.header.round == 1:
        cloud.kept = cloud.kept or cloud.board.terms(cloud.notary)[cloud.victim].tobytes()
        return None
    if not cloud.forged:
        terms, old = cloud.board.terms(cloud.notary), np.frombuffer(cloud.kept, np.int64)
        cloud.forged = bytes_of(integers_of(message.attachment) - terms[cloud.victim] + old)
    return with_sum(message, cloud.forged, cloud.notary)


def _sealed_bit(cloud: Cloud, _party: str, message: Message) -> Rewritten:
    return message.parse(OpenRequest), cloud.flipped(bytes(message.attachment))


AGAIN = Kind(Step.AVERAGE, _update_again, rounds=2)
REMEMBERED: Mapping[AggregationMode, Mapping[str, Kind]] = {
    AggregationMode.PLAIN: {"update of the round before": AGAIN},
    AggregationMode.SEALED: {"update of the round before": AGAIN},
    AggregationMode.BLIND: {
        "upload of the round before in the sum": Kind(Step.REVEAL, _upload_again, rounds=2),
        "bit of the new checkpoint": Kind(Step.OPEN, _sealed_bit),
    },
}


def tried(lab: Bench, mode: AggregationMode, name: str, kind: Kind, trials: int) -> dict[str, Any]:
    """Play a kind of tampering; return how often it was found and by whom.

    Raises:
        RuntimeError: nothing was tampered with.
    """
    runs = [play(lab, mode, kind, number) for number in range(trials)]
    if not all(run.letters for run in runs):
        raise RuntimeError(f"nothing was tampered with: {mode.value}, {name}")
    refusals = Counter((step, code) for run in runs for step, code in run.refusals)
    return {
        "mode": mode.value,
        "kind": name,
        "trials": trials,
        "found": sum(run.is_found for run in runs),
        "refused": sum(bool(run.refusals) for run in runs),
        "ended with a model": sum(bool(run.members) for run in runs),
        "refusals a run, by step and code": {
            f"{step}: {code}": round(count / trials, 2) for (step, code), count in refusals.most_common()
        },
    }


def cost(nodes: int, parameters: int, mode: AggregationMode) -> dict[str, Any]:
    """Return what verification costs in one round: seconds of a node and bytes that it sends, with its share."""
    figures = bench(nodes=nodes, parameters=parameters, mode=mode, processes=1)
    phases = figures["phases"]
    own = [phases[step] for step in VERIFYING if step in phases]
    sent = sum(phase["most_sent"] for phase in own)
    seconds = sum(phase["nodes_s"] for phase in own) / nodes
    return {
        "mode": mode.value,
        "total_s": figures["total_s"],
        "critical_s": figures["critical_s"],
        "round_node_s": figures["node_s"],
        "verifying_node_s": seconds,
        "verifying_share": seconds / figures["node_s"],
        "verifying_bytes": sent,
        "verifying_bytes_share": sent / (figures["bytes_per_parameter"] * parameters),
        "bytes_per_parameter": figures["bytes_per_parameter"],
        "phases": phases,
    }


def main(  # noqa: PLR0917 - typer makes them options
    data: Annotated[Path, typer.Option(exists=True, file_okay=False, help="Folder with index.csv.")],
    study_name: Annotated[str, typer.Option("--study")] = "leukemia",
    trials: Annotated[int, typer.Option(help="Runs of each kind and mode.")] = 5,
    nodes: Annotated[int, typer.Option(help="Of the round whose cost is measured.")] = 10,
    parameters: Annotated[int, typer.Option(help="Of that round.")] = 1_000_000,
    json_file: Annotated[Path | None, typer.Option("--json", help="Write the figures here.")] = None,
) -> None:
    """Try every cloud in every mode, measure a round in every mode, print both."""
    study = STUDIES[study_name]
    halves = read_halves(data, study, count=PICTURES, seed=0, say=lambda *_: None)
    with tempfile.TemporaryDirectory(prefix="hemaseal-verifiability-") as place:
        lab = Bench(
            own=halves[0],
            theirs=halves[1],
            study=study,
            profile=QUICK,
            seed=0,
            out=Path(place),
            folder=Path(place),
            say=lambda *_: None,
        )
        rows = [
            tried(lab, mode, name, kind, trials)
            for mode in AggregationMode
            for name, kind in {**KINDS[mode], **REMEMBERED[mode]}.items()
        ]
        honest = {mode.value: not play(lab, mode, None, 0).is_found for mode in AggregationMode}
    for row in rows:
        print(json.dumps(row), flush=True)
    costs = [cost(nodes, parameters, mode) for mode in AggregationMode]
    for one in costs:
        print(json.dumps({key: value for key, value in one.items() if key != "phases"}), flush=True)
    if json_file is not None:
        machine = {"cores": os.cpu_count(), "python": platform.python_version(), "numpy": np.__version__}
        found = {"honest runs pass": honest, "clouds": rows, "nodes": nodes, "parameters": parameters, "cost": costs}
        json_file.write_text(json.dumps({**found, "machine": machine}, indent=1) + "\n", encoding="utf-8")


if __name__ == "__main__":
    typer.run(main)
