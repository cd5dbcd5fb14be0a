"""The batches of a training, made while the step before them runs, and the running mean of its weights."""

import math
from collections.abc import Generator, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from core.learning.inputs import Batch, Draw
from core.learning.training_options import TrainingOptions


@dataclass(frozen=True, kw_only=True)
class Prepared:
    """What one step takes.

    Attributes:
        inputs: of the network; with dropout the factors of the pooled features float32 [n, f] come last.
        targets: distributions over the classes, float32 [n, classes].
        counts: what each image counts, float32 [n], or None for alike.
    """

    inputs: Batch
    targets: NDArray[np.float32]
    counts: NDArray[np.float32] | None


def batches(
    draw: Draw, labels: NDArray[np.int64], options: TrainingOptions, classes: int, features: int
) -> Iterator[Prepared]:
    """Yield the batches of all epochs; they follow from `options.seed`.

    Args:
        draw: gives the inputs of chosen images.
        labels: class indices [n].
        options: see `TrainingOptions`.
        classes: number of classes.
        features: number of pooled features, for dropout.
    """
    rng = np.random.default_rng(options.seed)
    dropping = np.random.default_rng([options.seed, 1])
    eye = np.eye(classes, dtype=np.float32)
    targets = eye * (1 - options.label_smoothing) + options.label_smoothing / classes
    weights = np.array(options.class_weights, np.float32)
    per_epoch = math.ceil(len(labels) / options.batch)
    for _epoch in range(options.epochs):
        order = np.resize(rng.permutation(len(labels)), per_epoch * options.batch)
        for chosen in order.reshape(per_epoch, options.batch):
            inputs = draw.batch(chosen, rng)
            if options.dropout:
                kept = dropping.random((len(chosen), features), np.float32) >= options.dropout
                inputs = [*inputs, kept.astype(np.float32) / np.float32(1 - options.dropout)]
            counts = weights[labels[chosen]] if len(weights) else None
            yield Prepared(inputs=inputs, targets=targets[labels[chosen]], counts=counts)


def ahead(prepared: Iterator[Prepared]) -> Generator[Prepared, None, None]:
    """Yield the same, while a thread is already at work on the next one."""
    with ThreadPoolExecutor(max_workers=1, thread_name_prefix="batches") as thread:
        following = thread.submit(next, prepared, None)
        while (batch := following.result()) is not None:
            following = thread.submit(next, prepared, None)
            yield batch


class RunningMean:
    """An exponential mean of weights over steps, in float64, that forgets its start quickly at first."""

    def __init__(self, weights: list[NDArray[np.float32]], decay: float) -> None:
        self._mean = [array.astype(np.float64) for array in weights]
        self._decay = decay
        self._steps = 0

    def add(self, weights: list[NDArray[np.float32]], *, steps: int) -> None:
        """Take in the weights as they are `steps` steps after the last time."""
        self._steps += steps
        decay = min(self._decay, self._steps / (self._steps + 10)) ** steps
        pairs = zip(self._mean, weights, strict=True)
        self._mean = [decay * mean + (1 - decay) * array for mean, array in pairs]

    @property
    def value(self) -> list[NDArray[np.float32]]:
        """The mean, float32."""
        return [mean.astype(np.float32) for mean in self._mean]
