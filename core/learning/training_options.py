"""How a network is trained: the options of a training, its learning rate, and two presets of them."""

import math
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from enum import StrEnum

MAX_PROXIMAL = 10.0


class Schedule(StrEnum):
    """How the learning rate goes."""

    COSINE = "cosine"
    """A short rise in each round, then half a cosine over the whole training (Loshchilov and Hutter 2017)."""
    CONSTANT = "constant"
    """The same for every step."""


@dataclass(frozen=True, kw_only=True)
class TrainingOptions:
    """How a node trains in one round.

    Attributes:
        epochs: epochs of this call.
        batch: images a step.
        learning_rate: highest learning rate.
        schedule: how the learning rate goes over `planned_epochs`.
        first_epoch: epochs that the whole training has behind it (rounds before this one).
        planned_epochs: epochs of the whole training over all rounds; 0 means just this call.
        label_smoothing: share of the target spread over all classes; single-cell labels are not beyond doubt.
        weight_decay: decoupled decay of kernels (Loshchilov and Hutter 2019); 0 makes AdamW plain Adam.
        dropout: probability with which each pooled feature is left out of a step (Srivastava et al. 2014).
        averaging: decay a step of the running mean of the weights that is handed back in place of the last weights
            (Polyak averaging); 0 for none. 0.98 remembers some fifty steps.
        class_weights: what an image of each class counts in the loss, in the study's order; empty for alike. Of a
            federated run they belong to the order, so that all hospitals weigh alike: `balanced_weights` of summed
            counts.
        augment: change images at random as their study's subject allows (`core.learning.augment`).
        copies: a frozen trunk sees this many fixed copies of each image, the image itself and changed ones, and each
            epoch draws one; more copies cost time once. Without `augment`, and without a trunk, it has no effect.
        seed: of shuffling, augmentation and dropout.
        proximal: weight of FedProx's pull towards the weights that training began with (Li et al. 2020); 0 for none.
    """

    epochs: int = 3
    batch: int = 32
    learning_rate: float = 2e-3
    schedule: Schedule = Schedule.COSINE
    first_epoch: int = 0
    planned_epochs: int = 0
    label_smoothing: float = 0.05
    weight_decay: float = 1e-2
    dropout: float = 0.0
    averaging: float = 0.0
    class_weights: tuple[float, ...] = ()
    augment: bool = True
    copies: int = 2
    seed: int = 0
    proximal: float = 0.0

    def __post_init__(self) -> None:
        """Take what JSON made of schedule and weights, and refuse values that cannot train.

        Raises:
            ValueError: which value, and what it must be.
        """
        object.__setattr__(self, "schedule", Schedule(self.schedule))
        object.__setattr__(self, "class_weights", tuple(self.class_weights))
        if not 0 <= self.proximal <= MAX_PROXIMAL:
            raise ValueError(f"proximal must be in [0, {MAX_PROXIMAL:g}]")
        if self.epochs < 1 or self.batch < 1 or self.first_epoch < 0 or self.planned_epochs < 0:
            raise ValueError("epochs and batch must be at least 1, first_epoch and planned_epochs at least 0")
        if not 0 < self.learning_rate < 1 or not 0 <= self.label_smoothing < 1:
            raise ValueError("learning_rate must be in (0, 1), label_smoothing in [0, 1)")
        if not 0 <= self.weight_decay < 1 or not 0 <= self.dropout < 1 or not 0 <= self.averaging < 1:
            raise ValueError("weight_decay, dropout and averaging must be in [0, 1)")
        if not 1 <= self.copies <= MAX_COPIES:
            raise ValueError(f"copies must be 1 to {MAX_COPIES}")
        if any(not 0 < weight < math.inf for weight in self.class_weights):
            raise ValueError("class weights must be above 0 and finite")

    def for_round(self, round_number: int, rounds: int, *, seed: int) -> "TrainingOptions":
        """Return the options of round `round_number` (from 1) of `rounds`, with a seed of its own."""
        return replace(
            self, first_epoch=(round_number - 1) * self.epochs, planned_epochs=rounds * self.epochs, seed=seed
        )


MAX_COPIES = 16


def learning_rate(options: TrainingOptions, step: int, *, per_epoch: int) -> float:
    """Return the learning rate of a step of this call.

    The cosine spans the whole training, so that rounds of three epochs follow the same curve as one training of
    fifteen; each fresh start of Adam warms up for at most 20 steps.
    """
    if options.schedule is Schedule.CONSTANT:
        return options.learning_rate
    planned = max(options.planned_epochs, options.first_epoch + options.epochs) * per_epoch
    position = options.first_epoch * per_epoch + step
    warm_up = min(1.0, (step + 1) / min(20, per_epoch))
    return options.learning_rate * warm_up * (0.01 + 0.99 * 0.5 * (1 + math.cos(math.pi * position / planned)))


def balanced_weights(counts: Sequence[int], *, strength: float = 1.0) -> tuple[float, ...]:
    """Return what an image of each class counts, so that rare classes are not drowned.

    Args:
        counts: training images of each class, at least 1; in a federated run summed over its hospitals.
        strength: 1 lets all classes count the same in sum, 0 lets all images.

    Returns:
        Weights whose mean over these images is 1.

    Raises:
        ValueError: a class has no image.
    """
    if not counts or min(counts) < 1:
        raise ValueError("every class needs an image")
    raw = [count**-strength for count in counts]
    mean = sum(weight * count for weight, count in zip(raw, counts, strict=True)) / sum(counts)
    return tuple(weight / mean for weight in raw)


@dataclass(frozen=True, kw_only=True)
class Preset:
    """A whole recipe, for a training in one place.

    Attributes:
        training: options of the training.
        input_size: side of the square picture in pixels; 0 for the study's own.
        shares: of the patients that go to training, validation and test.
        patience: epochs without a lower validation loss after which training stops (`EarlyStopping`).
    """

    training: TrainingOptions = field(default_factory=TrainingOptions)
    input_size: int = 0
    shares: tuple[float, float, float] = (0.70, 0.15, 0.15)
    patience: int = 10


PRESETS = {
    "paper": Preset(
        training=TrainingOptions(
            epochs=100,
            batch=32,
            learning_rate=1e-3,
            schedule=Schedule.CONSTANT,
            label_smoothing=0.0,
            weight_decay=0.0,
            dropout=0.30,
        ),
        input_size=224,
    ),
    "tuned": Preset(training=TrainingOptions(epochs=24, learning_rate=2e-3, dropout=0.2, averaging=0.98), patience=6),
}
"""`paper` is table 2 of the second paper (its optimiser is Adam at a constant rate; its split is by image, ours by
patient). `tuned` is this project's."""
