"""The encrypted head: exact in integers, the same points as two other libraries make, and strict about what it reads.

The suite decrypts some hundred queries; all of 10,000 random ones are run by ``python -m benchmarks.encrypted_head``.
"""

import hashlib
import itertools
import json
import pickle
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from cryptography.hazmat.primitives.asymmetric import ec
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray
from tinyec import registry
from tinyec.ec import Point as OraclePoint

from security.encoding import decode, encode
from security.encrypted_inference import points
from security.encrypted_inference.evaluation import HeadEvaluator
from security.encrypted_inference.head import (
    MAX_BIAS,
    EncryptedHead,
    EncryptedLogits,
    HeadKey,
    encrypt_head,
    reach_of,
)
from security.encrypted_inference.logarithm import BABY_STEPS, SPAN, logarithm
from security.errors import CiphertextRefused, KeyMissing

SECRET = bytes(range(32))
VECTORS = json.loads(Path("tests/vectors/encrypted_head.json").read_text(encoding="utf-8"))
ORACLE = registry.get_curve("secp256r1")


def integers(head: tuple[NDArray[np.int8], list[int]], features: NDArray[np.uint8]) -> list[int]:
    weights, bias = head
    return [int(value) for value in features.astype(np.int64) @ weights.astype(np.int64) + np.array(bias)]


def drawn(seed: int, features: int, classes: int) -> tuple[NDArray[np.int8], list[int]]:
    rng = np.random.default_rng(seed)
    weights = rng.integers(-127, 128, (features, classes), dtype=np.int8)
    return weights, [int(value) for value in rng.integers(-100_000, 100_001, classes)]


def counting(start: int = 1) -> Callable[[], int]:
    numbers = itertools.count(start)
    return lambda: next(numbers)


@pytest.fixture(scope="module")
def small() -> tuple[HeadKey, EncryptedHead]:
    weights, bias = drawn(1, 5, 3)
    return encrypt_head(weights, bias)


@pytest.mark.parametrize("shape", [(1, 2), (64, 2), (128, 6)])
def test_what_decrypts_is_the_quantised_head_in_integers(shape: tuple[int, int]) -> None:
    head = drawn(7, *shape)
    key, encrypted = encrypt_head(*head)
    evaluator = HeadEvaluator(EncryptedHead.decode(encrypted.encode()))
    for features in np.random.default_rng(11).integers(0, 256, (60, shape[0]), dtype=np.uint8):
        sent = evaluator.logits(features).encode()
        found = key.decrypt(EncryptedLogits.decode(sent, classes=shape[1]))
        assert list(found) == integers(head, features)


@settings(max_examples=40)
@given(st.data())
def test_extreme_weights_features_and_biases_stay_exact(data: st.DataObject) -> None:
    features, classes = data.draw(st.integers(1, 4)), data.draw(st.integers(2, 3))
    row = st.lists(st.sampled_from([-128, -1, 0, 1, 127]), min_size=classes, max_size=classes)
    weights = np.array(data.draw(st.lists(row, min_size=features, max_size=features)), np.int8)
    biases = st.sampled_from([-MAX_BIAS, -1, 0, 1, MAX_BIAS])
    bias = data.draw(st.lists(biases, min_size=classes, max_size=classes))
    values = st.lists(st.sampled_from([0, 1, 15, 16, 254, 255]), min_size=features, max_size=features)
    query = np.array(data.draw(values), np.uint8)
    key, head = encrypt_head(weights, bias)
    assert list(key.decrypt(HeadEvaluator(head).logits(query))) == integers((weights, bias), query)


def test_a_row_is_the_one_that_an_oracle_computes() -> None:
    weights, bias = np.array([[3, -5]], np.int8), [7, -11]
    key, head = encrypt_head(weights, bias, secret=SECRET, draw=counting(1000))
    for randomness, numbers, row in zip((1000, 1001), ([3, -5], bias), head.rows, strict=True):
        assert row[0].xy == _xy(randomness * ORACLE.g)
        for number, public, hidden in zip(numbers, head.keys, row[1:], strict=True):
            oracle = (number % points.ORDER) * ORACLE.g + randomness * OraclePoint(ORACLE, *map(int, public.xy))
            assert hidden.xy == _xy(oracle)
    for scalar, public in zip(key._scalars, head.keys, strict=True):
        derived = ec.derive_private_key(scalar, ec.SECP256R1()).public_key().public_numbers()
        assert public.xy == (derived.x, derived.y)


