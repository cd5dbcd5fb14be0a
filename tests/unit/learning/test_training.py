"""Training of a real, small network: what goes in stays as it was, what comes out is better, and it ends when asked."""

import json
from dataclasses import asdict, replace

import numpy as np
import pytest
from ai_edge_litert.interpreter import Interpreter

from core.errors import CheckpointRefused
from core.imaging.preprocess import normalise
from core.learning.architectures import ARCHITECTURES, DEFAULT_ARCHITECTURE, build
from core.learning.batches import RunningMean
from core.learning.class_scores import log_softmax
from core.learning.export import TOLERANCE, export_litert
from core.learning.inputs import PictureInputs
from core.learning.keras_answers import KerasAnswers
from core.learning.metric_sums import length_of, summarise
from core.learning.orientations import WAYS, turn
from core.learning.training import EarlyStopping, Trainer, TrainingOptions, learning_rate
from core.learning.training_options import PRESETS, Schedule, balanced_weights
from core.learning.weights import rounded_to_half, sha256_of
from core.studies import LEUKEMIA, Preprocessing

SMALL = replace(LEUKEMIA, input_size=16)


@pytest.fixture(scope="module")
def trainer() -> Trainer:
    """One compiled trainer for all tests, as in a worker; without XLA, whose compilation takes longer than they do."""
    return Trainer(DEFAULT_ARCHITECTURE, SMALL, jit=False)


@pytest.fixture(scope="module")
def cells() -> tuple[np.ndarray, np.ndarray]:
    """Noise; in positive images a dark square."""
    rng = np.random.default_rng(0)
    labels = rng.integers(0, 2, 80)
    images = rng.integers(90, 255, (80, 16, 16, 3), np.uint8)
    images[labels == 1, 4:12, 4:12] //= 3
    return images, labels


def test_initial_weights_depend_on_the_seed_alone(trainer: Trainer) -> None:
    assert sha256_of(trainer.initial(3)) == sha256_of(trainer.initial(3))
    assert sha256_of(trainer.initial(3)) != sha256_of(trainer.initial(4))


def test_training_learns_and_leaves_the_weights_it_started_from_alone(
    trainer: Trainer, cells: tuple[np.ndarray, np.ndarray]
) -> None:
    start = trainer.initial(0)
    before = sha256_of(start)
    steps: list[tuple[int, int]] = []
    weights, report = trainer.fit(
        start,
        *cells,
        TrainingOptions(epochs=4, batch=16, seed=1),
        progress=lambda done, total, _loss: steps.append((done, total)),
    )
    assert sha256_of(start) == before
    assert steps[-1] == (20, 20)
    assert report.images == 80
    assert summarise(trainer.evaluate(weights, *cells), SMALL).auc > 0.95


def test_training_again_from_the_same_start_gives_the_same_weights(
    trainer: Trainer, cells: tuple[np.ndarray, np.ndarray]
) -> None:
    options = TrainingOptions(epochs=1, batch=16, seed=5)
    first, _ = trainer.fit(trainer.initial(0), *cells, options)
    trainer.fit(trainer.initial(9), *cells, replace(options, seed=6))
    again, _ = trainer.fit(trainer.initial(0), *cells, options)
    for name, array in first.items():
        np.testing.assert_allclose(array, again[name], atol=1e-5)


def test_a_node_with_fewer_images_than_a_batch_trains_too(
    trainer: Trainer, cells: tuple[np.ndarray, np.ndarray]
) -> None:
    images, labels = cells
    _, report = trainer.fit(trainer.initial(0), images[:3], labels[:3], TrainingOptions(epochs=1, batch=16))
    assert (report.images, report.steps) == (3, 1)


def test_training_stops_between_steps_when_asked(trainer: Trainer, cells: tuple[np.ndarray, np.ndarray]) -> None:
    asked = iter([False, False, True])
    _, report = trainer.fit(
        trainer.initial(0), *cells, TrainingOptions(epochs=5, batch=16), should_stop=lambda: next(asked)
    )
    assert report.stopped
    assert report.steps == 2


