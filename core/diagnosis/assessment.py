"""One image of a case to answers: a smear field is split into its cells and each is answered, other images as a whole.

Only studies of single cells split: what is a field there is several questions, in other studies it is one.
"""

import time
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from core.diagnosis.heatmap import overlay_png
from core.diagnosis.predictor import Prediction
from core.diagnosis.result import Box, CellFinding
from core.errors import ImageRefused
from core.imaging.cells import CellsFound, crop, find_cells
from core.imaging.drift import figures_of
from core.imaging.preprocess import square_window
from core.studies import Inference, Study, Subject

Pixels = NDArray[np.uint8]

WITH_HEAT_MAP = 12
"""So many cells of a field get a heat map, the most suspicious first; a doctor's gallery shows as many of a case."""
NO_CELL = "no white cell lies whole in this picture of a smear"
ONE_CELL = "this study takes pictures of one cell each"


@dataclass(frozen=True, eq=False)
class Assessment:
    """What one image answers.

    Attributes:
        lead: the answer for `box`.
        box: the centred square, or the cell of a field that looks most suspicious.
        overlay: its heat map as PNG.
        cells: the cells of a field; empty for other images.
        cells_seen: how many cells the field has.
        figures: of light, focus and colour (`core.imaging.drift`): of the image or, in a field, of its first cell,
            so that the answers have no say in which one.
        stages_ms: milliseconds in ``split`` (finding the cells), ``preprocess``, ``infer`` and ``heat_map``.
    """

    lead: Prediction
    box: Box
    overlay: bytes
    cells: tuple[CellFinding, ...]
    cells_seen: int
    figures: tuple[float, ...]
    stages_ms: dict[str, float]


def cells_of_field(pixels: Pixels, study: Study) -> CellsFound | None:
    """Return the cells of a picture that must be split for this study, None for one that is answered as a whole.

    Raises:
        ImageRefused: it is a field in which no cell lies whole, or one of a study whose pictures are one question each.
    """
    if study.subject is not Subject.CELL:
        return None
    found = find_cells(pixels, fields_only=True)
    if not found.is_field:
        return None
    if study.inference is Inference.ENCRYPTED_HEAD:
        raise ImageRefused(ONE_CELL)
    if not found.cells:
        raise ImageRefused(NO_CELL)
    return found


def assess(pixels: Pixels, study: Study, predict: Callable[[Pixels], Prediction]) -> Assessment:
    """Answer for a decoded image uint8[h, w, 3], RGB; `predict` is `Predictor.predict`.

    Raises:
        ImageRefused: as in `cells_of_field`.
        CheckpointRefused: as in `Predictor.predict`.
    """
    started = time.perf_counter()
    found = cells_of_field(pixels, study)
    split = (time.perf_counter() - started) * 1e3
    if found is None:
        top, left, side = square_window(*pixels.shape[:2])
        lead = predict(pixels)
        before = time.perf_counter()
        overlay = overlay_png(lead.heat_map)
        stages = _sum([lead.stages_ms], split, (time.perf_counter() - before) * 1e3)
        return Assessment(lead, (left, top, side), overlay, (), 0, figures_of(pixels, study), stages)
    boxes: list[Box] = [(cell.left, cell.top, cell.side) for cell in found.cells]
    answers = [predict(crop(pixels, cell)) for cell in found.cells]
    order = sorted(range(len(answers)), key=lambda n: -answers[n].positive_probability)
    before = time.perf_counter()
    overlays = {n: overlay_png(answers[n].heat_map) for n in order[:WITH_HEAT_MAP]}
    stages = _sum([answer.stages_ms for answer in answers], split, (time.perf_counter() - before) * 1e3)
    cells = tuple(
        CellFinding(
            box=boxes[n],
            probabilities=answer.probabilities,
            label_index=answer.label_index,
            outcome=answer.outcome,
            positive_probability=answer.positive_probability,
            heat_map_png=overlays.get(n, b""),
        )
        for n, answer in enumerate(answers)
    )
    lead_at = order[0]
    first = figures_of(crop(pixels, found.cells[0]), study)
    return Assessment(answers[lead_at], boxes[lead_at], overlays[lead_at], cells, found.total, first, stages)


def _sum(stages: list[dict[str, float]], split: float, drawing: float) -> dict[str, float]:
    total = {name: sum(one[name] for one in stages) for name in stages[0]}
    return {"split": split, **total, "heat_map": total["heat_map"] + drawing}
