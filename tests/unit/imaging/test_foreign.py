"""What a picture shows: cells and fields are known in every stain; what is no smear is like nothing known."""

from collections.abc import Callable

import cv2
import numpy as np
import pytest

from core.errors import ImageForeign, ImageRefused
from core.imaging.decode import Pixels
from core.imaging.foreign import densities, likeness, looks_like
from core.imaging.looks import NAMES, SIDE, measure_looks
from core.imaging.quality import check_quality
from core.imaging.smear.recipes import CellKind
from core.imaging.synthetic import STYLES
from core.imaging.synthetic_field import generate_field
from core.studies import LEUKEMIA, STUDIES, Subject
from tests.unit.imaging.pictures import cell

SMOOTH = cv2.GaussianBlur(np.random.default_rng(0).normal(0, 1, (200, 200)), (0, 0), 12)


def smudge() -> Pixels:
    """A cloud of violet dye on glass."""
    cloud = np.clip((SMOOTH - SMOOTH.min()) / np.ptp(SMOOTH) * 1.6 - 0.6, 0, 1)[..., None]
    return np.clip([238, 230, 220] * np.exp(-cloud * [0.6, 1.0, 0.2]), 0, 255).astype(np.uint8)


def page() -> Pixels:
    """Text on white."""
    sheet = np.full((224, 224, 3), 248, np.uint8)
    for y in range(16, 220, 16):
        cv2.putText(sheet, "the quick brown fox jumps over", (4, y), cv2.FONT_HERSHEY_SIMPLEX, 0.42, (30, 30, 40), 1)
    return sheet


def stripes() -> Pixels:
    """Violet and cream stripes."""
    stripe = (np.arange(200) // 12 % 2)[None, :, None]
    return np.broadcast_to(np.where(stripe == 0, [120, 60, 160], [250, 235, 215]), (200, 200, 3)).astype(np.uint8)


def drawing() -> Pixels:
    """Discs in colour."""
    sheet = np.full((200, 200, 3), 250, np.uint8)
    for x, colour in ((50, (200, 30, 30)), (100, (30, 160, 40)), (150, (90, 30, 150))):
        cv2.circle(sheet, (x, x), 30, colour, -1)
    return sheet


FOREIGN: dict[str, Callable[[], Pixels]] = {
    "blank": lambda: np.full((200, 200, 3), (240, 232, 224), np.uint8),
    "smudge": smudge,
    "page": page,
    "stripes": stripes,
    "drawing": drawing,
    "noise": lambda: np.random.default_rng(1).integers(0, 256, (200, 200, 3), dtype=np.uint8),
}


@pytest.mark.parametrize("study", STUDIES)
@pytest.mark.parametrize("name", FOREIGN)
def test_what_no_study_looks_at_is_refused_by_each(name: str, study: str) -> None:
    with pytest.raises(ImageRefused):
        check_quality(FOREIGN[name](), STUDIES[study])
    assert looks_like(FOREIGN[name]()) is None


@pytest.mark.parametrize("style", STYLES)
@pytest.mark.parametrize("seed", range(3))
def test_a_cell_looks_like_a_cell_in_every_stain(style: str, seed: int) -> None:
    assert looks_like(cell(seed, blast=seed % 2 == 0, style=style)) is Subject.CELL


@pytest.mark.parametrize("style", STYLES)
def test_a_field_looks_like_a_field_and_is_taken_by_studies_of_cells(style: str) -> None:
    drawn = generate_field(
        np.random.default_rng(2), kinds=tuple(CellKind) * 2, style=STYLES[style], height=480, width=640
    )
    assert looks_like(drawn.pixels) is Subject.FIELD
    check_quality(drawn.pixels, LEUKEMIA)


def test_a_single_cell_is_refused_where_a_field_is_judged_and_where_a_scan_is() -> None:
    with pytest.raises(ImageForeign, match="looks like one stained white cell"):
        check_quality(cell(1), STUDIES["leukemia_subtypes"])
    with pytest.raises(ImageForeign, match="the study looks at a grey scan"):
        check_quality(cell(1), STUDIES["multimodal"])


def test_the_file_fits_the_looks_and_names_no_picture() -> None:
    for kind, density in densities().items():
        assert density.centres.shape == (len(density.source_of), len(density.columns))
        assert density.columns.max() < len(NAMES)
        assert (density.bounds > 0).all()
        assert {subject is Subject.SCAN for subject in density.subjects} == {kind == "scan"}


@pytest.mark.parametrize("value", [0, 128, 255])
def test_looks_are_finite_on_pictures_of_one_value_and_the_same_every_time(value: int) -> None:
    flat = np.full((SIDE, SIDE, 3), value, np.uint8)
    assert np.isfinite(measure_looks(flat)).all()
    assert np.array_equal(measure_looks(flat), measure_looks(flat.copy()))


def test_likeness_does_not_depend_on_the_size_of_the_upload() -> None:
    small = cell(2)
    large = np.asarray(cv2.resize(small, (800, 800), interpolation=cv2.INTER_NEAREST), np.uint8)
    assert likeness(large).score == pytest.approx(likeness(small).score, rel=1e-4)
