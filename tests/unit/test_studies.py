"""Studies are frozen descriptions, one file each, found by their file alone."""

import csv
import os
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest

from core.studies import LEUKEMIA, STUDIES, STUDIES_BY_CODE, Policy, Study, Subject

IMAGES = "HEMASEAL_TEST_IMAGES"

ANOTHER = '''
"""A study of one more file."""

from dataclasses import replace

from core.studies.leukemia import LEUKEMIA

STUDY = replace(LEUKEMIA, name="malaria", code="s42", title="Red blood cell", input_size=64)
'''


def with_more_files(folder: Path, program: str) -> subprocess.CompletedProcess[str]:
    """Run a program for which the files of a folder are part of `core.studies`."""
    start = f"""
import sys
from importlib.util import find_spec, module_from_spec
spec = find_spec("core.studies")
spec.submodule_search_locations.append({str(folder)!r})
package = sys.modules["core.studies"] = module_from_spec(spec)
spec.loader.exec_module(package)
"""
    command = [sys.executable, "-c", start + program]
    return subprocess.run(command, capture_output=True, text=True, check=False, timeout=120)


def test_the_three_studies_are_there_with_opaque_codes_in_order() -> None:
    assert list(STUDIES) == ["leukemia", "leukemia_subtypes", "multimodal"]
    assert list(STUDIES_BY_CODE) == ["s01", "s02", "s03"]
    assert STUDIES["leukemia"] is LEUKEMIA


@pytest.mark.parametrize("study", STUDIES.values(), ids=lambda study: study.name)
def test_every_class_says_in_words_of_its_own_what_it_is(study: Study) -> None:
    for label in study.classes:
        assert label.title
        assert label.meaning.endswith(".")
        assert not label.plain.endswith(".")
        assert not any(
            word in label.plain for word in ("cancer", "leukemi", "tumour", "malignan", "blast", label.title)
        )
    every = [text for other in STUDIES.values() for label in other.classes for text in (label.title, label.plain)]
    assert len(set(every)) == len(every)


@pytest.mark.images
@pytest.mark.parametrize(
    ("study", "folder"),
    [("leukemia", "leukemia_cells"), ("leukemia_subtypes", "leukemia_subtypes"), ("multimodal", "multimodal")],
)
def test_labels_and_modalities_are_those_of_the_images(study: str, folder: str) -> None:
    index = Path(os.environ.get(IMAGES) or "/nowhere") / folder / "index.csv"
    if not index.is_file():
        pytest.skip(f"{IMAGES} names no folder with {folder}")
    with index.open(encoding="utf-8", newline="") as file:
        rows = list(csv.DictReader(file))
    assert {row["label"] for row in rows} == set(STUDIES[study].class_names)
    assert {row["modality"] for row in rows} == set(STUDIES[study].modalities)


def test_a_study_is_found_by_its_file_alone(tmp_path: Path) -> None:
    (tmp_path / "malaria.py").write_text(ANOTHER)
    (tmp_path / "no_study.py").write_text("TEXT = 'a module that describes none'\n")
    program = 'from core.studies import *\nprint(*STUDIES, STUDIES_BY_CODE["s42"].title, sep=",")'
    done = with_more_files(tmp_path, program)
    assert done.stdout == "leukemia,leukemia_subtypes,multimodal,malaria,Red blood cell\n", done.stderr


def test_two_studies_of_one_code_are_refused(tmp_path: Path) -> None:
    (tmp_path / "malaria.py").write_text(ANOTHER.replace("s42", LEUKEMIA.code))
    assert "ValueError: two studies share a name or a code" in with_more_files(tmp_path, "").stderr


@pytest.mark.parametrize(
    "change",
    [
        {"name": "Leukemia cells"},
        {"code": "leukemia"},
        {"modalities": ()},
        {"classes": LEUKEMIA.classes[:1]},
        {"classes": LEUKEMIA.classes * 2},
        {"input_size": 8},
        {"min_side": 0},
    ],
)
def test_a_study_that_contradicts_itself_is_refused(change: dict[str, object]) -> None:
    with pytest.raises(ValueError, match="study"):
        replace(LEUKEMIA, **change)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    "change", [{"coverage": 1.0}, {"coverage": 0.3}, {"false_alarm_bound": 0}, {"uncertain_odds": 0.5}]
)
def test_a_policy_that_decides_nothing_is_refused(change: dict[str, float]) -> None:
    with pytest.raises(ValueError, match="must be"):
        Policy(**change)  # type: ignore[arg-type]


def test_a_stained_picture_is_a_cell_or_a_field() -> None:
    upright = replace(LEUKEMIA, orientations=1)
    assert {s for s in Subject if replace(upright, subject=s).is_stained} == {Subject.CELL, Subject.FIELD}


def test_a_scan_may_be_mirrored_but_never_turned() -> None:
    assert replace(STUDIES["multimodal"], orientations=2).orientations == 2
    with pytest.raises(ValueError, match="without a top"):
        replace(STUDIES["multimodal"], orientations=8)
