"""Weights as plain data."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from core.errors import CheckpointRefused
from core.learning.weights import (
    Weights,
    check_weights,
    decode_weights,
    encode_weights,
    rounded_to_half,
    sha256_of,
)

FLOATS = st.floats(-1e6, 1e6, width=32)
ARRAYS = hnp.arrays(np.float32, hnp.array_shapes(max_dims=3, max_side=4), elements=FLOATS)
WEIGHTS = st.dictionaries(st.text("abz/_", min_size=1, max_size=6), ARRAYS, min_size=1, max_size=4)


def small() -> Weights:
    return {"b/kernel": np.arange(6, dtype=np.float32).reshape(2, 3), "a/bias": np.ones(2, np.float32)}


@given(WEIGHTS)
def test_encoding_and_decoding_gives_the_same_weights_in_the_same_order(weights: Weights) -> None:
    decoded, metadata = decode_weights(encode_weights(weights, {"round": "3"}))
    assert list(decoded) == list(weights)
    assert all(np.array_equal(decoded[name], weights[name]) for name in weights)
    assert metadata == {"round": "3"}
    assert sha256_of(decoded) == sha256_of(weights)


@given(WEIGHTS)
def test_weights_kept_as_halves_come_back_rounded_in_half_the_bytes(weights: Weights) -> None:
    bounded = {name: np.clip(array, -6e4, 6e4) for name, array in weights.items()}
    data = encode_weights(bounded, {"round": "3"}, half=True)
    decoded, metadata = decode_weights(data)
    assert metadata == {"round": "3"}
    assert sha256_of(decoded) == sha256_of(rounded_to_half(bounded))
    assert all(array.dtype == np.float32 for array in decoded.values())
    assert len(data) <= len(encode_weights(bounded, {"round": "3"}))


@given(st.binary(max_size=200))
def test_bytes_that_are_not_weights_are_refused(data: bytes) -> None:
    with pytest.raises(CheckpointRefused):
        decode_weights(data)


@given(st.integers(0, 1000))
def test_damaged_weights_are_refused_or_have_another_hash(position: int) -> None:
    data = bytearray(encode_weights(small(), {}))
    data[position % len(data)] ^= 0x41
    try:
        damaged, _ = decode_weights(bytes(data))
    except CheckpointRefused:
        return
    assert sha256_of(damaged) != sha256_of(small())


def test_the_hash_depends_on_values_names_shapes_and_order() -> None:
    base = small()
    others = [
        {**base, "a/bias": np.array([1, 2], np.float32)},
        {"b/kernel": base["b/kernel"], "c/bias": base["a/bias"]},
        {**base, "b/kernel": base["b/kernel"].reshape(3, 2)},
        dict(reversed(base.items())),
    ]
    assert len({sha256_of(weights) for weights in [base, *others]}) == 5


def test_weights_of_another_architecture_or_that_are_not_finite_are_refused() -> None:
    base = small()
    for wrong in (dict(reversed(base.items())), {**base, "a/bias": np.ones(3, np.float32)}):
        with pytest.raises(CheckpointRefused, match="architecture"):
            check_weights(wrong, base)
    with pytest.raises(CheckpointRefused, match="finite"):
        check_weights({**base, "a/bias": np.array([1, np.nan], np.float32)}, base)
