"""A case of many pictures in a real browser: a field, single cells and one that cannot be used; then the doctor."""

from pathlib import Path

import numpy as np
import pytest
from playwright.sync_api import Page, expect

from core.imaging.decode import encode_png
from core.imaging.smear.recipes import CellKind
from core.imaging.smear.style import STYLES
from core.imaging.synthetic import generate_cell
from core.imaging.synthetic_field import generate_field
from tests.browser.conftest import NewPage
from tests.browser.harness import Server, by_key, choose, click, runs, settle, shot, sign_in, visit

KINDS = (CellKind.BLAST,) * 5 + (CellKind.LYMPHOCYTE, CellKind.NEUTROPHIL, CellKind.MONOCYTE)


@pytest.fixture(scope="module")
def files(tmp_path_factory: pytest.TempPathFactory) -> list[Path]:
    """A field of eight cells, two single cells, and an empty slide."""
    folder = tmp_path_factory.mktemp("many")
    rng = np.random.default_rng(4)
    field = generate_field(rng, kinds=KINDS, style=STYLES["north"], height=480, width=640)
    pictures = {
        "field.png": field.pixels,
        "cell-1.png": generate_cell(rng, blast=True, style=STYLES["north"]),
        "cell-2.png": generate_cell(rng, blast=False, style=STYLES["north"]),
        "empty.png": np.full((300, 300, 3), 250, np.uint8),
    }
    for name, pixels in pictures.items():
        (folder / name).write_bytes(encode_png(pixels))
    return [folder / name for name in pictures]


def test_a_patient_sends_many_pictures_and_a_doctor_sees_the_worst_cells_first(
    server: Server, files: list[Path], new_page: NewPage
) -> None:
    patient, doctor = new_page(), new_page()
    sign_in(patient, server, "demo-patient", path="/upload")
    send(patient, files)
    expect(by_key(patient, "result_card")).to_contain_text("white blood cells in your 3 pictures")
    before = runs(patient)
    patient.locator('[class*="st-key-result_numbers_"] label').first.click()
    settle(patient, since=before)
    expect(patient.get_by_test_id("stMain")).to_contain_text("10 white blood cells in 3 pictures")
    shot(patient, "many-2-result")
    case = patient.url.split("case=")[1]

    sign_in(doctor, server, "demo-doctor", path="/worklist")
    expect(by_key(doctor, f"case_line_{case}")).to_contain_text("of 10 cells positive")
    visit(doctor, server, f"/case?case={case}")
    main = doctor.get_by_test_id("stMain")
    expect(main).to_contain_text("95 % interval")
    gallery = main.get_by_role("img", name="Rank ")
    assert gallery.count() >= 10
    shot(doctor, "many-3-doctor")
    by_key(doctor, "case_cell").get_by_role("radio", name="3", exact=True).click()
    expect(main).to_contain_text("Rank 3")
    choose(doctor, "case_picture", "2 of 3")
    expect(main.get_by_role("img", name="Picture 2 of case").first).to_be_visible()


def send(page: Page, files: list[Path]) -> None:
    """Choose the files, see what becomes of them, and send."""
    before = runs(page)
    by_key(page, "upload_file").locator("input[type=file]").set_input_files(files)
    settle(page, since=before)
    lines = by_key(page, "upload_looked_at")
    expect(lines).to_contain_text("8 white blood cells found")
    expect(lines).to_contain_text("Will be left out")
    expect(page.get_by_test_id("stMain")).to_contain_text("1 of 4 will be left out")
    choose(page, "upload_hospital", "North Hospital")
    shot(page, "many-1-upload")
    click(page, "upload_send")
    expect(by_key(page, "result_card")).to_be_visible()
    settle(page)
