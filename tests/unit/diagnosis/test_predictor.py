"""One image, one answer."""

import hashlib
from dataclasses import replace
from pathlib import Path

import cv2
import numpy as np
import pytest
from ai_edge_litert.interpreter import Interpreter

from core.diagnosis.bundle import ServingModel
from core.diagnosis.checkpoint_file import read_file
from core.diagnosis.heatmap import OPACITY, colour_stops, is_blank, lay_over, overlay_png
from core.diagnosis.predictor import Outcome, Predictor
from core.errors import CheckpointRefused
from core.imaging.preprocess import normalise, preprocess
from core.studies import LEUKEMIA, STUDIES
from tests.serving import model_of, untrained


@pytest.fixture(scope="module")
def image() -> np.ndarray:
    """Soft noise, wider than high."""
    noise = np.random.default_rng(0).integers(0, 256, (12, 16, 3), np.uint8)
    return np.asarray(cv2.resize(noise, (200, 160), interpolation=cv2.INTER_CUBIC), np.uint8)


def read_png(data: bytes, flags: int) -> np.ndarray:
    picture = cv2.imdecode(np.frombuffer(data, np.uint8), flags)
    assert picture is not None
    return np.asarray(picture)


def with_rule(model: ServingModel, **rule: float | tuple[float, ...]) -> ServingModel:
    return replace(model, manifest=replace(model.manifest, **rule))  # type: ignore[arg-type]


def test_probabilities_are_the_networks_at_the_models_temperature(
    serving_model: ServingModel, image: np.ndarray
) -> None:
    answer = Predictor(serving_model).predict(image)
    runner = Interpreter(model_content=serving_model.litert).get_signature_runner()
    logits = runner(image=normalise(preprocess(image, LEUKEMIA.input_size)[np.newaxis]))["logits"][0]
    scaled = np.exp(logits / serving_model.manifest.temperature)
    np.testing.assert_allclose(answer.probabilities, scaled / scaled.sum(), rtol=1e-5)
    assert answer.positive_probability == pytest.approx(answer.probabilities[1])


@pytest.mark.parametrize("study", ["leukemia", "multimodal"])
def test_an_answer_has_the_same_bits_with_one_thread_and_with_two(study: str, image: np.ndarray) -> None:
    model = ServingModel.decode(read_file(Path(f"models/{study}.model")).clear or b"")
    one, two = (Predictor(model.without_weights(), threads=threads).predict(image) for threads in (1, 2))
    assert one.probabilities == two.probabilities
    np.testing.assert_array_equal(one.heat_map, two.heat_map)


def test_the_answer_follows_the_threshold_and_its_band(serving_model: ServingModel, image: np.ndarray) -> None:
    p = Predictor(serving_model).predict(image).positive_probability
    low, high = p / 2, (1 + p) / 2
    cases = [
        ({"threshold": low, "uncertain_low": low, "uncertain_high": low}, Outcome.POSITIVE, 1, p),
        ({"threshold": high, "uncertain_low": high, "uncertain_high": high}, Outcome.NEGATIVE, 0, 1 - p),
        ({"threshold": low, "uncertain_low": low, "uncertain_high": high}, Outcome.UNCERTAIN, 1, p),
        ({"threshold": high, "uncertain_low": low, "uncertain_high": high}, Outcome.UNCERTAIN, 0, 1 - p),
    ]
    for rule, outcome, label, confidence in cases:
        answer = Predictor(with_rule(serving_model, alarm_threshold=1.0, **rule)).predict(image)
        assert (answer.outcome, answer.label_index) == (outcome, label)
        assert answer.confidence == pytest.approx(confidence)


def test_with_two_classes_the_set_is_told_but_the_threshold_decides(
    serving_model: ServingModel, image: np.ndarray
) -> None:
    p = Predictor(serving_model).predict(image).positive_probability
    rule = {"threshold": p / 2, "uncertain_low": p / 2, "uncertain_high": p / 2, "alarm_threshold": 1.0}
    answer = Predictor(with_rule(serving_model, **rule, set_bounds=(-16.0, -16.0))).predict(image)
    assert sorted(answer.prediction_set) == [0, 1]
    assert answer.probabilities[answer.prediction_set[0]] == max(answer.probabilities)
    assert answer.outcome is Outcome.POSITIVE


def test_with_more_classes_a_set_with_both_sides_makes_the_answer_uncertain(image: np.ndarray) -> None:
    study = STUDIES["leukemia_subtypes"]
    model = model_of(untrained(study=study), study=study)
    sure = {"threshold": 0.0, "uncertain_low": 0.0, "uncertain_high": 0.0}
    cases = [
        ((16.0, -16.0, -16.0, -16.0), Outcome.POSITIVE, {1, 2, 3}),
        ((-16.0, -16.0, 16.0, 16.0), Outcome.UNCERTAIN, {0, 1}),
    ]
    for bounds, outcome, members in cases:
        answer = Predictor(with_rule(model, **sure, set_bounds=bounds)).predict(image)
        assert set(answer.prediction_set) == members | {answer.label_index}
        assert answer.outcome is outcome
        assert answer.label_index in study.positive_indices
        assert sum(answer.probabilities) == pytest.approx(1)
        assert answer.positive_probability == pytest.approx(sum(answer.probabilities[1:]))


