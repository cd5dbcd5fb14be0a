"""The gate: proper pictures pass, ruined ones are refused with the reason."""

from collections.abc import Callable

import cv2
import numpy as np
import pytest

from core.errors import ImageForeign, ImageNotStained, ImageRefused
from core.imaging.decode import Pixels
from core.imaging.quality import check_quality, measure_quality
from core.imaging.synthetic import STYLES, CellKind, paint_cell
from core.studies import LEUKEMIA, STUDIES
from tests.unit.imaging.pictures import cell

GRAIN = np.random.default_rng(0).integers(0, 256, (160, 160, 3), dtype=np.uint8)
RUINED: dict[str, tuple[Callable[[Pixels], Pixels], str]] = {
    "blank": (lambda picture: np.full_like(picture, 235), "nearly blank"),
    "black": (np.zeros_like, "too dark"),
    "dark": (lambda picture: picture // 4, "too dark"),
    "white": (lambda picture: np.minimum(picture.astype(int) * 2, 255).astype(np.uint8), "overexposed"),
    "blurred": (lambda picture: cv2.GaussianBlur(picture, (0, 0), 3).astype(np.uint8), "out of focus"),
    "grey": (lambda picture: np.repeat(picture[..., 1:2], 3, axis=2), "grey, like an X-ray"),
    "noise": (lambda _: GRAIN, "too grainy"),
    "green": (lambda picture: picture[..., [1, 0, 1]], "no cell nucleus"),
    "tiny": (lambda picture: picture[:50], "160 x 50 pixels; the smaller side must be 64"),
}


@pytest.mark.parametrize("style", STYLES)
@pytest.mark.parametrize("kind", list(CellKind))
def test_a_proper_picture_of_every_kind_and_stain_passes(style: str, kind: CellKind) -> None:
    picture = paint_cell(np.random.default_rng(1), kind=kind, style=STYLES[style])
    check_quality(picture, LEUKEMIA)
    check_quality(cv2.resize(picture, (640, 640), interpolation=cv2.INTER_CUBIC).astype(np.uint8), LEUKEMIA)


@pytest.mark.parametrize("name", RUINED)
@pytest.mark.parametrize("seed", range(3))
def test_a_ruined_picture_is_refused_with_the_reason(name: str, seed: int) -> None:
    ruin, said = RUINED[name]
    with pytest.raises(ImageRefused) as caught:
        check_quality(ruin(cell(seed)), LEUKEMIA)
    assert said in caught.value.detail
    assert isinstance(caught.value, ImageNotStained) == said.startswith(("grey", "no cell nucleus"))


def test_colour_and_brightness_are_asked_for_as_the_study_looks_at_them() -> None:
    grey = np.repeat(cell(0)[..., 1:2], 3, axis=2)
    with pytest.raises(ImageNotStained, match="grey, like an X-ray"):
        check_quality(grey, LEUKEMIA)
    with pytest.raises(ImageForeign):
        check_quality(grey, STUDIES["multimodal"])
    with pytest.raises(ImageRefused, match="too dark"):
        check_quality(grey // 6, STUDIES["multimodal"])


def test_measures_do_not_depend_on_the_size_of_the_upload() -> None:
    small = cell(2)
    large = cv2.resize(small, (800, 800), interpolation=cv2.INTER_NEAREST).astype(np.uint8)
    assert measure_quality(large) == measure_quality(small)
