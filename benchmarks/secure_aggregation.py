"""Secure aggregation side by side in one run: the blind round, Flower's SecAgg+, and CKKS with TenSEAL.

    python -m benchmarks.secure_aggregation --json FILE [--nodes 10 --parameters 1000000 --repetitions 5]

What is measured, fixed before the code. The updates are those of `federated bench` (float32, normal with a standard
deviation of 0.02; 50 to 399 images behind each), the same for all and in every repetition; the task is their mean
weighted by images. Nobody drops out. A repetition runs every rival once, each in processes of its own with all parties
one after another on one thread; the order is rotated by one at each repetition. A figure is the median over the
repetitions (smallest to largest); a ratio is taken within a repetition.

- `total_s`: CPU seconds of all parties summed, nodes and server, from the float32 update to the mean in floating point.
- `critical_s`: the slowest node of each step plus the server, as if every party had a machine of its own.
- bytes per parameter: all that the nodes upload / (nodes x parameters); for blind the node that uploads most.
- largest error: of any coordinate of the mean, against the mean in float64; for blind by its encoding, whose integers
  add up exactly.

Outside everybody's seconds: training, start of processes and imports, network, download of the global model. Outside
the rivals' seconds also a warm-up on 1,000 parameters, for Flower making and reading its transport's messages
(`carrying_s`), for TenSEAL making the keys. Inside blind's alone, since only it does them: signing and checking every
message, a second sum for the metrics, proof of the sum, the server's optimiser, sealing the new checkpoint.

The rivals do not promise the same; the table says what each does. They are installed from PyPI, with the hashes in
requirements-flower.lock and benchmarks/rivals/requirements-tenseal.lock, into environments that are thrown away.
"""

import json
import os
import platform
import statistics
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any

import numpy as np
import typer
from numpy.typing import NDArray

from benchmarks.rivals.measuring import Inputs, largest_error
from core.learning.run_choices import DEFAULT_CLIP
from federated.aggregation.blind.fixed_point import Encoding
from federated.bench.learner import BenchLearner

ROOT = Path(__file__).parents[1]
RIVALS = ROOT / "benchmarks" / "rivals"
ONE_KEY = "the server reads nothing; who holds the one key opens every single update as well as the sum"

Answer = dict[str, Any]


@dataclass(frozen=True)
class Rival:
    """One way to aggregate: its name in the table, and the command (less `--json FILE`) that measures it once."""

    name: str
    promise: str
    command: list[str]


def environment(folder: Path, lock: Path) -> str:
    """Make a virtual environment with exactly what `lock` lists and return its Python."""
    uv = Path(sys.executable).with_name("uv")
    python = folder / "bin" / "python"
    print(f"Installing {lock.relative_to(ROOT)} ...", flush=True)
    subprocess.run([uv, "venv", "-q", "--python", sys.executable, folder], check=True)
    subprocess.run([uv, "pip", "install", "-q", "--python", python, "--require-hashes", "-r", lock], check=True)
    return str(python)


def draw(nodes: int, parameters: int) -> Inputs:
    """Return the updates and images that `federated bench` gives its nodes."""
    handed = [BenchLearner(parameters, node).update() for node in range(nodes)]
    updates = np.stack([np.concatenate(list(tensors.values())) for tensors, _ in handed])
    return Inputs(updates, np.array([images for _, images in handed], np.int64))


def blind_mean(inputs: Inputs) -> NDArray[np.float64]:
    """Return the mean that blind sums give: their integers add up exactly, so encoding is all that rounds."""
    encoding = Encoding.for_members(len(inputs.images), clip=DEFAULT_CLIP)
    total, most = np.zeros(inputs.updates.shape[1], encoding.dtype), int(inputs.images.max())
    for update, images in zip(inputs.updates, inputs.images, strict=True):
        words = np.empty_like(total)
        encoding.quantise(update, int(images) / most, words)
        total += words
    mean = encoding.dequantise(total)
    mean *= most / inputs.images.sum()
    return mean


def measure(rival: Rival, answer: Path) -> Answer:
    """Run one repetition of one rival and return its answer; raises CalledProcessError where it fails."""
    variables = os.environ | {"FLWR_TELEMETRY_ENABLED": "0", "OMP_NUM_THREADS": "1"}
    try:
        subprocess.run(
            [*rival.command, "--json", str(answer)], check=True, cwd=ROOT, env=variables, capture_output=True, text=True
        )
    except subprocess.CalledProcessError as error:
        print(error.stderr, file=sys.stderr)
        raise
    found: Answer = json.loads(answer.read_text(encoding="utf-8"))
    return found


