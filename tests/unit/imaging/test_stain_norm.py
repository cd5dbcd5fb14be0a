"""Stains are brought to one reference; what has no stain stays as it is."""

import numpy as np
import pytest

from core.imaging.stain_norm import (
    REFERENCE_DYES,
    REFERENCE_MEAN,
    measure_macenko,
    measure_reinhard,
    normalise_stain,
)
from core.studies import StainNormalisation
from tests.unit.imaging.pictures import cell

HOWS = (StainNormalisation.REINHARD, StainNormalisation.MACENKO)
BLANK = np.full((96, 96, 3), 240, np.uint8)


@pytest.mark.parametrize("how", HOWS)
def test_cells_of_laboratories_with_other_stains_come_closer_together(how: StainNormalisation) -> None:
    one, two = (cell(3, style=style).astype(np.uint8) for style in ("north", "west"))
    before = abs(one.mean(axis=(0, 1)) - two.mean(axis=(0, 1))).sum()
    after = [normalise_stain(picture, how).mean(axis=(0, 1)) for picture in (one, two)]
    assert abs(after[0] - after[1]).sum() < before


@pytest.mark.parametrize("how", HOWS)
@pytest.mark.parametrize("picture", [BLANK, np.zeros_like(BLANK), BLANK[:1, :1]], ids=["glass", "black", "one pixel"])
def test_a_picture_without_stain_stays_as_it_is(how: StainNormalisation, picture: np.ndarray) -> None:
    assert np.array_equal(normalise_stain(picture, how), picture)


@pytest.mark.parametrize("how", HOWS)
@pytest.mark.parametrize("seed", range(5))
def test_nothing_breaks_on_noise_and_the_same_pixels_give_the_same_pixels(how: StainNormalisation, seed: int) -> None:
    noise = np.random.default_rng(seed).integers(0, 256, (40, 50, 3), dtype=np.uint8)
    first = normalise_stain(noise.copy(), how)
    assert (first.shape, first.dtype) == (noise.shape, np.uint8)
    assert np.array_equal(first, normalise_stain(noise.copy(), how))


def test_none_changes_nothing() -> None:
    picture = cell(1)
    assert np.array_equal(normalise_stain(picture, StainNormalisation.NONE), picture)


def test_after_reinhard_the_stained_pixels_have_the_references_mean() -> None:
    found = measure_reinhard(normalise_stain(cell(2, style="south"), StainNormalisation.REINHARD))
    assert found is not None
    assert found[0] == pytest.approx(REFERENCE_MEAN, abs=14)


def test_two_dyes_that_were_mixed_are_found_again() -> None:
    rng = np.random.default_rng(0)
    amounts = np.where(rng.random((160, 160, 1)) < 0.5, [1.2, 0.05], [0.05, 0.9]) * rng.uniform(0.5, 1, (160, 160, 1))
    amounts[:20] = 0
    picture = np.rint(255 * np.exp(-(amounts @ REFERENCE_DYES))).astype(np.uint8)
    found = measure_macenko(picture)
    assert found is not None
    cosines = (found[0] * REFERENCE_DYES / np.linalg.norm(REFERENCE_DYES, axis=1, keepdims=True)).sum(axis=1)
    assert cosines == pytest.approx([1, 1], abs=0.01)
