"""The colour of a patient's stain as one number, so that hospitals can be told apart by their staining."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np

from core.errors import HemaSealError
from core.imaging.decode import Pixels, decode_upload
from core.imaging.index import Record
from core.imaging.sources import ImageSource, as_source
from core.imaging.splits import patients_of

IMAGES_LOOKED_AT = 12
_MAX_BYTES = 20 * 2**20
_MAX_PIXELS = 40_000_000
_STEP = 4
"""Every fourth pixel each way is enough for a mean."""


def stain_of(pixels: Pixels) -> float:
    """Return how much a picture's dyes absorb red rather than green: log of the ratio of mean optical densities.

    A Romanowsky stain is azure B, which absorbs red, and eosin, which absorbs green; by Beer-Lambert the optical
    density -log10(I / I0) is linear in the amount of dye (Ruifrok and Johnston 2001). Lamps' brightness cancels out
    against the picture's own white (its 99th percentile in each channel).

    Args:
        pixels: uint8[h, w, 3], RGB.
    """
    thin = pixels[::_STEP, ::_STEP].reshape(-1, 3).astype(np.float64) + 1
    density = np.clip(np.log10(np.percentile(thin, 99, axis=0) / thin), 0, None).mean(axis=0)
    return float(np.log((density[0] + 1e-3) / (density[1] + 1e-3)))


def patient_stains(records: Sequence[Record], folder: Path | ImageSource, *, seed: int) -> dict[str, float]:
    """Return the median stain of some of each patient's images; 0 for a patient of whom none can be read.

    Args:
        records: of one or more patients.
        folder: the records' paths are relative to it; a path or another source.
        seed: chooses `IMAGES_LOOKED_AT` images of each patient.
    """
    source, rng = as_source(folder), np.random.default_rng(seed)
    stains: dict[str, float] = {}
    for patient in patients_of(records):
        chosen = rng.permutation(len(patient.records))[:IMAGES_LOOKED_AT]
        found = [stain for i in chosen if (stain := _read(source, patient.records[i])) is not None]
        stains[patient.name] = float(np.median(found)) if found else 0.0
    return stains


def _read(source: ImageSource, record: Record) -> float | None:
    try:
        data = source.read(record.path, _MAX_BYTES)
        return stain_of(decode_upload(data, max_bytes=_MAX_BYTES, max_pixels=_MAX_PIXELS).pixels)
    except (OSError, HemaSealError):  # whoever loads the images tells what is wrong with the file
        return None
