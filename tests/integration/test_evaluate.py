"""``python -m core evaluate``: any index.csv folder, figures as written in docs/results.md, without TensorFlow."""

import csv
import json
import os
import re
import shutil
import subprocess
import sys
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from sqlmodel import col, func, select

from core.diagnosis.bundle import ServingModel
from core.diagnosis.checkpoint_file import load_checkpoint, seal_model, write_clear, write_sealed
from core.errors import DatasetRefused, HemaSealError
from core.evaluation.colour_baseline import colours, judged_by_colour
from core.evaluation.evaluate import evaluate, read_split
from core.evaluation.external import judge_external
from core.evaluation.report import KEYS, to_json
from core.imaging.datasets import Part
from core.imaging.synthetic import STYLES, generate_dataset
from core.services.app import App
from core.services.audit_rows import verified
from core.services.model_export import export
from core.settings import ROOT, Settings
from db.engine import read_scope
from db.models import AuditEntry
from security.authority import CertificateAuthority
from security.identity import Identity
from security.keys import KeyStore, MasterKey
from tests.conftest import Installation
from tests.serving import RUN

PATIENTS = 4
_TINTS = ((120, 20, 20), (20, 20, 120))


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Sixteen synthetic cells of four patients, and a file that is no image."""
    folder = tmp_path_factory.mktemp("cells")
    generate_dataset(folder, patients=PATIENTS, cells_per_patient=4, style=next(iter(STYLES.values())), seed=0)
    lines = (folder / "index.csv").read_text().splitlines()
    (folder / "broken.png").write_text("not an image")
    columns = dict(zip(lines[0].split(","), lines[1].split(","), strict=True))
    lines.append(",".join("broken.png" if name == "path" else value for name, value in columns.items()))
    (folder / "index.csv").write_text("\n".join(lines) + "\n")
    return folder


def command(*arguments: str, data_dir: Path) -> subprocess.CompletedProcess[str]:
    environment = {"PATH": os.environ["PATH"], "HEMASEAL_DATA_DIR": str(data_dir), "COLUMNS": "100"}
    line = [sys.executable, "-X", "importtime", "-m", "core", *arguments]
    return subprocess.run(line, cwd=ROOT, env=environment, capture_output=True, text=True, check=False)


def test_every_figure_has_a_value_or_null_and_an_interval(serving_model: ServingModel, folder: Path) -> None:
    seen: list[tuple[int, int]] = []
    result: dict[str, Any] = to_json(
        evaluate(serving_model, folder, progress=lambda done, total: seen.append((done, total)))
    )
    assert seen[-1] == (17, 17)
    assert result["images"] == 16
    assert result["patients"] == PATIENTS
    assert result["rejected"] == [["broken.png", "IMG-TYPE"]]
    for key in KEYS:
        assert set(result[key]) == {"value", "low", "high"}
    assert sum(sum(row) for row in result["confusion_matrix"]["counts"]) == 16
    json.dumps(result, allow_nan=False)


def test_each_key_is_defined_in_the_documentation() -> None:
    text = (ROOT / "docs" / "results.md").read_text()
    for key in (*KEYS, "false_alarm_rate", "confusion_matrix", "response_time_ms"):
        assert re.search(rf"^\|.*`{key}`.*\|", text, re.MULTILINE), key


def test_only_the_patients_of_a_part_are_judged(serving_model: ServingModel, folder: Path, tmp_path: Path) -> None:
    lines = (folder / "index.csv").read_text().splitlines()
    position = lines[0].split(",").index("patient")
    patients = sorted({line.split(",")[position] for line in lines[1:]})
    split = tmp_path / "split.json"
    split.write_text(json.dumps({"training": patients[:2], "validation": [], "test": patients[2:3], "seed": 0}))
    assert evaluate(serving_model, folder, patients=read_split(split, Part.TEST)).patients == 1
    with pytest.raises(DatasetRefused, match="patients"):
        evaluate(serving_model, folder, patients=read_split(split, Part.VALIDATION))
    for wrong in ("[]", '{"test": 1}', "no json"):
        split.write_text(wrong)
        with pytest.raises(DatasetRefused, match="split"):
            read_split(split, Part.TEST)


def test_colour_alone_is_judged_on_the_same_images_and_never_fitted_on_them(
    serving_model: ServingModel, folder: Path
) -> None:
    with (folder / "index.csv").open(newline="") as file:
        patients = sorted({row["patient"] for row in csv.DictReader(file)})
    result = evaluate(serving_model, folder, patients=patients[2:], colour_patients=patients[:2])
    assert result.patients == 2
    assert 0 <= result.baseline["auc"].value <= 1
    assert to_json(result)["colour_baseline"] is not None
    assert evaluate(serving_model, folder, patients=patients[2:]).baseline == {}
    with pytest.raises(ValueError, match="judged"):
        evaluate(serving_model, folder, patients=patients[2:], colour_patients=patients)


def test_colour_alone_tells_red_from_blue_and_gives_an_unseen_class_nothing() -> None:
    rng = np.random.default_rng(0)
    red, blue = (rng.integers(0, 60, (20, 40, 50, 3), np.uint8) + np.array(tint, np.uint8) for tint in _TINTS)
    features = np.array([colours(image) for image in (*red, *blue)])
    labels = np.repeat([0, 1], 20)
    judged = judged_by_colour((features, labels), features, labels, tuple("ab" * 20), classes=3)
    assert (judged.predicted == labels).all()
    assert (judged.probabilities[:, 2] == 0).all()


def test_each_modality_is_judged_by_itself_and_sets_by_what_they_hold(
    serving_model: ServingModel, folder: Path
) -> None:
    result = evaluate(serving_model, folder)
    assert set(result.by_modality) == {"SMEAR"}
    assert result.by_modality["SMEAR"].value == pytest.approx(result.figures["auc"].value)
    assert result.coverage.images == result.images
    assert 1 <= result.coverage.size <= 2


def test_images_of_another_source_give_specificity_by_label(
    serving_model: ServingModel, folder: Path, tmp_path: Path
) -> None:
    lines = ["path,label,patient"]
    for number, path in enumerate(sorted(folder.rglob("*.png"))[:6]):
        shutil.copyfile(path, tmp_path / f"{number}.png")
        lines.append(f"{number}.png,{'even' if number % 2 == 0 else 'odd'},p{number}")
    (tmp_path / "index.csv").write_text("\n".join(lines))
    external = judge_external(serving_model, tmp_path)
    answers = external.by_label["even"], external.by_label["odd"]
    assert external.images == sum(images for images, _ in answers)
    assert external.specificity.value == pytest.approx(
        sum(images * share for images, share in answers) / external.images
    )
    assert set(judge_external(serving_model, tmp_path, labels=["odd"]).by_label) == {"odd"}
    json.dumps(to_json(evaluate(serving_model, folder), external), allow_nan=False)
    for wrong in (["none"], ["odd"]):
        (tmp_path / "index.csv").write_text("path,label\n0.png,odd\n" if wrong == ["odd"] else "\n".join(lines))
        with pytest.raises(DatasetRefused, match="external"):
            judge_external(serving_model, tmp_path, labels=wrong)


def test_the_command_writes_the_figures_and_never_imports_tensorflow(
    serving_model: ServingModel, folder: Path, tmp_path: Path
) -> None:
    write_clear(tmp_path / "clear.model", serving_model)
    output = tmp_path / "figures.json"
    done = command(
        *("evaluate", "--checkpoint", str(tmp_path / "clear.model"), "--data", str(folder), "--json", str(output)),
        data_dir=tmp_path,
    )
    assert done.returncode == 0, done.stderr[-2000:]
    figures = json.loads(output.read_text())
    assert {*KEYS, "confusion_matrix", "response_time_ms", "images", "patients", "alarm_rate"} <= set(figures)
    assert figures["checkpoint"]["weights_sha256"] == serving_model.manifest.weights_sha256
    imported = {line.rsplit("|", 1)[1].strip() for line in done.stderr.splitlines() if line.startswith("import time:")}
    assert "ai_edge_litert.interpreter" in imported
    assert not {name.split(".")[0] for name in imported} & {"tensorflow", "keras", "streamlit"}
    assert "accuracy" in done.stdout


def test_a_sealed_checkpoint_is_exported_in_clear_only_by_its_command(
    serving_model: ServingModel, tmp_path: Path
) -> None:
    settings = Settings(data_dir=tmp_path / "own", master_key=None)
    master = MasterKey.load(secret=None, file=settings.master_key_file, create=True)
    now = datetime.now(UTC)
    authority = CertificateAuthority.create(KeyStore(settings.keys_dir, "authority", master), now)
    owner, node = (
        Identity.enrol(KeyStore(settings.keys_dir, party, master), authority, now=now)
        for party in ("authority", "north.training")
    )
    sealed, clear = tmp_path / "checkpoint.sealed", tmp_path / "clear.model"
    write_sealed(
        sealed,
        seal_model(serving_model, sender=node, recipients=[owner.sealing_certificate]),
        study="leukemia",
        run=RUN,
        round_number=1,
        sender=node.party,
    )
    arguments = ("export-checkpoint", "--checkpoint", str(sealed), "--out", str(clear))
    assert command(*arguments, data_dir=settings.data_dir).returncode == 0
    assert load_checkpoint(clear, settings=settings, at=now) == serving_model
    assert command(*arguments, data_dir=settings.data_dir).returncode != 0  # never over a file that is there
    stranger = command(*arguments[:-1], str(tmp_path / "other"), data_dir=tmp_path / "stranger")
    assert stranger.returncode == 1
    assert "[APP-SETTINGS]" in stranger.stderr
    assert not (tmp_path / "other").exists()


def test_writing_a_model_in_clear_is_in_the_audit_log_of_the_installation(
    serving_model: ServingModel, installation: Installation, tmp_path: Path
) -> None:
    shutil.copytree(installation.data_dir, tmp_path / "own")
    settings = Settings(data_dir=tmp_path / "own", database_url="", master_key=None)
    export(settings, serving_model, tmp_path / "clear.model")
    assert load_checkpoint(tmp_path / "clear.model", settings=settings, at=datetime.now(UTC)) == serving_model
    app = App.start(settings)
    with read_scope(app.engine) as session:
        last = session.exec(select(AuditEntry.entry).order_by(col(AuditEntry.number).desc())).first()
        end = verified(session, app.trust())
        assert session.exec(select(func.count()).select_from(AuditEntry)).one() == end.head.size
    app.engine.dispose()
    entry = json.loads(last or b"")
    assert (entry["actor"], entry["action"], entry["object"]) == ("authority", "model.export", RUN)
    away = settings.model_copy(update={"database_url": "mysql+pymysql://root@127.0.0.1:1/none"})
    away.__dict__.pop("database", None)
    with pytest.raises(HemaSealError):
        export(away, serving_model, tmp_path / "second.model")
    assert not (tmp_path / "second.model").exists()


def test_errors_are_one_line_with_a_code(serving_model: ServingModel, tmp_path: Path) -> None:
    write_clear(tmp_path / "clear.model", serving_model)
    tampered = bytearray((tmp_path / "clear.model").read_bytes())
    tampered[len(tampered) // 2] ^= 1
    (tmp_path / "tampered.model").write_bytes(tampered)
    (tmp_path / "empty").mkdir()
    for model, code in (("clear.model", "DAT-INDEX"), ("tampered.model", "MOD-CHECKPOINT"), ("none", "MOD-CHECKPOINT")):
        done = command(
            *("evaluate", "--checkpoint", str(tmp_path / model), "--data", str(tmp_path / "empty")), data_dir=tmp_path
        )
        assert done.returncode == 1
        last = done.stderr.strip().splitlines()[-1]
        assert last.endswith(f"[{code}]")
        assert "Traceback" not in done.stderr
