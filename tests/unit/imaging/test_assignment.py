"""Hospitals: patients stay whole, and hospitals are as alike or as different as was asked."""

import itertools
from pathlib import Path
from typing import get_args

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from core.errors import DatasetRefused
from core.imaging.datasets import Assignment, Record, assign_to_hospitals, patient_stains
from core.imaging.decode import encode_png
from core.imaging.smear.style import STYLES
from core.imaging.stain import stain_of
from core.imaging.synthetic import generate_cell
from tests.unit.imaging.test_splits import cohort, names, populations, records_of, share

people_of = st.sampled_from([how for how in get_args(Assignment) if how != "site"])


def dealt(records: list[Record], hospitals: int, how: Assignment, seed: int) -> list[list[Record]]:
    stains = {patient: float(np.random.default_rng([seed, n]).normal()) for n, patient in enumerate(names(records))}
    stains = dict(sorted(stains.items()))
    return assign_to_hospitals(records, hospitals, how=how, alpha=0.3, seed=seed, stains=stains)


@given(populations, st.integers(1, 4), people_of, st.integers(0, 2**31))
def test_every_patient_is_at_exactly_one_hospital_and_no_hospital_has_too_few(
    people: list[tuple[int, float]], hospitals: int, how: Assignment, seed: int
) -> None:
    records = records_of([size for size, _ in people], [share for _, share in people])
    if len(people) < 3 * hospitals:
        with pytest.raises(DatasetRefused, match="too few"):
            dealt(records, hospitals, how, seed)
        return
    groups = dealt(records, hospitals, how, seed)
    assert len(groups) == hospitals
    assert min(len(names(group)) for group in groups) >= 3
    assert sum(len(names(group)) for group in groups) == len(people)
    assert sorted(map(id, records)) == sorted(id(record) for group in groups for record in group)
    assert groups == dealt(records, hospitals, how, seed), "a seed fixes the assignment"


def test_dealing_alike_gives_hospitals_like_one_another() -> None:
    groups = assign_to_hospitals(cohort(), 4, how="patients", seed=0)
    assert max(map(len, groups)) < 1.15 * min(map(len, groups))
    assert max(map(share, groups)) - min(map(share, groups)) < 0.12


def test_a_small_alpha_makes_hospitals_differ_more_than_a_large_one() -> None:
    records = cohort(120)

    def spread(alpha: float) -> float:
        seeds = range(8)
        groups = [assign_to_hospitals(records, 4, how="dirichlet", alpha=alpha, seed=seed) for seed in seeds]
        return float(np.mean([np.std([share(group) for group in dealt]) for dealt in groups]))

    assert spread(0.3) > 2 * spread(100.0)


def test_quantity_skew_makes_sizes_differ_and_leaves_the_mix_of_classes_alike() -> None:
    records = cohort(120)
    groups = assign_to_hospitals(records, 4, how="quantity", alpha=0.5, seed=1)
    sizes = sorted(len(names(group)) for group in groups)
    assert sizes[-1] > 3 * sizes[0]
    large = [group for group in groups if len(names(group)) >= 12]
    assert max(map(share, large)) - min(map(share, large)) < 0.12


def test_sites_are_kept_together_and_must_be_enough() -> None:
    groups = assign_to_hospitals(cohort(40, sites=6), 3, how="site", seed=0)
    sites = [{record.site for record in group} for group in groups]
    assert sum(map(len, sites)) == len(set.union(*sites)) == 6
    with pytest.raises(DatasetRefused, match="2 sites cannot be given to 3 hospitals"):
        assign_to_hospitals(cohort(40, sites=2), 3, how="site", seed=0)


@given(populations, st.integers(2, 4), st.integers(0, 2**31))
def test_each_hospital_has_its_own_range_of_stains(people: list[tuple[int, float]], hospitals: int, seed: int) -> None:
    if len(people) < 3 * hospitals:
        return
    records = records_of([size for size, _ in people], [share for _, share in people])
    stains = dict(zip(sorted(names(records)), np.random.default_rng(seed).normal(size=len(people)), strict=True))
    groups = assign_to_hospitals(records, hospitals, how="stain", seed=seed, stains=stains)
    ranges = sorted((min(own), max(own)) for own in ([stains[one] for one in names(group)] for group in groups))
    assert all(before[1] < after[0] for before, after in itertools.pairwise(ranges))


def test_a_patient_without_a_stain_is_a_mistake_of_the_caller() -> None:
    with pytest.raises(ValueError, match="the stain of 12 patients is missing"):
        assign_to_hospitals(cohort(12), 2, how="stain", seed=0)


def test_a_bluer_stain_has_a_higher_number_whatever_the_lamp() -> None:
    white = np.full((40, 40, 3), 250, np.uint8)
    azure, eosin = white.copy(), white.copy()
    azure[10:30, 10:30] = (90, 140, 220)
    eosin[10:30, 10:30] = (220, 120, 150)
    assert stain_of(azure) > stain_of(eosin)
    assert stain_of((azure * 0.7).astype(np.uint8)) == pytest.approx(stain_of(azure), abs=0.03)


def test_patients_of_one_laboratory_have_stains_like_one_another(tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    records = []
    for number, site in enumerate(["north", "south"] * 3):
        for image in range(2):
            path = f"{number}-{image}.png"
            (tmp_path / path).write_bytes(encode_png(generate_cell(rng, blast=False, style=STYLES[site])))
            records.append(Record(path, "normal", 0, "SMEAR", site, f"{site}-{number}"))
    records.append(Record("missing.png", "normal", 0, "SMEAR", "north", "unreadable"))
    stains = patient_stains(records, tmp_path, seed=0)
    assert stains.pop("unreadable") == 0.0
    assert patient_stains(records[:-1], tmp_path, seed=0) == stains
    north = [stain for patient, stain in stains.items() if patient.startswith("north")]
    south = [stain for patient, stain in stains.items() if patient.startswith("south")]
    assert max(north) < min(south) or max(south) < min(north)
