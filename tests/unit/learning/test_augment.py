"""Changed training images: only what a microscope or a scanner could have made, the same again for the same seed."""

from dataclasses import replace

import numpy as np
import pytest

from core.learning.augment import CHANGES, HED, augmented, move, recolour, recontrast, restain
from core.studies.study import Subject

SIDE = 48


@pytest.fixture
def cells() -> np.ndarray:
    """Coloured noise in blocks, with one corner marked."""
    rng = np.random.default_rng(0)
    images = np.repeat(np.repeat(rng.integers(60, 240, (16, 12, 12, 3), np.uint8), 4, 1), 4, 2)
    images[:, :8, :8] = 20
    return images


def marked_corner(image: np.ndarray) -> tuple[int, int]:
    """Row and column (0 or 1) of the darkest corner."""
    corners = image[[[4, 4], [-5, -5]], [[4, -5], [4, -5]]].mean(-1)
    row, column = np.unravel_index(corners.argmin(), (2, 2))
    return int(row), int(column)


@pytest.mark.parametrize("subject", list(Subject))
def test_the_same_seed_changes_images_in_the_same_way(cells: np.ndarray, subject: Subject) -> None:
    before = cells.copy()
    first, again, other = (augmented(cells, subject, np.random.default_rng(seed)) for seed in (1, 1, 2))
    np.testing.assert_array_equal(first, again)
    assert not np.array_equal(first, other)
    np.testing.assert_array_equal(cells, before)
    assert first.dtype == np.uint8


def test_sharp_moves_of_a_smear_only_move_pixels(cells: np.ndarray) -> None:
    changes = replace(CHANGES[Subject.CELL], sharp=1.0)
    moved = move(cells, changes, np.random.default_rng(0))
    assert {marked_corner(image) for image in moved} == {(0, 0), (0, 1), (1, 0), (1, 1)}
    for before, after in zip(cells, moved, strict=True):
        assert sorted(map(tuple, before.reshape(-1, 3))) == sorted(map(tuple, after.reshape(-1, 3)))


def test_a_scan_is_never_upside_down_nor_turned_far(cells: np.ndarray) -> None:
    assert CHANGES[Subject.SCAN].degrees <= 15
    sides = set()
    for image in move(cells, CHANGES[Subject.SCAN], np.random.default_rng(0)):
        rows, columns = np.nonzero(image.max(-1) < 40)  # the mark, or what is left of it in the picture
        assert rows.mean() < SIDE / 3
        sides.add(columns.mean() < SIDE / 2)
    assert sides == {True, False}


def test_no_change_of_stain_lamp_and_contrast_leaves_the_pixels_alone(cells: np.ndarray) -> None:
    nothing = replace(CHANGES[Subject.CELL], stain=0.0, lamp=0.0, contrast=0.0, camera=0.0)
    for change in (restain, recontrast):
        same = change(cells, nothing, np.random.default_rng(0)).astype(int)
        assert np.abs(same - cells).max() <= 1


def test_more_haematoxylin_darkens_what_it_stains_and_leaves_white_white() -> None:
    density = HED[0] / np.linalg.norm(HED[0])
    stained = np.rint(256 * np.exp(-density * 0.8) - 1).astype(np.uint8)
    images = np.full((64, 8, 8, 3), 255, np.uint8)
    images[:, :4] = stained
    only_stain = replace(CHANGES[Subject.CELL], lamp=0.0, contrast=0.0, camera=0.0, stain=0.3)
    changed = restain(images, only_stain, np.random.default_rng(0)).astype(float)
    assert changed[:, 4:].min() >= 254
    amounts = -np.log((changed[:, 0, 0] + 1) / 256) @ density
    assert amounts.min() < 0.8 * 0.8
    assert amounts.max() > 0.8 * 1.2
    assert amounts.max() < 0.8 * 1.35


def test_another_camera_sees_white_as_white_and_grey_with_a_tint() -> None:
    images = np.full((64, 8, 8, 3), 255, np.uint8)
    images[:, :4] = 90
    only_camera = replace(CHANGES[Subject.CELL], stain=0.0, lamp=0.0, contrast=0.0, camera=0.2)
    changed = restain(images, only_camera, np.random.default_rng(0)).astype(int)
    assert changed[:, 4:].min() >= 254
    assert np.ptp(changed[:, 0, 0], axis=1).max() > 20
    assert abs(changed[:, 0, 0].mean() - 90) < 8  # of many cameras none is favoured


def test_contrast_keeps_the_order_of_grey_values() -> None:
    ramp = np.broadcast_to(np.arange(256, dtype=np.uint8)[None, :, None, None], (8, 256, 1, 3))
    changed = recontrast(np.ascontiguousarray(ramp), CHANGES[Subject.SCAN], np.random.default_rng(0)).astype(int)
    assert (np.diff(changed, axis=1) >= 0).all()
    assert (changed[:, [0, 255]] == np.array([0, 255])[:, None, None]).all()
    assert len(np.unique(changed[:, 128, 0, 0])) > 4


def test_recolouring_stays_in_range() -> None:
    batch = np.random.default_rng(0).random((16, 8, 8, 3), np.float32)
    before = batch.copy()
    recolour(batch, np.random.default_rng(1))
    assert 0 <= batch.min() < batch.max() <= 1
    assert not np.array_equal(batch, before)
