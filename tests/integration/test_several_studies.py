"""Several studies side by side: data sets, runs, models and pages are of one study each; a new one is one file."""

import re
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from streamlit.testing.v1 import AppTest

import core.studies
from core.clock import FixedClock
from core.diagnosis.checkpoint_file import write_clear
from core.errors import DatasetRefused, InvalidInput
from core.imaging.archive import Archive, open_dataset
from core.services import datasets, demo, members, models, runs
from core.services.app import Actor, App, load_master_key
from core.services.dataset_store import sealed_path
from core.services.runs import AggregationMode
from core.settings import ROOT
from core.studies import LEUKEMIA, STUDIES, STUDIES_BY_CODE, Study, find_studies
from db.engine import session_scope
from db.models import CheckpointStatus, Provenance
from security.identity import Identity
from security.keys import KeyStore
from tests.integration.page_support import draw, words
from tests.integration.runs_support import give_data, worker_for
from tests.serving import model_of, untrained
from tests.unit.imaging.pictures import cell, encoded

SUBTYPES, SCANS = STUDIES["leukemia_subtypes"], STUDIES["multimodal"]
PAGE = (ROOT / "docs" / "how-to" / "own-study.md").read_text(encoding="utf-8")
MALARIA = re.findall(r"^```python\n(.*?)^```", PAGE, re.MULTILINE | re.DOTALL)[0]
"""The example of the page, so that the page is tried."""

pytestmark = pytest.mark.parametrize("database_url", ["sqlite"], indirect=True)


def folder_of(path: Path, study: Study, *, patients: int = 6) -> Path:
    """A folder with an image of every class for every patient; modalities take turns. Scans are grey."""
    path.mkdir()
    lines = ["path,label,modality,site,patient"]
    for patient in range(patients):
        for number, name in enumerate(study.class_names):
            pixels = cell(100 * patient + number, blast=number > 0, side=128)
            if not study.is_stained:
                pixels[:] = pixels.mean(axis=2, keepdims=True).astype("uint8")
            (path / f"{patient}-{number}.png").write_bytes(encoded(pixels))
            modality = study.modalities[(patient + number) % len(study.modalities)]
            lines.append(f"{patient}-{number}.png,{name},{modality},here,p{patient}")
    (path / "index.csv").write_text("\n".join(lines))
    return path


def labels_of(tab: AppTest, key: str) -> list[str]:
    """The options of a select box, or [] where it is not drawn."""
    return next((list(box.options) for box in tab.selectbox if box.key == key), [])


@pytest.fixture
def malaria(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Study]:
    """A study that came as one more file of the package, found like the others."""
    (tmp_path / "package").mkdir()
    (tmp_path / "package" / "malaria.py").write_text(MALARIA)
    monkeypatch.setattr(core.studies, "__path__", [*core.studies.__path__, str(tmp_path / "package")])
    found = {study.name: study for study in find_studies()}
    monkeypatch.setitem(STUDIES, "malaria", found["malaria"])
    monkeypatch.setitem(STUDIES_BY_CODE, "s42", found["malaria"])
    yield found["malaria"]
    sys.modules.pop("core.studies.malaria")


def test_scans_of_several_modalities_are_imported_and_open_for_their_own_study_only(
    app: App, hospital: Actor, tmp_path: Path
) -> None:
    folder = folder_of(tmp_path / "scans", SCANS)
    made = datasets.import_folder(app, hospital, folder=folder, study=SCANS, provenance=Provenance.PUBLIC)
    assert (made.study, made.images, made.rejected) == (SCANS, 36, [])
    node = Identity.load(KeyStore(app.settings.keys_dir, "north.training", load_master_key(app.settings)))
    sealed = sealed_path(app.settings, "north", made.id)

    def opened_for(study: Study) -> Archive:
        return open_dataset(sealed, node=node, trust=app.trust(), study=study, dataset_id=made.id, at=app.clock.now())

    opened = opened_for(SCANS)
    assert opened.arrays.images.shape == (36, 224, 224, 3)
    assert [sum(counts) for counts in zip(*made.class_counts.values(), strict=True)] == [6] * 6
    with pytest.raises(DatasetRefused):
        opened_for(LEUKEMIA)
    with pytest.raises(DatasetRefused, match="none of normal, leukemic"):
        datasets.import_folder(app, hospital, folder=folder, provenance=Provenance.PUBLIC)


def test_scans_cannot_be_divided_by_a_stain_that_they_do_not_have(app: App, hospital: Actor, tmp_path: Path) -> None:
    portion = datasets.Portion(how="stain", hospitals=2, position=0)
    folder = folder_of(tmp_path / "scans", SCANS)
    with pytest.raises(InvalidInput, match="not stained"):
        datasets.import_folder(app, hospital, folder=folder, study=SCANS, provenance=Provenance.PUBLIC, portion=portion)


