"""Local training and evaluation of one network. TensorFlow/Keras is imported when a `Trainer` is made, not before.

A `Trainer` holds one compiled model that is reused for all nodes and rounds of a process: compiling costs seconds,
and XLA compiles again for each new shape, so every batch is full (the last one is filled from the start of the
shuffled images; evaluation pads and cuts off). Weights go in and out as immutable snapshots; a `Trainer` is used by
one thread at a time.
"""

import math
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from core.errors import CheckpointRefused
from core.imaging.preprocess import normalise
from core.learning.architectures import build
from core.learning.augment import recolour, turn
from core.learning.backend import load_keras
from core.learning.fedprox import proximal_adamw
from core.learning.metric_sums import Vector, length_of, sums_of
from core.learning.weights import Weights, check_weights
from core.studies import Study

Progress = Callable[[int, int, float], None]
ShouldStop = Callable[[], bool]

EVALUATION_BATCH = 64
MAX_PROXIMAL = 10.0
WEIGHT_DECAY = 1e-2
"""Decoupled weight decay of kernels (Loshchilov and Hutter 2019), compiled into the step."""


@dataclass(frozen=True, kw_only=True)
class TrainingOptions:
    """How a node trains in one round.

    Attributes:
        epochs: epochs of this call.
        batch: images a step.
        learning_rate: highest learning rate; it warms up, then falls as a half cosine over `planned_epochs`.
        first_epoch: epochs that the whole training has behind it (rounds before this one).
        planned_epochs: epochs of the whole training over all rounds; 0 means just this call.
        label_smoothing: share of the target spread over all classes; single-cell labels are not beyond doubt.
        augment: turn, mirror and recolour images.
        seed: of shuffling and augmentation.
        proximal: weight of FedProx's pull towards the weights that training began with (Li et al. 2020); 0 for none.
    """

    epochs: int = 3
    batch: int = 32
    learning_rate: float = 2e-3
    first_epoch: int = 0
    planned_epochs: int = 0
    label_smoothing: float = 0.05
    augment: bool = True
    seed: int = 0
    proximal: float = 0.0

    def __post_init__(self) -> None:
        """Refuse values that cannot train."""
        if not 0 <= self.proximal <= MAX_PROXIMAL:
            raise ValueError(f"proximal must be in [0, {MAX_PROXIMAL:g}]")
        if self.epochs < 1 or self.batch < 1 or self.first_epoch < 0 or self.planned_epochs < 0:
            raise ValueError("epochs and batch must be at least 1, first_epoch and planned_epochs at least 0")
        if not 0 < self.learning_rate < 1 or not 0 <= self.label_smoothing < 1:
            raise ValueError("learning_rate must be in (0, 1), label_smoothing in [0, 1)")

    def for_round(self, round_number: int, rounds: int, *, seed: int) -> "TrainingOptions":
        """Return the options of round `round_number` (from 1) of `rounds`, with a seed of its own."""
        return replace(
            self, first_epoch=(round_number - 1) * self.epochs, planned_epochs=rounds * self.epochs, seed=seed
        )


@dataclass(frozen=True, kw_only=True)
class TrainingReport:
    """What one call of `Trainer.fit` did.

    Attributes:
        images: images of the node (its weight in the average).
        steps: optimiser steps done.
        loss: mean training loss of the last epoch (with augmentation and label smoothing).
        stopped: `should_stop` ended it early.
    """

    images: int
    steps: int
    loss: float
    stopped: bool


