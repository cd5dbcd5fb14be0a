"""One image of a case: what is answered, and what is measured of its light and colour."""

import numpy as np
import pytest

from core.diagnosis.assessment import assess, cells_of_field
from core.diagnosis.predictor import Outcome, Prediction
from core.imaging.cells import crop
from core.imaging.drift import figures_of
from core.imaging.smear.recipes import CellKind
from core.imaging.smear.style import STYLES
from core.imaging.synthetic import generate_cell
from core.imaging.synthetic_field import generate_field
from core.studies import LEUKEMIA

KINDS = (CellKind.NEUTROPHIL, CellKind.BLAST, CellKind.LYMPHOCYTE, CellKind.BLAST)


def darker_is_worse(pixels: np.ndarray) -> Prediction:
    """In place of a model: the darker a picture, the more suspicious."""
    positive = float(1 - pixels.mean() / 255)
    return Prediction(
        probabilities=(1 - positive, positive),
        label_index=1,
        positive_probability=positive,
        outcome=Outcome.POSITIVE,
        confidence=positive,
        prediction_set=(1,),
        heat_map=np.zeros((8, 8), np.float32),
        stages_ms={"preprocess": 0.0, "infer": 0.0, "heat_map": 0.0},
    )


def test_an_image_of_one_cell_is_measured_as_a_whole() -> None:
    pixels = generate_cell(np.random.default_rng(1), blast=True, style=STYLES["north"])
    assert assess(pixels, LEUKEMIA, darker_is_worse).figures == figures_of(pixels, LEUKEMIA)


@pytest.mark.parametrize("flipped", [False, True])
def test_of_a_field_the_first_cell_is_measured_whatever_the_answers_say(flipped: bool) -> None:
    rng = np.random.default_rng(4)
    pixels = generate_field(rng, kinds=KINDS, style=STYLES["north"], height=480, width=640, touching=0.0).pixels
    pixels = np.ascontiguousarray(pixels[:, ::-1]) if flipped else pixels
    found = cells_of_field(pixels, LEUKEMIA)
    assert found is not None
    first, *others = [figures_of(crop(pixels, cell), LEUKEMIA) for cell in found.cells]
    assert first not in others
    assert assess(pixels, LEUKEMIA, darker_is_worse).figures == first
