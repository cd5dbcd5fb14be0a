"""White cells of a smear field: found, framed, counted once; the same pixels give the same cells."""

import numpy as np
import pytest

from core.imaging.cells import FRAME, CellBox, CellsFound, crop, find_cells
from core.imaging.smear.recipes import CellKind
from core.imaging.smear.style import STYLES
from core.imaging.synthetic import paint_cell
from core.imaging.synthetic_field import DrawnField, generate_field

EVERY_KIND = tuple(CellKind)


def field(
    seed: int = 1, *, kinds: tuple[CellKind, ...] = EVERY_KIND, style: str = "north", zoom: float = 1.0, **other: float
) -> DrawnField:
    return generate_field(
        np.random.default_rng(seed),
        kinds=kinds,
        style=STYLES[style],
        height=round(480 * zoom),
        width=round(640 * zoom),
        zoom=zoom,
        **other,
    )


def found(drawn: DrawnField, answer: CellsFound) -> int:
    """Cells with a box whose centre lies within half their radius."""
    return sum(
        any(np.hypot(box.x - cell.x, box.y - cell.y) <= cell.radius / 2 for box in answer.cells) for cell in drawn.cells
    )


@pytest.mark.parametrize("style", STYLES)
@pytest.mark.parametrize("zoom", [0.5, 1.0, 2.0])
def test_every_cell_of_a_field_is_found_once_at_any_scale_in_any_stain(style: str, zoom: float) -> None:
    drawn = field(style=style, zoom=zoom, touching=0.0)
    answer = find_cells(drawn.pixels)
    assert answer.is_field
    assert found(drawn, answer) == len(answer.cells) == answer.total == len(EVERY_KIND)


def test_crops_are_framed_as_pictures_of_single_cells_whatever_the_scale() -> None:
    small, large = (find_cells(field(zoom=zoom).pixels).cells[0].side for zoom in (1.0, 2.0))
    assert small == pytest.approx(160, rel=0.1)
    assert large == pytest.approx(320, rel=0.1)
    assert small == round(FRAME * find_cells(field().pixels).red_cell)


def test_the_lobes_of_one_nucleus_are_one_cell() -> None:
    drawn = field(2, kinds=(CellKind.NEUTROPHIL,) * 6, touching=0.0)
    assert len(find_cells(drawn.pixels).cells) == 6


def test_cells_that_touch_are_counted_each() -> None:
    drawn = field(5, kinds=(CellKind.BLAST,) * 6, touching=1.0)
    answer = find_cells(drawn.pixels)
    assert found(drawn, answer) == len(answer.cells) == len(drawn.cells)


def test_red_cells_and_platelets_alone_are_no_cells() -> None:
    answer = find_cells(field(kinds=()).pixels)
    assert answer.cells == ()


def test_a_cell_that_the_border_cuts_is_left_out() -> None:
    drawn = field(kinds=(CellKind.BLAST,), touching=0.0)
    cell = drawn.cells[0]
    cut = np.ascontiguousarray(drawn.pixels[:, round(cell.x) :])
    assert len(find_cells(drawn.pixels).cells) == 1
    assert find_cells(cut).cells == ()


@pytest.mark.parametrize("kind", CellKind)
def test_a_picture_of_a_single_cell_is_no_field(kind: CellKind) -> None:
    for seed in range(3):
        pixels = paint_cell(np.random.default_rng(seed), kind=kind, style=STYLES["east"], side=224)
        assert not find_cells(pixels).is_field


@pytest.mark.parametrize("value", [0, 128, 255])
def test_a_picture_of_nothing_has_no_cells(value: int) -> None:
    answer = find_cells(np.full((64, 80, 3), value, np.uint8))
    assert (answer.cells, answer.is_field) == ((), False)


def test_the_same_pixels_give_the_same_cells() -> None:
    assert find_cells(field().pixels) == find_cells(field().pixels)


def test_a_crop_inside_is_a_copy_and_one_over_the_border_is_mirrored() -> None:
    pixels = np.arange(20 * 30 * 3, dtype=np.uint32).astype(np.uint8).reshape(20, 30, 3)
    inside = crop(pixels, CellBox(5, 4, 10, 10.0, 9.0, 5.0))
    assert np.array_equal(inside, pixels[4:14, 5:15])
    over = crop(pixels, CellBox(-3, 12, 10, 2.0, 17.0, 5.0))
    assert over.shape == (10, 10, 3)
    assert np.array_equal(over[:8, 3:], pixels[12:20, :7])
    assert np.array_equal(over[:8, :3], pixels[12:20, 2::-1])