class Trainer:
    """One compiled model, reused for every node, round and evaluation of this process."""

    def __init__(self, architecture: str, study: Study, *, threads: int = 2, jit: bool = True) -> None:
        """Import Keras and compile.

        Args:
            architecture: key of `architectures.ARCHITECTURES`.
            study: gives input size and classes.
            threads: threads for TensorFlow's operations; has an effect only before TensorFlow's first use.
            jit: compile with XLA (faster from the second step on; the first costs seconds).
        """
        _limit_threads(threads)
        import keras  # noqa: PLC0415

        self.architecture = architecture
        self.study = study
        self._model = build(architecture, input_size=study.input_size, classes=len(study.classes))
        self._jit = jit
        self._optimizer = keras.optimizers.AdamW(1e-3, weight_decay=WEIGHT_DECAY, global_clipnorm=1.0)
        self._logits = self._compiled_with(self._optimizer)
        self._proximal: tuple[Any, Any] | None = None
        self._names = [variable.path for variable in self._model.weights]

    def _compiled_with(self, optimizer: Any) -> Any:
        """Return the network, with logits as its only output, compiled to train with `optimizer`."""
        import keras  # noqa: PLC0415

        network = keras.Model(self._model.input, self._model.outputs[0], name=f"{self.architecture}-logits")
        optimizer.exclude_from_weight_decay(var_names=["norm", "bias"])
        network.compile(optimizer=optimizer, loss=_smoothed_cross_entropy(), jit_compile=self._jit)
        optimizer.build(network.trainable_variables)
        return network

    def _solver(self, options: TrainingOptions) -> tuple[Any, Any]:
        """Return network and optimiser for a fresh training from the loaded weights; FedProx has a pair of its own."""
        if options.proximal and self._proximal is None:
            optimizer = proximal_adamw(1e-3, weight_decay=WEIGHT_DECAY, global_clipnorm=1.0)
            self._proximal = self._compiled_with(optimizer), optimizer
        network, optimizer = (self._proximal if options.proximal else None) or (self._logits, self._optimizer)
        for variable in optimizer.variables:
            variable.assign(np.zeros(variable.shape, variable.dtype))
        if options.proximal:
            optimizer.hold(options.proximal)
        return network, optimizer

    def initial(self, seed: int) -> Weights:
        """Return fresh weights: He-normal kernels (He et al. 2015), gains one, biases zero; the same for a seed."""
        rng = np.random.default_rng(seed)
        weights: Weights = {}
        for name, variable in zip(self._names, self._model.weights, strict=True):
            shape = tuple(variable.shape)
            if name.endswith("/kernel"):
                gain = 1.0 if name.startswith("head/") else 2.0
                weights[name] = rng.normal(0.0, math.sqrt(gain / math.prod(shape[:-1])), shape).astype(np.float32)
            else:
                weights[name] = np.full(shape, float(name.endswith("/gamma")), np.float32)
        return weights

    def fit(
        self,
        weights: Weights,
        images: NDArray[np.uint8],
        labels: NDArray[np.int64],
        options: TrainingOptions,
        *,
        should_stop: ShouldStop = lambda: False,
        progress: Progress = lambda _done, _total, _loss: None,
    ) -> tuple[Weights, TrainingReport]:
        """Train from `weights` with a fresh optimiser and return new weights.

        Args:
            weights: where to start; not changed.
            images: uint8 [n, s, s, 3], preprocessed, n >= 1.
            labels: class indices [n].
            options: see `TrainingOptions`.
            should_stop: asked before each step.
            progress: called after each step with (steps done, steps in all, mean loss of this epoch).

        Raises:
            CheckpointRefused: `weights` are of another architecture or not finite.
            ValueError: images or labels do not fit the study, or the loss is no longer finite.
        """
        self._check_images(images, labels)
        self._load(weights)
        network, optimizer = self._solver(options)
        rng = np.random.default_rng(options.seed)
        per_epoch = math.ceil(len(labels) / options.batch)
        total = options.epochs * per_epoch
        eye = np.eye(len(self.study.classes), dtype=np.float32)
        targets = eye * (1 - options.label_smoothing) + options.label_smoothing / len(eye)
        done, mean = 0, math.nan
        for _epoch in range(options.epochs):
            losses: list[float] = []
            order = np.resize(rng.permutation(len(labels)), per_epoch * options.batch)
            for chosen in order.reshape(per_epoch, options.batch):
                if should_stop():
                    return self._snapshot(), TrainingReport(images=len(labels), steps=done, loss=mean, stopped=True)
                optimizer.learning_rate = learning_rate(options, done, per_epoch=per_epoch)
                batch = training_batch(images[chosen], rng, augment=options.augment)
                losses.append(float(network.train_on_batch(batch, targets[labels[chosen]])))
                done, mean = done + 1, float(np.mean(losses))
                if not math.isfinite(mean):
                    raise ValueError("the loss is no longer finite; lower the learning rate")
                network.reset_metrics()
                progress(done, total, mean)
        return self._snapshot(), TrainingReport(images=len(labels), steps=done, loss=mean, stopped=False)

    def logits(self, weights: Weights, images: NDArray[np.uint8]) -> NDArray[np.float32]:
        """Return logits float32 [n, classes] for preprocessed images uint8 [n, s, s, 3].

        Raises:
            CheckpointRefused: `weights` are of another architecture or not finite.
        """
        self._load(weights)
        parts = [np.zeros((0, len(self.study.classes)), np.float32)]
        for start in range(0, len(images), EVALUATION_BATCH):
            piece = images[start : start + EVALUATION_BATCH]
            full = np.resize(piece, (EVALUATION_BATCH, *piece.shape[1:]))
            parts.append(np.asarray(self._logits.predict_on_batch(normalise(full)))[: len(piece)])
        return np.concatenate(parts)

    def evaluate(self, weights: Weights, images: NDArray[np.uint8], labels: NDArray[np.int64]) -> Vector:
        """Return the metric sums (`metric_sums`) of `weights` on images; zeros if there are none."""
        if len(labels) == 0:
            return np.zeros(length_of(len(self.study.classes)))
        self._check_images(images, labels)
        return sums_of(self.logits(weights, images), labels, self.study)

    def _load(self, weights: Weights) -> None:
        check_weights(weights, self._like())
        self._model.set_weights(list(weights.values()))

    def _like(self) -> Weights:
        return {
            name: np.broadcast_to(np.float32(0), tuple(variable.shape))
            for name, variable in zip(self._names, self._model.weights, strict=True)
        }

    def _snapshot(self) -> Weights:
        weights = {
            name: np.array(value, np.float32)
            for name, value in zip(self._names, self._model.get_weights(), strict=True)
        }
        if not all(np.isfinite(array).all() for array in weights.values()):
            raise CheckpointRefused("training made weights that are not finite")
        return weights

    def _check_images(self, images: NDArray[np.uint8], labels: NDArray[np.int64]) -> None:
        side = self.study.input_size
        if images.dtype != np.uint8 or images.shape != (len(labels), side, side, 3) or len(labels) == 0:
            raise ValueError(f"expected uint8 images [n >= 1, {side}, {side}, 3], got {images.dtype} {images.shape}")
        if labels.min() < 0 or labels.max() >= len(self.study.classes):
            raise ValueError(f"labels must be class indices below {len(self.study.classes)}")


