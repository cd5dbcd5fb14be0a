"""The gate and the reader on real images. They are not part of the project: the folder is named in the environment."""

import os
from pathlib import Path

import numpy as np
import pytest

from core.errors import ImageRefused
from core.imaging.datasets import Part, read_index, split_by_patient
from core.imaging.decode import decode_upload
from core.imaging.quality import check_quality
from core.studies import LEUKEMIA

VARIABLE = "HEMASEAL_TEST_IMAGES"
CELLS = "leukemia_cells"
LIMITS = {"max_bytes": 20 * 2**20, "max_pixels": 40_000_000}
EVERY = 5

IMAGES = Path(os.environ.get(VARIABLE) or "/nowhere")

pytestmark = pytest.mark.images
if not (IMAGES / CELLS / "index.csv").is_file():
    pytest.skip(f"{VARIABLE} names no folder with {CELLS}: tests on real images left out", allow_module_level=True)


def refused_share(paths: list[Path]) -> float:
    """Share of pictures that the gate refuses."""
    refused = 0
    for path in paths:
        try:
            check_quality(decode_upload(path.read_bytes(), **LIMITS).pixels, LEUKEMIA)
        except ImageRefused:
            refused += 1
    return refused / len(paths)


def test_at_most_two_in_a_hundred_real_cells_are_refused() -> None:
    records = read_index(IMAGES / CELLS, LEUKEMIA)[::EVERY]
    assert refused_share([IMAGES / CELLS / record.path for record in records]) <= 0.02


def test_cells_of_another_laboratory_pass_too() -> None:
    paths = sorted((IMAGES / "normal_blood_cells").rglob("*.jpg"))[::EVERY]
    assert refused_share(paths) <= 0.02


def test_scans_of_other_kinds_are_all_refused() -> None:
    paths = sorted((IMAGES / "multimodal").rglob("*.jpg"))[::EVERY]
    assert refused_share(paths) == 1.0


def test_the_split_of_real_patients_is_balanced() -> None:
    records = read_index(IMAGES / CELLS, LEUKEMIA)
    parts = split_by_patient(records, seed=0)
    overall = np.mean([record.label_index for record in records])
    for part in Part:
        assert np.mean([record.label_index for record in parts[part]]) == pytest.approx(overall, abs=0.08)
