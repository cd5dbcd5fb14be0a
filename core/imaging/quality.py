"""The gate before a diagnosis: is this a sharp, well-lit picture of what the study looks at?

Thin on purpose: it refuses blank, dark, overexposed, blurred and colourless pictures and those without anything
violet. It does not prove that a picture shows a white cell; a doctor sees every picture.
"""

from dataclasses import dataclass

import cv2
import numpy as np
from numpy.typing import NDArray

from core.errors import ImageNotStained, ImageRefused
from core.imaging.preprocess import square_window
from core.studies import Study

Pixels = NDArray[np.uint8]

ANALYSIS_SIDE = 160
WHITE = 254

# Measured on single-cell pictures of two laboratories (10,532 pictures) and on ruined copies of them; the figures are
# in docs/results.md. Each bound leaves a margin to the most extreme proper picture.
MIN_BRIGHTNESS = 110.0
MAX_CLIPPED = 0.25
MIN_CONTRAST = 50.0
MIN_SHARPNESS = 0.125
MIN_DETAIL = 0.018
MAX_GRAIN = 0.20
MIN_CHROMA = 18.0
MIN_STAINED = 0.008


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
    highest, lowest = square.max(axis=2), square.min(axis=2)
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
        study: gives the smallest side; colour and stain are asked for when its pictures are of stained blood.

    Raises:
        ImageRefused: the detail says which check failed, in plain words.
        ImageNotStained: a good picture without the colours of a stained smear.
    """
    height, width = pixels.shape[:2]
    if min(height, width) < study.min_side:
        raise ImageRefused(f"{width} x {height} pixels; the smaller side must be {study.min_side} or more")
    report = measure_quality(pixels)
    problem = _light_problem(report) or _focus_problem(report)
    if problem is not None:
        raise ImageRefused(problem)
    if study.is_stained and (problem := _stain_problem(report)):
        raise ImageNotStained(problem)
    return report


def _light_problem(report: QualityReport) -> str | None:
    """Return what is wrong with the exposure."""
    if report.clipped > MAX_CLIPPED:
        return "overexposed: large parts are pure white"
    if report.contrast < MIN_CONTRAST and report.brightness >= MIN_BRIGHTNESS:
        return "nearly blank: there is hardly anything to see"
    if report.brightness < MIN_BRIGHTNESS:
        return "too dark"
    return None


def _focus_problem(report: QualityReport) -> str | None:
    """Return what is wrong with the sharpness."""
    if report.sharpness < MIN_SHARPNESS or report.detail < MIN_DETAIL:
        return "out of focus: the edges of the cells are not sharp"
    if report.detail > MAX_GRAIN:
        return "too grainy: mostly noise"
    return None


def _stain_problem(report: QualityReport) -> str | None:
    """Return why this is no stained smear."""
    if report.chroma < MIN_CHROMA:
        return "grey, like an X-ray or scan: a stained blood smear is in colour"
    if report.stained < MIN_STAINED:
        return "no cell nucleus in the violet of a stained blood smear was found"
    return None