def training_batch(images: NDArray[np.uint8], rng: np.random.Generator, *, augment: bool) -> NDArray[np.float32]:
    """Return images, uint8 [n, s, s, 3], as the network sees them in training: float32 in 0..1, augmented if asked."""
    return recolour(normalise(turn(images, rng)), rng) if augment else normalise(images)


def learning_rate(options: TrainingOptions, step: int, *, per_epoch: int) -> float:
    """Return the learning rate of a step of this call.

    A half cosine over the whole training (Loshchilov and Hutter 2017), so that rounds of three epochs follow the
    same curve as one training of fifteen; each fresh start of Adam warms up for at most 20 steps.
    """
    planned = max(options.planned_epochs, options.first_epoch + options.epochs) * per_epoch
    position = options.first_epoch * per_epoch + step
    warm_up = min(1.0, (step + 1) / min(20, per_epoch))
    return options.learning_rate * warm_up * (0.01 + 0.99 * 0.5 * (1 + math.cos(math.pi * position / planned)))


def _smoothed_cross_entropy() -> Any:
    import keras  # noqa: PLC0415

    return keras.losses.CategoricalCrossentropy(from_logits=True)


def _limit_threads(threads: int) -> None:
    """Let TensorFlow use `threads` threads, if it is the backend and has not started yet."""
    load_keras()
    import keras  # noqa: PLC0415

    if keras.backend.backend() != "tensorflow":
        return
    import tensorflow as tf  # noqa: PLC0415

    if tf.config.threading.get_intra_op_parallelism_threads() != threads:
        try:
            tf.config.threading.set_intra_op_parallelism_threads(threads)
            tf.config.threading.set_inter_op_parallelism_threads(1)
        except RuntimeError:  # already started by somebody else in this process: their choice stands
            return