def _xy(point: OraclePoint) -> tuple[int, int]:
    return int(point.x), int(point.y)


def test_the_published_example_comes_out_again() -> None:
    weights = np.array(VECTORS["weights"], np.int8)
    key, head = encrypt_head(weights, VECTORS["bias"], secret=SECRET, draw=counting())
    assert [points.encode_point(point).hex() for point in head.keys] == VECTORS["keys"]
    assert hashlib.sha256(head.encode()).hexdigest() == VECTORS["head_sha256"]
    sent = EncryptedLogits.decode(bytes.fromhex(VECTORS["logits"]), classes=weights.shape[1])
    assert list(key.decrypt(sent)) == VECTORS["decrypted"]
    assert integers((weights, VECTORS["bias"]), np.array(VECTORS["features"], np.uint8)) == VECTORS["decrypted"]


@pytest.mark.parametrize("number", [1, 2, 255, 2**128 + 1, points.ORDER - 1])
def test_multiples_are_those_of_the_other_library(number: int) -> None:
    expected = ec.derive_private_key(number, ec.SECP256R1()).public_key().public_numbers()
    assert points.of_number(number).xy == (expected.x, expected.y)
    assert points.of_number(number - points.ORDER).xy == (expected.x, expected.y)
    assert points.times(points.of_number(1), number).xy == (expected.x, expected.y)


def test_zero_is_the_neutral_element() -> None:
    assert points.of_number(0) == points.neutral()
    assert points.of_number(points.ORDER) == points.neutral()
    assert points.of_number(5) + points.of_number(-5) == points.neutral()


HALF = BABY_STEPS


@pytest.mark.parametrize("number", [0, 1, -1, HALF, -HALF, HALF + 1, -HALF - 1, SPAN, 3 * SPAN - 1, -(2**22), 2**22])
def test_logarithms_are_found_at_every_edge_of_the_table(number: int) -> None:
    assert logarithm(points.of_number(number), -(2**22), 2**22) == number


@given(st.integers(-(2**20), 2**20), st.integers(-(2**40), 2**40))
@settings(max_examples=30)
def test_logarithms_are_found_wherever_the_interval_lies(number: int, shift: int) -> None:
    assert logarithm(points.of_number(number + shift), shift - 2**20, shift + 2**20) == number + shift


@pytest.mark.parametrize(("low", "high"), [(0, 10), (-10, 200_000), (-200_000, 200_000)])
def test_a_number_outside_of_the_interval_is_refused(low: int, high: int) -> None:
    for number in (low, high):
        assert logarithm(points.of_number(number), low, high) == number
    for number in (low - 1, high + 1, high + SPAN, points.random_scalar()):
        with pytest.raises(CiphertextRefused):
            logarithm(points.of_number(number), low, high)


def test_the_time_of_a_logarithm_does_not_tell_the_number(monkeypatch: pytest.MonkeyPatch) -> None:
    taken = []
    for number in (-(2**21), -5, 0, 70_000, 2**21):
        count = itertools.count()
        monkeypatch.setattr(
            "security.encrypted_inference.logarithm.encode_point",
            lambda point, count=count: (next(count), points.encode_point(point))[1],
        )
        logarithm(points.of_number(number), -(2**21), 2**21)
        taken.append(next(count))
    assert len(set(taken)) == 1


def test_the_same_query_looks_different_each_time_and_every_query_is_as_long(
    small: tuple[HeadKey, EncryptedHead],
) -> None:
    key, head = small
    evaluator = HeadEvaluator(head)
    zeros, most = np.zeros(5, np.uint8), np.full(5, 255, np.uint8)
    first, again, other = (evaluator.logits(query) for query in (zeros, zeros, most))
    assert {len(sent.encode()) for sent in (first, again, other)} == {EncryptedLogits.size(3)}
    assert not set(map(points.encode_point, first.row)) & set(map(points.encode_point, again.row))
    assert key.decrypt(first) == key.decrypt(again)


def test_without_rerandomisation_the_features_could_be_confirmed(small: tuple[HeadKey, EncryptedHead]) -> None:
    """The control: whoever drew the randomness r_i recognises the sum of q_i r_i unless the node adds its own."""
    weights, bias = drawn(1, 5, 3)
    _, head = encrypt_head(weights, bias, draw=counting(100))
    evaluator, query = HeadEvaluator(head), np.array([9, 0, 255, 3, 77], np.uint8)
    guess = points.of_number(sum(int(q) * (100 + n) for n, q in enumerate(query)) + 105)
    assert evaluator.product(query)[0] == guess
    assert evaluator.logits(query).row[0] != guess


