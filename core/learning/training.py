"""Local training and evaluation of one network. TensorFlow/Keras is imported when a `Trainer` is made, not before.

A `Trainer` holds one compiled model that is reused for all nodes and rounds of a process: compiling costs seconds,
and XLA compiles again for each new shape, so every batch is full (the last one is filled from the start of the
shuffled images; evaluation pads and cuts off). Weights go in and out as immutable snapshots; a `Trainer` is used by
one thread at a time. The loss is the cross-entropy of the softmax (second paper, equations 2 and 3).
"""

import math
from collections.abc import Callable
from contextlib import closing
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from core.errors import CheckpointRefused
from core.imaging.squares import Squares
from core.learning import architectures
from core.learning.backend import load_keras
from core.learning.batches import RunningMean, ahead, batches
from core.learning.fedprox import proximal_adamw
from core.learning.inputs import Inputs, PictureInputs, TrunkInputs
from core.learning.metric_sums import Vector, length_of, sums_of
from core.learning.orientations import WAYS, turn
from core.learning.training_options import MAX_PROXIMAL, TrainingOptions, learning_rate
from core.learning.weights import Weights, check_weights, rounded_to_half
from core.studies import Study

__all__ = [
    "MAX_PROXIMAL",
    "EarlyStopping",
    "Progress",
    "ShouldStop",
    "Trainer",
    "TrainingOptions",
    "TrainingReport",
    "learning_rate",
]

Progress = Callable[[int, int, float], None]
ShouldStop = Callable[[], bool]

EVALUATION_BATCH = 64
AVERAGE_EVERY = 4
"""Steps between two looks at the weights for their running mean."""


@dataclass(frozen=True, kw_only=True)
class TrainingReport:
    """What one call of `Trainer.fit` did.

    Attributes:
        images: images of the node (its weight in the average).
        steps: optimiser steps done.
        loss: mean training loss of the last epoch (with augmentation, label smoothing and class weights).
        stopped: `should_stop` ended it early.
        epochs: epochs behind the weights that came back, where a validation part chose them; else 0.
    """

    images: int
    steps: int
    loss: float
    stopped: bool
    epochs: int = 0


@dataclass(frozen=True, kw_only=True)
class EarlyStopping:
    """A validation part, of patients that are not trained on, which decides which epoch's weights come back.

    Attributes:
        images: uint8 [n, s, s, 3], preprocessed.
        labels: class indices [n].
        patience: training ends after this many epochs without a lower cross-entropy.
    """

    images: Squares
    labels: NDArray[np.int64]
    patience: int = 10


