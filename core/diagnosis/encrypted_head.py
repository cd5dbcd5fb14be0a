"""A model's head for encrypted inference: how features and weights become whole numbers, and how they are read again.

The head is split: the node computes ``q @ W`` on numbers that it cannot read (`security.encrypted_inference`), the key
holder multiplies the result by both steps, adds the bias, which it knows, and calibrates. Features are divided by a
step that the node chooses for each image, so that its largest feature is near 255; the steps are agreed, four to each
doubling, and the number of the step travels with the query. What people see are probabilities in whole hundredths.
"""

from collections.abc import Sequence
from dataclasses import asdict, dataclass, field

import numpy as np
from numpy.typing import NDArray

from core.diagnosis.bundle import ModelManifest
from core.errors import CheckpointRefused
from core.learning.class_scores import Floats, calibrated_probabilities
from core.learning.weights import Weights
from core.studies import STUDIES
from security.encoding import decode, encode
from security.encrypted_inference.head import MAX_FEATURE, EncryptedHead, HeadKey, encrypt_head
from security.encrypted_inference.signed import WHOLE, Query
from security.errors import CiphertextRefused, KeyMissing

KERNEL, BIAS = "head/kernel", "head/bias"
"""Names of the head's weights in every architecture."""
MOST_WEIGHT = 127
SCALES = 256
_UNIT_SCALE = SCALES // 2
_TO_A_DOUBLING = 4


@dataclass(frozen=True, eq=False)
class Features:
    """Pooled features as whole numbers: `numbers` uint8 [f], times the step of `scale`."""

    numbers: NDArray[np.uint8] = field(repr=False)
    scale: int

    @property
    def values(self) -> Floats:
        """The features that these numbers stand for, float64 [f]."""
        return np.asarray(self.numbers * step_of(self.scale), np.float64)


def step_of(scale: int) -> float:
    """Return the size of one unit of features at a scale from 0 to 255."""
    return float(2.0 ** ((scale - _UNIT_SCALE) / _TO_A_DOUBLING) / MAX_FEATURE)


def quantised(features: NDArray[np.floating]) -> Features:
    """Return pooled features float [f], which are not negative, as whole numbers.

    Raises:
        CheckpointRefused: they are negative or not finite, as those of a network that does not end with a rectifier.
    """
    if not (np.isfinite(features).all() and (features >= 0).all()):
        raise CheckpointRefused("the network's features are not those that an encrypted head takes")
    most = max(float(features.max()), 2.0**-24)
    scale = int(np.clip(np.ceil(np.log2(most) * _TO_A_DOUBLING) + _UNIT_SCALE, 0, SCALES - 1))
    numbers = np.clip(np.rint(np.asarray(features, np.float64) / step_of(scale)), 0, MAX_FEATURE)
    return Features(numbers.astype(np.uint8), scale)


@dataclass(frozen=True, kw_only=True)
class Reading:
    """How the key holder reads the integers of one model: all of it is the model's own, nothing is of a query.

    Attributes:
        study: name of the study.
        step: size of one unit of the weights.
        bias: added to each class's logit.
        temperature, positive_temperature, positive_offset: calibration, as in the model's manifest.
    """

    study: str
    step: float
    bias: tuple[float, ...]
    temperature: float
    positive_temperature: float
    positive_offset: float

    def logits(self, integers: Sequence[int], scale: int) -> Floats:
        """Return logits float64 [1, classes]."""
        unit = self.step * step_of(scale)
        return (np.array(integers, np.float64) * unit + np.array(self.bias))[np.newaxis]

    def hundredths(self, integers: Sequence[int], scale: int) -> tuple[int, ...]:
        """Return calibrated probabilities in whole hundredths, each rounded by itself."""
        probabilities = calibrated_probabilities(
            self.logits(integers, scale),
            STUDIES[self.study],
            temperature=self.temperature,
            positive_temperature=self.positive_temperature,
            positive_offset=self.positive_offset,
        )[0]
        return tuple(int(value) for value in np.rint(probabilities * WHOLE))


@dataclass(frozen=True, eq=False)
class HeadSecret:
    """What the key holder keeps of one model."""

    key: HeadKey
    reading: Reading = field(repr=False)

    def answer(self, query: Query) -> tuple[int, ...]:
        """Return the probabilities in hundredths that a query asks for.

        Raises:
            CiphertextRefused: the query holds no logits of this head.
        """
        return self.reading.hundredths(self.key.decrypt(query.logits), query.scale)

    def save(self) -> bytes:
        """Return what `load` reads: for the key holder's own key store, and for nothing else."""
        reading = asdict(self.reading)
        return encode({"key": self.key.save(), "reading": {**reading, "bias": list(self.reading.bias)}})

    @classmethod
    def load(cls, data: bytes) -> "HeadSecret":
        """Read what `save` wrote.

        Raises:
            KeyMissing: it is something else.
        """
        try:
            value = decode(data)
            reading = Reading(**{**value["reading"], "bias": tuple(value["reading"]["bias"])})
            key = HeadKey.load(value["key"])
        except (ValueError, KeyError, TypeError):
            raise KeyMissing("the key of an encrypted head cannot be read") from None
        return cls(key, reading)


def quantised_weights(kernel: NDArray[np.float32]) -> tuple[NDArray[np.int8], float]:
    """Return a head's kernel [f, classes] as int8 and the size of one unit."""
    step = float(np.abs(kernel).max()) / MOST_WEIGHT or 1.0
    return np.rint(kernel / step).astype(np.int8), step


def encrypt_model(weights: Weights, manifest: ModelManifest) -> tuple[HeadSecret, EncryptedHead]:
    """Encrypt the head of a model under a key of its own.

    Raises:
        CheckpointRefused: the weights hold no head of this model's classes.
    """
    kernel, bias = weights.get(KERNEL), weights.get(BIAS)
    classes = len(manifest.classes)
    if kernel is None or bias is None or kernel.ndim != 2 or (kernel.shape[1], bias.shape) != (classes, (classes,)):  # noqa: PLR2004
        raise CheckpointRefused("the weights hold no head of this model's classes")
    numbers, step = quantised_weights(kernel)
    key, head = encrypt_head(numbers, [0] * classes)
    reading = Reading(
        study=manifest.study,
        step=step,
        bias=tuple(float(value) for value in bias),
        temperature=manifest.temperature,
        positive_temperature=manifest.positive_temperature,
        positive_offset=manifest.positive_offset,
    )
    return HeadSecret(key, reading), head


def logits_behind(hundredths: Sequence[int], manifest: ModelManifest) -> Floats:
    """Return logits float64 [1, classes], up to a shift, that calibrate to given hundredths.

    The reverse of `calibrated_probabilities`; 0 and 100 hundredths count as a quarter of one from the end.

    Raises:
        CiphertextRefused: no class has any hundredth.
    """
    if not any(hundredths):
        raise CiphertextRefused("an answer without any probability")
    shares = np.maximum(np.array(hundredths, np.float64), 0.25)
    positive = np.isin(np.arange(len(shares)), STUDIES[manifest.study].positive_indices)
    log_p = np.log(shares / shares.sum()) * manifest.temperature
    odds = np.log(shares[positive].sum() / shares[~positive].sum())
    wanted = (odds - manifest.positive_offset) * manifest.positive_temperature
    got = np.logaddexp.reduce(log_p[positive]) - np.logaddexp.reduce(log_p[~positive])
    return np.where(positive, log_p + wanted - got, log_p)[np.newaxis]