def test_features_of_another_shape_or_type_are_refused(small: tuple[HeadKey, EncryptedHead]) -> None:
    evaluator = HeadEvaluator(small[1])
    wrongs: tuple[NDArray[Any], ...] = (
        np.zeros(4, np.uint8),
        np.zeros(6, np.uint8),
        np.zeros((1, 5), np.uint8),
        np.zeros(5, np.int16),
    )
    for wrong in wrongs:
        with pytest.raises(ValueError, match="uint8"):
            evaluator.logits(wrong)


def test_logits_of_another_head_are_refused() -> None:
    weights, bias = drawn(1, 5, 3)
    mine, other = encrypt_head(weights, bias), encrypt_head(weights, bias)
    sent = HeadEvaluator(other[1]).logits(np.zeros(5, np.uint8))
    with pytest.raises(CiphertextRefused):
        mine[0].decrypt(sent)
    assert other[0].decrypt(sent) == tuple(bias)


@pytest.mark.parametrize("at", range(4))
def test_an_exchanged_point_is_refused(small: tuple[HeadKey, EncryptedHead], at: int) -> None:
    key, head = small
    row = list(HeadEvaluator(head).logits(np.zeros(5, np.uint8)).row)
    row[at] = points.of_number(points.random_scalar())
    with pytest.raises(CiphertextRefused):
        key.decrypt(EncryptedLogits(tuple(row)))


def test_a_logit_that_no_features_make_is_refused(small: tuple[HeadKey, EncryptedHead]) -> None:
    """A node can multiply by whatever it likes; beyond what bytes can make the key finds no number."""
    key, head = small
    row = HeadEvaluator(head).product(np.zeros(5, np.uint8))
    _, bias = drawn(1, 5, 3)
    for at, reached in ((0, key.reach[0][1]), (1, key.reach[1][0])):
        for beyond in (0, 1 if at == 0 else -1):
            changed = list(row)
            changed[at + 1] = changed[at + 1] + points.of_number(reached - bias[at] + beyond)
            sent = HeadEvaluator(head).rerandomised(tuple(changed))
            if beyond:
                with pytest.raises(CiphertextRefused):
                    key.decrypt(sent)
            else:
                assert key.decrypt(sent)[at] == reached


BAD_POINTS = {
    "short": b"\1" * 63,
    "long": b"\1" * 65,
    "neutral": bytes(64),
    "off the curve": bytes(63) + b"\1",
    "x not reduced": points.PRIME.to_bytes(32) + bytes(31) + b"\1",
    "y not reduced": bytes(31) + b"\1" + (2**256 - 1).to_bytes(32),
    "negative of nothing": b"\xff" * 64,
}


@pytest.mark.parametrize("what", BAD_POINTS)
def test_what_is_no_point_of_the_group_is_refused(what: str) -> None:
    with pytest.raises(CiphertextRefused):
        points.decode_point(BAD_POINTS[what])


def test_a_point_with_a_coordinate_that_the_library_would_reduce_is_refused() -> None:
    """The root of b is a point with x = 0; PyCryptodome takes x = p for it, so it had two encodings."""
    root = pow(
        0x5AC635D8AA3A93E7B3EBBD55769886BC651D06B0CC53B0F63BCE3C3E27D2604B, (points.PRIME + 1) // 4, points.PRIME
    )
    assert points.decode_point(bytes(32) + root.to_bytes(32)).xy == (0, root)
    assert points.Point(points.PRIME, root, curve=points.CURVE).xy == (0, root)
    with pytest.raises(CiphertextRefused):
        points.decode_point(points.PRIME.to_bytes(32) + root.to_bytes(32))


@pytest.mark.parametrize("what", [key for key, value in BAD_POINTS.items() if len(value) == 64])
def test_a_key_holder_that_gets_a_malformed_point_refuses(what: str, small: tuple[HeadKey, EncryptedHead]) -> None:
    good = HeadEvaluator(small[1]).logits(np.zeros(5, np.uint8)).encode()
    for at in range(0, len(good), 64):
        with pytest.raises(CiphertextRefused):
            EncryptedLogits.decode(good[:at] + BAD_POINTS[what] + good[at + 64 :], classes=3)


