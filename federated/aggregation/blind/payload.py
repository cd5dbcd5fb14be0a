"""What the vectors of the two sums hold, and how a sum of them is read.

Update: one word for each parameter (weight times difference, fixed point), then one for the number of images. Figures:
the metric sums (`core.learning.metric_sums`), counts exact, losses rounded to the fixed point's unit.
"""

import numpy as np
from numpy.typing import NDArray

from core.learning.fixed_point import FIGURES_WORD
from core.learning.metric_sums import TEMPERATURES, Vector, worst_loss
from core.learning.orders import RunOptions
from core.learning.run_events import FailureCode
from core.learning.weights import Weights
from federated.aggregation.blind.circle import Circle
from federated.aggregation.blind.fixed_point import Encoding
from federated.aggregation.blind.member import Words
from federated.failures import Refused


def update_encoding(options: RunOptions, circle: Circle) -> Encoding:
    """Return how updates are written in a round."""
    return Encoding.for_members(len(circle.parties), clip=options.clip)


def figures_encoding(options: RunOptions, circle: Circle, *, classes: int) -> Encoding:
    """Return how metric sums are written in a round: no sum over a member's images is larger than its clip."""
    most = max(options.member(party).validation for party in circle.parties)
    largest = most * max(1.0, float(np.max(worst_loss(TEMPERATURES, classes))))
    return Encoding.for_members(len(circle.parties), clip=largest, word=FIGURES_WORD)


def encode_update(delta: Weights, images: int, *, options: RunOptions, circle: Circle) -> tuple[Words, int]:
    """Return the words of an update, and how many values were cut to the order's clip.

    Raises:
        Refused: `NOT_FINITE`, or `WEIGHT` for no images or more than the order knows of.
    """
    encoding = update_encoding(options, circle)
    words = np.empty(sum(array.size for array in delta.values()) + 1, encoding.dtype)
    weight, start, clipped = images / _most_images(options, circle), 0, 0
    for array in delta.values():
        clipped += encoding.quantise(array.ravel(), weight, words[start : start + array.size])
        start += array.size
    words[-1] = encoding.count(images)
    return words, clipped


def decode_update(
    words: Words, like: Weights, *, options: RunOptions, circle: Circle
) -> tuple[dict[str, NDArray[np.float64]], int]:
    """Return the weighted mean of the updates in a sum, float64 by variable, and the images behind it.

    Raises:
        Refused: `SHAPE`, `SUM` (not a sum of updates, or of more images than the members have), or `WEIGHT` (of none).
    """
    encoding = update_encoding(options, circle)
    if len(words) != sum(array.size for array in like.values()) + 1:
        raise Refused(FailureCode.SHAPE)
    images = encoding.counted(int(words[-1]))
    if images > sum(options.member(party).images for party in circle.parties):
        raise Refused(FailureCode.SUM)
    if not images:
        raise Refused(FailureCode.WEIGHT)
    mean = encoding.dequantise(words[:-1], factor=_most_images(options, circle) / images)
    cuts = np.cumsum([array.size for array in like.values()])[:-1]
    return _shaped(np.split(mean, cuts), like), images


def encode_sums(sums: Vector, *, options: RunOptions, circle: Circle, classes: int) -> Words:
    """Return the words of metric sums.

    Raises:
        Refused: `NOT_FINITE`, or `FIGURES` for sums that a member's images cannot have.
    """
    encoding = figures_encoding(options, circle, classes=classes)
    words = np.empty(len(sums), encoding.dtype)
    if encoding.quantise(sums, 1.0, words):
        raise Refused(FailureCode.FIGURES)
    return words


def decode_sums(words: Words, *, options: RunOptions, circle: Circle, classes: int) -> Vector:
    """Return the sum of metric sums, float64.

    Raises:
        Refused: with `SUM`, not a sum of such words.
    """
    return figures_encoding(options, circle, classes=classes).dequantise(words)


def _most_images(options: RunOptions, circle: Circle) -> int:
    """The most images that a member of the round has: the weight of an update is its share of them."""
    return max(options.member(party).images for party in circle.parties)


def _shaped(pieces: list[NDArray[np.float64]], like: Weights) -> dict[str, NDArray[np.float64]]:
    return {name: piece.reshape(array.shape) for piece, (name, array) in zip(pieces, like.items(), strict=True)}
