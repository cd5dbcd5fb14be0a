"""The page of data sets after an import: files left out with reasons, DICOM and text in pictures, unknown patients."""

from pathlib import Path

import pytest
from streamlit.testing.v1 import AppTest

from core.services import datasets
from core.services.app import Actor, App
from tests.integration.page_support import draw, words
from tests.unit.imaging.dicom_files import dataset_of, written
from tests.unit.imaging.pictures import cell, encoded

pytestmark = pytest.mark.parametrize("database_url", ["sqlite"], indirect=True)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Folders of classes: pictures, DICOM that may hold text, one damaged file, one that belongs nowhere."""
    place = tmp_path / "set"
    for label in ("normal", "leukemic"):
        (place / label).mkdir(parents=True)
        for number in range(4):
            (place / label / f"{number}.png").write_bytes(encoded(cell(number + 10 * len(label))))
        dicom = dataset_of(cell(77 + len(label)), photometric="RGB", Modality="XC")
        (place / label / "x.dcm").write_bytes(written(dicom))
    (place / "normal" / "broken.png").write_bytes(encoded(cell(1))[:500])
    (place / "notes.txt").write_text("x")
    return place


def imported(app: App, folder: Path, naming: datasets.Naming) -> AppTest:
    tab = draw(app, "hospital/data", "demo-hospital", data_way="Folder on the server")
    tab.text_input(key="folder_path").set_value(str(folder))
    tab.radio(key="folder_naming").set_value(naming)
    next(button for button in tab.button if button.label == "Import folder").click().run()
    assert not tab.exception
    return tab


def test_the_page_tells_what_was_left_out_dropped_and_not_known(served: App, hospital: Actor, folder: Path) -> None:
    tab = imported(served, folder, datasets.Naming.EACH_FILE)
    said = words(tab)
    assert "2 images came as DICOM. Of these only the pixels were kept" in said
    assert "each counts as a patient of its own" in said
    labels = [box.label for box in tab.expander]
    assert "Text may be burned into 2 of them" in labels
    assert "2 files were left out" in labels
    tables = [table.value for table in tab.dataframe]
    (left_out,) = [table for table in tables if "File" in table]
    assert left_out["File"].tolist() == ["notes.txt", "normal/broken.png"]
    assert "damaged" in left_out["Why"][1]
    assert "came as DICOM" not in words(tab.run())
    assert [view.images for view in datasets.datasets(served, hospital)] == [10]


def test_who_says_that_files_are_named_by_patient_is_not_warned(served: App, hospital: Actor, folder: Path) -> None:
    tab = imported(served, folder, datasets.Naming.FILE_STEM)
    assert "patient of its own" not in "".join(box.value for box in tab.warning)
    assert [view.patients for view in datasets.datasets(served, hospital)] == [5]
