"""How a blind round's cost grows with the nodes and with the parameters: figures, a table and a picture.

    python -m benchmarks.growth --json FILE --picture docs/pictures/blind-growth.svg [--nodes 10,20,...] [--sizes ...]

What is measured, fixed before the code. One run of `python -m federated bench --mode blind` is one repetition, in a
process of its own; a figure is the median over the repetitions. Seconds per node are `total_s` / nodes: what all
parties did, the coordinator's share for each node included. They are taken at every number of nodes with the smallest
size. Where the graph is sparse (k neighbours, k from `graph.plan`), a least-squares line over log2(nodes) goes through
them; R² is the share of the variance it explains. Where everybody is everybody's neighbour, up to about 50 nodes, the
cost of a node grows with their number: these points are shown and left out of the line. Nanoseconds per node and
parameter are `total_s` / (nodes x parameters), at every size with the fewest nodes.
"""

import json
import math
import os
import platform
import statistics
import subprocess
import sys
import tempfile
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Annotated, Any

import typer

from benchmarks.line_chart import Chart
from federated.aggregation.blind.graph import plan

NODES = "10,20,50,100,200,300,500,700,1000"
SIZES = "100000,1000000,10000000"
COLUMNS = (
    "nodes",
    "neighbours",
    "parameters",
    "seconds per node",
    "ns per node and parameter",
    "total_s",
    "critical_s",
    "wall_s",
    "bytes per parameter",
    "coordinator's peak, MB",
)


@dataclass(frozen=True)
class Point:
    """Medians over the repetitions at one number of nodes and parameters."""

    nodes: int
    parameters: int
    total_s: float
    critical_s: float
    wall_s: float
    bytes_per_parameter: float
    coordinator_peak_mb: float

    @property
    def seconds_per_node(self) -> float:
        """All parties' seconds for each node."""
        return self.total_s / self.nodes


def measure(nodes: int, parameters: int, repetitions: int) -> Point:
    """Run the bench; raises CalledProcessError where it fails."""
    answers: list[dict[str, Any]] = []
    with tempfile.TemporaryDirectory() as folder:
        answer = Path(folder) / "answer.json"
        size = ["--nodes", str(nodes), "--parameters", str(parameters)]
        for _ in range(repetitions):
            command = [sys.executable, "-m", "federated", "bench", *size, "--mode", "blind", "--json", str(answer)]
            subprocess.run(command, check=True, stdout=subprocess.DEVNULL, env=os.environ | {"OMP_NUM_THREADS": "1"})
            answers.append(json.loads(answer.read_text(encoding="utf-8")))
    names = ("total_s", "critical_s", "wall_s", "bytes_per_parameter", "coordinator_peak_mb")
    point = Point(nodes, parameters, **{name: statistics.median(found[name] for found in answers) for name in names})
    print(f"{nodes} nodes, {parameters} parameters: {point.total_s:.3f} s", file=sys.stderr, flush=True)
    return point


def table(points: list[Point]) -> str:
    """Return a Markdown table, a row for each point."""
    lines = [
        f"| {' | '.join(COLUMNS)} |",
        f"|{'---|' * len(COLUMNS)}",
    ]
    lines += [
        f"| {point.nodes:,} | {plan(point.nodes).degree} | {point.parameters:,} | {point.seconds_per_node:.4f} "
        f"| {1e9 * point.seconds_per_node / point.parameters:.1f} | {point.total_s:.3f} | {point.critical_s:.3f} "
        f"| {point.wall_s:.2f} | {point.bytes_per_parameter:.2f} | {point.coordinator_peak_mb:.0f} |"
        for point in points
    ]
    return "\n".join(lines)


def chart(points: list[Point]) -> Chart:
    """Return seconds per node over the logarithm of the nodes."""
    return Chart(
        title=f"Blind round, {points[0].parameters:,} parameters: seconds per node",
        symbol="log₂ N",
        x_title="nodes N (logarithmic)",
        y_title="seconds per node, all parties",
        x=[math.log2(point.nodes) for point in points],
        y=[point.seconds_per_node for point in points],
        x_labels=[f"{point.nodes:,}" for point in points],
        fitted=[not plan(point.nodes).complete for point in points],
        note="everybody is everybody's neighbour",
    )


def main(
    out: Annotated[Path, typer.Option("--json", help="Where the points and the line are written.")],
    picture: Annotated[Path, typer.Option(help="An .svg file.")],
    nodes: Annotated[str, typer.Option(help="Numbers of nodes with commas; at least two of 100 or more.")] = NODES,
    sizes: Annotated[str, typer.Option(help="Numbers of parameters, with commas.")] = SIZES,
    repetitions: Annotated[int, typer.Option(min=1)] = 3,
) -> None:
    """Measure, draw, and print a table."""
    many = sorted({int(number) for number in nodes.split(",")})
    large = sorted({int(number) for number in sizes.split(",")})
    by_nodes = [measure(number, large[0], repetitions) for number in many]
    by_size = [by_nodes[0], *(measure(many[0], size, repetitions) for size in large[1:])]
    drawn = chart(by_nodes)
    picture.parent.mkdir(parents=True, exist_ok=True)
    picture.write_text(drawn.svg(), encoding="utf-8")
    found = {
        "machine": {"cpus": os.cpu_count(), "machine": platform.machine(), "python": platform.python_version()},
        "repetitions": repetitions,
        "by_nodes": [asdict(point) for point in by_nodes],
        "by_size": [asdict(point) for point in by_size],
        "line_over_log2_nodes": asdict(drawn.line()),
    }
    out.write_text(json.dumps(found, indent=1), encoding="utf-8")
    print(table(by_nodes), table(by_size), sep="\n\n")


if __name__ == "__main__":
    typer.run(main)
