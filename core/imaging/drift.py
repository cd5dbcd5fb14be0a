"""Do new pictures look like those that a hospital's training data hold? A written measure of drift, and nothing else.

*What is compared.* Eight figures of a picture, measured on the square that the network is given
(`core.imaging.preprocess.preprocess`): the seven of `core.imaging.quality.QualityReport` and the colour of the stain
(`core.imaging.stain.stain_of`). They are numbers about light, focus and colour; no picture can be made from them.

*How.* For each figure the two-sample Kolmogorov-Smirnov distance D: the largest difference between the shares of
training pictures and of new pictures that lie below any one value; 0 for alike, 1 for nothing in common. Each patient
counts as one, however many pictures there are of them: a patient's pictures weigh 1 together, and the samples' sizes
are numbers of patients, since pictures of one patient are alike. Of the training pictures 101 percentiles are kept, so
D is known to about 0.01. p is its asymptotic probability for samples of one distribution (Kolmogorov 1933, with the
correction of Stephens 1970 for small ones).

*When there is drift.* A figure has drifted when D is at least `LEAST_DISTANCE` and p is below `LEVEL` divided by the
number of figures (Bonferroni), so that pictures of one source raise the alarm in at most one of a hundred looks.
With fewer than `LEAST_PATIENTS` new patients, or `LEAST_TRAINED` training patients, nothing is judged.

Drift does not say that answers are wrong: another mix of cells moves these figures too.
"""

import json
from collections.abc import Mapping, Sequence
from dataclasses import astuple, dataclass, fields

import numpy as np
from numpy.typing import NDArray

from core.imaging.preprocess import preprocess
from core.imaging.quality import QualityReport, measure_quality
from core.imaging.squares import Squares
from core.imaging.stain import stain_of
from core.studies import Study

__all__ = [
    "FIGURES",
    "LEAST_DISTANCE",
    "LEAST_PATIENTS",
    "LEAST_TRAINED",
    "LEVEL",
    "Drift",
    "Looks",
    "compare",
    "figures_of",
    "figures_of_square",
    "looks_of",
    "looks_of_figures",
]

Pixels = NDArray[np.uint8]
Figures = tuple[float, ...]
"""Of one picture, in the order of `FIGURES`."""

FIGURES: tuple[str, ...] = (*(field.name for field in fields(QualityReport)), "stain")
LEAST_DISTANCE = 0.3
LEVEL = 0.01
LEAST_PATIENTS = 20
LEAST_TRAINED = 5
MOST_IMAGES = 2000
"""Of a larger data set every n-th picture is measured: more would not change its percentiles by as much as 0.01."""
_SHARES = np.linspace(0, 1, 101)
_FORMAT = 1


@dataclass(frozen=True)
class Looks:
    """How the training pictures of a data set look.

    Attributes:
        images: how many were measured.
        patients: of how many patients.
        percentiles: for each figure its 0th, 1st, … 100th percentile, each patient weighing 1.
    """

    images: int
    patients: int
    percentiles: tuple[Figures, ...]

    def encode(self) -> bytes:
        """Return it as JSON."""
        kept = {"format": _FORMAT, "figures": FIGURES, "images": self.images, "patients": self.patients}
        return json.dumps({**kept, "percentiles": self.percentiles}).encode()

    @classmethod
    def decode(cls, data: bytes) -> "Looks | None":
        """Read what `encode` wrote; None for what an earlier version wrote about other figures."""
        kept = json.loads(data)
        if (kept["format"], tuple(kept["figures"])) != (_FORMAT, FIGURES):
            return None
        return cls(kept["images"], kept["patients"], tuple(tuple(values) for values in kept["percentiles"]))


@dataclass(frozen=True)
class Drift:
    """One figure of new pictures against that of training pictures.

    Attributes:
        figure: its name, of `FIGURES`.
        distance: D, 0..1.
        p: probability of such a distance between samples of one distribution.
        drifted: by the rule of this module.
        trained, new: 25th, 50th and 75th percentile of training pictures and of new ones.
    """

    figure: str
    distance: float
    p: float
    drifted: bool
    trained: tuple[float, float, float]
    new: tuple[float, float, float]


