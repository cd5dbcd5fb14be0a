"""The shipped trunk: answers as the original network did, is refused when changed, and is looked at once a picture."""

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from ai_edge_litert.interpreter import Interpreter

from core.errors import CheckpointRefused
from core.imaging.preprocess import normalise
from core.learning import architectures
from core.learning.architectures import efficientnet, trunk_file
from core.learning.export import TOLERANCE, export_litert
from core.learning.inputs import TrunkInputs
from core.learning.metric_sums import summarise
from core.learning.training import Trainer, TrainingOptions
from core.studies import LEUKEMIA
from core.studies.study import Subject

VECTORS = Path(__file__).resolve().parents[2] / "vectors" / "efficientnet_lite0.json"
SMALL = replace(LEUKEMIA, input_size=32)
NAME = "efficientnet-lite0"


@pytest.fixture(scope="module")
def trainer() -> Trainer:
    return Trainer(NAME, SMALL, jit=False)


@pytest.fixture(scope="module")
def cells() -> tuple[np.ndarray, np.ndarray]:
    """Noise; in positive images a dark square."""
    rng = np.random.default_rng(0)
    labels = rng.integers(0, 2, 48)
    images = rng.integers(90, 255, (48, 32, 32, 3), np.uint8)
    images[labels == 1, 8:24, 8:24] //= 3
    return images, labels


