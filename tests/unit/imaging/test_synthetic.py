"""Synthetic smears: repeatable, marked, and with the features that define the cells."""

from pathlib import Path

import numpy as np
import pytest

from core.imaging.datasets import Part, read_index
from core.imaging.synthetic import (
    STYLES,
    CellKind,
    generate_arrays,
    generate_cell,
    generate_cells,
    generate_dataset,
    generate_mixed_dataset,
    paint_cell,
)
from core.studies import LEUKEMIA


def nucleus_share(kind: CellKind, seeds: range = range(12)) -> float:
    """Mean share of a picture that is dark violet."""
    shares = []
    for seed in seeds:
        picture = paint_cell(np.random.default_rng(seed), kind=kind, style=STYLES["north"]).astype(int)
        red, green, blue = picture[..., 0], picture[..., 1], picture[..., 2]
        shares.append(((green < 110) & (blue > green + 25) & (red < 190)).mean())
    return float(np.mean(shares))


@pytest.mark.parametrize("blast", [True, False])
def test_the_same_seed_gives_the_same_picture(blast: bool) -> None:
    one, two, other = (
        generate_cell(np.random.default_rng(seed), blast=blast, style=STYLES["east"]) for seed in (5, 5, 6)
    )
    assert (one.shape, one.dtype) == ((160, 160, 3), np.uint8)
    assert np.array_equal(one, two)
    assert not np.array_equal(one, other)


@pytest.mark.parametrize("side", [64, 96, 320])
def test_any_side_can_be_drawn(side: int) -> None:
    assert generate_cell(np.random.default_rng(0), blast=True, style=STYLES["west"], side=side).shape == (side, side, 3)


def test_blasts_have_larger_nuclei_than_lymphocytes_and_neutrophils() -> None:
    blast = nucleus_share(CellKind.BLAST)
    assert blast > 1.5 * nucleus_share(CellKind.LYMPHOCYTE)
    assert blast > 1.5 * nucleus_share(CellKind.NEUTROPHIL)


def test_only_eosinophils_are_full_of_orange_granules() -> None:
    def orange(kind: CellKind) -> float:
        pictures = [
            paint_cell(np.random.default_rng(s), kind=kind, style=STYLES["north"]).astype(int) for s in range(6)
        ]
        return float(np.mean([(p[60:100, 60:100, 0] - p[60:100, 60:100, 2] > 45).mean() for p in pictures]))

    assert orange(CellKind.EOSINOPHIL) > 5 * max(orange(CellKind.NEUTROPHIL), orange(CellKind.BLAST), 0.01)


def test_laboratories_can_be_told_apart_by_their_glass() -> None:
    glass = {
        slug: np.median(generate_cell(np.random.default_rng(0), blast=False, style=style).reshape(-1, 3), axis=0)
        for slug, style in STYLES.items()
    }
    values = list(glass.values())
    assert min(np.abs(a - b).max() for i, a in enumerate(values) for b in values[:i]) > 6


def test_a_data_set_is_marked_synthetic_and_reads_as_any_other(tmp_path: Path) -> None:
    count = generate_dataset(tmp_path, patients=4, cells_per_patient=3, style=[STYLES["north"], STYLES["west"]], seed=1)
    records = read_index(tmp_path, LEUKEMIA)
    assert count == len(records) == 24
    assert {record.site for record in records} == {"synthetic-north", "synthetic-west"}
    assert len({record.patient for record in records}) == 8
    assert {record.label for record in records} == set(LEUKEMIA.class_names)
    assert all((tmp_path / record.path).stat().st_size > 1000 for record in records)
    assert "synthetic " in (tmp_path / "index.csv").read_text()


@pytest.mark.parametrize("cells", [1, 5, 12, 50, 60])
def test_a_mixed_folder_has_exactly_as_many_cells_as_asked(tmp_path: Path, cells: int) -> None:
    assert generate_mixed_dataset(tmp_path, cells=cells, seed=0) == cells
    records = read_index(tmp_path, LEUKEMIA)
    assert len(records) == cells
    assert len({record.patient for record in records}) == min(cells, 12)


def test_arrays_hold_the_same_cells_and_split_them_by_patient() -> None:
    arrays = generate_arrays(patients=6, cells_per_patient=4, style=STYLES["south"], seed=2)
    cells = list(generate_cells(patients=6, cells_per_patient=4, style=STYLES["south"], seed=2))
    assert len(arrays) == len(cells) == 24
    assert sorted(arrays.patients) == sorted(cell.record.patient for cell in cells)
    assert all(len(arrays.part(part)) for part in Part)
    assert int(arrays.labels.sum()) == sum(cell.record.label_index for cell in cells)


def test_patients_run_from_hardly_any_to_nearly_all_blasts() -> None:
    cells = list(generate_cells(patients=5, cells_per_patient=20, style=STYLES["north"], seed=0, side=32))
    patients = sorted({cell.record.patient for cell in cells})
    shares = sorted(np.mean([c.record.label_index for c in cells if c.record.patient == p]) for p in patients)
    assert shares[0] <= 0.1
    assert shares[-1] >= 0.85