def figures_of(pixels: Pixels, study: Study) -> Figures:
    """Measure a picture uint8[h, w, 3], RGB, as the network of a study is given it."""
    return figures_of_square(preprocess(pixels, study.input_size, study.preprocessing))


def figures_of_square(square: Pixels) -> Figures:
    """Measure a preprocessed square uint8[s, s, 3]; values are rounded to six digits, which is more than they mean."""
    return tuple(float(f"{value:.6g}") for value in (*astuple(measure_quality(square)), stain_of(square)))


def looks_of(squares: Sequence[Pixels] | Squares, patients: Sequence[str]) -> Looks | None:
    """Measure preprocessed training squares, each of the patient at its place; None if there are none."""
    chosen = range(0, len(patients), -(-len(patients) // MOST_IMAGES) or 1)
    if not chosen:
        return None
    values = np.array([figures_of_square(squares[n]) for n in chosen])
    return looks_of_figures(values, [patients[n] for n in chosen])


def looks_of_figures(values: NDArray[np.float64], patients: Sequence[str]) -> Looks:
    """Return the looks of measured pictures, float64[n, len(FIGURES)], each of the patient at its place."""
    weights = _weights(patients)
    percentiles = tuple(tuple(_quantiles(column, weights, _SHARES)) for column in values.T)
    return Looks(len(values), len(set(patients)), percentiles)


def compare(trained: Looks, new: Mapping[str, Sequence[Figures]]) -> list[Drift]:
    """Compare new pictures with training pictures, figure by figure.

    Args:
        trained: of the data set.
        new: figures of each picture, by patient.

    Returns:
        One `Drift` for each figure; nothing where there are too few patients to judge.
    """
    if len(new) < LEAST_PATIENTS or trained.patients < LEAST_TRAINED:
        return []
    names = [patient for patient, pictures in new.items() for _ in pictures]
    values, weights = np.array([one for pictures in new.values() for one in pictures]), _weights(names)
    size = 1 / (1 / len(new) + 1 / trained.patients)
    found = []
    for figure, kept, column in zip(FIGURES, trained.percentiles, values.T, strict=True):
        distance = _distance(np.array(kept), column, weights)
        p = _probability(distance, size)
        found.append(
            Drift(
                figure=figure,
                distance=distance,
                p=p,
                drifted=distance >= LEAST_DISTANCE and p < LEVEL / len(FIGURES),
                trained=(kept[25], kept[50], kept[75]),
                new=tuple(_quantiles(column, weights, np.array([0.25, 0.5, 0.75]))),  # type: ignore[arg-type]
            )
        )
    return found


def _weights(patients: Sequence[str]) -> NDArray[np.float64]:
    """Return the weight of each picture: those of a patient weigh 1 together."""
    _, place, count = np.unique(np.array(patients), return_inverse=True, return_counts=True)
    return 1.0 / count[place]


def _quantiles(values: NDArray[np.float64], weights: NDArray[np.float64], shares: NDArray[np.float64]) -> list[float]:
    """Return weighted quantiles: the least value with at least such a share of the weight at or below it."""
    order = np.argsort(values, kind="stable")
    below = np.cumsum(weights[order])
    places = np.searchsorted(below, shares * below[-1] * (1 - 1e-12))
    return [float(value) for value in values[order][np.minimum(places, len(values) - 1)]]


def _distance(kept: NDArray[np.float64], values: NDArray[np.float64], weights: NDArray[np.float64]) -> float:
    """Return the largest difference of the two distribution functions, at any value of either."""
    points = np.unique(np.concatenate([kept, values]))
    order = np.argsort(values, kind="stable")
    below = np.concatenate([[0.0], np.cumsum(weights[order])])
    new = below[np.searchsorted(values[order], points, side="right")] / below[-1]
    trained = np.searchsorted(kept, points, side="right") / len(kept)
    return float(np.abs(new - trained).max())


def _probability(distance: float, size: float) -> float:
    """Return the probability of at least this distance between samples of one distribution, of this joint size."""
    from scipy.special import kolmogorov  # noqa: PLC0415  (nothing else in the app loads it)

    root = float(np.sqrt(size))
    return float(kolmogorov((root + 0.12 + 0.11 / root) * distance))