def test_evaluation_sums_add_up_over_parts(trainer: Trainer, cells: tuple[np.ndarray, np.ndarray]) -> None:
    images, labels = cells
    weights = trainer.initial(0)
    parts = trainer.evaluate(weights, images[:70], labels[:70]) + trainer.evaluate(weights, images[70:], labels[70:])
    np.testing.assert_allclose(parts, trainer.evaluate(weights, images, labels), rtol=1e-4, atol=1)
    assert trainer.evaluate(weights, images[:0], labels[:0]).shape == (length_of(2),)


def test_weights_of_another_network_are_refused(trainer: Trainer, cells: tuple[np.ndarray, np.ndarray]) -> None:
    weights = trainer.initial(0)
    weights.pop("head/bias")
    with pytest.raises(CheckpointRefused):
        trainer.fit(weights, *cells, TrainingOptions())
    weights = trainer.initial(0)
    weights["head/bias"] = np.array([np.nan, 0], np.float32)
    with pytest.raises(CheckpointRefused):
        trainer.evaluate(weights, *cells)


def test_images_and_labels_that_do_not_fit_the_study_are_refused(
    trainer: Trainer, cells: tuple[np.ndarray, np.ndarray]
) -> None:
    images, labels = cells
    for x, y in ((images[:, :8], labels), (images, labels + 1), (images[:0], labels[:0]), (images / 255, labels)):
        with pytest.raises(ValueError, match=r"expected|labels"):
            trainer.fit(trainer.initial(0), x, y, TrainingOptions())  # type: ignore[arg-type]  # one is float64


def test_options_that_cannot_train_are_refused() -> None:
    for wrong in ({"epochs": 0}, {"batch": 0}, {"learning_rate": 0.0}, {"label_smoothing": 1.0}):
        with pytest.raises(ValueError, match="must be"):
            TrainingOptions(**wrong)


def test_the_learning_rate_falls_over_the_rounds_as_in_one_long_training() -> None:
    central = TrainingOptions(epochs=15)
    rounds = [TrainingOptions(epochs=3).for_round(number, 5, seed=number) for number in range(1, 6)]
    for number, options in enumerate(rounds):
        late = 29  # after the warm-up of a fresh start
        assert learning_rate(options, late, per_epoch=30) == learning_rate(central, number * 90 + late, per_epoch=30)
    assert learning_rate(rounds[-1], 89, per_epoch=30) < 0.02 * central.learning_rate
    assert learning_rate(rounds[2], 0, per_epoch=30) < learning_rate(rounds[2], 25, per_epoch=30)


def test_the_logits_are_the_mean_of_the_activation_map() -> None:
    model = build(DEFAULT_ARCHITECTURE, input_size=32, classes=3)
    logits, cam, features = (np.asarray(x) for x in model(np.random.default_rng(0).random((2, 32, 32, 3), np.float32)))
    np.testing.assert_allclose(logits, cam.mean(axis=(1, 2)), atol=1e-5)
    kernel, bias = (np.asarray(w) for w in model.get_layer("head").weights)
    np.testing.assert_allclose(logits, features @ kernel + bias, atol=1e-5)


def test_unknown_architectures_and_sizes_are_refused() -> None:
    for name, size, classes in (("unknown", 96, 2), (DEFAULT_ARCHITECTURE, 8, 2), (DEFAULT_ARCHITECTURE, 96, 1)):
        with pytest.raises(ValueError, match=r"unknown|at least"):
            build(name, input_size=size, classes=classes)
    assert DEFAULT_ARCHITECTURE in ARCHITECTURES


def test_litert_answers_like_keras(trainer: Trainer, cells: tuple[np.ndarray, np.ndarray]) -> None:
    weights = trainer.initial(2)
    runner = Interpreter(model_content=export_litert(weights, DEFAULT_ARCHITECTURE, SMALL)).get_signature_runner()
    images = cells[0][:5]
    got = np.concatenate([runner(image=normalise(images[i : i + 1]))["logits"] for i in range(5)])
    np.testing.assert_allclose(got, trainer.logits(weights, images), atol=TOLERANCE * 10)
    weights.pop("head/bias")
    with pytest.raises(CheckpointRefused):
        export_litert(weights, DEFAULT_ARCHITECTURE, SMALL)


