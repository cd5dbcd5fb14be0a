"""What a node contributes, as bytes, with the checks that it must pass: updates and metric sums.

Nothing is opened, signed or sent here; how updates become one is the matter of `federated.aggregation.combining`.
"""

from dataclasses import dataclass

import numpy as np
from pydantic import ValidationError

from core.errors import CheckpointRefused
from core.learning.metric_sums import Vector, length_of
from core.learning.run_events import FailureCode
from core.learning.sum_checks import check_sums
from core.learning.weights import Weights, decode_weights, encode_weights, shapes_of
from federated.failures import Refused
from federated.messages import PrivacyStatement

HEADER_ALLOWANCE = 64 * 1024
"""Bytes that names, shapes and metadata of an update may take beside its numbers."""
_IMAGES = "images"
_PRIVACY = "privacy"


@dataclass(frozen=True, kw_only=True)
class Update:
    """A node's contribution.

    Attributes:
        delta: its weights minus the global ones.
        images: how many images stand behind the difference.
        privacy: what the node states of the training's differential privacy; None for a training without.
    """

    delta: Weights
    images: int
    privacy: PrivacyStatement | None = None


def encode_update(update: Update) -> bytes:
    """Return an update as safetensors bytes (float32)."""
    metadata = {_IMAGES: str(update.images)}
    if update.privacy is not None:
        metadata[_PRIVACY] = update.privacy.model_dump_json()
    return encode_weights(update.delta, metadata)


def difference(new: Weights, base: Weights) -> Weights:
    """Return new - base, variable by variable, float32."""
    return {name: (new[name] - array).astype(np.float32) for name, array in base.items()}


def read_update(data: bytes, *, like: Weights, most_images: int) -> Update:
    """Decode an update and check everything that one can see without knowing the images.

    Args:
        data: what `encode_update` made, from a party that is not trusted.
        like: the global weights that it is a difference from.
        most_images: images of the training part that the authority knows of: the largest weight.

    Raises:
        Refused: with `SIZE`, `SHAPE` (names, shapes, order or number type), `NOT_FINITE`, `WEIGHT` or `MESSAGE`.
    """
    if len(data) > sum(array.nbytes for array in like.values()) + HEADER_ALLOWANCE:
        raise Refused(FailureCode.SIZE)
    try:
        delta, metadata = decode_weights(data)
    except CheckpointRefused:
        raise Refused(FailureCode.SHAPE) from None
    if list(delta) != list(like) or shapes_of(delta) != shapes_of(like):
        raise Refused(FailureCode.SHAPE)
    if not all(np.isfinite(array).all() for array in delta.values()):
        raise Refused(FailureCode.NOT_FINITE)
    text = metadata.get(_IMAGES, "")
    if not (text.isascii() and text.isdecimal()) or not 1 <= int(text) <= most_images:
        raise Refused(FailureCode.WEIGHT)
    return Update(delta=delta, images=int(text), privacy=_privacy(metadata.get(_PRIVACY)))


def _privacy(text: str | None) -> PrivacyStatement | None:
    try:
        return None if text is None else PrivacyStatement.model_validate_json(text)
    except ValidationError:
        raise Refused(FailureCode.MESSAGE) from None


def encode_figures(vector: Vector) -> bytes:
    """Return metric sums as little-endian float64 bytes."""
    return np.ascontiguousarray(vector, "<f8").tobytes()


def read_figures(data: bytes, *, classes: int, most_images: int) -> Vector:
    """Decode metric sums and check that they can be sums over 1 to `most_images` images (`check_sums`).

    Raises:
        Refused: with `FIGURES`, they cannot.
    """
    if len(data) != 8 * length_of(classes):
        raise Refused(FailureCode.FIGURES)
    vector = np.frombuffer(data, "<f8").astype(np.float64)
    try:
        check_sums(vector, classes=classes, most=most_images)
    except ValueError:
        raise Refused(FailureCode.FIGURES) from None
    return vector
