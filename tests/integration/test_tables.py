"""``python -m core tables`` on a tiny data set: stopped, gone on with, and read back from its report."""

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from typer.testing import CliRunner

from core.__main__ import app as commands
from core.errors import InvalidInput
from core.evaluation.tables import methods, run
from core.evaluation.tables.methods import ABLATED, COMPARED, Method, Outcome, Workshop
from core.evaluation.tables.profile import Profile
from core.evaluation.tables.question import Question
from core.imaging.synthetic import generate_mixed_dataset
from core.studies import LEUKEMIA

TINY = Profile(name="tiny", images=0, rounds=1, seeds=(0,), uploads=2, replicates=20)
TRAINED = (Method.CONVENTIONAL, Method.SECURE, Method.PROPOSED)
"""The others are trained in the same way; here the colour baseline stands in for them, so that the test is short."""


def quiet(_what: str, _done: int, _total: int) -> None:
    pass


@pytest.fixture(scope="module")
def cells(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Synthetic cells of enough patients for four hospitals."""
    folder = tmp_path_factory.mktemp("cells")
    generate_mixed_dataset(folder, cells=200, seed=4)
    return folder


def question(cells: Path, profile: Profile = TINY) -> Question:
    return Question.ask(data=cells, study=LEUKEMIA, profile=profile, checkpoint=None, split=None, say=quiet)


def test_a_run_that_was_stopped_goes_on_and_ends_with_every_table(
    cells: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    made: list[Method] = []
    real, by_colour = dict(methods._MAKERS), methods._MAKERS[Method.COLOUR]

    def recorded(method: Method, seed: int, shop: Workshop) -> Outcome:
        made.append(method)
        return (real[method] if method in TRAINED else by_colour)(shop, seed)

    def stopping(name: str, _done: int, _total: int) -> None:
        if name == Method.SECURE.step(0):
            raise KeyboardInterrupt

    monkeypatch.setattr(run, "make", recorded)
    asked = question(cells)
    with pytest.raises(KeyboardInterrupt):
        run.train_seed(asked, 0, tmp_path, say=quiet, begun=stopping)
    assert made == [Method.CONVENTIONAL]
    assert not (tmp_path / "report.html").exists()
    before = (tmp_path / "steps" / f"{Method.CONVENTIONAL.step(0)}.json").read_bytes()

    report = run.make_tables(asked, tmp_path, say=quiet, begun=quiet)
    assert made == list(Method)
    assert (tmp_path / "steps" / f"{Method.CONVENTIONAL.step(0)}.json").read_bytes() == before
    tables = json.loads((tmp_path / "steps" / "tables.json").read_text())
    assert [row["method"] for row in tables["comparison"]] == [method.value for method in COMPARED]
    assert len(tables["ablation"]) == len(ABLATED)
    assert tables["ablation"][-1]["privacy"] is None
    rows = {row["method"]: row["figures"] for row in tables["comparison"]}
    plain, sealed = rows[Method.CONVENTIONAL]["auc"]["value"], rows[Method.SECURE]["auc"]["value"]
    assert sealed == pytest.approx(plain, abs=0.02)  # LiteRT for Keras, and nothing else
    proposed = json.loads((tmp_path / "steps" / f"{Method.PROPOSED.step(0)}.json").read_text())
    assert proposed["mode"] == "blind"
    assert 0 < proposed["useful_share"] < 1
    kept = np.load(tmp_path / "steps" / f"{Method.PROPOSED.step(0)}.npz")["patients"]
    assert {*kept} == {str(number) for number in range(len({*kept}))}
    response = json.loads((tmp_path / "steps" / "response.json").read_text())
    assert response["n"] == 2
    assert all(response["ways"][way]["p50_ms"] > 0 for way in ("ours", "predict", "call"))

    page = report.read_text(encoding="utf-8")
    assert asked.sha256 in page
    assert "not measured" in page
    assert 'src="http' not in page
    assert page.count("<figure") == page.count("<details>") > len(COMPARED)

    row = {"attack": "membership", "adversary": "cloud", "figure": "privacy", "view": "blind"}
    (tmp_path / "attacks").mkdir()
    (tmp_path / "attacks" / "membership.json").write_text(json.dumps([{**row, "trials": 100, "successes": 1}]))
    run.make_tables(asked, tmp_path, say=quiet, begun=quiet)
    assert made == list(Method)
    assert "99.00 %" in report.read_text(encoding="utf-8")
    with pytest.raises(InvalidInput, match="rounds"):
        run.make_tables(question(cells, replace(TINY, rounds=2)), tmp_path, say=quiet, begun=quiet)


def test_the_shipped_model_is_judged_on_patients_that_its_own_training_left_out(cells: Path, tmp_path: Path) -> None:
    asked = question(cells)
    judged = asked.judged_patients()
    assert judged is not None
    patients = {record.patient for record in asked.records}
    assert set(judged) < patients
    copy, other = tmp_path / "copy.model", tmp_path / "other.model"
    copy.write_bytes(asked.checkpoint.read_bytes())
    other.write_bytes(b"another model")
    assert replace(asked, checkpoint=copy).judged_patients() == judged
    assert replace(asked, checkpoint=other).judged_patients() is None
    split = tmp_path / "split.json"
    split.write_text(json.dumps({"test": judged[:1]}))
    assert replace(asked, checkpoint=other, split=split).judged_patients() == judged[:1]


def test_a_model_of_another_study_and_an_unknown_study_are_refused(cells: Path, tmp_path: Path) -> None:
    other = Path(__file__).resolve().parents[2] / "models" / "multimodal.model"
    with pytest.raises(InvalidInput, match="multimodal"):
        Question.ask(data=cells, study=LEUKEMIA, profile=TINY, checkpoint=other, split=None, say=quiet)
    told = CliRunner().invoke(commands, ["tables", "--data", str(cells), "--out", str(tmp_path), "--study", "hair"])
    assert told.exit_code == 2
    assert "known studies" in told.output
