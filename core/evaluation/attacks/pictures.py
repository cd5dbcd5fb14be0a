"""The pictures of a data set in two halves by patient: the adversary's own, and the hospitals', which it is after."""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from core.errors import DatasetRefused
from core.imaging.datasets import Part, load_arrays, read_index
from core.imaging.stain import stain_of
from core.studies import Study

Say = Callable[[str, int, int], None]
"""Told (what is done, steps done, steps in all)."""
BATCH = 8
"""Pictures that a hospital trains on in a round whose secrets are guessed."""


@dataclass(frozen=True, eq=False)
class Pictures:
    """Pictures that somebody has.

    Attributes:
        images: uint8[n, side, side, 3].
        labels: int64[n].
        looks: float64[n]; how red the stain is, or how bright the scan: what a property is made of.
    """

    images: NDArray[np.uint8]
    labels: NDArray[np.int64]
    looks: NDArray[np.float64]

    def thirds(self) -> dict[int, tuple[NDArray[np.int64], NDArray[np.int64]]]:
        """Return, of each class with enough pictures, the places of those with the lowest and the highest look.

        Raises:
            DatasetRefused: no class has enough.
        """
        found = {}
        for label in np.unique(self.labels):
            places = np.flatnonzero(self.labels == label)
            ordered = places[np.argsort(self.looks[places], kind="stable")]
            third = len(ordered) // 3
            if third > BATCH:
                found[int(label)] = ordered[:third], ordered[-third:]
        if not found:
            raise DatasetRefused(f"no class has {3 * (BATCH + 1)} pictures in each half of the patients")
        return found


@dataclass(frozen=True, eq=False)
class Secret:
    """What one hospital trains on and the adversary wants to know.

    Attributes:
        batch: places of `BATCH` pictures.
        candidate: place of the picture that the adversary asks about.
        is_member: whether it is in the batch.
        has_property: whether the batch is of the third with the highest look.
    """

    batch: NDArray[np.int64]
    candidate: int
    is_member: bool
    has_property: bool


def draw_secret(thirds: dict[int, tuple[NDArray[np.int64], NDArray[np.int64]]], rng: np.random.Generator) -> Secret:
    """Toss for property and membership, and draw a batch and a candidate alike in all else."""
    has_property, is_member = bool(rng.integers(2)), bool(rng.integers(2))
    wanted = rng.choice(list(thirds), BATCH + 1)
    drawn = np.concatenate(
        [
            rng.choice(thirds[int(label)][has_property], count, replace=False)
            for label, count in zip(*np.unique(wanted, return_counts=True), strict=True)
        ]
    )
    drawn = rng.permutation(drawn)
    batch = drawn[:BATCH] if is_member else drawn[1:]
    return Secret(np.sort(batch), int(drawn[0]), is_member, has_property)


def read_halves(folder: Path, study: Study, *, count: int, seed: int, say: Say) -> tuple[Pictures, Pictures]:
    """Return the adversary's pictures and the hospitals'; no patient is in both.

    Args:
        folder: a data set with ``index.csv``.
        study: what it is for.
        count: pictures to read at most, drawn by the seed.
        seed: fixes what is drawn and who gets which patient.
        say: told of each picture.

    Raises:
        DatasetRefused: the folder cannot be used, or one half lacks a class.
    """
    rng = np.random.default_rng([seed, 0])
    records = read_index(folder, study)
    chosen = [records[place] for place in np.sort(rng.permutation(len(records))[:count])]
    arrays, _ = load_arrays({Part.TEST: chosen}, folder, study, lambda done, of: say("reading pictures", done, of))
    images = np.asarray(arrays.images)
    names = rng.permutation(sorted(set(arrays.patients)))
    own = set(names[: len(names) // 2].tolist())
    looks = np.array([stain_of(one) if study.is_stained else one.mean() for one in images], np.float64)
    inside = np.array([name in own for name in arrays.patients])
    halves = tuple(Pictures(images[which], arrays.labels[which], looks[which]) for which in (inside, ~inside))
    if any(len(np.unique(half.labels)) < len(study.classes) for half in halves):
        raise DatasetRefused("one half of the patients has no picture of some class: read more pictures")
    return halves[0], halves[1]
