"""Which patient goes to which hospital: alike, by site, by mix of classes, by number, by stain. Patients stay whole."""

from collections import defaultdict
from collections.abc import Mapping, Sequence
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from core.errors import DatasetRefused
from core.imaging.index import Record
from core.imaging.splits import Patient, by_share, patients_of

Assignment = Literal["patients", "site", "dirichlet", "quantity", "stain"]
MIN_PATIENTS = 3
"""One for each part of a hospital's split."""
_DIRICHLET_DRAWS = 1000
_NO_STAINS: Mapping[str, float] = {}


def assign_to_hospitals(
    records: Sequence[Record],
    hospitals: int,
    *,
    how: Assignment = "patients",
    alpha: float = 0.5,
    seed: int,
    stains: Mapping[str, float] = _NO_STAINS,
) -> list[list[Record]]:
    """Give each patient to one hospital.

    Args:
        records: of many patients.
        hospitals: how many hospitals there are.
        how: ``patients`` deals patients out alike (as IID as whole patients allow); ``site`` keeps sites together;
            ``dirichlet`` makes hospitals differ in their mix of classes (Hsu et al. 2019, over whole patients);
            ``quantity`` makes them differ in their number of patients and not in the mix (Li et al. 2022, section 4.3);
            ``stain`` gives each hospital its own range of stain colours.
        alpha: concentration for ``dirichlet`` and ``quantity``; small values differ more.
        seed: fixes the assignment.
        stains: patient -> stain (`core.imaging.stain.patient_stains`); for ``stain``.

    Returns:
        One list of records per hospital, each of at least three patients.

    Raises:
        DatasetRefused: too few patients, or fewer sites than hospitals.
        ValueError: `hospitals` or `alpha` is not positive, or a patient's stain is missing.
    """
    if hospitals < 1 or alpha <= 0:
        raise ValueError(f"expected positive hospitals and alpha, got {hospitals} and {alpha}")
    patients = patients_of(records)
    if len(patients) < MIN_PATIENTS * hospitals:
        raise DatasetRefused(
            f"{len(patients)} patients are too few for {hospitals} hospitals of {MIN_PATIENTS} or more"
        )
    rng = np.random.default_rng(seed)
    if how == "site":
        groups = _deal_sites(patients, hospitals)
    elif how == "dirichlet":
        groups = _deal_dirichlet(patients, hospitals, alpha, rng)
    elif how == "quantity":
        groups = _deal_quantities(patients, hospitals, alpha, rng)
    elif how == "stain":
        groups = _deal_stains(patients, hospitals, stains, rng)
    else:
        groups = _deal_alike(patients, hospitals, rng)
    return [[record for patient in group for record in patient.records] for group in groups]


def _deal_alike(patients: list[Patient], hospitals: int, rng: np.random.Generator) -> list[list[Patient]]:
    """Deal patients in order of share, each block of as many patients as hospitals: most images to the poorest."""
    groups: list[list[Patient]] = [[] for _ in range(hospitals)]
    images = np.zeros(hospitals)
    ordered = by_share(patients, rng)
    for start in range(0, len(ordered), hospitals):
        block = sorted(ordered[start : start + hospitals], key=lambda patient: -len(patient.records))
        poorest = np.argsort(images + rng.uniform(0, 0.5, hospitals), kind="stable")
        for patient, hospital in zip(block, poorest, strict=False):
            groups[hospital].append(patient)
            images[hospital] += len(patient.records)
    return groups


def _deal_sites(patients: list[Patient], hospitals: int) -> list[list[Patient]]:
    """Keep sites together, the largest first to the hospital with the fewest images."""
    sites: dict[str, list[Patient]] = defaultdict(list)
    for patient in patients:
        sites[patient.site].append(patient)
    if len(sites) < hospitals:
        raise DatasetRefused(f"{len(sites)} sites cannot be given to {hospitals} hospitals; assign by patients instead")
    sizes = {site: sum(len(patient.records) for patient in own) for site, own in sites.items()}
    groups: list[list[Patient]] = [[] for _ in range(hospitals)]
    images = [0] * hospitals
    for site in sorted(sites, key=lambda name: (-sizes[name], name)):
        poorest = images.index(min(images))
        groups[poorest].extend(sites[site])
        images[poorest] += sizes[site]
    if min(len(group) for group in groups) < MIN_PATIENTS:
        raise DatasetRefused(f"a hospital would hold fewer than {MIN_PATIENTS} patients; assign by patients instead")
    return groups


def _deal_dirichlet(
    patients: list[Patient], hospitals: int, alpha: float, rng: np.random.Generator
) -> list[list[Patient]]:
    """Draw each hospital's portion of the mostly-normal and of the mostly-positive patients from Dirichlet(alpha).

    A draw that leaves a hospital with fewer than three patients is drawn again; when none fits, hospitals that are
    short are topped up from the largest.
    """
    strata = [[p for p in patients if p.share < 0.5], [p for p in patients if p.share >= 0.5]]  # noqa: PLR2004
    groups: list[list[Patient]] = []
    for _ in range(_DIRICHLET_DRAWS):
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


def _deal_quantities(
    patients: list[Patient], hospitals: int, alpha: float, rng: np.random.Generator
) -> list[list[Patient]]:
    """Draw the numbers of patients above the minimum from Dirichlet(alpha); deal patients in order of share.

    Each patient goes to the hospital that lacks most of its number so far, so that all mixes of classes stay alike.
    """
    spare = len(patients) - MIN_PATIENTS * hospitals
    counts = MIN_PATIENTS + _whole(rng.dirichlet([alpha] * hospitals) * spare, spare)
    groups: list[list[Patient]] = [[] for _ in range(hospitals)]
    owed = rng.uniform(0, 0.5, hospitals)
    for patient in by_share(patients, rng):
        owed += counts / len(patients)
        open_ones = [number for number in range(hospitals) if len(groups[number]) < counts[number]]
        hospital = max(open_ones, key=lambda number: owed[number])
        owed[hospital] -= 1
        groups[hospital].append(patient)
    return groups


def _whole(shares: NDArray[np.float64], total: int) -> NDArray[np.int64]:
    """Round shares that add up to `total` to whole numbers that do: the largest remainders are rounded up."""
    floors = np.floor(shares).astype(np.int64)
    short = max(total - int(floors.sum()), 0)
    floors[np.argsort(floors - shares, kind="stable")[:short]] += 1
    return floors


def _deal_stains(
    patients: list[Patient], hospitals: int, stains: Mapping[str, float], rng: np.random.Generator
) -> list[list[Patient]]:
    """Cut the patients, in order of stain, into as many stretches of about equally many images as hospitals.

    Which hospital gets which stretch, and the order of equal stains, is the seed's.
    """
    if missing := sum(patient.name not in stains for patient in patients):
        raise ValueError(f"the stain of {missing} patients is missing")
    shuffled = [patients[i] for i in rng.permutation(len(patients))]
    left = sorted(shuffled, key=lambda patient: stains[patient.name])
    stretches: list[list[Patient]] = []
    for number in range(hospitals, 1, -1):
        wanted = sum(len(patient.records) for patient in left) / number
        ends = np.cumsum([len(patient.records) for patient in left])
        best = 1 + int(np.abs(ends - wanted).argmin())
        end = min(max(best, MIN_PATIENTS), len(left) - MIN_PATIENTS * (number - 1))
        stretches.append(left[:end])
        left = left[end:]
    stretches.append(left)
    return [stretches[i] for i in rng.permutation(hospitals)]
