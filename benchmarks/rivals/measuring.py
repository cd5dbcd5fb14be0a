"""What both rivals share: vectors in, CPU seconds by step and party, and one JSON answer out; no package but NumPy."""

import argparse
import json
import time
from collections import defaultdict
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

SERVER = "server"


@dataclass(frozen=True)
class Inputs:
    """The updates (nodes x parameters, float32) and how many images stand behind each (nodes, int64)."""

    updates: NDArray[np.float32]
    images: NDArray[np.int64]

    def weighted_mean(self) -> NDArray[np.float64]:
        """Return what every rival should find, in float64."""
        total = np.zeros(self.updates.shape[1])
        for row, count in zip(self.updates, self.images, strict=True):
            total += row.astype(np.float64) * count
        total /= self.images.sum()
        return total

    def head(self, parameters: int) -> "Inputs":
        """Return the same nodes with their first `parameters` coordinates, for a warm-up."""
        return Inputs(self.updates[:, :parameters], self.images)


@dataclass
class Stopwatch:
    """CPU seconds (of all threads) by step and party; steps follow one another, a step's parties work side by side."""

    laps: dict[str, dict[str, float]] = field(default_factory=lambda: defaultdict(lambda: defaultdict(float)))

    @contextmanager
    def lap(self, step: str, party: str) -> Iterator[None]:
        """Add the time of the block to `party` in `step`."""
        start = time.process_time()
        try:
            yield
        finally:
            self.laps[step][party] += time.process_time() - start

    def phases(self) -> dict[str, float]:
        """Return seconds by step, summed over its parties."""
        return {step: sum(parties.values()) for step, parties in self.laps.items()}

    def critical(self) -> float:
        """Return the seconds where every party has a machine of its own: those of the slowest party of each step."""
        return sum(max(parties.values()) for parties in self.laps.values())


@dataclass(frozen=True)
class Answer:
    """One repetition; seconds as the docstring of benchmarks/secure_aggregation.py defines them."""

    total_s: float
    critical_s: float
    wall_s: float
    carrying_s: float
    phases: dict[str, float]
    bytes_per_parameter: float
    largest_error: float
    package: str
    settings: dict[str, object]


def largest_error(inputs: Inputs, found: NDArray[np.floating]) -> float:
    """Return the largest distance of a coordinate from the weighted mean in float64."""
    return float(np.abs(np.asarray(found, np.float64) - inputs.weighted_mean()).max())


def arguments(description: str) -> argparse.ArgumentParser:
    """Return a parser that knows `--inputs` and `--json`."""
    parser = argparse.ArgumentParser(description=description, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--inputs", type=Path, required=True, help="An .npz file with `updates` and `images`.")
    parser.add_argument("--json", type=Path, required=True, help="Where the answer is written.")
    return parser


def read(path: Path) -> Inputs:
    """Return the inputs in an .npz file."""
    with np.load(path) as file:
        return Inputs(file["updates"], file["images"])


def write(answer: Answer, path: Path) -> None:
    """Write the answer as JSON."""
    path.write_text(json.dumps(asdict(answer), indent=1), encoding="utf-8")
