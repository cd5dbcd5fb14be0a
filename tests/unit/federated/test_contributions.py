"""What nodes contribute, as bytes: what comes through unharmed, and what is refused."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from core.learning.class_scores import BINS
from core.learning.metric_sums import Vector, sums_of
from core.learning.run_events import FailureCode
from core.learning.weights import encode_weights
from core.studies import LEUKEMIA
from federated.aggregation.contributions import (
    Update,
    encode_figures,
    encode_update,
    read_figures,
    read_update,
)
from federated.failures import Refused

BASE = {"a": np.linspace(-1, 1, 6, dtype=np.float32).reshape(2, 3), "b": np.zeros(2, np.float32)}


def update(seed: int, images: int) -> Update:
    rng = np.random.default_rng(seed)
    return Update(delta={name: rng.normal(size=a.shape).astype(np.float32) for name, a in BASE.items()}, images=images)


@given(st.integers(0, 2**31), st.integers(1, 500))
def test_an_update_survives_its_journey(seed: int, images: int) -> None:
    sent = update(seed, images)
    got = read_update(encode_update(sent), like=BASE, most_images=500)
    assert got.images == images
    assert all(np.array_equal(got.delta[name], sent.delta[name]) for name in BASE)


@given(st.binary(max_size=300))
def test_bytes_that_are_no_update_are_refused(data: bytes) -> None:
    with pytest.raises(Refused):
        read_update(data, like=BASE, most_images=10)


@given(st.binary(max_size=300))
def test_bytes_that_are_no_sums_are_refused(data: bytes) -> None:
    with pytest.raises(Refused):
        read_figures(data, classes=2, most_images=100)


@pytest.mark.parametrize("text", ["", "0", "-1", "1e3", "11", " 5", "٣", "5.0"])
def test_a_weight_is_a_plain_number_of_images_that_the_authority_knows_of(text: str) -> None:
    delta = update(0, 1).delta
    with pytest.raises(Refused) as refused:
        read_update(encode_weights(delta, {"images": text}), like=BASE, most_images=10)
    assert refused.value.code is FailureCode.WEIGHT


def sums(images: int) -> Vector:
    rng = np.random.default_rng(images)
    return sums_of(rng.normal(scale=30, size=(images, 2)), np.arange(images) % 2, LEUKEMIA)


@pytest.mark.parametrize("images", [1, 2, 40])
def test_sums_over_as_many_images_as_the_authority_knows_of_survive_their_journey(images: int) -> None:
    assert np.array_equal(read_figures(encode_figures(sums(images)), classes=2, most_images=40), sums(images))


def changed(vector: Vector, place: int, by: float) -> Vector:
    vector = vector.copy()
    vector[place] += by
    return vector


IMPOSSIBLE = {
    "negative": lambda vector: -vector,
    "not a number": lambda vector: vector * np.nan,
    "no image": lambda vector: vector * 0,
    "too short": lambda vector: vector[:-1],
    "more images than the data set has": lambda vector: vector * 2,
    "a hundred images more in one bin": lambda vector: changed(vector, 6, 100),
    "a hundred images more in the confusion": lambda vector: changed(vector, 2, 100),
    "a hundred images more among the positive ones": lambda vector: changed(vector, 6 + 2 * 2 * BINS, 100),
    "halves of images": lambda vector: changed(changed(vector, 2, 0.5), 3, -0.5),
    "another class than the confusion has": lambda vector: changed(changed(vector, 2, 1), 4, -1),
    "a loss beyond the worst": lambda vector: changed(vector, 1, 1e9),
    "a loss beyond the worst at one temperature": lambda vector: changed(vector, -5, 1e9),
}


@pytest.mark.parametrize("what", IMPOSSIBLE)
def test_sums_that_so_many_images_cannot_have_are_refused(what: str) -> None:
    with pytest.raises(Refused) as refused:
        read_figures(encode_figures(IMPOSSIBLE[what](sums(40))), classes=2, most_images=40)
    assert refused.value.code is FailureCode.FIGURES
