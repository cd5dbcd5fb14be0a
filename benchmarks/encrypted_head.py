"""What an encrypted head costs, that it is exact, and what it leaks: ``python -m benchmarks.encrypted_head``.

Definitions. Heads have uniformly random weights from -127 to 127 and biases of at most 100,000; features are uniformly
random from 0 to 255; shapes are features x classes. One process, one thread. A query is

  product      features times the encrypted head (the node)
  randomise    fresh randomness for its encrypted logits (the node)
  carry        writing them as bytes and reading them with every check (both; signatures are not in it)
  decrypt      the logits as integers (the key holder)

Each of `--runs` queries is timed by the wall clock and by the processor time of this process; median and 95th
percentile. On a machine that also does other work the second is nearer to what one free core needs, and still above it.
Made once: the node's tables of a head, the key holder's table of logarithms.

*Exact*: `--queries` queries for each shape go the whole way, from features to the decrypted logits. Counted are those
in which every logit is the integer that NumPy computes, and those in which the largest one is at the same class.

*Leak*: a node that chooses its queries, for a head whose log-odds are of a trained one's size. Each answer is the
probabilities of the classes in whole hundredths. The node solves for the head by least squares over the log-odds of
answers that are neither 0 nor 100 hundredths, with features as small as they must be to get such answers; the first
half of its queries finds how small. "Copied" is the share of 10,000 fresh random features whose largest class is the
same under the copy as under the head, mean of `LEAK_HEADS` heads; "control" the same for the most frequent class.
Nothing is encrypted for that, since encryption changes no answer.
"""

import json
import os
import platform
import resource
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass
from importlib.metadata import version
from pathlib import Path
from typing import Annotated, Any

import numpy as np
import typer
from numpy.typing import NDArray

from core.learning.class_scores import log_softmax
from security.encrypted_inference.evaluation import HeadEvaluator
from security.encrypted_inference.head import EncryptedHead, EncryptedLogits, HeadKey, encrypt_head
from security.encrypted_inference.logarithm import baby_steps

SHAPES = ((64, 2), (128, 6))
BAR_MS = 15.0
STEPS = ("product", "randomise", "carry", "decrypt")
LEAK_HEADS = 5
LEAK_ANSWERS = (1, 2, 4, 8, 16, 32)
"""Answers in multiples of the features."""
SPREAD = 4.0
"""Standard deviation of the log-odds of a head over random features."""


@dataclass(frozen=True)
class Spread:
    """Median and 95th percentile in milliseconds."""

    median: float
    p95: float

    @classmethod
    def of(cls, seconds: NDArray[np.float64]) -> "Spread":
        """Return those of a column of seconds."""
        return cls(float(np.median(seconds)) * 1e3, float(np.percentile(seconds, 95)) * 1e3)


@dataclass(frozen=True)
class Cost:
    """What one shape costs; see the module's docstring."""

    features: int
    classes: int
    runs: int
    wall_ms: dict[str, Spread]
    processor_ms: dict[str, Spread]
    head_bytes: int
    query_bytes: int
    tables_s: float
    tables_mb: float


@dataclass(frozen=True)
class Exactness:
    """How many of the queries came out as in the clear."""

    features: int
    classes: int
    queries: int
    all_logits: int
    largest: int
    seconds: float


@dataclass(frozen=True)
class Leak:
    """What a node knows after so many answers."""

    features: int
    classes: int
    answers: int
    copied: float
    control: float


def random_head(rng: np.random.Generator, features: int, classes: int) -> tuple[NDArray[np.int8], list[int]]:
    """Return uniformly random weights and biases."""
    weights = rng.integers(-127, 128, (features, classes), dtype=np.int8)
    return weights, [int(value) for value in rng.integers(-100_000, 100_001, classes)]


def timed_query(
    evaluator: HeadEvaluator, key: HeadKey, features: NDArray[np.uint8], clock: Callable[[], float]
) -> list[float]:
    """Return the seconds of each of `STEPS` by one clock."""
    marks = [clock()]
    row = evaluator.product(features)
    marks.append(clock())
    logits = evaluator.rerandomised(row)
    marks.append(clock())
    received = EncryptedLogits.decode(logits.encode(), classes=key.classes)
    marks.append(clock())
    key.decrypt(received)
    marks.append(clock())
    return np.diff(marks).tolist()


def measure(features: int, classes: int, *, runs: int, seed: int) -> Cost:
    """Time the queries of one shape."""
    rng = np.random.default_rng(seed)
    key, head = encrypt_head(*random_head(rng, features, classes))
    encoded = head.encode()
    before, start = _resident(), time.process_time()
    evaluator = HeadEvaluator(EncryptedHead.decode(encoded))
    tables_s, tables_mb = time.process_time() - start, _resident() - before
    queries = rng.integers(0, 256, (runs + 3, features), dtype=np.uint8)
    spreads = {}
    for name, clock in (("wall", time.perf_counter), ("processor", time.process_time)):
        laps = np.array([timed_query(evaluator, key, query, clock) for query in queries][3:])
        columns = {step: Spread.of(laps[:, number]) for number, step in enumerate(STEPS)}
        spreads[name] = columns | {"total": Spread.of(laps.sum(axis=1))}
    return Cost(
        features=features,
        classes=classes,
        runs=runs,
        wall_ms=spreads["wall"],
        processor_ms=spreads["processor"],
        head_bytes=len(encoded),
        query_bytes=EncryptedLogits.size(classes),
        tables_s=tables_s,
        tables_mb=tables_mb,
    )


