"""Does a picture show what a study looks at? One-class densities over hand-made looks, fitted on training patients.

For each known source of pictures (``looks.safetensors``; made by ``python -m benchmarks.fit_looks``) there are a few
centres and a bound. Looks are standardised and whitened by the scatter around the centres, so that what proper
pictures have in common weighs most; a picture belongs to the source where its squared distance to the nearest centre,
divided by the source's bound, is least, and to none where that is over 1. Nothing foreign was used in fitting.
"""

import hashlib
import json
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray
from safetensors.numpy import load

from core.imaging.looks import NAMES, SIDE, Pixels, measure_looks
from core.imaging.preprocess import square_window
from core.studies import Subject

FILE = Path(__file__).with_name("looks.safetensors")
FORMAT = "hemaseal-looks-1"
CLIP = 6.0
"""Standardised looks beyond this are taken as this, so that no single one decides alone."""
COLOURED = 24
"""A pixel whose channels differ by more is coloured; a grey picture's may differ by what JPEG does."""
MAX_COLOURED = 0.03
"""Share of coloured pixels in a scan: marks and letters may have colour."""


@dataclass(frozen=True, eq=False)
class Density:
    """The pictures of stained smears, or those of scans.

    Attributes:
        columns: positions in `NAMES` that are used, int64[d].
        middle, spread: of the fitted looks, float32[d].
        whitening: float32[d, d].
        centres: whitened, float32[c, d].
        source_of: source of each centre, int64[c].
        bounds: of squared distances, float32[sources].
        sources: what each source is.
        subjects: what each source's pictures show.
    """

    columns: NDArray[np.int64]
    middle: NDArray[np.float32]
    spread: NDArray[np.float32]
    whitening: NDArray[np.float32]
    centres: NDArray[np.float32]
    source_of: NDArray[np.int64]
    bounds: NDArray[np.float32]
    sources: tuple[str, ...]
    subjects: tuple[Subject, ...]

    def distances(self, looks: NDArray[np.float32]) -> NDArray[np.float32]:
        """Return squared distances, float32[n, sources], of looks float32[n, len(NAMES)] to each source."""
        scaled = np.clip((looks[:, self.columns] - self.middle) / self.spread, -CLIP, CLIP) @ self.whitening
        squares = ((scaled[:, None] - self.centres[None]) ** 2).sum(axis=2)
        every = [squares[:, self.source_of == source].min(axis=1) for source in range(len(self.sources))]
        return np.stack(every, axis=1).astype(np.float32)


@dataclass(frozen=True)
class Likeness:
    """What a picture looks most like.

    Attributes:
        subject: what the nearest source's pictures show.
        source: the nearest source.
        score: squared distance over the source's bound; above 1 the picture is foreign.
    """

    subject: Subject
    source: str
    score: float

    @property
    def is_foreign(self) -> bool:
        """Whether it is unlike everything that is known."""
        return self.score > 1


def likeness(pixels: Pixels) -> Likeness:
    """Compare the centred square of uint8[h, w, 3] RGB with all known sources."""
    square = analysis_square(pixels)
    density = densities()["stained" if is_coloured(square) else "scan"]
    scores = density.distances(measure_looks(square)[None])[0] / density.bounds
    nearest = int(np.argmin(scores))
    return Likeness(density.subjects[nearest], density.sources[nearest], float(scores[nearest]))


def looks_like(pixels: Pixels) -> Subject | None:
    """Return what uint8[h, w, 3] RGB shows, or None if it is like nothing that any study looks at."""
    found = likeness(pixels)
    return None if found.is_foreign else found.subject


def analysis_square(pixels: Pixels) -> Pixels:
    """Return the centred square at `SIDE` pixels."""
    top, left, side = square_window(*pixels.shape[:2])
    square = pixels[top : top + side, left : left + side]
    how = cv2.INTER_AREA if side > SIDE else cv2.INTER_CUBIC
    return np.ascontiguousarray(square if side == SIDE else cv2.resize(square, (SIDE, SIDE), interpolation=how))


def is_coloured(square: Pixels) -> bool:
    """Tell whether more than `MAX_COLOURED` of the pixels have colour."""
    red, green, blue = (np.ascontiguousarray(square[..., channel]) for channel in range(3))
    spread = np.maximum(np.maximum(red, green), blue) - np.minimum(np.minimum(red, green), blue)
    return float((spread > COLOURED).mean()) > MAX_COLOURED


@cache
def densities() -> dict[str, Density]:
    """Return the fitted densities of stained pictures and of scans.

    Raises:
        ValueError: the file is not of this version of the looks.
    """
    data = FILE.read_bytes()
    tensors, header = load(data), json.loads(data[8 : 8 + int.from_bytes(data[:8], "little")])["__metadata__"]
    if header["format"] != FORMAT or header["looks"] != names_digest():
        raise ValueError(f"{FILE.name} was fitted to other looks; run python -m benchmarks.fit_looks")
    described: dict[str, list[Any]] = json.loads(header["sources"])
    return {
        kind: Density(
            **{name: tensors[f"{kind}.{name}"] for name in TENSORS},
            sources=tuple(name for name, _ in sources),
            subjects=tuple(Subject(subject) for _, subject in sources),
        )
        for kind, sources in described.items()
    }


TENSORS = ("columns", "middle", "spread", "whitening", "centres", "source_of", "bounds")


def names_digest() -> str:
    """Return the digest of the names of the looks and the side, by which a file tells what it was fitted to."""
    return hashlib.sha256(json.dumps([SIDE, *NAMES]).encode()).hexdigest()[:16]
