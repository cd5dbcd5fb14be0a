"""Parts: patients stay whole, and every part is like the whole."""

from collections.abc import Sequence

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from core.errors import DatasetRefused
from core.imaging.datasets import Part, Record, split_by_patient


def records_of(sizes: Sequence[int], shares: Sequence[float], sites: int = 1) -> list[Record]:
    """Patients of these sizes with these shares of positives, spread over sites."""
    return [
        Record(
            f"{patient}/{number}.png",
            "",
            int(number < round(share * size)),
            "SMEAR",
            f"site{patient % sites}",
            f"p{patient}",
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
