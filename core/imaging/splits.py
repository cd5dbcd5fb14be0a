"""Which patient goes to which part and to which hospital. A patient is never divided: image-level splits leak."""

from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import Literal

import numpy as np

from core.errors import DatasetRefused
from core.imaging.index import Record

Assignment = Literal["patients", "site", "dirichlet"]
MIN_PATIENTS = 3  # one for each part
DIRICHLET_DRAWS = 1000


class Part(StrEnum):
    """Parts of a data set, in the order in which arrays hold them."""

    TRAINING = "training"
    VALIDATION = "validation"
    TEST = "test"


@dataclass(frozen=True)
class _Patient:
    """All records of one patient, and the share of them that is not of the study's first class."""

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
    patients = _patients(records)
    if len(patients) < len(wanted):
        raise DatasetRefused(f"{len(patients)} patients cannot be divided into {len(wanted)} parts")
    rng = np.random.default_rng(seed)
    ordered = _by_share(patients, rng)
    mean = len(records) / len(patients)
    owed = {part: rng.uniform(0, mean / 2) for part, _ in wanted}
    taken: dict[Part, list[_Patient]] = {part: [] for part in Part}
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


def assign_to_hospitals(
    records: Sequence[Record], hospitals: int, *, how: Assignment = "patients", alpha: float = 0.5, seed: int
) -> list[list[Record]]:
    """Give each patient to one hospital.

    Args:
        records: of many patients.
        hospitals: how many hospitals there are.
        how: ``patients`` deals patients out alike (as IID as whole patients allow); ``site`` keeps sites together;
            ``dirichlet`` makes hospitals differ in their mix of classes (Hsu et al. 2019, over whole patients).
        alpha: concentration for ``dirichlet``; small values differ more.
        seed: fixes the assignment.

    Returns:
        One list of records per hospital, each of at least three patients.

    Raises:
        DatasetRefused: too few patients, or fewer sites than hospitals.
        ValueError: `hospitals` or `alpha` is not positive.
    """
    if hospitals < 1 or alpha <= 0:
        raise ValueError(f"expected positive hospitals and alpha, got {hospitals} and {alpha}")
    patients = _patients(records)
    if len(patients) < MIN_PATIENTS * hospitals:
        raise DatasetRefused(
            f"{len(patients)} patients are too few for {hospitals} hospitals of {MIN_PATIENTS} or more"
        )
    rng = np.random.default_rng(seed)
    if how == "site":
        groups = _deal_sites(patients, hospitals)
    elif how == "dirichlet":
        groups = _deal_dirichlet(patients, hospitals, alpha, rng)
    else:
        groups = _deal_alike(patients, hospitals, rng)
    return [[record for patient in group for record in patient.records] for group in groups]


def _patients(records: Sequence[Record]) -> list[_Patient]:
    """Group records by patient, in order of first appearance."""
    grouped: dict[str, list[Record]] = defaultdict(list)
    for record in records:
        grouped[record.patient].append(record)
    return [
        _Patient(name, own[0].site, tuple(own), sum(record.label_index > 0 for record in own) / len(own))
        for name, own in grouped.items()
    ]


def _by_share(patients: list[_Patient], rng: np.random.Generator) -> list[_Patient]:
    """Order patients by their share, loosely: the noise lets neighbours change places."""
    rank = np.argsort(np.argsort([patient.share for patient in patients], kind="stable"), kind="stable")
    rough = rank + rng.uniform(0, 3, len(patients))
    return [patients[i] for i in np.argsort(rough, kind="stable")]


def _deal_alike(patients: list[_Patient], hospitals: int, rng: np.random.Generator) -> list[list[_Patient]]:
    """Deal patients in order of share, each block of as many patients as hospitals: most images to the poorest."""
    groups: list[list[_Patient]] = [[] for _ in range(hospitals)]
    images = np.zeros(hospitals)
    ordered = _by_share(patients, rng)
    for start in range(0, len(ordered), hospitals):
        block = sorted(ordered[start : start + hospitals], key=lambda patient: -len(patient.records))
        poorest = np.argsort(images + rng.uniform(0, 0.5, hospitals), kind="stable")
        for patient, hospital in zip(block, poorest, strict=False):
            groups[hospital].append(patient)
            images[hospital] += len(patient.records)
    return groups


def _deal_sites(patients: list[_Patient], hospitals: int) -> list[list[_Patient]]:
    """Keep sites together, the largest first to the hospital with the fewest images."""
    sites: dict[str, list[_Patient]] = defaultdict(list)
    for patient in patients:
        sites[patient.site].append(patient)
    if len(sites) < hospitals:
        raise DatasetRefused(f"{len(sites)} sites cannot be given to {hospitals} hospitals; assign by patients instead")
    sizes = {site: sum(len(patient.records) for patient in own) for site, own in sites.items()}
    groups: list[list[_Patient]] = [[] for _ in range(hospitals)]
    images = [0] * hospitals
    for site in sorted(sites, key=lambda name: (-sizes[name], name)):
        poorest = images.index(min(images))
        groups[poorest].extend(sites[site])
        images[poorest] += sizes[site]
    if min(len(group) for group in groups) < MIN_PATIENTS:
        raise DatasetRefused(f"a hospital would hold fewer than {MIN_PATIENTS} patients; assign by patients instead")
    return groups


def _deal_dirichlet(
    patients: list[_Patient], hospitals: int, alpha: float, rng: np.random.Generator
) -> list[list[_Patient]]:
    """Draw each hospital's portion of the mostly-normal and of the mostly-positive patients from Dirichlet(alpha).

    A draw that leaves a hospital with fewer than three patients is drawn again; when none fits, hospitals that are
    short are topped up from the largest.
    """
    strata = [[p for p in patients if p.share < 0.5], [p for p in patients if p.share >= 0.5]]  # noqa: PLR2004
    groups: list[list[_Patient]] = []
    for _ in range(DIRICHLET_DRAWS):
        groups = [[] for _ in range(hospitals)]
        for stratum in strata:
            shuffled = [stratum[i] for i in rng.permutation(len(stratum))]
            ends = np.rint(np.cumsum(rng.dirichlet([alpha] * hospitals)) * len(stratum)).astype(int)
            for hospital, (start, end) in enumerate(zip([0, *ends[:-1]], ends, strict=True)):
                groups[hospital].extend(shuffled[start:end])
        if min(len(group) for group in groups) >= MIN_PATIENTS:
            return groups
    for group in groups:
        while len(group) < MIN_PATIENTS:
            group.append(max(groups, key=len).pop())
    return groups
