"""Models as they are served: what is inside is what the manifest says, or nothing is used."""

import hashlib
from dataclasses import replace

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from core.diagnosis.bundle import ServingModel
from core.errors import CheckpointRefused
from core.learning.weights import checkpoint_sha256, decode_weights, encode_weights, sha256_of
from tests.serving import model_of, untrained


def test_a_model_survives_encoding(serving_model: ServingModel) -> None:
    again = ServingModel.decode(serving_model.encode())
    assert again == serving_model
    assert again.weights is not None
    assert sha256_of(decode_weights(again.weights)[0]) == again.manifest.weights_sha256


def test_the_copy_for_enclaves_has_no_weights(serving_model: ServingModel) -> None:
    lean = serving_model.without_weights()
    assert lean.weights is None
    assert ServingModel.decode(lean.encode()) == lean


@given(position=st.integers(0, 2**31), flip=st.integers(1, 255))
@settings(max_examples=40, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_any_changed_byte_of_network_or_weights_is_refused(
    serving_model: ServingModel, position: int, flip: int
) -> None:
    for field in ("litert", "weights"):
        data = bytearray(getattr(serving_model, field))
        data[position % len(data)] ^= flip
        changed = replace(serving_model, **{field: bytes(data)})  # type: ignore[arg-type]
        try:
            again = ServingModel.decode(changed.encode())
        except CheckpointRefused:
            continue
        assert field == "weights"  # only metadata beside the numbers, which the hash does not cover, may differ
        assert again.weights is not None
        assert sha256_of(decode_weights(again.weights)[0]) == serving_model.manifest.weights_sha256


@given(st.binary(max_size=100))
def test_bytes_that_are_not_a_model_are_refused(data: bytes) -> None:
    with pytest.raises(CheckpointRefused):
        ServingModel.decode(data)


def test_a_decision_rule_with_impossible_numbers_is_refused(serving_model: ServingModel) -> None:
    wrong: list[dict[str, object]] = [
        {"temperature": 0.0},
        {"positive_temperature": 0.0},
        {"coverage": 1.0},
        {"set_bounds": (0.0,)},
        {"set_bounds": (0.0, 17.0)},
        {"threshold": 1.5},
        {"uncertain_low": 0.99, "threshold": 0.5},
        {"alarm_threshold": 0.0},
        {"alarm_rate": -0.1},
        {"round": -1},
    ]
    for fields in wrong:
        broken = replace(serving_model, manifest=replace(serving_model.manifest, **fields))  # type: ignore[arg-type]
        with pytest.raises(CheckpointRefused, match="impossible"):
            ServingModel.decode(broken.encode())


def test_a_model_for_another_study_or_preprocessing_is_refused(serving_model: ServingModel) -> None:
    for fields in ({"study": "other"}, {"classes": ("leukemic", "normal")}, {"input_size": 64}, {"preprocessing": "x"}):
        broken = replace(serving_model, manifest=replace(serving_model.manifest, **fields))
        with pytest.raises(CheckpointRefused):
            ServingModel.decode(broken.encode())


def test_the_network_of_another_model_is_refused(serving_model: ServingModel) -> None:
    other = model_of(untrained(5))
    with pytest.raises(CheckpointRefused, match="network"):
        replace(serving_model, litert=other.litert).check()
    with pytest.raises(CheckpointRefused, match="weights"):
        replace(serving_model, weights=other.weights).check()
    assert hashlib.sha256(other.litert).hexdigest() == other.manifest.litert_sha256


def test_a_model_from_a_checkpoint_with_moments_is_named_by_both_and_can_stand_alone(
    serving_model: ServingModel,
) -> None:
    assert serving_model.weights is not None
    weights, metadata = decode_weights(serving_model.weights)
    name = checkpoint_sha256(sha256_of(weights), "ab" * 32)
    manifest = replace(serving_model.manifest, weights_sha256=name)
    with_moments = replace(
        serving_model, manifest=manifest, weights=encode_weights(weights, {**metadata, "moments": "ab" * 32})
    )
    with_moments.check()
    with pytest.raises(CheckpointRefused, match="weights"):
        replace(with_moments, weights=encode_weights(weights, {**metadata, "moments": "ac" * 32})).check()
    with pytest.raises(CheckpointRefused, match="weights"):
        replace(with_moments, weights=model_of(untrained(5)).weights).check()
    alone = with_moments.standing_alone()
    alone.check()
    assert alone.manifest == serving_model.manifest
    assert serving_model.without_weights().standing_alone() == serving_model.without_weights()