def test_the_same_image_gets_the_same_answer_again(serving_model: ServingModel, image: np.ndarray) -> None:
    predictor = Predictor(serving_model)
    first = predictor.predict(image)
    predictor.predict(255 - image)
    again = predictor.predict(image)
    assert again.probabilities == first.probabilities
    np.testing.assert_array_equal(again.heat_map, first.heat_map)


def test_the_heat_map_covers_the_networks_square_within_its_scale(
    serving_model: ServingModel, image: np.ndarray
) -> None:
    heat_map = Predictor(serving_model).predict(image).heat_map
    assert heat_map.shape == (LEUKEMIA.input_size, LEUKEMIA.input_size)
    assert heat_map.dtype == np.float32
    assert heat_map.min() >= 0
    assert heat_map.max() <= 1


def test_any_size_of_image_is_answered(serving_model: ServingModel) -> None:
    predictor = Predictor(serving_model)
    for height, width in ((1, 1), (5, 300), (96, 96), (700, 500)):
        answer = predictor.predict(np.full((height, width, 3), 128, np.uint8))
        assert sum(answer.probabilities) == pytest.approx(1)


def test_a_network_that_cannot_be_loaded_is_refused(serving_model: ServingModel) -> None:
    junk = b"not a network"
    manifest = replace(serving_model.manifest, litert_sha256=hashlib.sha256(junk).hexdigest())
    with pytest.raises(CheckpointRefused, match="loaded"):
        Predictor(ServingModel(manifest=manifest, litert=junk))


def test_an_overlay_is_see_through_where_nothing_was_found() -> None:
    heat_map = np.zeros((96, 96), np.float32)
    heat_map[40:60, 40:60] = 1.0
    overlay = read_png(overlay_png(heat_map), cv2.IMREAD_UNCHANGED)
    assert overlay.shape == (96, 96, 4)
    assert overlay[0, 0, 3] == 0
    assert overlay[50, 50, 3] > 100


def test_laying_over_changes_only_the_square_that_the_network_saw(image: np.ndarray) -> None:
    full = np.ones((96, 96), np.float32)
    result = read_png(lay_over(image, overlay_png(full)), cv2.IMREAD_COLOR)[:, :, ::-1]
    changed = (result != image).any(axis=2)
    assert result.shape == image.shape
    assert not changed[:, :20].any()
    assert not changed[:, 180:].any()
    assert changed[:, 20:180].mean() > 0.9
    with pytest.raises(ValueError, match="RGBA"):
        lay_over(image, b"no picture")


def test_the_opacity_of_a_heat_map_is_that_of_its_strongest_place(image: np.ndarray) -> None:
    overlay = overlay_png(np.ones((96, 96), np.float32))

    def at(opacity: float) -> np.ndarray:
        return read_png(lay_over(image, overlay, opacity=opacity), cv2.IMREAD_COLOR)[:, :, ::-1]

    np.testing.assert_array_equal(at(0), image)
    np.testing.assert_array_equal(at(OPACITY), read_png(lay_over(image, overlay), cv2.IMREAD_COLOR)[:, :, ::-1])
    yellow = np.array([int(colour_stops()[-1][1][n : n + 2], 16) for n in (1, 3, 5)])
    assert np.abs(at(1.0)[50:150, 50:150].astype(int) - yellow).max() <= 1
    with pytest.raises(ValueError, match="opacity"):
        at(1.01)


@pytest.mark.parametrize("study", sorted(STUDIES))
def test_the_map_of_a_shipped_model_changes_where_the_picture_does(study: str) -> None:
    """Halvings that look to the lower right could shift a map by half a place; the trained networks do not show it."""
    model = ServingModel.decode(read_file(Path(f"models/{study}.model")).clear or b"")
    runner, side = Interpreter(model_content=model.litert).get_signature_runner(), model.manifest.input_size
    square, away = side // 9, []
    for seed in range(4):
        noise = np.random.default_rng(seed).random((12, 12, 3), np.float32)
        image = np.clip(cv2.resize(noise, (side, side), interpolation=cv2.INTER_CUBIC), 0, 1)[np.newaxis]
        before = runner(image=image)["cam"][0]
        drawn_at = (np.arange(len(before)) + 0.5) * side / len(before) - 0.5
        for top, left in np.ndindex(4, 4):
            corner = np.array([top, left]) * square + 2 * square + square // 2
            hidden = image.copy()
            hidden[0, corner[0] : corner[0] + square, corner[1] : corner[1] + square] = image.mean()
            change = np.square(runner(image=hidden)["cam"][0] - before).sum(-1)
            seen = np.array([change.sum(axis) @ drawn_at / change.sum() for axis in (1, 0)])
            away.append(seen - (corner + (square - 1) / 2))
    assert np.abs(np.mean(away, axis=0)).max() < side / 30


def test_a_heat_map_without_evidence_is_known_to_be_blank() -> None:
    empty = np.zeros((8, 8), np.float32)
    spot = empty.copy()
    spot[3, 3] = 0.5
    assert is_blank(overlay_png(empty))
    assert not is_blank(overlay_png(spot))


def test_the_colour_bar_runs_from_dark_to_light_and_from_nothing_to_one() -> None:
    stops = colour_stops(5)
    brightness = [sum(int(colour[i : i + 2], 16) for i in (1, 3, 5)) for _, colour in stops]
    assert [value for value, _ in stops] == pytest.approx([0, 0.25, 0.5, 0.75, 1])
    assert brightness == sorted(brightness)
