"""A model's head as whole numbers: what quantising costs, what a key holder reads, and the way back from hundredths."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from numpy.typing import NDArray

from core.diagnosis.bundle import ModelManifest, ServingModel
from core.diagnosis.checkpoint_file import read_file
from core.diagnosis.encrypted_head import (
    BIAS,
    KERNEL,
    HeadSecret,
    encrypt_model,
    logits_behind,
    quantised,
    quantised_weights,
    step_of,
)
from core.errors import CheckpointRefused
from core.learning.class_scores import calibrated_probabilities
from core.learning.weights import Weights, decode_weights
from core.studies import STUDIES, Inference
from security.encrypted_inference.evaluation import HeadEvaluator
from security.encrypted_inference.signed import Query
from security.errors import CiphertextRefused, KeyMissing

Shipped = tuple[ModelManifest, Weights]


@pytest.fixture(scope="module", params=["leukemia", "leukemia_subtypes"])
def shipped(request: pytest.FixtureRequest) -> Shipped:
    model = ServingModel.decode(read_file(Path(f"models/{request.param}.model")).clear or b"")
    return model.manifest, decode_weights(model.weights or b"")[0]


def calibrated(logits: NDArray[np.floating], manifest: ModelManifest) -> NDArray[np.float64]:
    return calibrated_probabilities(
        logits,
        STUDIES[manifest.study],
        temperature=manifest.temperature,
        positive_temperature=manifest.positive_temperature,
        positive_offset=manifest.positive_offset,
    )


@given(arrays(np.float32, st.integers(1, 20), elements=st.floats(0, 2.0**20, width=32)))
def test_features_are_off_by_half_a_step_and_use_the_byte(features: NDArray[np.float32]) -> None:
    found = quantised(features)
    assert found.numbers.dtype == np.uint8
    step = step_of(found.scale)
    assert np.abs(found.values - features).max() <= step / 2 * (1 + 1e-9)
    if features.max() > 2.0**-20:
        assert 255 / 2**0.25 - 1 <= found.numbers.max() <= 255


@pytest.mark.parametrize("wrong", [[-0.001, 1.0], [np.nan, 1.0], [np.inf, 1.0]])
def test_features_that_no_rectifier_gives_are_refused(wrong: list[float]) -> None:
    with pytest.raises(CheckpointRefused):
        quantised(np.array(wrong, np.float32))


def test_no_feature_at_all_is_a_query_too() -> None:
    assert not quantised(np.zeros(3, np.float32)).numbers.any()


def test_the_answer_is_that_of_the_quantised_head_and_near_that_of_the_head(shipped: Shipped) -> None:
    manifest, weights = shipped
    secret, head = encrypt_model(weights, manifest)
    secret, evaluator = HeadSecret.load(secret.save()), HeadEvaluator(head)
    numbers, step = quantised_weights(weights[KERNEL])
    rng, off = np.random.default_rng(3), []
    for _ in range(30):
        features = (rng.exponential(0.5, len(numbers)) * (rng.random(len(numbers)) < 0.6)).astype(np.float32)
        taken = quantised(features)
        answer = secret.answer(Query(taken.scale, evaluator.logits(taken.numbers)))
        exact = taken.values @ (numbers * step) + weights[BIAS]
        assert answer == tuple(np.rint(100 * calibrated(exact[np.newaxis], manifest)[0]).astype(int).tolist())
        true = calibrated((features @ weights[KERNEL] + weights[BIAS])[np.newaxis], manifest)[0]
        off.append(np.abs(np.array(answer) / 100 - true).max())
    assert np.median(off) <= 0.02
    assert repr(secret) == "HeadSecret(key=<HeadKey>)"


def test_weights_are_off_by_half_a_step() -> None:
    kernel = np.random.default_rng(1).normal(0, 1, (50, 3)).astype(np.float32)
    numbers, step = quantised_weights(kernel)
    assert np.abs(numbers).max() == 127
    assert np.abs(numbers * step - kernel).max() <= step / 2 * (1 + 1e-6)
    assert not quantised_weights(np.zeros((2, 2), np.float32))[0].any()


def test_weights_without_a_head_of_these_classes_are_refused(shipped: Shipped) -> None:
    manifest, weights = shipped
    classes = len(manifest.classes)
    for changed in (
        {},
        {KERNEL: weights[KERNEL]},
        {BIAS: weights[BIAS]},
        {KERNEL: weights[KERNEL][:, :-1], BIAS: weights[BIAS]},
        {KERNEL: weights[KERNEL], BIAS: np.zeros(classes + 1, np.float32)},
        {KERNEL: weights[KERNEL][0], BIAS: weights[BIAS]},
    ):
        with pytest.raises(CheckpointRefused):
            encrypt_model(changed, manifest)


def test_a_query_of_another_model_is_refused(shipped: Shipped) -> None:
    manifest, weights = shipped
    (mine, _), (_, other) = encrypt_model(weights, manifest), encrypt_model(weights, manifest)
    sent = HeadEvaluator(other).logits(np.zeros(len(weights[KERNEL]), np.uint8))
    with pytest.raises(CiphertextRefused):
        mine.answer(Query(128, sent))


@given(st.data())
def test_hundredths_come_out_again_from_the_logits_behind_them(data: st.DataObject) -> None:
    model = ServingModel.decode(read_file(Path("models/leukemia_subtypes.model")).clear or b"")
    manifest = replace(model.manifest, temperature=0.7, positive_temperature=1.9, positive_offset=0.4)
    classes = len(manifest.classes)
    shares = data.draw(st.lists(st.integers(1, 97), min_size=classes, max_size=classes))
    wanted = np.array(shares) / sum(shares)
    assert calibrated(logits_behind(shares, manifest), manifest)[0] == pytest.approx(wanted, abs=1e-9)


def test_an_answer_of_zeros_is_refused(shipped: Shipped) -> None:
    with pytest.raises(CiphertextRefused):
        logits_behind([0] * len(shipped[0].classes), shipped[0])


def test_what_the_key_holder_keeps_is_read_strictly(shipped: Shipped) -> None:
    saved = encrypt_model(shipped[1], shipped[0])[0].save()
    for data in (b"", saved[:-1], saved + b"\0"):
        with pytest.raises(KeyMissing):
            HeadSecret.load(data)


def test_the_shipped_studies_are_answered_by_enclaves() -> None:
    assert {study.inference for study in STUDIES.values()} == {Inference.ENCLAVE}
