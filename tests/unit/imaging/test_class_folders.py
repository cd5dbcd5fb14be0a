"""Data sets without index.csv: folders named as classes, of all kinds of files, in a folder or a zip."""

import io
import zipfile
from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np
import pytest
from pydicom import uid

from core.errors import DatasetRefused
from core.imaging.arrays import Outcome, import_arrays, load_arrays
from core.imaging.class_folders import Naming, has_index, read_class_folders
from core.imaging.sources import FolderSource, ZipSource
from core.imaging.splits import Part
from core.imaging.squares import Pixels, Places
from core.studies import LEUKEMIA
from tests.unit.imaging.dicom_files import dataset_of, written
from tests.unit.imaging.pictures import cell, encoded


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Two classes in every format, with files that are none of theirs or damaged."""
    place = tmp_path / "set"
    for label in ("normal", "Leukemic"):
        (place / label / "deeper").mkdir(parents=True)
        for number, kind in enumerate(("PNG", "JPEG", "TIFF", "BMP")):
            pixels = cell(10 * number + len(label), side=96)
            (place / label / f"p{number}.{kind.lower()}").write_bytes(encoded(pixels, kind))
        colour = cell(99 + len(label), side=96)
        dicom = written(dataset_of(colour, photometric="RGB", Modality="XC"), uid.JPEG2000Lossless)
        (place / label / "deeper" / "p9").write_bytes(dicom)
    (place / "normal" / "broken.png").write_bytes(encoded(cell(1))[:500])
    (place / "normal" / "Thumbs.db").write_bytes(b"x")
    (place / ".DS_Store").write_bytes(b"x")
    (place / "README.txt").write_text("text")
    (place / "others").mkdir()
    (place / "others" / "1.png").write_bytes(encoded(cell(2)))
    return place


def zipped(folder: Path, inside: str) -> ZipSource:
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as archive:
        for path in sorted(folder.rglob("*")):
            archive.write(path, Path(inside) / path.relative_to(folder))
        archive.writestr("__MACOSX/._x", "x")
    return ZipSource.open(buffer)


def test_files_of_every_kind_are_taken_and_strangers_are_told(folder: Path) -> None:
    records, strangers = read_class_folders(folder, LEUKEMIA)
    assert not has_index(folder)
    assert len(records) == 11
    assert {record.label for record in records} == {"normal", "leukemic"}
    assert [path for path, _ in strangers] == ["README.txt", "others/1.png"]
    arrays, rejected, acquired = import_arrays({Part.TEST: records}, folder, LEUKEMIA)
    assert len(arrays) == 10
    assert [item.path for item in rejected] == ["normal/broken.png"]
    assert acquired.dicom == 2
    assert acquired.burned_in == (("a photograph may show a label", 2),)


@pytest.mark.parametrize("inside", ["", "set", "a set"])
def test_a_zip_gives_the_same_as_its_folder(folder: Path, inside: str) -> None:
    source = zipped(folder, inside)
    zipped_records, strangers = read_class_folders(source, LEUKEMIA)
    records, others = read_class_folders(folder, LEUKEMIA)
    assert [(record.label, record.line) for record in zipped_records] == [(r.label, r.line) for r in records]
    assert len(strangers) == len(others)
    from_zip, _ = load_arrays({Part.TEST: zipped_records}, source, LEUKEMIA)
    from_folder, _ = load_arrays({Part.TEST: records}, folder, LEUKEMIA)
    assert np.array_equal(from_zip.images, from_folder.images)


def test_files_of_one_name_are_one_patient_only_when_that_is_said(folder: Path) -> None:
    each, _ = read_class_folders(folder, LEUKEMIA)
    assert len({record.patient for record in each}) == len(each)
    by_stem, _ = read_class_folders(folder, LEUKEMIA, naming=Naming.FILE_STEM)
    assert {record.patient for record in by_stem} == {"p0", "p1", "p2", "p3", "p9", "broken"}


def test_without_a_folder_named_as_a_class_there_is_no_data_set(tmp_path: Path) -> None:
    (tmp_path / "1.png").write_bytes(b"x")
    with pytest.raises(DatasetRefused, match=r"neither an index\.csv nor a folder named as a class"):
        read_class_folders(tmp_path, LEUKEMIA)
    with pytest.raises(DatasetRefused, match="modality 'CT' is none of"):
        read_class_folders(tmp_path, LEUKEMIA, modality="CT")


def test_links_are_not_followed_and_a_changed_file_changes_its_stamp(folder: Path) -> None:
    (folder / "normal" / "link.png").symlink_to("/etc/hostname")
    source = FolderSource(folder)
    assert "normal/link.png" not in source.names()
    before = source.stamp("normal/p0.png")
    (folder / "normal" / "p0.png").write_bytes(b"other")
    assert before != source.stamp("normal/p0.png") != source.stamp("none.png") == ""


class Memory:
    """Keeps outcomes as a service does, in memory."""

    def __init__(self) -> None:
        self.outcomes: list[Outcome] = []

    def load(self) -> Iterator[Outcome]:
        """Yield all of them."""
        return iter(list(self.outcomes))

    def add(self, outcomes: Sequence[Outcome]) -> None:
        """Keep more."""
        self.outcomes += outcomes

    def squares(self, places: Places) -> Pixels:
        """Return some of their squares."""
        return np.stack([outcome.square for outcome in self.outcomes if outcome.square is not None])[places]


def test_an_import_goes_on_where_it_stopped_and_gives_the_same(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("core.imaging.arrays.KEPT_AT_ONCE", 3)
    records = {Part.TEST: read_class_folders(folder, LEUKEMIA)[0]}
    whole, rejected, _ = import_arrays(records, folder, LEUKEMIA)
    memory = Memory()

    def stop(done: int, total: int) -> None:
        if done == 8:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        import_arrays(records, folder, LEUKEMIA, stop, memory)
    assert len(memory.outcomes) == 6
    for path in [record.path for record in records[Part.TEST][:6]]:
        (folder / path).unlink()  # they are not read again
    resumed, left_out, acquired = import_arrays(records, folder, LEUKEMIA, None, memory)
    assert acquired.resumed == 6
    assert left_out == rejected
    assert np.array_equal(resumed.images, whole.images)
    assert len(memory.outcomes) == 11
