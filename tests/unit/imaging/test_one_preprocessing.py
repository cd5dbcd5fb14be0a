"""Training and serving see the same pixels: those of the study's own description."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from core.diagnosis.predictor import Predictor
from core.imaging.datasets import Part, load_arrays, read_index
from core.imaging.decode import decode_upload, encode_png
from core.imaging.preprocess import preprocess
from core.studies import LEUKEMIA, STUDIES, Preprocessing, StainNormalisation
from tests.serving import model_of, untrained
from tests.unit.imaging.pictures import LIMITS, cell, encoded, write_folder

LINES = "0.png,leukemic,SMEAR,one,p1,\n1.png,normal,SMEAR,one,p2,\n"
ENHANCED = replace(LEUKEMIA, preprocessing=Preprocessing(clahe=True, bilateral=True))
EVERY_SWITCH = {
    "none": Preprocessing(),
    "reinhard": Preprocessing(stain=StainNormalisation.REINHARD),
    "macenko": Preprocessing(stain=StainNormalisation.MACENKO),
    "clahe": Preprocessing(clahe=True),
    "bilateral": Preprocessing(bilateral=True),
    "guided": Preprocessing(guided=True),
    "all": Preprocessing(stain=StainNormalisation.MACENKO, clahe=True, bilateral=True, guided=True),
}


def test_data_sets_hold_what_the_studys_preprocessing_makes(tmp_path: Path) -> None:
    folder = write_folder(tmp_path, LINES, pictures=2)
    found = [decode_upload((folder / name).read_bytes(), **LIMITS).pixels for name in ("0.png", "1.png")]
    for study in (LEUKEMIA, ENHANCED):
        arrays, _ = load_arrays({Part.TEST: read_index(folder, study)}, folder, study)
        expected = [preprocess(pixels, study.input_size, study.preprocessing) for pixels in found]
        np.testing.assert_array_equal(arrays.images, expected)
    assert ENHANCED.preprocessing.version != LEUKEMIA.preprocessing.version


@pytest.mark.parametrize("switch", EVERY_SWITCH)
def test_an_image_gives_the_same_bits_in_training_and_in_serving(switch: str, tmp_path: Path) -> None:
    study = replace(LEUKEMIA, preprocessing=EVERY_SWITCH[switch])
    folder = write_folder(tmp_path, LINES, pictures=2)
    trained_on, _ = load_arrays({Part.TEST: read_index(folder, study)}, folder, study)
    for name, image in zip(("0.png", "1.png"), trained_on.images, strict=True):
        sealed = encode_png(decode_upload((folder / name).read_bytes(), **LIMITS).pixels)
        served = preprocess(decode_upload(sealed, **LIMITS).pixels, study.input_size, study.preprocessing)
        assert image.tobytes() == served.tobytes()
    assert (switch == "none") == np.array_equal(trained_on.images[0], preprocess(cell_of(folder), study.input_size))


def cell_of(folder: Path) -> np.ndarray:
    """The first picture of a folder."""
    return decode_upload((folder / "0.png").read_bytes(), **LIMITS).pixels


def test_a_model_of_another_study_description_answers_from_other_pixels(monkeypatch: pytest.MonkeyPatch) -> None:
    pixels = decode_upload(encoded(cell(3, side=128)), **LIMITS).pixels
    plain = Predictor(model_of(untrained(1))).predict(pixels)
    monkeypatch.setitem(STUDIES, LEUKEMIA.name, ENHANCED)
    enhanced = Predictor(model_of(untrained(1), study=ENHANCED)).predict(pixels)
    by_hand = preprocess(pixels, ENHANCED.input_size, ENHANCED.preprocessing)
    monkeypatch.setitem(STUDIES, LEUKEMIA.name, LEUKEMIA)
    assert enhanced.probabilities != plain.probabilities
    assert Predictor(model_of(untrained(1))).predict(by_hand).probabilities == enhanced.probabilities