def test_logits_of_another_shape_are_refused(small: tuple[HeadKey, EncryptedHead]) -> None:
    good = HeadEvaluator(small[1]).logits(np.zeros(5, np.uint8)).encode()
    for data in (b"", good[:-1], good + b"\0", good + good[:64], good[64:]):
        with pytest.raises(CiphertextRefused):
            EncryptedLogits.decode(data, classes=3)
    with pytest.raises(CiphertextRefused):
        small[0].decrypt(EncryptedLogits.decode(good[64:], classes=2))


CHANGES: dict[str, Callable[[dict[str, object]], object]] = {
    "another suite": lambda value: value | {"suite": "HEMASEAL-HEAD/EC-ELGAMAL-P384"},
    "another version": lambda value: value | {"version": 2},
    "a field more": lambda value: value | {"weights": b""},
    "a field less": lambda value: {key: value[key] for key in value if key != "keys"},
    "fewer features": lambda value: value | {"features": 4},
    "more features": lambda value: value | {"features": 6},
    "no features": lambda value: value | {"features": 0},
    "a negative number": lambda value: value | {"features": -1},
    "truth for a number": lambda value: value | {"features": True},
    "text for a number": lambda value: value | {"classes": "3"},
    "too many classes": lambda value: value | {"classes": 65},
    "other classes of the same length": lambda value: value | {"features": 7, "classes": 2},
    "text for points": lambda value: value | {"points": "x"},
    "a point off the curve": lambda value: value | {"points": bytes(63) + b"\1" + bytes(value["points"])[64:]},  # type: ignore[call-overload]
    "a neutral key": lambda value: value | {"keys": bytes(64) + bytes(value["keys"])[64:]},  # type: ignore[call-overload]
    "a list": lambda value: list(value.values()),
    "nothing": lambda _: None,
}


@pytest.mark.parametrize("what", CHANGES)
def test_a_malformed_head_is_refused(what: str, small: tuple[HeadKey, EncryptedHead]) -> None:
    value = decode(small[1].encode())
    with pytest.raises(CiphertextRefused):
        EncryptedHead.decode(encode(CHANGES[what](value)))


@pytest.mark.parametrize("data", [b"", b"\xff", b"\xbf\xff", b"\xd9\xd9\xf7\xa0"])
def test_bytes_that_are_no_head_are_refused(data: bytes) -> None:
    with pytest.raises(CiphertextRefused):
        EncryptedHead.decode(data)


def test_weights_and_biases_out_of_form_are_refused() -> None:
    good = np.zeros((2, 2), np.int8)
    wrongs: tuple[NDArray[Any], ...] = (good.astype(np.int16), good[0], good[:0], good[:, :1])
    for weights in wrongs:
        with pytest.raises(ValueError, match="expected"):
            encrypt_head(weights, [0, 0])
    for bias in ([0], [0, 0, 0], [0, MAX_BIAS + 1]):
        with pytest.raises(ValueError, match="bias"):
            encrypt_head(good, bias)


def test_a_key_is_kept_and_opened_again_and_shows_nothing() -> None:
    weights, bias = drawn(3, 4, 2)
    key, head = encrypt_head(weights, bias)
    again = HeadKey.load(key.save())
    assert again.reach == key.reach == reach_of(weights, bias)
    assert again.decrypt(HeadEvaluator(head).logits(np.zeros(4, np.uint8))) == tuple(bias)
    assert repr(key) == "<HeadKey>"
    with pytest.raises(TypeError):
        pickle.dumps(key)
    for data in (b"", key.save()[:-1], encode({"secret": b"short", "reach": []}), encode([1])):
        with pytest.raises(KeyMissing):
            HeadKey.load(data)


def test_a_head_says_nothing_of_its_weights(small: tuple[HeadKey, EncryptedHead]) -> None:
    """Two encryptions of one head share no point, and neither shows a multiple of the generator by a weight."""
    weights, bias = drawn(1, 5, 3)
    again = encrypt_head(weights, bias)[1]
    flat = [{points.encode_point(p) for row in head.rows for p in row} for head in (small[1], again)]
    assert not flat[0] & flat[1]
    in_clear = {points.encode_point(points.of_number(n)) for n in range(-127, 128) if n}
    assert not (flat[0] | flat[1]) & in_clear
