"""The images that all methods of a seed share: hospitals with whole patients, each divided by patient."""

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

import numpy as np

from core.evaluation.held_out import Images
from core.evaluation.tables.profile import HOSPITALS
from core.imaging.datasets import DatasetArrays, Part, Record
from core.studies import Study
from federated.shares import Say, Shares, SimulationOptions, share_out


@dataclass(frozen=True, eq=False, kw_only=True)
class Material:
    """What one seed is trained and judged on.

    Attributes:
        seed: of the split.
        folder: the records' paths are relative to it.
        shares: the hospitals' data sets.
        test_records: the images of the test parts that could be read.
    """

    seed: int
    folder: Path
    shares: Shares
    test_records: tuple[Record, ...]

    @property
    def hospitals(self) -> dict[str, DatasetArrays]:
        """Hospital -> its data set."""
        return self.shares.arrays

    def together(self, part: Part) -> Images:
        """Return a part of all hospitals, one hospital after the other."""
        own = [arrays.part(part) for arrays in self.hospitals.values()]
        return Images(
            np.concatenate([arrays.images for arrays in own]),
            np.concatenate([arrays.labels for arrays in own]),
            np.array([patient for arrays in own for patient in arrays.patients]),
        )

    def counts(self) -> dict[str, dict[str, int]]:
        """Return images and patients of each part."""
        counted = {}
        for part in Part:
            images = self.together(part)
            counted[part.value] = {"images": len(images), "patients": len(set(images.patients.tolist()))}
        return counted


@dataclass(kw_only=True)
class Materials:
    """Reads material when it is asked for, and keeps the last one.

    Attributes:
        folder: holds ``index.csv`` and images.
        records: the images that are used.
        say: told of the reading.
    """

    folder: Path
    records: Sequence[Record]
    say: Say
    _last: tuple[tuple[int, str], Material] | None = field(default=None, init=False)

    def of(self, seed: int, study: Study) -> Material:
        """Return the material of a seed, squared as the study's preprocessing wants it.

        Raises:
            DatasetRefused: the images cannot be read, or are of too few patients.
        """
        squared = replace(study.preprocessing, minmax=True).version
        if self._last is None or self._last[0] != (seed, squared):
            self._last = (seed, squared), self._read(seed, study)
        return self._last[1]

    def _read(self, seed: int, study: Study) -> Material:
        options = SimulationOptions(hospitals=HOSPITALS, seed=seed)
        shares = share_out(self.folder, study, options, self.say, records=self.records)
        test = {
            path
            for hospital, paths in shares.paths.items()
            for path in paths[len(paths) - len(shares.arrays[hospital].part(Part.TEST)) :]
        }
        return Material(
            seed=seed,
            folder=self.folder,
            shares=shares,
            test_records=tuple(record for record in self.records if record.path in test),
        )
