"""A hospital's administrator adds, looks at and deletes data sets."""

import zipfile
from pathlib import Path

import pytest
from playwright.sync_api import Page, expect

from core.imaging.synthetic import STYLES, generate_dataset
from tests.browser.harness import Server, by_key, click, runs, section, settle, shot, sign_in

DEMO_CONTENTS = False


@pytest.fixture(scope="module")
def cells(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder of invented patients with one file that is no picture."""
    folder = tmp_path_factory.mktemp("cells") / "cells"
    generate_dataset(folder, patients=6, cells_per_patient=3, style=STYLES["north"], seed=5)
    (folder / "synthetic-north-002" / "0001.png").write_text("no picture")
    return folder


def upload(page: Page, path: Path) -> None:
    """Choose a file in the uploader and wait for the run that it starts."""
    by_key(page, "zip_file").locator('input[type="file"]').set_input_files(path)
    expect(by_key(page, "zip_file").get_by_text(path.name)).to_be_visible()


def test_an_administrator_draws_imports_and_deletes_data_sets(
    page: Page, server: Server, cells: Path, tmp_path: Path
) -> None:
    sign_in(page, server, "demo-hospital", path="/data")
    main = page.get_by_test_id("stMain")
    expect(main).to_contain_text("No data set yet")

    section(page, "Synthetic cells")
    expect(main.get_by_alt_text("Six drawn white cells")).to_be_visible()
    click(page, "synthetic_submit")
    expect(main).to_contain_text("Synthetic smears: 240 images of 20 patients are sealed")
    shot(page, "hospital-data-synthetic")

    section(page, "Upload a zip")
    broken = tmp_path / "broken.zip"
    broken.write_text("this is text")
    upload(page, broken)
    click(page, "zip_submit")
    expect(by_key(page, "error_dat_index")).to_contain_text("not a zip archive")
    good = tmp_path / "cells.zip"
    with zipfile.ZipFile(good, "w") as archive:
        for path in sorted(cells.rglob("*")):
            archive.write(path, path.relative_to(cells.parent))
    upload(page, good)
    click(page, "zip_submit")
    expect(main).to_contain_text("17 images of 6 patients are sealed")
    expect(main).to_contain_text("1 file was left out")

    section(page, "Folder on the server")
    for key, text in (("folder_path", str(cells)), ("folder_name", "From a folder")):
        by_key(page, key).get_by_role("textbox").fill(text)
        by_key(page, key).get_by_role("textbox").press("Tab")
    click(page, "folder_submit")
    expect(main).to_contain_text("From a folder: 17 images of 6 patients are sealed")
    expect(by_key(page, "dataset_balance_tabs").get_by_test_id("stVegaLiteChart")).to_be_visible()
    shot(page, "hospital-data-imported")

    click(page, "dataset_delete")
    before = runs(page)
    by_key(page, "dataset_delete_confirm").get_by_role("button").click()
    settle(page, since=before)
    expect(main).to_contain_text("From a folder is deleted")