def test_each_study_has_a_model_in_service_of_its_own(served: App, authority: Actor) -> None:
    for study, seed in ((LEUKEMIA, 0), (SUBTYPES, 1), (SUBTYPES, 2)):
        with session_scope(served.engine) as session:
            models.install(served, session, model_of(untrained(seed, study), run=f"run-{seed}", study=study))
    states = [(view.study, view.status) for view in models.list_models(served, authority)]
    assert sorted(states) == [
        ("leukemia", CheckpointStatus.IN_SERVICE),
        ("leukemia_subtypes", CheckpointStatus.IN_SERVICE),
        ("leukemia_subtypes", CheckpointStatus.RETIRED),
    ]
    tab = draw(served, "authority/models", "demo-authority")
    assert not tab.exception
    assert labels_of(tab, "model_study") == [LEUKEMIA.title, SUBTYPES.title]
    assert "Roll back" not in [header.value for header in tab.header]
    tab.selectbox(key="model_study").set_value(SUBTYPES.name).run()
    assert "Roll back" in [header.value for header in tab.header]

    models.roll_back(served, authority, SUBTYPES.name)
    in_service = {view.study: view.id for view in models.list_models(served, authority) if view.status == "in_service"}
    assert set(in_service) == {"leukemia", "leukemia_subtypes"}
    able = members.parties_with_model(served, authority)
    assert set(able) == {"leukemia", "leukemia_subtypes"}
    assert {"north.serving", "east.serving"} <= able["leukemia_subtypes"]


def test_every_model_that_is_shipped_is_put_into_service(
    app: App, authority: Actor, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(demo, "MODELS", tmp_path)
    write_clear(demo.shipped_model(SUBTYPES), model_of(untrained(1, SUBTYPES), study=SUBTYPES))
    lines: list[str] = []
    demo.seed_contents(app, lines.append)
    assert any(SUBTYPES.title in line and "in service" in line for line in lines)
    assert any(LEUKEMIA.title in line and line.startswith("No model") for line in lines)
    assert [view.study for view in models.list_models(app, authority)] == ["leukemia_subtypes"]


def test_the_page_of_data_sets_explains_and_imports_the_chosen_study(
    served: App, hospital: Actor, tmp_path: Path
) -> None:
    tab = draw(served, "hospital/data", "demo-hospital", data_way="Folder on the server", data_study=SCANS.name)
    assert not tab.exception
    assert labels_of(tab, "data_study") == [study.title for study in STUDIES.values()]
    assert "`covid19`" in words(tab)
    assert "`CT` or `MRI` or `XRAY` or `US`" in words(tab)
    tab.text_input(key="folder_path").set_value(str(folder_of(tmp_path / "scans", SCANS)))
    next(button for button in tab.button if button.label == "Import folder").click().run()
    assert not tab.exception
    assert [view.study for view in datasets.datasets(served, hospital)] == [SCANS]

    synthetic = draw(served, "hospital/data", "demo-hospital", data_way="Synthetic cells", data_study=SCANS.name)
    assert "drawn for the study “White blood cell” only" in words(synthetic)
    assert not any(button.label == "Draw and keep" for button in synthetic.button)


def test_with_data_of_one_study_a_run_is_ordered_without_choosing_one(served: App) -> None:
    give_data(served)
    tab = draw(served, "authority/runs", "demo-authority", runs_section="New run")
    assert not tab.exception
    assert labels_of(tab, "order_study") == []
    assert any((box.key or "").startswith("order_dataset_s01") for box in tab.selectbox)


def test_a_study_that_is_one_new_file_is_imported_trained_and_served(
    served: App, authority: Actor, clock: FixedClock, malaria: Study, tmp_path: Path
) -> None:
    folder = folder_of(tmp_path / "cells", malaria, patients=9)
    for slug in ("north", "east", "south"):
        name = "demo-hospital" if slug == "north" else f"demo-hospital-{slug}"
        tab = draw(served, "hospital/data", name, data_way="Folder on the server", data_study="malaria")
        tab.text_input(key="folder_path").set_value(str(folder))
        next(button for button in tab.button if button.label == "Import folder").click().run()
        assert not tab.exception
    give_data(served)
    chosen = [choice.id for choice in runs.dataset_choices(served, authority) if choice.study == "malaria"]
    assert len(chosen) == 3

    order = draw(served, "authority/runs", "demo-authority", runs_section="New run")
    assert labels_of(order, "order_study") == [LEUKEMIA.title, "Red blood cell"]
    order.selectbox(key="order_study").set_value("malaria").run()
    assert not order.exception
    assert len([box for box in order.selectbox if (box.key or "").startswith("order_dataset_s42")]) == 3

    runs.start_run(
        served, authority, study="malaria", mode=AggregationMode.SEALED, rounds=1, dataset_ids=chosen, minimum_members=3
    )
    worker = worker_for(served.settings, clock)
    try:
        assert worker.run_one()
    finally:
        worker.close()
    (made,) = models.list_models(served, authority)
    assert (made.study, made.verified, made.problem) == ("malaria", True, "")
    assert {"set_bound_0", "set_bound_1", "set_bound_2"} <= set(made.metrics)
    models.promote(served, authority, made.id)
    assert "malaria" in members.parties_with_model(served, authority)
    page = draw(served, "authority/models", "demo-authority")
    assert not page.exception
    assert "This model answers now." in words(page)
    with session_scope(served.engine) as session:
        models.install(served, session, model_of(untrained()))
    offered = labels_of(draw(served, "patient/upload", "demo-patient"), "upload_study")
    assert [label.partition(":")[0] for label in offered] == [LEUKEMIA.title, malaria.title]
