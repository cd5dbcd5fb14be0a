"""One way from pixels to network input."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from core.imaging.preprocess import (
    DEFAULT,
    apply_bilateral,
    apply_clahe,
    apply_guided,
    normalise,
    preprocess,
    square_window,
)
from core.studies import Preprocessing, StainNormalisation
from tests.unit.imaging.pictures import cell


@given(arrays(np.uint8, st.tuples(st.integers(1, 3), st.just(4), st.just(4), st.just(3))))
def test_each_image_is_stretched_to_zero_and_one_over_all_its_channels(batch: np.ndarray) -> None:
    result = normalise(batch)
    assert result.dtype == np.float32
    for image, stretched in zip(batch.astype(float), result, strict=True):
        span = image.max() - image.min()
        expected = (image - image.min()) / span if span else np.zeros_like(image)
        assert np.allclose(stretched, expected, atol=1e-6)


def test_without_min_max_values_keep_their_place_between_black_and_white() -> None:
    batch = np.full((1, 2, 2, 3), 51, np.uint8)
    batch[0, 0, 0] = 102
    plain = normalise(batch, Preprocessing(minmax=False))
    assert plain.dtype == np.float32
    assert plain.min() == pytest.approx(0.2)
    assert plain.max() == pytest.approx(0.4)
    assert (normalise(batch).min(), normalise(batch).max()) == (0.0, 1.0)


def test_an_image_of_the_batch_is_not_changed_by_its_neighbours() -> None:
    one, two = cell(1, side=32), cell(2, side=32) // 2
    assert np.array_equal(normalise(np.stack([one, two]))[0], normalise(one[None])[0])


@given(st.integers(1, 90), st.integers(1, 90))
def test_the_centred_square_is_what_the_network_sees(height: int, width: int) -> None:
    top, left, side = square_window(height, width)
    assert side == min(height, width)
    assert abs((height - side) - 2 * top) <= 1
    assert abs((width - side) - 2 * left) <= 1
    assert preprocess(np.zeros((height, width, 3), np.uint8), 16).shape == (16, 16, 3)


def test_a_wide_picture_loses_its_sides_and_is_not_squashed() -> None:
    square = cell(3)
    wide = np.hstack([np.zeros((160, 40, 3), np.uint8), square, np.zeros((160, 40, 3), np.uint8)])
    assert np.array_equal(preprocess(wide, 96), preprocess(square, 96))


def test_a_picture_of_the_right_size_passes_unchanged() -> None:
    square = cell(4, side=96)
    assert np.array_equal(preprocess(square, 96), square)


@pytest.mark.parametrize("enhance", [apply_clahe, apply_bilateral, apply_guided])
def test_enhancement_changes_values_but_neither_shape_nor_type(enhance: object) -> None:
    square = cell(5, side=96)
    result = enhance(square)  # type: ignore[operator]
    assert (result.shape, result.dtype) == (square.shape, square.dtype)
    assert not np.array_equal(result, square)


def test_clahe_raises_contrast_and_bilateral_lowers_noise() -> None:
    square = cell(6, side=96)
    assert apply_clahe(square).std() > square.std()
    flat = np.full((96, 96, 3), 128, np.uint8) + np.random.default_rng(0).integers(0, 9, (96, 96, 3), dtype=np.uint8)
    assert apply_bilateral(flat).std() < flat.std()
    assert apply_guided(flat).std() < flat.std()


def test_the_guided_filter_keeps_a_step_and_takes_the_noise_beside_it() -> None:
    step = np.zeros((64, 64, 3), np.float32) + 60
    step[:, 32:] = 190
    noisy = np.clip(step + np.random.default_rng(0).normal(0, 4, step.shape), 0, 255).astype(np.uint8)
    result = apply_guided(noisy).astype(float)
    assert abs(result - step)[:, :28].mean() < abs(noisy.astype(float) - step)[:, :28].mean()
    assert result[:, 33:35].mean() - result[:, 29:31].mean() > 115


def test_every_choice_has_a_name_of_its_own() -> None:
    choices = [
        DEFAULT,
        Preprocessing(minmax=False),
        Preprocessing(clahe=True),
        Preprocessing(clahe=True, clip_limit=3),
        Preprocessing(bilateral=True),
        Preprocessing(guided=True),
        Preprocessing(guided=True, guided_radius=4),
        Preprocessing(stain=StainNormalisation.REINHARD),
        Preprocessing(stain=StainNormalisation.MACENKO),
    ]
    assert len({choice.version for choice in choices}) == len(choices)
