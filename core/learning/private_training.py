"""DP-SGD (Abadi et al. 2016, algorithm 1): local training whose weights say little about any one patient.

Each step draws every unit (a patient, or an image where there is one a patient) with the same probability, takes the
mean gradient of the unit's images, clips it, adds the clipped gradients and normal noise, and divides by the expected
number of units. What the noise is worth is counted in `core.learning.privacy`, never here.
"""

import math
from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from core.imaging.squares import Squares
from core.learning.example_gradients import check_chain, gradients_by_example
from core.learning.privacy import steps_an_epoch
from core.learning.run_choices import PrivacyOptions, PrivateWeights
from core.learning.secret_draws import SecretDraws
from core.learning.training import (
    Progress,
    ShouldStop,
    Trainer,
    TrainingOptions,
    TrainingReport,
    learning_rate,
)
from core.learning.weights import Weights
from core.studies import Study

Gradient = NDArray[np.float32]

MICROBATCH = 32
"""Images that one pass takes; smaller loads are filled with images of weight 0, so that XLA compiles once."""
MAX_UNIT_IMAGES = MICROBATCH
"""A patient with more images lends a step this many of them, drawn anew each time."""


class PrivateTrainer(Trainer):
    """A `Trainer` that can train privately too, with the same network and optimiser (AdamW on noised gradients)."""

    def __init__(self, architecture: str, study: Study, *, threads: int = 2, jit: bool = True) -> None:
        """See `Trainer`; the private step is compiled at its first use."""
        super().__init__(architecture, study, threads=threads, jit=jit)
        self._compiled: dict[PrivateWeights, _Steps] = {}

    def fit_privately(
        self,
        weights: Weights,
        images: Squares,
        labels: NDArray[np.int64],
        units: NDArray[np.int64],
        options: TrainingOptions,
        *,
        privacy: PrivacyOptions,
        should_stop: ShouldStop = lambda: False,
        progress: Progress = lambda _done, _total, _loss: None,
    ) -> tuple[Weights, TrainingReport]:
        """Train from `weights` with a fresh optimiser for `options.epochs` epochs of `steps_an_epoch` steps.

        Sampling, noise and augmentation come from `SecretDraws`; `options.seed` and `options.batch` are not used, and
        no loss is reported, since it would tell of the images without noise. Dropout, running means and class weights
        are not used either.

        Args:
            weights: where to start; not changed.
            images: uint8 [n, s, s, 3], preprocessed, n >= 1.
            labels: class indices [n].
            units: int64 [n], 0..p-1: to whom each image belongs.
            options: epochs, learning rate, label smoothing, augmentation, proximal term.
            privacy: sampling rate, clipping norm, noise.
            should_stop: asked before each step.
            progress: called after each step with (steps done, steps in all, nan).

        Raises:
            CheckpointRefused: `weights` are of another architecture or not finite.
            ValueError: images, labels or units do not fit, or the network's per-example gradients are not known.
        """
        self._check_images(images, labels)
        members = members_of(units, len(labels))
        self._load(weights)
        steps = self._steps(privacy.weights)
        _, optimizer = self._solver(replace(options, proximal=0.0, dropout=0.0))
        drawing = self._inputs.drawing(images, options)
        anchors = [variable.numpy() for variable in steps.variables]
        draws = SecretDraws()
        rng = draws.generator()
        per_epoch = steps_an_epoch(privacy.sampling_rate)
        total = options.epochs * per_epoch
        eye = np.eye(len(self.study.classes), dtype=np.float32)
        targets = eye * (1 - options.label_smoothing) + options.label_smoothing / len(eye)
        for done in range(total):
            if should_stop():
                return self._snapshot(), TrainingReport(images=len(labels), steps=done, loss=math.nan, stopped=True)
            sums = [np.zeros(anchor.shape, np.float32) for anchor in anchors]
            for load in pack(sample(members, privacy.sampling_rate, draws)):
                rows, mix = lay_out(load)
                (batch,) = drawing.batch(rows, rng)
                sums = steps.add_clipped(sums, batch, targets[labels[rows]], mix, privacy.clip_norm)
            deviation, expected = privacy.noise_multiplier * privacy.clip_norm, privacy.sampling_rate * len(members)
            noised = [(part + deviation * draws.normal(part.size).reshape(part.shape)) / expected for part in sums]
            optimizer.learning_rate = learning_rate(options, done, per_epoch=per_epoch)
            steps.descend(optimizer, noised, anchors, options.proximal)
            progress(done + 1, total, math.nan)
        return self._snapshot(), TrainingReport(images=len(labels), steps=total, loss=math.nan, stopped=False)

    def _steps(self, weights: PrivateWeights) -> "_Steps":
        if weights not in self._compiled:
            check_chain(self._logits)
            self._compiled[weights] = _Steps(self._logits, weights, jit=self._jit)
        return self._compiled[weights]


def sample(members: Sequence[NDArray[np.intp]], rate: float, draws: SecretDraws) -> list[NDArray[np.intp]]:
    """Draw each unit by itself with probability `rate` (Poisson sampling), and at most `MAX_UNIT_IMAGES` of its images.

    Args:
        members: positions of each unit's images.
        rate: in (0, 1].
        draws: secret chance.

    Returns:
        The positions drawn of each unit drawn; may be empty.
    """
    drawn = draws.uniform(len(members)) <= rate
    return [_some(unit, draws) for unit, is_in in zip(members, drawn, strict=True) if is_in]