def check(features: int, classes: int, *, queries: int, seed: int) -> Exactness:
    """Send random features the whole way and compare with the integers in the clear."""
    rng = np.random.default_rng(seed)
    weights, bias = random_head(rng, features, classes)
    key, head = encrypt_head(weights, bias)
    evaluator, start = HeadEvaluator(head), time.perf_counter()
    exact = largest = 0
    for query in rng.integers(0, 256, (queries, features), dtype=np.uint8):
        sent = evaluator.logits(query).encode()
        found = np.array(key.decrypt(EncryptedLogits.decode(sent, classes=classes)))
        expected = query.astype(np.int64) @ weights + np.array(bias)
        exact += bool((found == expected).all())
        largest += bool(found.argmax() == expected.argmax())
    return Exactness(features, classes, queries, exact, largest, time.perf_counter() - start)


def leak(features: int, classes: int, *, seed: int) -> list[Leak]:
    """Let a node copy heads from rounded answers."""
    found = []
    for times in LEAK_ANSWERS:
        shares = np.array(
            [_copied(np.random.default_rng([seed, n]), features, classes, times * features) for n in range(LEAK_HEADS)]
        )
        found.append(Leak(features, classes, times * features, *map(float, shares.mean(axis=0))))
    return found


def _copied(rng: np.random.Generator, features: int, classes: int, answers: int) -> tuple[float, float]:
    weights = rng.normal(0.0, 1.0, (features, classes))
    weights *= SPREAD / (weights.std() * np.sqrt(features) * 255 / np.sqrt(12))
    bias = -127.5 * weights.sum(axis=0)  # no class is favoured
    taken: list[tuple[NDArray[np.float64], NDArray[np.float64]]] = []
    scale = 1.0
    for number in range(answers):
        query = np.rint(rng.uniform(0, 255, features) * scale + 127.5 * (1 - scale))
        answer = np.rint(100 * np.exp(log_softmax((query @ weights + bias)[np.newaxis]))[0])
        told = bool((answer > 0).all() and (answer < 100).all())  # noqa: PLR2004  hundredths
        if told:
            taken.append((query, np.log(answer[:-1] / answer[-1])))
        if number < answers // 2:
            scale = float(np.clip(scale * (1.1 if told else 0.8), 0.02, 1.0))
    fresh = rng.integers(0, 256, (10_000, features)).astype(np.float64)
    true = (fresh @ weights + bias).argmax(axis=1)
    control = float(np.bincount(true).max() / len(true))
    if not taken:
        return control, control
    asked = np.array([np.append(query, 1.0) for query, _ in taken])
    solved = np.linalg.lstsq(asked, np.array([odds for _, odds in taken]), rcond=None)[0]
    scores = np.column_stack([np.column_stack([fresh, np.ones(len(fresh))]) @ solved, np.zeros(len(fresh))])
    return float((scores.argmax(axis=1) == true).mean()), control


def _resident() -> float:
    """Return the resident memory of this process in MiB."""
    pages = int(Path("/proc/self/statm").read_text(encoding="ascii").split()[1])
    return pages * resource.getpagesize() / 2**20


def main(
    *,
    runs: Annotated[int, typer.Option(min=20, help="Timed queries of each shape, by each clock.")] = 200,
    queries: Annotated[int, typer.Option(min=0, help="Queries of each shape whose logits are compared.")] = 10_000,
    seed: Annotated[int, typer.Option(help="Seed of heads and features.")] = 20_260_105,
    json_file: Annotated[Path | None, typer.Option("--json", help="Write everything to this file too.")] = None,
) -> None:
    """Print costs, exactness and leak."""
    before, start = _resident(), time.process_time()
    baby_steps()
    table: dict[str, Any] = {"seconds": time.process_time() - start, "mb": _resident() - before}
    print(f"table of logarithms, made once: {table['seconds']:.2f} s, {table['mb']:.0f} MB")
    costs = [measure(*shape, runs=runs, seed=seed) for shape in SHAPES]
    for cost in costs:
        print(f"{cost.features}x{cost.classes}: head {cost.head_bytes} B, query {cost.query_bytes} B;", end=" ")
        print(f"node's tables {cost.tables_s * 1e3:.0f} ms, {cost.tables_mb:.0f} MB; {cost.runs} runs, ms")
        for step in (*STEPS, "total"):
            wall, own = cost.wall_ms[step], cost.processor_ms[step]
            print(f"  {step:10} wall {wall.median:6.2f}  p95 {wall.p95:6.2f}", end="   ")
            print(f"processor {own.median:6.2f}  p95 {own.p95:6.2f}")
    exactness = [check(*shape, queries=queries, seed=seed + 1) for shape in SHAPES] if queries else []
    for one in exactness:
        print(f"{one.features}x{one.classes}: of {one.queries} queries {one.all_logits} with all logits,", end=" ")
        print(f"{one.largest} with the largest at the same class ({one.seconds:.0f} s)")
    leaks = [row for shape in SHAPES for row in leak(*shape, seed=seed)]
    for row in leaks:
        print(f"{row.features}x{row.classes}: after {row.answers} rounded answers {row.copied:.1%} copied,", end=" ")
        print(f"control {row.control:.1%}")
    if json_file:
        report = {
            "python": platform.python_version(),
            "processors": os.cpu_count(),
            "load": os.getloadavg(),
            "versions": {name: version(name) for name in ("numpy", "pycryptodome")},
            "bar_ms": BAR_MS,
            "seed": seed,
            "table": table,
            "costs": [asdict(cost) for cost in costs],
            "exactness": [asdict(one) for one in exactness],
            "leaks": [asdict(row) for row in leaks],
        }
        json_file.write_text(json.dumps(report, indent=2) + "\n", encoding="utf-8")


if __name__ == "__main__":
    typer.run(main)
