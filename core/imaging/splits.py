"""Which patient goes to which part. A patient is never divided: image-level splits leak."""

from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass
from enum import StrEnum

import numpy as np

from core.errors import DatasetRefused
from core.imaging.index import Record


class Part(StrEnum):
    """Parts of a data set, in the order in which arrays hold them."""

    TRAINING = "training"
    VALIDATION = "validation"
    TEST = "test"


@dataclass(frozen=True)
class Patient:
    """All records of one patient.

    Attributes:
        name: pseudonym.
        site: where the images were made.
        records: at least one.
        share: share of the records that is not of the study's first class.
    """

    name: str
    site: str
    records: tuple[Record, ...]
    share: float


def split_by_patient(
    records: Sequence[Record], *, fractions: tuple[float, float, float] = (0.70, 0.15, 0.15), seed: int
) -> dict[Part, list[Record]]:
    """Divide patients into training, validation and test, alike in their share of positives.

    Patients are walked in order of that share (ties and near neighbours shuffled by `seed`); each goes to the part
    that lacks most images, so that every part holds patients from the whole range. With at least three patients no
    part that has a fraction stays empty.

    Args:
        records: of one or more patients.
        fractions: wanted share of images of each part; they add up to 1.
        seed: fixes the split.

    Raises:
        DatasetRefused: fewer patients than parts.
        ValueError: `fractions` are negative or do not add up to 1.
    """
    if min(fractions) < 0 or abs(sum(fractions) - 1) > 1e-6:  # noqa: PLR2004 - rounding of decimal fractions
        raise ValueError(f"expected fractions that add up to 1, got {fractions}")
    wanted = [(part, fraction) for part, fraction in zip(Part, fractions, strict=True) if fraction > 0]
    patients = patients_of(records)
    if len(patients) < len(wanted):
        raise DatasetRefused(f"{len(patients)} patients cannot be divided into {len(wanted)} parts")
    rng = np.random.default_rng(seed)
    ordered = by_share(patients, rng)
    mean = len(records) / len(patients)
    owed = {part: rng.uniform(0, mean / 2) for part, _ in wanted}
    taken: dict[Part, list[Patient]] = {part: [] for part in Part}
    for patient in ordered:
        for part, fraction in wanted:
            owed[part] += fraction * len(patient.records)
        part = max(owed, key=lambda key: owed[key])
        owed[part] -= len(patient.records)
        taken[part].append(patient)
    for part, _ in wanted:
        if not taken[part]:
            donor = max(taken, key=lambda key: len(taken[key]))
            taken[part].append(taken[donor].pop(int(rng.integers(len(taken[donor])))))
    return {part: [record for patient in taken[part] for record in patient.records] for part in Part}


def patients_of(records: Sequence[Record]) -> list[Patient]:
    """Group records by patient, in order of first appearance."""
    grouped: dict[str, list[Record]] = defaultdict(list)
    for record in records:
        grouped[record.patient].append(record)
    return [
        Patient(name, own[0].site, tuple(own), sum(record.label_index > 0 for record in own) / len(own))
        for name, own in grouped.items()
    ]


def by_share(patients: list[Patient], rng: np.random.Generator) -> list[Patient]:
    """Order patients by their share, loosely: the noise lets neighbours change places."""
    rank = np.argsort(np.argsort([patient.share for patient in patients], kind="stable"), kind="stable")
    rough = rank + rng.uniform(0, 3, len(patients))
    return [patients[i] for i in np.argsort(rough, kind="stable")]