def test_dropout_changes_training_and_not_the_answers(trainer: Trainer, cells: tuple[np.ndarray, np.ndarray]) -> None:
    options = TrainingOptions(epochs=2, batch=16, augment=False)
    with_all, _ = trainer.fit(trainer.initial(0), *cells, options)
    with_some, _ = trainer.fit(trainer.initial(0), *cells, replace(options, dropout=0.5))
    nearly_none, _ = trainer.fit(trainer.initial(0), *cells, replace(options, dropout=1e-9))
    assert np.abs(with_all["head/kernel"] - with_some["head/kernel"]).max() > 1e-3
    np.testing.assert_allclose(nearly_none["head/kernel"], with_all["head/kernel"], atol=1e-3)
    np.testing.assert_array_equal(trainer.logits(with_some, cells[0]), trainer.logits(with_some, cells[0]))


def test_the_running_mean_lies_between_its_weights_and_forgets_its_start() -> None:
    mean = RunningMean([np.zeros(2, np.float32)], 0.9)
    mean.add([np.ones(2, np.float32)], steps=4)
    (early,) = mean.value
    assert (early > 0.5).all()
    assert (early < 1).all()
    for _ in range(30):
        mean.add([np.ones(2, np.float32)], steps=4)
    np.testing.assert_allclose(mean.value[0], 1, atol=1e-3)


def test_averaged_weights_are_not_the_last_ones_but_answer_alike(
    trainer: Trainer, cells: tuple[np.ndarray, np.ndarray]
) -> None:
    options = TrainingOptions(epochs=4, batch=16, seed=1)
    last, _ = trainer.fit(trainer.initial(0), *cells, options)
    averaged, _ = trainer.fit(trainer.initial(0), *cells, replace(options, averaging=0.8))
    assert sha256_of(last) != sha256_of(averaged)
    assert summarise(trainer.evaluate(averaged, *cells), SMALL).auc > 0.95


def test_class_weights_make_a_rare_class_heard(trainer: Trainer, cells: tuple[np.ndarray, np.ndarray]) -> None:
    images, labels = cells
    chosen = np.concatenate([np.flatnonzero(labels == 0), np.flatnonzero(labels == 1)[:3]])
    rare = images[chosen], labels[chosen]
    counts = np.bincount(rare[1])
    options = TrainingOptions(epochs=1, batch=16, learning_rate=2e-4, augment=False)
    plain, _ = trainer.fit(trainer.initial(0), *rare, options)
    weighed, _ = trainer.fit(
        trainer.initial(0), *rare, replace(options, class_weights=balanced_weights(counts.tolist()))
    )
    towards_rare = [np.diff(trainer.logits(weights, images)).mean() for weights in (plain, weighed)]
    assert towards_rare[1] > towards_rare[0]
    with pytest.raises(ValueError, match="weight for each"):
        trainer.fit(plain, *rare, replace(options, class_weights=(1.0,)))


def test_balanced_weights_have_mean_one_over_the_images() -> None:
    counts = (10, 30, 60)
    for strength in (0.0, 0.5, 1.0):
        weights = balanced_weights(counts, strength=strength)
        assert np.dot(weights, counts) == pytest.approx(sum(counts))
    assert balanced_weights(counts, strength=0.0) == (1, 1, 1)
    assert np.ptp(np.multiply(balanced_weights(counts), counts)) == pytest.approx(0)
    with pytest.raises(ValueError, match="every class"):
        balanced_weights((3, 0))