def blind(size: list[str]) -> Rival:
    """Return the project's own way; `size` are the options of nodes and parameters."""
    return Rival(
        "blind",
        "the cloud reads neither an update nor the sum; fewer than the threshold open nothing; the sum is proved",
        [sys.executable, "-m", "federated", "bench", *size, "--mode", "blind"],
    )


def contestants(size: list[str], given: list[str], *, flower: str, tenseal: str) -> list[Rival]:
    """Return all rivals, blind first; `flower` and `tenseal` are the Pythons of their environments."""
    ckks = [tenseal, "-m", "benchmarks.rivals.tenseal_ckks", *given, "--moduli"]
    return [
        blind(size),
        Rival(
            "SecAgg+ (Flower)",
            "the server reads the sum; a mask's seed has 32 bits, so that a single update's can be searched for",
            [flower, "-m", "benchmarks.rivals.flower_secagg", *given],
        ),
        Rival("CKKS (TenSEAL, FLARE's moduli)", ONE_KEY, [*ckks, "60", "40", "40"]),
        Rival("CKKS (TenSEAL, fewest moduli)", ONE_KEY, [*ckks, "60", "60"]),
    ]


def spread(values: Sequence[float], digits: str) -> str:
    """Return the median with the smallest and the largest value."""
    return f"{statistics.median(values):{digits}} ({min(values):{digits}} to {max(values):{digits}})"


def table(rivals: Sequence[Rival], answers: dict[str, list[Answer]]) -> str:
    """Return a Markdown table, a row for each rival, the first of which the others are compared with."""
    lines = [
        "| | total_s | critical_s | times the first | bytes per parameter | largest error | promise |",
        "|---|---|---|---|---|---|---|",
    ]
    for rival in rivals:
        found, first = answers[rival.name], answers[rivals[0].name]
        ratios = [answer["total_s"] / other["total_s"] for answer, other in zip(found, first, strict=True)]
        errors = [answer["largest_error"] for answer in found]
        cells = [
            rival.name,
            spread([answer["total_s"] for answer in found], ".3f"),
            spread([answer["critical_s"] for answer in found], ".3f"),
            spread(ratios, ".1f"),
            f"{statistics.median(answer['bytes_per_parameter'] for answer in found):.2f}",
            f"{max(errors):.1e}",
            rival.promise,
        ]
        lines.append(f"| {' | '.join(cells)} |")
    return "\n".join(lines)


def main(
    out: Annotated[Path, typer.Option("--json", help="Where all answers and the medians are written.")],
    nodes: Annotated[int, typer.Option(min=3)] = 10,
    parameters: Annotated[int, typer.Option(min=1000)] = 1_000_000,
    repetitions: Annotated[int, typer.Option(min=1)] = 5,
) -> None:
    """Measure all in turn and print a table."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        file, answer, inputs = folder / "inputs.npz", folder / "answer.json", draw(nodes, parameters)
        np.savez(file, updates=inputs.updates, images=inputs.images)
        blind_error = largest_error(inputs, blind_mean(inputs))
        size = ["--nodes", str(nodes), "--parameters", str(parameters)]
        flower = environment(folder / "flower", ROOT / "requirements-flower.lock")
        tenseal = environment(folder / "tenseal", RIVALS / "requirements-tenseal.lock")
        rivals = contestants(size, ["--inputs", str(file)], flower=flower, tenseal=tenseal)
        answers: dict[str, list[Answer]] = {rival.name: [] for rival in rivals}
        for repetition in range(repetitions):
            first = repetition % len(rivals)
            for rival in rivals[first:] + rivals[:first]:
                found = measure(rival, answer)
                answers[rival.name].append({"largest_error": blind_error} | found)
                print(f"repetition {repetition + 1}, {rival.name}: {found['total_s']:.3f} s", flush=True)
    machine = {"cpus": os.cpu_count(), "machine": platform.machine(), "python": platform.python_version()}
    setting = {"nodes": nodes, "parameters": parameters, "repetitions": repetitions}
    out.write_text(json.dumps({"setting": setting, "machine": machine, "answers": answers}, indent=1), encoding="utf-8")
    print(table(rivals, answers))


if __name__ == "__main__":
    typer.run(main)
