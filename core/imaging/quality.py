"""The gate before a diagnosis: is this a sharp, well-lit picture of what the study looks at?

Light and focus are judged here, by limits for each subject; whether a picture shows the subject at all is judged by
`core.imaging.foreign`. Neither proves that a picture shows a white cell; a doctor sees every picture.
"""

from dataclasses import dataclass

import cv2
import numpy as np
from numpy.typing import NDArray

from core.errors import ImageForeign, ImageNotStained, ImageRefused
from core.imaging.foreign import Likeness, likeness
from core.imaging.preprocess import square_window
from core.studies import Study, Subject

Pixels = NDArray[np.uint8]

ANALYSIS_SIDE = 160
WHITE = 254


@dataclass(frozen=True, kw_only=True)
class Limits:
    """What a picture of a subject must keep to; the measures are those of `QualityReport`.

    Attributes:
        brightness: least.
        clipped: greatest.
        contrast: least.
        sharpness: least.
        detail: least.
        grain: greatest detail.
        chroma: least.
        stained: least.
    """

    brightness: float
    clipped: float
    contrast: float
    sharpness: float
    detail: float = 0.018
    grain: float = 0.20
    chroma: float = 0.0
    stained: float = 0.0


# Measured on proper pictures and on ruined copies of them (docs/results.md); each limit leaves a margin to the most
# extreme proper picture. Scans are darker, may be white in large parts (CT of the lung) and have softer edges.
LIMITS: dict[Subject, Limits] = {
    Subject.CELL: Limits(brightness=110, clipped=0.25, contrast=50, sharpness=0.125, chroma=18, stained=0.008),
    Subject.FIELD: Limits(brightness=110, clipped=0.25, contrast=50, sharpness=0.15, chroma=18, stained=0.003),
    Subject.SCAN: Limits(brightness=50, clipped=0.60, contrast=70, sharpness=0.09),
}
PLAIN: dict[Subject, str] = {
    Subject.CELL: "one stained white cell",
    Subject.FIELD: "a stained smear with several cells",
    Subject.SCAN: "a grey scan, such as CT, MRI, X-ray or ultrasound",
}
_ACCEPTED: dict[Subject, frozenset[Subject]] = {
    Subject.CELL: frozenset({Subject.CELL, Subject.FIELD}),
    Subject.FIELD: frozenset({Subject.FIELD}),
    Subject.SCAN: frozenset({Subject.SCAN}),
}
"""What each study takes; a study of cells also takes fields, which are split into cells (`core.imaging.cells`)."""


@dataclass(frozen=True)
class QualityReport:
    """What was measured on the centred square, at 160 px side.

    Attributes:
        brightness: 95th percentile of green, 0-255: the empty glass.
        clipped: share of pixels that are white in all channels (254 and more).
        contrast: 99th less 1st percentile of green, 0-255.
        sharpness: 99th percentile of the gradient over the contrast; edges. Hardly moved by noise.
        detail: standard deviation of what a Gaussian of 1.5 px takes away, over the contrast; fine structure.
        chroma: 95th percentile of the difference between a pixel's greatest and least channel, 0-255.
        stained: share of pixels that are violet to purple and darker than the glass: azure-stained nuclei.
    """

    brightness: float
    clipped: float
    contrast: float
    sharpness: float
    detail: float
    chroma: float
    stained: float


def measure_quality(pixels: Pixels) -> QualityReport:
    """Measure uint8[h, w, 3] RGB; judges nothing."""
    top, left, side = square_window(*pixels.shape[:2])
    square = pixels[top : top + side, left : left + side]
    if side > ANALYSIS_SIDE:
        square = np.asarray(cv2.resize(square, (ANALYSIS_SIDE, ANALYSIS_SIDE), interpolation=cv2.INTER_AREA), np.uint8)
    values = square.astype(np.float32)
    red, green, blue = values[..., 0], np.ascontiguousarray(values[..., 1]), values[..., 2]
    low, glass, high = (float(value) for value in np.percentile(green, [1, 95, 99]))
    contrast = max(high - low, 1.0)
    gradient = np.hypot(cv2.Sobel(green, cv2.CV_32F, 1, 0), cv2.Sobel(green, cv2.CV_32F, 0, 1)) / 8
    planes = [np.ascontiguousarray(square[..., channel]) for channel in range(3)]
    highest, lowest = np.maximum.reduce(planes), np.minimum.reduce(planes)
    violet = (blue > green + 20) & (red > green - 40) & (green < 0.75 * glass)
    return QualityReport(
        brightness=glass,
        clipped=float((lowest >= WHITE).mean()),
        contrast=high - low,
        sharpness=float(np.percentile(gradient, 99)) / contrast,
        detail=float(np.std(green - cv2.GaussianBlur(green, (0, 0), 1.5))) / contrast,
        chroma=float(np.percentile(highest - lowest, 95)),
        stained=float(violet.mean()),
    )


def check_quality(pixels: Pixels, study: Study) -> QualityReport:
    """Refuse a picture that cannot be answered reliably.

    Args:
        pixels: uint8[h, w, 3], RGB.
        study: gives the smallest side and the subject.

    Raises:
        ImageRefused: too small, badly lit or not sharp; the detail says which, in plain words.
        ImageNotStained: a good picture without the colours of a stained smear, where the study looks at one.
        ImageForeign: a good picture of something else.
    """
    height, width = pixels.shape[:2]
    if min(height, width) < study.min_side:
        raise ImageRefused(f"{width} x {height} pixels; the smaller side must be {study.min_side} or more")
    report, limits = measure_quality(pixels), LIMITS[study.subject]
    problem = _light_problem(report, limits) or _focus_problem(report, limits)
    if problem is not None:
        raise ImageRefused(problem)
    if problem := _stain_problem(report, limits):
        raise ImageNotStained(problem)
    if problem := _subject_problem(likeness(pixels), study.subject):
        raise ImageForeign(problem)
    return report


def _light_problem(report: QualityReport, limits: Limits) -> str | None:
    """Return what is wrong with the exposure."""
    if report.clipped > limits.clipped:
        return "overexposed: large parts are pure white"
    if report.contrast < limits.contrast and report.brightness >= limits.brightness:
        return "nearly blank: there is hardly anything to see"
    if report.brightness < limits.brightness:
        return "too dark"
    return None


def _focus_problem(report: QualityReport, limits: Limits) -> str | None:
    """Return what is wrong with the sharpness."""
    if report.sharpness < limits.sharpness or report.detail < limits.detail:
        return "out of focus: the edges are not sharp"
    if report.detail > limits.grain:
        return "too grainy: mostly noise"
    return None


def _stain_problem(report: QualityReport, limits: Limits) -> str | None:
    """Return why this is no stained smear."""
    if report.chroma < limits.chroma:
        return "grey, like an X-ray or scan: a stained blood smear is in colour"
    if report.stained < limits.stained:
        return "no cell nucleus in the violet of a stained blood smear was found"
    return None


def _subject_problem(found: Likeness, subject: Subject) -> str | None:
    """Return what the picture shows instead of the subject."""
    if found.is_foreign:
        return f"the study looks at {PLAIN[subject]}, and this is like none of the pictures it knows"
    if found.subject not in _ACCEPTED[subject]:
        return f"the study looks at {PLAIN[subject]}, and this looks like {PLAIN[found.subject]}"
    return None