def test_early_stopping_hands_back_the_epoch_that_did_best_on_other_patients(
    trainer: Trainer, cells: tuple[np.ndarray, np.ndarray]
) -> None:
    images, labels = cells
    part = EarlyStopping(images=images[60:], labels=1 - labels[60:], patience=2)  # gets worse as the cells are learned
    options = TrainingOptions(epochs=20, batch=16, schedule=Schedule.CONSTANT, augment=False)
    weights, report = trainer.fit(trainer.initial(0), images[:60], labels[:60], options, early_stopping=part)
    per_epoch = 4
    assert report.steps == (report.epochs + 2) * per_epoch < 20 * per_epoch
    straight, _ = trainer.fit(trainer.initial(0), images[:60], labels[:60], replace(options, epochs=report.epochs))
    for name, array in weights.items():
        np.testing.assert_allclose(array, straight[name], atol=1e-5)


def test_options_come_back_from_json_as_they_were() -> None:
    for preset in PRESETS.values():
        options = replace(preset.training, class_weights=(0.5, 1.5))
        assert TrainingOptions(**json.loads(json.dumps(asdict(options)))) == options


def test_the_papers_preset_keeps_its_learning_rate() -> None:
    paper = PRESETS["paper"].training
    assert (paper.batch, paper.epochs, paper.dropout) == (32, 100, 0.30)
    assert {learning_rate(paper, step, per_epoch=10) for step in (0, 5, 999)} == {0.001}


@pytest.mark.parametrize(("orientations", "other"), [(2, 4), (8, 5)])
def test_answers_averaged_over_orientations_do_not_depend_on_how_a_picture_lies(
    cells: tuple[np.ndarray, np.ndarray], orientations: int, other: int
) -> None:
    study = replace(SMALL, orientations=orientations)
    turning = Trainer(DEFAULT_ARCHITECTURE, study, jit=False)
    weights = turning.initial(2)
    images = cells[0][:4]
    straight = turning.logits(weights, images)
    for way in WAYS[orientations]:
        np.testing.assert_allclose(turning.logits(weights, turn(images, way)), straight, atol=1e-5)
    runner = Interpreter(model_content=export_litert(weights, DEFAULT_ARCHITECTURE, study)).get_signature_runner()
    for image, logits in zip(images, straight, strict=True):
        answer = runner(image=normalise(image[None]))
        np.testing.assert_allclose(answer["logits"][0], logits, atol=10 * TOLERANCE)
        turned = runner(image=normalise(turn(image[None], other)))  # a map of the turned picture is the turned map
        np.testing.assert_allclose(turned["cam"], turn(answer["cam"], other), atol=10 * TOLERANCE)


def test_a_trainer_sees_pictures_as_its_study_prepares_them(cells: tuple[np.ndarray, np.ndarray]) -> None:
    images = cells[0][:4] // 4  # dim pictures: stretched they are other inputs than divided by 255
    seen = PictureInputs(SMALL.subject, replace(SMALL.preprocessing, minmax=False)).plain(images)[0]
    assert np.allclose(seen, images / 255)
    plain = Trainer(DEFAULT_ARCHITECTURE, replace(SMALL, preprocessing=Preprocessing(minmax=False)), jit=False)
    stretched = Trainer(DEFAULT_ARCHITECTURE, SMALL, jit=False)
    weights = plain.initial(0)
    assert not np.allclose(plain.logits(weights, images), stretched.logits(weights, images), atol=1e-3)


@pytest.mark.parametrize(("architecture", "side"), [(DEFAULT_ARCHITECTURE, 16), ("efficientnet-lite0-linear", 32)])
def test_a_network_asked_through_keras_gives_the_probabilities_of_its_logits(architecture: str, side: int) -> None:
    study = replace(LEUKEMIA, input_size=side, orientations=1)
    trainer = Trainer(architecture, study, jit=False)
    weights, images = trainer.initial(3), np.random.default_rng(0).integers(0, 256, (2, side, side, 3), np.uint8)
    asked = KerasAnswers(rounded_to_half(weights) if ARCHITECTURES[architecture].half else weights, architecture, study)
    expected = np.exp(log_softmax(trainer.logits(weights, images)))
    assert np.allclose(asked.predict(normalise(images)), expected, atol=2e-3)
    assert np.allclose(asked.call(normalise(images)), expected, atol=2e-3)
