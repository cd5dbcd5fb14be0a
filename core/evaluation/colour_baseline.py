"""What colour alone can tell: logistic regression on colour histograms, shown beside every result of a network.

A network that is not clearly better has learned the stain, the lamp or the scanner and not the disease. The features
are the square roots of each channel's histogram over the centred square (24 bins, 72 features), standardised; classes
count alike. It is fitted on patients that are not judged, and calls the most probable class.
"""

import cv2
import numpy as np
from numpy.typing import NDArray

from core.imaging.preprocess import square_window
from core.learning.metrics import Judged

BINS = 24
SIDE = 96


def colours(pixels: NDArray[np.uint8]) -> NDArray[np.float32]:
    """Return the features float32 [72] of a picture uint8 [h, w, 3], RGB."""
    top, left, side = square_window(*pixels.shape[:2])
    square = pixels[top : top + side, left : left + side]
    small = np.asarray(cv2.resize(square, (SIDE, SIDE), interpolation=cv2.INTER_AREA), np.uint8)
    counts = [np.bincount(small[..., c].ravel().astype(np.int64) * BINS // 256, minlength=BINS) for c in range(3)]
    return np.sqrt(np.concatenate(counts) / SIDE**2).astype(np.float32)


def judged_by_colour(
    fitted_on: tuple[NDArray[np.float32], NDArray[np.int64]],
    features: NDArray[np.float32],
    labels: NDArray[np.int64],
    patients: tuple[str, ...],
    *,
    classes: int,
) -> Judged:
    """Fit the baseline on (features [m, 72], labels [m]) and let it judge `features` [n, 72].

    A class without an image to fit on gets the probability 0.

    Raises:
        ValueError: fewer than two classes to fit on.
    """
    from sklearn.linear_model import LogisticRegression  # noqa: PLC0415  takes a second to import
    from sklearn.pipeline import make_pipeline  # noqa: PLC0415
    from sklearn.preprocessing import StandardScaler  # noqa: PLC0415

    model = make_pipeline(StandardScaler(), LogisticRegression(C=0.3, max_iter=1000, class_weight="balanced"))
    model.fit(*fitted_on)
    probabilities = np.zeros((len(labels), classes))
    probabilities[:, model.classes_] = model.predict_proba(features)
    predicted = probabilities.argmax(axis=1)
    return Judged(
        labels=labels,
        predicted=predicted,
        probabilities=probabilities,
        alarming=np.zeros(len(labels), bool),
        patients=patients,
    )
