"""How fast `Trainer.fit` is beside a bare Keras `fit` of the same network: `python -m benchmarks.training_speed`.

Definitions, fixed before measuring: 512 pictures of noise at the study's size, batches of 32, one epoch a sample, both
networks compiled alike (AdamW with decoupled decay and clipping, cross-entropy on logits, XLA where the architecture
gains by it), in one process, taking turns; one sample of each beforehand to compile. The bare `fit` gets normalised
float32 pictures in memory and shuffles them; `Trainer.fit` starts from 8-bit pictures, normalises, watches the loss
and asks whether to stop in each step. It is measured twice: as it is (no augmentation, as the bare one) and with
augmentation, which the bare one has not. Both run with the
trainer's threads (two for an operation, one between operations). The figure is the ratio of the medians of images a
second; bar: 0.95.
"""

import json
import statistics
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Annotated, Any

import numpy as np
import typer

from core.imaging.preprocess import normalise
from core.learning import architectures
from core.learning.training import Trainer, TrainingOptions
from core.studies import STUDIES, Study

BAR = 0.95
IMAGES, BATCH = 512, 32


def bare(architecture: str, study: Study, *, jit: bool) -> Any:
    """Return the compiled network that a bare Keras training would use; call after the trainer set the threads."""
    import keras  # noqa: PLC0415

    model = architectures.build(architecture, input_size=study.input_size, classes=len(study.classes))
    network = keras.Model(model.inputs, model.outputs[0])
    optimizer = keras.optimizers.AdamW(2e-3, weight_decay=1e-2, global_clipnorm=1.0)
    optimizer.exclude_from_weight_decay(var_names=["norm", "bias"])
    loss = keras.losses.CategoricalCrossentropy(from_logits=True)
    network.compile(optimizer=optimizer, loss=loss, jit_compile=jit)
    return network


def measure(architecture: str, study: Study, *, images: int, samples: int) -> dict[str, list[float]]:
    """Return images a second of each sample, by kind: bare, trainer, augmented."""
    rng = np.random.default_rng(0)
    pictures = rng.integers(0, 256, (images, study.input_size, study.input_size, 3), np.uint8)
    labels = rng.integers(0, len(study.classes), images)
    options = TrainingOptions(epochs=1, batch=BATCH, augment=False)
    trainer = Trainer(architecture, study)
    network = bare(architecture, study, jit=architectures.find(architecture).jit)
    inputs, targets = normalise(pictures), np.eye(len(study.classes), dtype=np.float32)[labels]
    start = trainer.initial(0)
    kinds: dict[str, Callable[[], object]] = {
        "bare": lambda: network.fit(inputs, targets, batch_size=BATCH, epochs=1, verbose=0),
        "trainer": lambda: trainer.fit(start, pictures, labels, options),
        "augmented": lambda: trainer.fit(start, pictures, labels, replace(options, augment=True)),
    }
    rates: dict[str, list[float]] = {name: [] for name in kinds}
    names = list(kinds)
    for sample in range(samples + 1):
        for name in names[sample % len(names) :] + names[: sample % len(names)]:
            begun = time.perf_counter()
            kinds[name]()
            if sample:
                rates[name].append(images / (time.perf_counter() - begun))
    return rates


def main(
    architecture: Annotated[str, typer.Option(help="Name in the registry, without a trunk.")] = "groupnorm-small",
    study_name: Annotated[str, typer.Option("--study")] = "leukemia",
    samples: Annotated[int, typer.Option(min=1, help="Epochs of each kind.")] = 5,
    images: Annotated[int, typer.Option(min=BATCH, help="Pictures an epoch.")] = IMAGES,
    json_file: Annotated[Path | None, typer.Option("--json", help="Write the figures here.")] = None,
) -> None:
    """Measure, print and fail below the bar."""
    study = STUDIES[study_name]
    if architectures.find(architecture).trunk:
        raise typer.BadParameter(
            "a network on a trunk is fed with kept maps; a bare fit would not be", param_hint="--architecture"
        )
    rates = measure(architecture, study, images=images, samples=samples)
    figures = {name: statistics.median(values) for name, values in rates.items()}
    ratios = {name: figures[name] / figures["bare"] for name in ("trainer", "augmented")}
    print(
        f"{architecture} at {study.input_size} px, images a second: "
        + ", ".join(f"{k} {v:.0f}" for k, v in figures.items())
    )
    print(f"of a bare Keras fit: {ratios['trainer']:.3f}, with augmentation {ratios['augmented']:.3f} (bar {BAR})")
    if json_file:
        json_file.write_text(json.dumps({"rates": rates, "ratios": ratios}, indent=1), encoding="utf-8")
    if ratios["trainer"] < BAR:
        raise SystemExit(1)


if __name__ == "__main__":
    typer.run(main)
