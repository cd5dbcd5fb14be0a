"""What differential privacy costs in speed: ``python -m benchmarks.private_training [--rounds 7] [--json FILE]``.

What is measured, fixed before the code. One process, the product's network and size (groupnorm-small, 96 px, XLA,
two threads), random images, augmentation on. A sample is one local training of `IMAGES` images, each seen once:

- plain: one epoch of `Trainer.fit`, batches of 32;
- by patient: one `PrivateTrainer.fit_privately` epoch of one step (sampling rate 1), patients of 32 images;
- small patients: the same with patients of 4 images;
- by image: the same with every image its own patient.

All process the same number of images, so a slow-down is seconds over plain seconds within a round; the order turns by
one each round. Reported: median images a second, median slow-down (smallest to largest) over the rounds. Compilation
is outside: each kind trains once before. A further figure is one step's fixed cost without images (noise, optimiser).
"""

import json
import os
import platform
import statistics
import time
from collections.abc import Callable
from pathlib import Path
from typing import Annotated, Any

import numpy as np
import typer

from core.learning.architectures import DEFAULT_ARCHITECTURE
from core.learning.backend import load_keras
from core.learning.private_training import MAX_UNIT_IMAGES, PrivateTrainer
from core.learning.run_choices import PrivacyOptions, PrivateWeights
from core.learning.training import TrainingOptions
from core.studies import LEUKEMIA

IMAGES = 512
PLAIN = "plain"
UNITS = {"by patient, 32 images each": MAX_UNIT_IMAGES, "by patient, 4 images each": 4, "by image": 1}
OPTIONS = TrainingOptions(epochs=1)


def trainings(trainer: PrivateTrainer) -> dict[str, Callable[[], object]]:
    """Return what is timed, by name."""
    rng = np.random.default_rng(0)
    side = LEUKEMIA.input_size
    images = rng.integers(0, 256, (IMAGES, side, side, 3), np.uint8)
    labels = rng.integers(0, len(LEUKEMIA.classes), IMAGES)
    weights = trainer.initial(0)

    def private(size: int, changed: PrivateWeights) -> Callable[[], object]:
        privacy = PrivacyOptions(noise_multiplier=1.0, sampling_rate=1.0, weights=changed)
        units = np.arange(IMAGES) // size
        return lambda: trainer.fit_privately(weights, images, labels, units, OPTIONS, privacy=privacy)

    kinds: dict[str, Callable[[], object]] = {PLAIN: lambda: trainer.fit(weights, images, labels, OPTIONS)}
    kinds |= {name: private(size, PrivateWeights.ALL) for name, size in UNITS.items()}
    kinds["by patient, norms and head only"] = private(MAX_UNIT_IMAGES, PrivateWeights.NORMS_AND_HEAD)
    return kinds


def step_without_images(trainer: PrivateTrainer, repetitions: int = 20) -> float:
    """Return the seconds of a step in which chance draws nobody: noise for all weights, and the optimiser."""
    images = np.zeros((1, LEUKEMIA.input_size, LEUKEMIA.input_size, 3), np.uint8)
    privacy = PrivacyOptions(noise_multiplier=1.0, sampling_rate=1e-9)
    seconds: list[float] = []
    begun = time.perf_counter()

    def progress(_done: int, _total: int, _loss: float) -> None:
        nonlocal begun
        now = time.perf_counter()
        seconds.append(now - begun)
        begun = now

    units, labels = np.zeros(1, np.int64), np.zeros(1, np.int64)
    trainer.fit_privately(
        trainer.initial(0),
        images,
        labels,
        units,
        OPTIONS,
        privacy=privacy,
        should_stop=lambda: len(seconds) > repetitions,
        progress=progress,
    )
    return statistics.median(seconds[1:])


def main(
    rounds: Annotated[int, typer.Option(help="Samples of each kind.")] = 7,
    json_file: Annotated[Path | None, typer.Option("--json", help="Write the figures here.")] = None,
) -> None:
    """Measure, print a table, write the figures."""
    load_keras()
    trainer = PrivateTrainer(DEFAULT_ARCHITECTURE, LEUKEMIA)
    kinds = trainings(trainer)
    for train in kinds.values():
        train()
    seconds: dict[str, list[float]] = {name: [] for name in kinds}
    names = list(kinds)
    for number in range(rounds):
        for name in names[number % len(names) :] + names[: number % len(names)]:
            begun = time.perf_counter()
            kinds[name]()
            seconds[name].append(time.perf_counter() - begun)
    figures: dict[str, Any] = {
        "kinds": {
            name: {
                "images_per_s": IMAGES / statistics.median(own),
                "slow_down": [own[k] / seconds[PLAIN][k] for k in range(rounds)],
            }
            for name, own in seconds.items()
        },
        "step_without_images_s": step_without_images(trainer),
        "images": IMAGES,
        "machine": {"cores": os.cpu_count(), "python": platform.python_version(), "numpy": np.__version__},
    }
    for name, figure in figures["kinds"].items():
        times = figure["slow_down"]
        print(
            f"{name}: {figure['images_per_s']:.0f} images/s, {statistics.median(times):.2f} times the seconds of plain "
            f"({min(times):.2f} to {max(times):.2f})"
        )
    print(f"a step without images: {1000 * figures['step_without_images_s']:.1f} ms")
    if json_file is not None:
        json_file.write_text(json.dumps(figures, indent=1), encoding="utf-8")


if __name__ == "__main__":
    typer.run(main)
