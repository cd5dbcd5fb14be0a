"""The perceptual distance on pictures of which it is plain which are further apart."""

import cv2
import numpy as np
import pytest

from core.evaluation.attacks.perceptual import apart, looks_of
from core.imaging.synthetic import STYLES, generate_cell

LEVELS = (0.0, 0.02, 0.05, 0.1, 0.2, 0.4)


@pytest.fixture(scope="module")
def cell() -> np.ndarray:
    pixels = generate_cell(np.random.default_rng(0), blast=True, style=STYLES["north"])
    return cv2.resize(pixels, (32, 32), interpolation=cv2.INTER_AREA) / 255


def distances(pictures: list[np.ndarray], true: np.ndarray) -> np.ndarray:
    return apart(looks_of(pictures), looks_of([true] * len(pictures)))


def test_the_same_picture_is_at_no_distance_and_more_noise_or_blur_at_a_larger_one(cell: np.ndarray) -> None:
    noise = np.random.default_rng(1).normal(0, 1, cell.shape)
    noisy = distances([cell + level * noise for level in LEVELS], cell)
    blurred = distances([cell, *(cv2.GaussianBlur(cell, (0, 0), sigma) for sigma in (0.5, 1, 2, 4))], cell)
    for found in (noisy, blurred):
        assert found[0] == pytest.approx(0, abs=1e-12)
        assert (np.diff(found) > 0).all(), found
        assert found[-1] < 4


def test_the_distance_is_the_same_both_ways_and_each_picture_counts_by_itself(cell: np.ndarray) -> None:
    flat = np.broadcast_to(cell.mean(axis=(0, 1)), cell.shape)
    there, back = apart(looks_of([cell, flat]), looks_of([flat, cell]))
    assert there == pytest.approx(back)
    assert there == pytest.approx(distances([flat], cell)[0], rel=1e-5)


def test_another_cell_is_further_than_a_shift_by_one_pixel_though_its_pixels_need_not_be(cell: np.ndarray) -> None:
    other = generate_cell(np.random.default_rng(5), blast=False, style=STYLES["east"])
    another = cv2.resize(other, (32, 32), interpolation=cv2.INTER_AREA) / 255
    shifted, different = distances([np.roll(cell, 1, axis=1), another], cell)
    assert shifted < different
