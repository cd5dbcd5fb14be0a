"""What metric sums that came from elsewhere must satisfy: with `most` images behind them they cannot weigh more.

Every count is bounded by the number of images, and every sum of losses by the worst loss of an image, so that no
hospital decides a model's decision rule for all others.
"""

import numpy as np

from core.learning.metric_sums import TEMPERATURES, Vector, length_of, split_sums, worst_loss

_ROUNDING = 1e-9


def check_sums(vector: Vector, *, classes: int, most: int) -> None:
    """Check that a vector can be the metric sums of 1 to `most` images.

    Args:
        vector: float64, laid out as in `core.learning.metric_sums`; anything, from a party that is not trusted.
        classes: number of classes of the study.
        most: images of the validation part that the authority knows of.

    Raises:
        ValueError: it cannot.
    """
    if vector.shape != (length_of(classes),) or not np.isfinite(vector).all() or vector.min() < 0:
        raise ValueError("these are no sums")
    (images, loss), confusion, by_class, positive, losses = split_sums(vector, classes)
    counts = np.concatenate([[images], confusion.ravel(), by_class.ravel(), positive.ravel()])
    if not 1 <= images <= most or np.any(counts != np.floor(counts)):
        raise ValueError("the counts are not whole, or more than the images")
    totals = [confusion.sum(), *by_class.sum(axis=(1, 2)), positive.sum()]
    if any(total != images for total in totals) or np.any(by_class[:, 1].sum(axis=1) != confusion.sum(axis=1)):
        raise ValueError("the counts do not add up to the images")
    bounds = images * worst_loss(np.concatenate([[1.0], TEMPERATURES]), classes)
    if np.any(np.concatenate([[loss], losses]) > bounds * (1 + _ROUNDING)):
        raise ValueError("the losses are more than so many images can have")