class Trainer:
    """One compiled model, reused for every node, round and evaluation of this process."""

    def __init__(self, architecture: str, study: Study, *, threads: int = 2, jit: bool = True) -> None:
        """Import Keras and compile.

        Args:
            architecture: key of `architectures.ARCHITECTURES`.
            study: gives input size, classes and what may be changed in its images.
            threads: threads for TensorFlow's operations; has an effect only before TensorFlow's first use.
            jit: compile with XLA where the architecture gains by it (faster from the second step on; the first costs
                seconds). On JAX everything is compiled with XLA.

        Raises:
            ValueError: unknown architecture.
            CheckpointRefused: the architecture stands on a trunk whose file is missing or changed.
        """
        _limit_threads(threads)
        import keras  # noqa: PLC0415

        self.architecture = architecture
        self.study = study
        entry = architectures.find(architecture)
        self._half = entry.half
        on_jax = keras.backend.backend() == "jax"
        self._jit = jit and (entry.jit or on_jax)
        self._model = architectures.build(architecture, input_size=study.input_size, classes=len(study.classes))
        self._logits = keras.Model(self._model.inputs, self._model.outputs[0], name=f"{architecture}-logits")
        self._logits.compile(jit_compile=self._jit)
        self._inputs: Inputs = (
            TrunkInputs(
                entry.trunk, study.subject, study.input_size, jit=jit and on_jax, preprocessing=study.preprocessing
            )
            if entry.trunk
            else PictureInputs(study.subject, study.preprocessing)
        )
        self._solvers: dict[tuple[float, bool, bool], tuple[Any, Any]] = {}
        self._names = [variable.path for variable in self._model.weights]

    def _solver(self, options: TrainingOptions) -> tuple[Any, Any]:
        """Return network and optimiser for a fresh training from the loaded weights; each kind is compiled once.

        With dropout the network has one more input, the factors of the pooled features, and gives the same logits
        when they are 1: the head is linear, so it may come after the mean over positions.
        """
        import keras  # noqa: PLC0415

        kind = options.weight_decay, options.proximal > 0, options.dropout > 0
        if kind not in self._solvers:
            network = keras.Model(self._model.inputs, self._model.outputs[0], name=f"{self.architecture}-training")
            if options.dropout:
                features = self._model.outputs[2]
                factors = keras.Input(features.shape[1:], name="factors")
                logits = self._model.get_layer("head")(keras.layers.Multiply(name="dropped")([features, factors]))
                network = keras.Model([*self._model.inputs, factors], logits, name=f"{self.architecture}-dropout")
            make = proximal_adamw if options.proximal else keras.optimizers.AdamW
            optimizer = make(1e-3, weight_decay=options.weight_decay, global_clipnorm=1.0)
            optimizer.exclude_from_weight_decay(var_names=["norm", "bias"])
            loss = keras.losses.CategoricalCrossentropy(from_logits=True)
            network.compile(optimizer=optimizer, loss=loss, jit_compile=self._jit)
            optimizer.build(network.trainable_variables)
            self._solvers[kind] = network, optimizer
        network, optimizer = self._solvers[kind]
        for variable in optimizer.variables:
            variable.assign(np.zeros(variable.shape, variable.dtype))
        if options.proximal:
            optimizer.hold(options.proximal)
        return network, optimizer

    def initial(self, seed: int) -> Weights:
        """Return fresh weights, the same for a seed (`architectures.initial`)."""
        rng = np.random.default_rng(seed)
        shapes = {name: tuple(v.shape) for name, v in zip(self._names, self._model.weights, strict=True)}
        return architectures.initial(self.architecture, shapes, rng)

    def fit(
        self,
        weights: Weights,
        images: Squares,
        labels: NDArray[np.int64],
        options: TrainingOptions,
        *,
        early_stopping: EarlyStopping | None = None,
        should_stop: ShouldStop = lambda: False,
        progress: Progress = lambda _done, _total, _loss: None,
    ) -> tuple[Weights, TrainingReport]:
        """Train from `weights` with a fresh optimiser and return new weights.

        Args:
            weights: where to start; not changed.
            images: uint8 [n, s, s, 3], preprocessed, n >= 1.
            labels: class indices [n].
            options: see `TrainingOptions`.
            early_stopping: for trainings in one place; federated rounds are watched by their summed figures.
            should_stop: asked before each step.
            progress: called after each step with (steps done, steps in all, mean loss of this epoch).

        Raises:
            CheckpointRefused: `weights` are of another architecture or not finite.
            ValueError: images, labels or class weights do not fit the study, or the loss is no longer finite.
        """
        self._check_images(images, labels)
        if len(options.class_weights) not in {0, len(self.study.classes)}:
            raise ValueError(f"expected a weight for each of {len(self.study.classes)} classes")
        self._load(weights)
        network, optimizer = self._solver(options)
        per_epoch = math.ceil(len(labels) / options.batch)
        total = options.epochs * per_epoch
        mean = RunningMean(list(weights.values()), options.averaging) if options.averaging else None
        best = _Best()
        losses: list[float] = []

        def result(done: int, *, stopped: bool = False) -> tuple[Weights, TrainingReport]:
            last = dict(zip(self._names, mean.value, strict=True)) if mean else self._snapshot()
            loss = float(np.mean(losses)) if losses else math.nan
            report = TrainingReport(images=len(labels), steps=done, loss=loss, stopped=stopped, epochs=best.epochs)
            return best.weights or last, report

        features = self._model.outputs[2].shape[-1]
        drawn = batches(self._inputs.drawing(images, options), labels, options, len(self.study.classes), features)
        with closing(ahead(drawn)) as prepared:
            for done, batch in enumerate(prepared, 1):
                if should_stop():
                    return result(done - 1, stopped=True)
                if done % per_epoch == 1 % per_epoch:
                    losses.clear()
                optimizer.learning_rate = learning_rate(options, done - 1, per_epoch=per_epoch)
                loss = network.train_on_batch(batch.inputs, batch.targets, sample_weight=batch.counts)
                losses.append(float(loss))
                network.reset_metrics()
                if not math.isfinite(losses[-1]):
                    raise ValueError("the loss is no longer finite; lower the learning rate")
                if mean and done % AVERAGE_EVERY == 0:
                    mean.add(self._model.get_weights(), steps=AVERAGE_EVERY)
                progress(done, total, float(np.mean(losses)))
                if early_stopping and done % per_epoch == 0:
                    best = self._better(best, done // per_epoch, early_stopping, mean)
                    if done // per_epoch - best.epochs >= early_stopping.patience:
                        return result(done)
        return result(total)

    def _better(self, best: "_Best", epochs: int, part: EarlyStopping, mean: "RunningMean | None") -> "_Best":
        """Return `best`, or the present weights if their loss on the validation part is lower; training goes on."""
        present = self._snapshot()
        weights = dict(zip(self._names, mean.value, strict=True)) if mean else present
        sums = self.evaluate(weights, part.images, part.labels)
        self._load(present)
        loss = float(sums[1] / sums[0])
        return _Best(loss=loss, epochs=epochs, weights=weights) if loss < best.loss else best

    def logits(self, weights: Weights, images: Squares) -> NDArray[np.float32]:
        """Return logits float32 [n, classes] for preprocessed images uint8 [n, s, s, 3], as the exported model does.

        That is: with weights rounded to float16 where the export rounds them, and as the mean over the turned and
        mirrored images where the study asks for it (`core.learning.orientations`).

        Raises:
            CheckpointRefused: `weights` are of another architecture or not finite.
        """
        self._load(rounded_to_half(weights) if self._half else weights)
        ways = WAYS[self.study.orientations]
        parts = [np.zeros((0, len(self.study.classes)), np.float32)]
        for start in range(0, len(images), EVALUATION_BATCH):
            piece = np.asarray(images[start : start + EVALUATION_BATCH])
            full = np.resize(piece, (EVALUATION_BATCH, *piece.shape[1:]))
            turned = [self._logits.predict_on_batch(self._inputs.plain(turn(full, way))) for way in ways]
            parts.append(np.mean(turned, axis=0)[: len(piece)])
        return np.concatenate(parts)

    def evaluate(self, weights: Weights, images: Squares, labels: NDArray[np.int64]) -> Vector:
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

    def _check_images(self, images: Squares, labels: NDArray[np.int64]) -> None:
        side = self.study.input_size
        if images.dtype != np.uint8 or images.shape != (len(labels), side, side, 3) or len(labels) == 0:
            raise ValueError(f"expected uint8 images [n >= 1, {side}, {side}, 3], got {images.dtype} {images.shape}")
        if labels.min() < 0 or labels.max() >= len(self.study.classes):
            raise ValueError(f"labels must be class indices below {len(self.study.classes)}")


@dataclass(frozen=True, kw_only=True)
class _Best:
    """The weights with the lowest loss on the validation part, and after how many epochs; none yet at first."""

    loss: float = math.inf
    epochs: int = 0
    weights: Weights = field(default_factory=dict)


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