def _some(positions: NDArray[np.intp], draws: SecretDraws) -> NDArray[np.intp]:
    if len(positions) <= MAX_UNIT_IMAGES:
        return positions
    return positions[np.argsort(draws.uniform(len(positions)))[:MAX_UNIT_IMAGES]]


def pack(units: Sequence[NDArray[np.intp]]) -> list[list[NDArray[np.intp]]]:
    """Put units of 1 to `MICROBATCH` images into loads of at most that many, undivided (first fit, largest first)."""
    loads: list[list[NDArray[np.intp]]] = []
    room: list[int] = []
    for unit in sorted(units, key=len, reverse=True):
        place = next((number for number, left in enumerate(room) if left >= len(unit)), len(loads))
        if place == len(loads):
            loads.append([])
            room.append(MICROBATCH)
        loads[place].append(unit)
        room[place] -= len(unit)
    return loads


def lay_out(load: Sequence[NDArray[np.intp]]) -> tuple[NDArray[np.intp], NDArray[np.float32]]:
    """Return a load's image positions, intp[MICROBATCH], filled up, and the weights float32[MICROBATCH, MICROBATCH].

    Row k of the weights makes the mean of unit k's images; images that fill up have weight 0 everywhere.
    """
    rows = np.resize(np.concatenate(load), MICROBATCH)
    mix = np.zeros((MICROBATCH, MICROBATCH), np.float32)
    start = 0
    for number, unit in enumerate(load):
        mix[number, start : start + len(unit)] = 1 / len(unit)
        start += len(unit)
    return rows, mix


def members_of(units: NDArray[np.int64], images: int) -> list[NDArray[np.intp]]:
    """Return the positions of each unit's images.

    Raises:
        ValueError: not one unit an image, or units are not numbered 0..p-1.
    """
    if units.shape != (images,) or not np.array_equal(np.unique(units), np.arange(units.max() + 1)):
        raise ValueError("units must number the patients of the images from 0 without gaps")
    order = np.argsort(units, kind="stable")
    return np.split(order, np.cumsum(np.bincount(units))[:-1])


class _Steps:
    """The two compiled halves of a step, for one choice of weights.

    Attributes:
        variables: what is trained, in the order of all lists of gradients.
    """

    def __init__(self, network: Any, weights: PrivateWeights, *, jit: bool) -> None:
        import tensorflow as tf  # noqa: PLC0415

        layers = [layer for layer in network.layers if layer.trainable_variables and _is_trained(layer, weights)]
        self.variables = [variable for layer in layers for variable in layer.trainable_variables]

        @tf.function(jit_compile=jit)
        def add(sums: list[Any], batch: Any, targets: Any, mix: Any, clip_norm: Any) -> list[Any]:
            means = [tf.matmul(mix, one) for one in gradients_by_example(network, layers, batch, targets)]
            squares = tf.add_n([tf.reduce_sum(tf.square(mean), 1) for mean in means])
            usable = tf.math.is_finite(squares)
            factors = tf.where(usable, clip_norm / tf.maximum(tf.sqrt(squares), clip_norm), 0.0)
            clipped = [
                tf.linalg.matvec(tf.where(usable[:, None], mean, 0.0), factors, transpose_a=True) for mean in means
            ]
            return [total + tf.reshape(part, total.shape) for total, part in zip(sums, clipped, strict=True)]

        self._add = add
        self._jit = jit
        self._descents: dict[int, Any] = {}

    def add_clipped(
        self,
        sums: list[Gradient],
        batch: NDArray[np.float32],
        targets: NDArray[np.float32],
        mix: NDArray[np.float32],
        clip_norm: float,
    ) -> list[Gradient]:
        """Return `sums` plus the clipped gradient of each unit: a row of `mix`, which weighs the batch's images."""
        return [np.asarray(part) for part in self._add(sums, batch, targets, mix, np.float32(clip_norm))]

    def descend(
        self, optimizer: Any, gradients: list[NDArray[np.floating]], anchors: list[Gradient], proximal: float
    ) -> None:
        """Do one step of the optimiser; FedProx pulls towards `anchors` (Li et al. 2020), which tells of no image."""
        if id(optimizer) not in self._descents:
            self._descents[id(optimizer)] = self._descent(optimizer)
        self._descents[id(optimizer)](
            [np.asarray(part, np.float32) for part in gradients], anchors, np.float32(proximal)
        )

    def _descent(self, optimizer: Any) -> Any:
        import tensorflow as tf  # noqa: PLC0415

        @tf.function(jit_compile=self._jit)
        def descend(gradients: list[Any], anchors: list[Any], proximal: Any) -> None:
            pulled = [
                gradient + proximal * (variable - anchor)
                for gradient, variable, anchor in zip(gradients, self.variables, anchors, strict=True)
            ]
            optimizer.apply(pulled, self.variables)

        return descend


def _is_trained(layer: Any, weights: PrivateWeights) -> bool:
    return weights is PrivateWeights.ALL or type(layer).__name__ != "Conv2D"
