"""A federated run with the product's own learner (TensorFlow) on synthetic cells; what ``simulate`` leaves."""

from pathlib import Path

import numpy as np
import pytest
from typer.testing import CliRunner

from core.clock import SystemClock
from core.diagnosis.checkpoint_file import load_checkpoint, write_sealed
from core.diagnosis.predictor import Predictor
from core.errors import RunRefused
from core.evaluation.evaluate import read_split
from core.imaging.datasets import DatasetArrays, Part
from core.imaging.synthetic import STYLES, generate_arrays, generate_dataset
from core.learning.architectures import DEFAULT_ARCHITECTURE
from core.learning.orders import AggregationMode
from core.learning.training import TrainingOptions
from core.learning.weights import decode_weights
from core.settings import Mode, Settings
from core.studies import LEUKEMIA
from federated.__main__ import commands
from federated.learner import KerasLearner
from federated.shares import SimulationOptions, share_out
from federated.simulation import Simulated, simulate
from federated.simulation_report import report, seal_for_installation
from tests.federation import without

OPTIONS = SimulationOptions(hospitals=3, rounds=2, training=TrainingOptions(epochs=1, batch=8, augment=False))


@pytest.fixture(scope="module")
def learner() -> KerasLearner:
    """One compiled network for this module."""
    return KerasLearner(DEFAULT_ARCHITECTURE, LEUKEMIA)


@pytest.fixture(scope="module")
def data() -> dict[str, DatasetArrays]:
    """Three hospitals with the stains of three laboratories."""
    return {
        slug: generate_arrays(patients=6, cells_per_patient=6, style=STYLES[slug], seed=number)
        for number, slug in enumerate(("north", "east", "south"))
    }


@pytest.fixture(scope="module")
def simulated(learner: KerasLearner, data: dict[str, DatasetArrays]) -> Simulated:
    return simulate(data, LEUKEMIA, OPTIONS, learner=learner)


def test_the_served_network_answers_as_the_trained_one(
    simulated: Simulated, learner: KerasLearner, data: dict[str, DatasetArrays]
) -> None:
    part = data["north"].part(Part.TEST)
    weights, _ = decode_weights(simulated.model.weights or b"")
    logits = learner.trainer.logits(weights, part.images)
    positive = Predictor(simulated.model).predict(part.images[0])
    assert positive.label_index == int(np.argmax(logits[0]))
    assert simulated.model.manifest.members == ("east.training", "north.training", "south.training")


def test_each_round_has_global_figures_and_each_hospital_its_own(simulated: Simulated) -> None:
    assert [one.round for one in simulated.rounds] == [0, 1, 2]
    for one in simulated.rounds[1:]:
        assert {"auc", "accuracy", "loss", "threshold", "temperature"} <= set(one.metrics)
        own = simulated.own[one.round]
        assert sum(figures["images"] for figures in own.values()) == one.metrics["images"]
    assert simulated.rounds[1].metrics["loss"] != simulated.rounds[2].metrics["loss"]


def test_plain_and_sealed_train_the_very_same_model(learner: KerasLearner, data: dict[str, DatasetArrays]) -> None:
    options = SimulationOptions(hospitals=3, rounds=1, training=OPTIONS.training)
    hashes = {
        simulate(
            data,
            LEUKEMIA,
            SimulationOptions(**{**vars(options), "mode": mode}),
            learner=learner,
        ).model.manifest.weights_sha256
        for mode in (AggregationMode.PLAIN, AggregationMode.SEALED)
    }
    assert len(hashes) == 1


def test_hospitals_that_all_lack_a_class_in_validation_are_refused_at_once(data: dict[str, DatasetArrays]) -> None:
    alike = {slug: without(arrays, Part.VALIDATION, 1) for slug, arrays in data.items()}
    with pytest.raises(RunRefused, match="validation image"):
        simulate(alike, LEUKEMIA, OPTIONS)


def test_the_sealed_file_opens_with_the_authority_of_the_settings(simulated: Simulated, tmp_path: Path) -> None:
    settings = Settings(data_dir=tmp_path / "var", database_url="", master_key=None, mode=Mode.DEMO)
    clock = SystemClock()
    sealed = seal_for_installation(simulated.model, settings, clock)
    file = tmp_path / "checkpoint.sealed"
    write_sealed(file, sealed, study=LEUKEMIA.name, run=simulated.run, round_number=2, sender="authority")
    assert load_checkpoint(file, settings=settings, at=clock.now()).manifest == simulated.model.manifest
    assert seal_for_installation(simulated.model, settings, clock) != sealed


def test_the_figures_are_complete_and_the_split_can_be_evaluated(simulated: Simulated, tmp_path: Path) -> None:
    import json  # noqa: PLC0415

    folder = tmp_path / "cells"
    generate_dataset(folder, patients=9, cells_per_patient=2, style=STYLES["north"], seed=1)
    shares = share_out(folder, LEUKEMIA, OPTIONS, lambda _what, _done, _total: None)
    split = tmp_path / "split.json"
    split.write_text(json.dumps(shares.split()))
    parts = {part: set(read_split(split, part)) for part in Part}
    assert sum(len(names) for names in parts.values()) == len(set.union(*parts.values())) == 9
    assert set.union(*parts.values()) == {
        name for own in shares.patients.values() for names in own.values() for name in names
    }
    training = [len(arrays.part(Part.TRAINING)) for arrays in shares.arrays.values()]
    assert sum(shares.class_counts(LEUKEMIA)) == sum(training)
    result = report(simulated, shares, LEUKEMIA, OPTIONS, command=["simulate"])
    assert {"rounds", "final", "training_s", "cryptography_s", "parameters", "seed", "command"} <= set(result)
    assert result["parameters"] > 200_000
    assert [one["round"] for one in result["rounds"]] == [1, 2]
    assert json.loads(json.dumps(result)) == result


@pytest.mark.parametrize(
    ("arguments", "text"),
    [
        (["--data", "{missing}", "--out", "{out}"], "does not exist"),
        (["--data", "{empty}", "--out", "{out}"], "DAT-INDEX"),
        (["--data", "{empty}", "--out", "{out}", "--study", "unknown"], "known studies"),
        (["--data", "{empty}", "--out", "{out}", "--hospitals", "2"], "hospitals"),
        (["--data", "{empty}", "--out", "{out}", "--minimum-members", "2"], "minimum-members"),
        (["--data", "{empty}", "--out", "{out}", "--mode", "open"], "plain"),
    ],
)
def test_the_command_explains_what_is_wrong_and_writes_nothing(tmp_path: Path, arguments: list[str], text: str) -> None:
    out = tmp_path / "out"
    empty = tmp_path / "empty"
    empty.mkdir()
    filled = [part.format(missing=tmp_path / "missing", empty=empty, out=out) for part in arguments]
    outcome = CliRunner(env={"TERMINAL_WIDTH": "400"}).invoke(commands, ["simulate", *filled])  # no line breaks
    assert outcome.exit_code != 0
    assert text in outcome.output
    assert not out.exists()