def picture(side: int = 224) -> np.ndarray:
    """The picture of `benchmarks.convert_trunk`: noise of four sizes, seed 0, the first of 64."""
    rng = np.random.default_rng(0)
    total = np.zeros((64, side, side, 3))
    for cells in (2, 7, 28, 112):
        total += np.repeat(np.repeat(rng.random((64, cells, cells, 3)), side // cells, 1), side // cells, 2)
    low, high = total[:1].min(), total[:1].max()
    return ((total[:1] - low) / (high - low)).astype(np.float32)


def test_the_trunk_answers_as_the_original_network_at_every_point() -> None:
    expected = json.loads(VECTORS.read_text(encoding="utf-8"))
    trunk = efficientnet.Trunk(cut="top", taps=efficientnet.POINTS[:-1])
    maps = trunk.build(224).predict(picture(), verbose=0)
    assert list(expected) == list(trunk.outputs)
    for point, value in zip(trunk.outputs, maps, strict=True):
        wanted = expected[point]
        bound = 0.02 * (abs(wanted["mean"]) + wanted["deviation"])
        assert value.shape[1:] == (*efficientnet.grid(224, point), efficientnet.channels(point))
        assert value.mean() == pytest.approx(wanted["mean"], abs=bound), point
        assert value.std() == pytest.approx(wanted["deviation"], abs=bound), point
        np.testing.assert_allclose(value[0, 0, 0, :4], wanted["corner"], atol=5 * bound, err_msg=point)


def test_a_changed_or_missing_trunk_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    data = bytearray((trunk_file.FOLDER / efficientnet.FILE.name).read_bytes())
    data[-1] ^= 1
    monkeypatch.setattr(trunk_file, "FOLDER", tmp_path)
    with pytest.raises(CheckpointRefused, match="cannot be read"):
        efficientnet.FILE.read()
    (tmp_path / efficientnet.FILE.name).write_bytes(data)
    with pytest.raises(CheckpointRefused, match="not the one"):
        efficientnet.FILE.read()


def test_points_that_do_not_lie_below_the_cut_are_refused() -> None:
    for cut, taps in (("block99", ()), ("block4", ("block4",)), ("block4", ("top",))):
        with pytest.raises(ValueError, match="points"):
            efficientnet.Trunk(cut=cut, taps=taps)


def test_only_what_is_above_the_cut_is_weights_and_it_starts_from_imagenet(trainer: Trainer) -> None:
    weights = trainer.initial(0)
    shipped = efficientnet.FILE.read()
    assert {name.split("/")[0] for name in weights} == {
        *(f"block15_{part}" for part in ("expand", "depthwise", "project")),
        "top",
        "head",
    }
    for name in weights.keys() & shipped.keys():
        np.testing.assert_array_equal(weights[name], shipped[name])
    whole, above = (
        architectures.find(NAME).trunk,
        architectures.build(NAME, input_size=32, classes=2),
    )
    assert whole is not None
    above.set_weights(list(weights.values()))
    image = np.random.default_rng(0).random((2, 32, 32, 3), np.float32)
    features = np.asarray(above(whole.build(32)(image))[2])
    straight = np.asarray(efficientnet.Trunk(cut="top").build(32)(image)).mean((1, 2))
    np.testing.assert_allclose(features, straight, atol=1e-4)


def test_training_on_a_trunk_learns_and_repeats_bit_for_bit(
    trainer: Trainer, cells: tuple[np.ndarray, np.ndarray]
) -> None:
    options = TrainingOptions(epochs=3, batch=16, seed=1, dropout=0.2, averaging=0.5)
    first, _ = trainer.fit(trainer.initial(0), *cells, options)
    again, _ = Trainer(NAME, SMALL, jit=False).fit(trainer.initial(0), *cells, options)
    for name, array in first.items():
        np.testing.assert_array_equal(array, again[name])
    assert summarise(trainer.evaluate(first, *cells), SMALL).auc > 0.95


def test_a_picture_is_looked_at_once_and_its_copies_are_the_same_everywhere(
    cells: tuple[np.ndarray, np.ndarray], monkeypatch: pytest.MonkeyPatch
) -> None:
    images = cells[0][:6]
    inputs, elsewhere = (TrunkInputs(efficientnet.Trunk(cut="block4"), Subject.CELL, 32, jit=False) for _ in range(2))
    first = inputs.maps(images, copies=3)
    monkeypatch.setattr(inputs, "_run", lambda _pictures: pytest.fail("looked again"))
    again = inputs.maps(images[::-1], copies=3)[::-1]
    other = elsewhere.maps(images[2:4], copies=3)
    for one, two in ((first, again), (first[2:4], other)):
        for copies, same in zip(one, two, strict=True):
            for maps, equal in zip(copies, same, strict=True):
                np.testing.assert_allclose(maps[0], equal[0], atol=5e-3)
    assert not np.array_equal(first[0][0][0], first[0][1][0])


def test_in_training_half_of_the_maps_are_mirrored(cells: tuple[np.ndarray, np.ndarray]) -> None:
    inputs = TrunkInputs(efficientnet.Trunk(cut="block4"), Subject.SCAN, 32, jit=False)
    images = cells[0][:1]
    (straight,) = inputs.plain(images)
    draw = inputs.drawing(images, TrainingOptions(copies=1))
    (drawn,) = draw.batch(np.zeros(100, np.int64), np.random.default_rng(0))
    mirrored = (drawn == straight[:, :, ::-1]).all((1, 2, 3))
    assert ((drawn == straight).all((1, 2, 3)) ^ mirrored).all()
    assert 30 < mirrored.sum() < 70
    (unchanged,) = inputs.drawing(images, TrainingOptions(augment=False)).batch(
        np.zeros(9, np.int64), np.random.default_rng(0)
    )
    assert (unchanged == straight).all()


def test_what_is_kept_of_pictures_is_bounded(
    cells: tuple[np.ndarray, np.ndarray], monkeypatch: pytest.MonkeyPatch
) -> None:
    inputs = TrunkInputs(efficientnet.Trunk(cut="block4"), Subject.CELL, 32, jit=False)
    one = inputs.plain(cells[0][:1])[0].size * 2
    monkeypatch.setattr("core.learning.inputs.CACHE_BYTES", 5 * one)
    everything = inputs.plain(cells[0])[0]
    assert inputs._kept_bytes == len(inputs._kept) * one == 5 * one
    np.testing.assert_allclose(inputs.plain(cells[0][-3:])[0], everything[-3:], atol=5e-3)


def test_the_exported_network_holds_trunk_and_trained_layers_and_answers_as_the_trainer(
    trainer: Trainer, cells: tuple[np.ndarray, np.ndarray]
) -> None:
    weights, _ = trainer.fit(trainer.initial(0), *cells, TrainingOptions(epochs=1, batch=16))
    exported = export_litert(weights, NAME, SMALL)
    assert len(exported) < 7_000_000
    runner = Interpreter(model_content=exported).get_signature_runner()
    got = np.concatenate([runner(image=normalise(cells[0][i : i + 1]))["logits"] for i in range(4)])
    wanted = trainer.logits(weights, cells[0][:4])
    np.testing.assert_allclose(got, wanted, atol=100 * TOLERANCE)


def test_maps_of_several_depths_can_be_joined_and_mixed_under_the_head(
    cells: tuple[np.ndarray, np.ndarray], monkeypatch: pytest.MonkeyPatch
) -> None:
    trunk = efficientnet.Trunk(cut="block10", taps=("block2", "block4"))
    entry = architectures.Architecture(
        purpose="test", builder=efficientnet.upper_builder(trunk, last="block11", width=64), trunk=trunk, jit=False
    )
    monkeypatch.setitem(architectures.ARCHITECTURES, "joined", entry)
    joined = Trainer("joined", SMALL, jit=False)
    weights, _ = joined.fit(joined.initial(0), *cells, TrainingOptions(epochs=6, batch=16, seed=1))
    assert {name.split("_")[0] for name in weights} == {"block11", "mix", "head/kernel", "head/bias"}
    assert weights["mix_conv/kernel"].shape == (1, 1, 24 + 40 + 192, 64)
    assert summarise(joined.evaluate(weights, *cells), SMALL).auc > 0.9
    runner = Interpreter(model_content=export_litert(weights, "joined", SMALL)).get_signature_runner()
    served = runner(image=normalise(cells[0][:1]))["logits"]
    np.testing.assert_allclose(served, joined.logits(weights, cells[0][:1]), atol=100 * TOLERANCE)
