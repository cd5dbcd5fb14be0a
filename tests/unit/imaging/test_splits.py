"""Parts and hospitals: patients stay whole, parts and hospitals are as alike or as different as was asked."""

from collections.abc import Sequence

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from core.errors import DatasetRefused
from core.imaging.datasets import Assignment, Part, Record, assign_to_hospitals, split_by_patient


def records_of(sizes: Sequence[int], shares: Sequence[float], sites: int = 1) -> list[Record]:
    """Patients of these sizes with these shares of positives, spread over sites."""
    return [
        Record(
            f"{patient}/{number}.png", "", int(number < round(share * size)), f"site{patient % sites}", f"p{patient}"
        )
        for patient, (size, share) in enumerate(zip(sizes, shares, strict=True))
        for number in range(size)
    ]


def cohort(patients: int = 80, sites: int = 1, seed: int = 0) -> list[Record]:
    rng = np.random.default_rng(seed)
    return records_of(rng.integers(40, 200, patients).tolist(), rng.random(patients).tolist(), sites)


def share(records: Sequence[Record]) -> float:
    return float(np.mean([record.label_index for record in records]))


def names(records: Sequence[Record]) -> set[str]:
    return {record.patient for record in records}


populations = st.lists(st.tuples(st.integers(1, 9), st.floats(0, 1)), min_size=3, max_size=25)


@given(populations, st.integers(0, 2**31))
def test_no_patient_is_in_two_parts_and_no_record_is_lost(people: list[tuple[int, float]], seed: int) -> None:
    records = records_of([size for size, _ in people], [share for _, share in people])
    parts = split_by_patient(records, seed=seed)
    assert sum(map(len, parts.values())) == len(records)
    assert sum(len(names(part)) for part in parts.values()) == len(people)
    assert all(parts.values())


@pytest.mark.parametrize("seed", range(5))
def test_parts_have_the_wanted_size_and_the_same_share_of_positives(seed: int) -> None:
    records = cohort()
    parts = split_by_patient(records, seed=seed)
    for part, fraction in zip(Part, (0.70, 0.15, 0.15), strict=True):
        assert len(parts[part]) / len(records) == pytest.approx(fraction, abs=0.03)
        assert share(parts[part]) == pytest.approx(share(records), abs=0.12)


def test_a_seed_fixes_the_split_and_another_seed_changes_it() -> None:
    records = cohort()
    assert split_by_patient(records, seed=1) == split_by_patient(records, seed=1)
    assert split_by_patient(records, seed=1) != split_by_patient(records, seed=2)


def test_a_part_without_a_fraction_stays_empty() -> None:
    parts = split_by_patient(cohort(10), fractions=(0.8, 0.2, 0.0), seed=0)
    assert parts[Part.TEST] == []
    assert parts[Part.VALIDATION]


def test_too_few_patients_and_odd_fractions_are_refused() -> None:
    with pytest.raises(DatasetRefused, match="2 patients cannot be divided into 3 parts"):
        split_by_patient(cohort(2), seed=0)
    with pytest.raises(ValueError, match="add up to 1"):
        split_by_patient(cohort(9), fractions=(0.9, 0.2, 0.1), seed=0)


@given(populations, st.integers(1, 4), st.sampled_from(["patients", "dirichlet"]), st.integers(0, 2**31))
def test_no_patient_is_at_two_hospitals(
    people: list[tuple[int, float]], hospitals: int, how: Assignment, seed: int
) -> None:
    records = records_of([size for size, _ in people], [share for _, share in people])
    if len(people) < 3 * hospitals:
        with pytest.raises(DatasetRefused, match="too few"):
            assign_to_hospitals(records, hospitals, how=how, seed=seed)
        return
    groups = assign_to_hospitals(records, hospitals, how=how, alpha=0.3, seed=seed)
    assert len(groups) == hospitals
    assert min(len(names(group)) for group in groups) >= 3
    assert sum(len(names(group)) for group in groups) == len(people)
    assert sum(map(len, groups)) == len(records)


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


def test_sites_are_kept_together_and_must_be_enough() -> None:
    groups = assign_to_hospitals(cohort(40, sites=6), 3, how="site", seed=0)
    sites = [{record.site for record in group} for group in groups]
    assert sum(map(len, sites)) == len(set.union(*sites)) == 6
    with pytest.raises(DatasetRefused, match="2 sites cannot be given to 3 hospitals"):
        assign_to_hospitals(cohort(40, sites=2), 3, how="site", seed=0)
