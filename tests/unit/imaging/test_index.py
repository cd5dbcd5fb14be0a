"""index.csv: every line is checked, and what is wrong is said with its line."""

import csv
import io
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from core.errors import DatasetRefused
from core.imaging.index import COLUMNS, Record, is_safe_path, read_index, write_index
from core.studies import LEUKEMIA
from tests.unit.imaging.pictures import write_folder

GOOD = "a/0.png,normal,SMEAR,one,p1,x\nb/1.png,leukemic,SMEAR,one,p1,\n"


def refused(folder: Path, lines: str) -> str:
    with pytest.raises(DatasetRefused) as caught:
        read_index(write_folder(folder, lines), LEUKEMIA)
    return caught.value.detail


def test_records_come_in_the_order_of_the_file_with_their_lines(tmp_path: Path) -> None:
    assert read_index(write_folder(tmp_path, GOOD), LEUKEMIA) == [
        Record("a/0.png", "normal", 0, "SMEAR", "one", "p1", 2),
        Record("b/1.png", "leukemic", 1, "SMEAR", "one", "p1", 3),
    ]


def test_the_last_column_may_be_missing_and_others_are_ignored(tmp_path: Path) -> None:
    (tmp_path / "index.csv").write_text("\ufeffpatient,path,label,modality,site,age\np1,0.png,normal,SMEAR,one,7\n")
    assert read_index(tmp_path, LEUKEMIA)[0].path == "0.png"


@pytest.mark.parametrize(
    ("lines", "said"),
    [
        ("", "index.csv names no image"),
        (GOOD + "../secret.png,normal,SMEAR,one,p2,\n", "line 4: the path leaves the folder"),
        (GOOD + "/etc/passwd,normal,SMEAR,one,p2,\n", "line 4: the path leaves the folder"),
        (GOOD + "a/../../x.png,normal,SMEAR,one,p2,\n", "line 4: the path leaves the folder"),
        (GOOD + "a\\..\\..\\x.png,normal,SMEAR,one,p2,\n", "line 4: the path leaves the folder"),
        (GOOD + "C:/x.png,normal,SMEAR,one,p2,\n", "line 4: the path leaves the folder"),
        (GOOD + "c.png,lymphoma,SMEAR,one,p2,\n", "line 4: the label 'lymphoma' is none of normal, leukemic"),
        (GOOD + "c.png,normal,XRAY,one,p2,\n", "line 4: the modality 'XRAY' is not SMEAR"),
        (GOOD + "c.png,normal,SMEAR,one,,\n", "line 4: no patient"),
        (GOOD + "c.png,normal,SMEAR,two,p1,\n", "line 4: the patient is under another site on line 2"),
        (GOOD + "A/0.PNG,normal,SMEAR,one,p1,\n", "line 4: the path is the same as on line 2"),
        (GOOD + "c.png,normal,SMEAR\n", "line 4: 3 fields instead of 6"),
        (GOOD + 'c.png,"normal,SMEAR,one,p1,\n', "not a table"),
    ],
)
def test_a_bad_line_is_named_with_what_is_wrong(tmp_path: Path, lines: str, said: str) -> None:
    assert said in refused(tmp_path, lines)


def test_many_bad_lines_are_counted_and_no_patient_is_named(tmp_path: Path) -> None:
    said = refused(tmp_path, "".join(f"{n}.png,unknown,SMEAR,one,Anna Person,\n" for n in range(50)))
    assert "line 2" in said
    assert "and 47 more" in said
    assert "Anna" not in said


def test_an_empty_file_a_missing_file_and_missing_columns_are_told_apart(tmp_path: Path) -> None:
    with pytest.raises(DatasetRefused, match=r"there is no index\.csv"):
        read_index(tmp_path, LEUKEMIA)
    for content, said in (("", "is empty"), ("path,label\n", "lacks the columns modality, site, patient")):
        (tmp_path / "index.csv").write_text(content)
        with pytest.raises(DatasetRefused, match=said):
            read_index(tmp_path, LEUKEMIA)


def test_a_picture_named_index_csv_is_refused(tmp_path: Path) -> None:
    (tmp_path / "index.csv").write_bytes(b"\x89PNG\r\n\x1a\n\xff\xfe\x00")
    with pytest.raises(DatasetRefused, match="not UTF-8"):
        read_index(tmp_path, LEUKEMIA)


@given(st.binary(max_size=400))
@settings(suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_any_bytes_give_records_or_one_named_error(tmp_path: Path, data: bytes) -> None:
    (tmp_path / "index.csv").write_bytes(data)
    with pytest.raises(DatasetRefused):
        read_index(tmp_path, LEUKEMIA)


fields = st.text(st.characters(exclude_categories=["C", "Z"]), min_size=1, max_size=12)


@given(st.lists(st.tuples(fields, st.sampled_from(LEUKEMIA.class_names), fields), min_size=1, max_size=8))
@settings(suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_what_was_written_is_read_again(tmp_path: Path, rows: list[tuple[str, str, str]]) -> None:
    lines = [
        dict(zip(COLUMNS, (f"{number}.png", label, "SMEAR", f"site of {patient}", patient, note), strict=True))
        for number, (patient, label, note) in enumerate(rows)
    ]
    write_index(tmp_path, lines)
    assert [(r.path, r.label, r.patient) for r in read_index(tmp_path, LEUKEMIA)] == [
        (line["path"], line["label"], line["patient"]) for line in lines
    ]
    assert next(csv.reader(io.StringIO((tmp_path / "index.csv").read_text()))) == list(COLUMNS)


@given(st.text(max_size=30))
def test_a_path_that_counts_as_safe_stays_in_its_folder(path: str) -> None:
    root = Path("/data/set")
    if is_safe_path(path):
        assert (root / path).resolve().is_relative_to(root)
