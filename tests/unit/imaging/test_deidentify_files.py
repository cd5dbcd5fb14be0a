"""De-identification of a folder: names of files go too, damaged ones are told, doing it twice changes nothing."""

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pydicom
import pytest

from core.errors import DatasetRefused
from core.imaging.deidentify_files import deidentify_files
from tests.unit.imaging.dicom_files import dataset_of, written

KEY = b"k" * 32
GREY = np.arange(1024, dtype=np.uint16).astype(np.uint8).reshape(32, 32)


@pytest.fixture
def originals(tmp_path: Path) -> Path:
    """Two patients, one file that states burned-in text, one ultrasound, one damaged, one text."""
    folder = tmp_path / "originals"
    (folder / "Musterfrau Erika").mkdir(parents=True)
    kinds: list[tuple[str, dict[str, Any]]] = [
        ("1", {}),
        ("1", {}),
        ("2", {"Modality": "US"}),
        ("2", {"BurnedInAnnotation": "YES"}),
    ]
    for number, (patient, more) in enumerate(kinds):
        dataset = dataset_of(
            GREY, PatientID=patient, PatientName="Musterfrau^Erika", SOPInstanceUID=f"1.2.{number}", **more
        )
        (folder / "Musterfrau Erika" / f"{number}.dcm").write_bytes(written(dataset))
    (folder / "damaged.dcm").write_bytes(written(dataset_of(GREY))[:-500])
    (folder / "notes.txt").write_text("Musterfrau")
    return folder


def test_a_folder_is_written_under_pseudonyms_and_told_file_by_file(originals: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    seen: list[tuple[int, int]] = []
    report = deidentify_files(originals, out, key=KEY, progress=lambda done, total: seen.append((done, total)))
    files = sorted(out.rglob("*.dcm"))
    assert (len(report.written), len(files), len(report.patients)) == (3, 3, 2)
    assert seen[-1] == (6, 6)
    assert [reason for _, reason in report.at_risk] == ["ultrasound pictures often carry the patient's name"]
    assert [name for name, _ in report.held_back] == ["Musterfrau Erika/3.dcm", "damaged.dcm", "notes.txt"]
    for path in files:
        assert "usterfrau" not in path.as_posix()
        assert b"usterfrau" not in path.read_bytes()
        assert np.array_equal(pydicom.dcmread(path).pixel_array, GREY)
    contents = {path: path.read_bytes() for path in files}
    again = deidentify_files(originals, out, key=KEY, with_burned_in=True)
    assert len(again.written) == 4
    assert {path: path.read_bytes() for path in files} == contents
    assert json.dumps(report.to_json()).count("Musterfrau") == 1  # the held back original's own name


def test_originals_are_never_written_over(originals: Path, tmp_path: Path) -> None:
    for out in (originals, originals / "out", tmp_path):
        with pytest.raises(DatasetRefused, match="beside the originals"):
            deidentify_files(originals, out, key=KEY)
    with pytest.raises(DatasetRefused, match="no such file"):
        deidentify_files(tmp_path / "none", tmp_path / "out", key=KEY)


def test_the_command_writes_files_and_a_report(originals: Path, tmp_path: Path) -> None:
    out, report = tmp_path / "out", tmp_path / "report.json"
    command = [sys.executable, "-m", "core", "deidentify", str(originals), str(out), "--report", str(report)]
    environment = {"HEMASEAL_DATA_DIR": str(tmp_path / "var"), "PATH": "/usr/bin:/bin"}
    done = subprocess.run(command, capture_output=True, text=True, check=True, env=environment)
    assert "3 files of 2 patients" in done.stdout
    assert "look at it before it leaves" in done.stdout
    assert "held back: notes.txt" in done.stderr
    assert json.loads(report.read_text())["written"] == 3
    first = sorted(path.name for path in out.rglob("*.dcm"))
    subprocess.run([*command[:5], str(tmp_path / "twice")], check=True, capture_output=True, env=environment)
    assert sorted(path.name for path in (tmp_path / "twice").rglob("*.dcm")) == first
