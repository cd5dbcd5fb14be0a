"""Pictures that are written and read piece by piece: the library's format, indexed like an array, damage is named."""

import json
import math

import numpy as np
import pytest
from numpy.typing import NDArray
from safetensors.numpy import load, save

from core.errors import DatasetRefused
from core.imaging.squares import Pixels, Places, StoredSquares
from core.imaging.tensor_file import MAX_HEADER, SQUARES_AT_ONCE, TensorFile, with_squares
from security.errors import SealBroken
from tests.unit.imaging.held import Held

SIDE = 5


def pictures(count: int) -> Pixels:
    return np.random.default_rng(count).integers(0, 256, (count, SIDE, SIDE, 3), dtype=np.uint8)


def made(squares: Pixels, **small: NDArray[np.generic]) -> bytes:
    return b"".join(with_squares(save(dict(small), {"format": "x"}), "images", squares))


@pytest.mark.parametrize("count", [0, 1, SQUARES_AT_ONCE, 3 * SQUARES_AT_ONCE + 1])
def test_the_library_reads_what_is_written_and_what_it_writes_is_read(count: int) -> None:
    squares, labels = pictures(count), np.arange(count, dtype=np.int64)
    parts = labels.astype(np.uint8)
    for data in (
        made(squares, labels=labels, parts=parts),
        save({"images": squares, "labels": labels, "parts": parts}, {"format": "x"}),
    ):
        read = load(data)
        assert sorted(read) == ["images", "labels", "parts"]
        assert np.array_equal(read["images"], squares)
        assert np.array_equal(read["labels"], labels)
        found = TensorFile.open(Held(data))
        assert found.metadata == {"format": "x"}
        assert np.array_equal(np.asarray(found.squares("images")), squares)
        assert np.array_equal(found.whole("labels", "I64"), labels)
        assert np.array_equal(found.whole("parts", "U8"), parts)


def test_stored_pictures_are_indexed_like_an_array() -> None:
    whole = pictures(40)
    asked: list[list[int]] = []

    def fetch(places: Places) -> Pixels:
        asked.append(places.tolist())
        return whole[places]

    stored = StoredSquares(fetch, np.arange(40), SIDE)
    assert (stored.shape, stored.dtype, len(stored)) == (whole.shape, whole.dtype, 40)
    part, also = stored[10:30], whole[10:30]
    assert isinstance(part, StoredSquares)
    assert asked == []
    assert np.array_equal(np.asarray(part), also)
    assert np.array_equal(part[3], also[3])
    assert np.array_equal(part[-1], also[-1])
    for which in (np.array([7, 2, 2, 19, 0]), np.array([], np.intp), np.arange(20) % 3 == 0):
        assert np.array_equal(part[which], also[which])
    assert all(places == sorted(places) for places in asked)
    assert np.asarray(part, np.float32).dtype == np.float32
    for wrong in (20, -21):
        with pytest.raises(IndexError):
            part[wrong]


def changed_header(data: bytes, **entries: object) -> Held:
    length = int.from_bytes(data[:8], "little")
    header = json.loads(data[8 : 8 + length])
    for name, entry in entries.items():
        header[name] = entry if entry is None else {**header.get(name, {}), **dict(entry)}  # type: ignore[call-overload]
    text = json.dumps({name: entry for name, entry in header.items() if entry is not None}).encode()
    return Held(len(text).to_bytes(8, "little") + text + data[8 + length :])


@pytest.mark.parametrize(
    "entry",
    [
        None,
        {"dtype": "I64"},
        {"dtype": "F32"},
        {"shape": [2, SIDE, SIDE, 4]},
        {"shape": [2, SIDE, 3, SIDE]},
        {"shape": [2]},
        {"shape": []},
        {"shape": [-2, -SIDE, SIDE, 3]},
        {"shape": [2, SIDE, SIDE, 3], "data_offsets": [16, 10**12]},
        {"shape": [10**9, SIDE, SIDE, 3], "data_offsets": [16, 16 + 10**9 * SIDE * SIDE * 3]},
        {"data_offsets": [-8, 2 * SIDE * SIDE * 3 - 8]},
        {"data_offsets": [17, 17 + 2 * SIDE * SIDE * 3]},
        {"data_offsets": [0]},
        {"data_offsets": [16, math.inf]},
        {"data_offsets": [16.0, 166.0]},
        {"shape": [math.inf, SIDE, SIDE, 3]},
        {"shape": [10**13, 0, 0, 3], "data_offsets": [16, 16]},
        {"shape": [True, SIDE, SIDE, 3], "data_offsets": [16, 16 + SIDE * SIDE * 3]},
        {"data_offsets": "ab"},
    ],
)
def test_a_header_that_does_not_describe_the_pictures_is_refused(entry: dict[str, object] | None) -> None:
    data = made(pictures(2), labels=np.arange(2))
    assert len(TensorFile.open(changed_header(data)).squares("images")) == 2
    with pytest.raises((ValueError, KeyError, TypeError)):
        TensorFile.open(changed_header(data, images=entry)).squares("images")


def test_a_header_without_end_is_not_read() -> None:
    with pytest.raises(ValueError, match="too long"):
        TensorFile.open(Held((2**40).to_bytes(8, "little") + b"{}"))


def test_what_could_not_be_read_again_is_not_written() -> None:
    small = save({"labels": np.arange(2)}, {"names": "x" * MAX_HEADER})
    with pytest.raises(DatasetRefused, match="too long together"):
        next(with_squares(small, "images", pictures(2)))


def test_pictures_that_are_gone_are_refused_by_name() -> None:
    class Broken(Held):
        def read(self, start: int, count: int) -> bytes:
            if start > 200:
                raise SealBroken
            return super().read(start, count)

    squares = TensorFile.open(Broken(made(pictures(30)))).squares("images")
    with pytest.raises(DatasetRefused, match="changed while it was in use"):
        np.asarray(squares)
