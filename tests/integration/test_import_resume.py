"""Interrupted imports, even killed ones: they go on where they stopped, come in once, and leave nothing in clear."""

import os
import signal
import subprocess
import sys
from dataclasses import replace
from datetime import timedelta
from pathlib import Path

import numpy as np
import pytest
from pydicom import uid
from sqlmodel import select

from core.clock import FixedClock
from core.errors import DatasetRefused, MemberRefused
from core.imaging.archive import open_dataset
from core.imaging.datasets import load_arrays, read_index, split_by_patient
from core.imaging.synthetic import STYLES
from core.imaging.synthetic import generate_dataset as write_synthetic
from core.services import datasets as service
from core.services.app import Actor, App, load_master_key
from core.services.dataset_store import sealed_path
from core.services.import_parts import import_parts
from core.studies import LEUKEMIA
from db.engine import read_scope
from db.models import AuditEntry, Dataset, Provenance
from security.identity import Identity
from security.keys import KeyStore
from tests.unit.imaging.dicom_files import dataset_of, written
from tests.unit.imaging.pictures import cell, encoded

pytestmark = pytest.mark.parametrize("database_url", ["sqlite"], indirect=True)
ROOT = Path(__file__).resolve().parents[2]
BUNDLE = 5

# The import in a process of its own, which kills itself when `argv[2]` files were read, or after the row was written.
KILLED = f"""
import os, signal, sys
from datetime import datetime
from core.clock import FixedClock
import core.imaging.arrays as arrays
import core.services.import_parts as parts
from core.services import datasets as service
from core.services.app import App
from core.services.context import Actor
from core.settings import Settings
from db.models import Provenance, Role
from security import sealed_files

arrays.KEPT_AT_ONCE = {BUNDLE}
folder, when, user, hospital, now = sys.argv[1:]
def die(*_): os.kill(os.getpid(), signal.SIGKILL)
def progress(done, total):
    if when == str(done): die()
if when == "stored":
    parts.ImportParts.clear = die
if when == "sealing":
    sealed_files.shutil.copyfileobj = die
actor = Actor(user_id=user, username="x", role=Role.HOSPITAL, hospital_id=hospital)
app = App.start(Settings(), clock=FixedClock(datetime.fromisoformat(now)))
service.import_folder(app, actor, folder=folder, provenance=Provenance.CLINICAL, progress=progress)
"""


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """24 cells of 12 patients, said to be clinical."""
    path = tmp_path_factory.mktemp("cells")
    write_synthetic(path, patients=6, cells_per_patient=2, style=[STYLES["north"], STYLES["east"]], seed=1)
    return path


def killed(app: App, actor: Actor, folder: Path, when: int | str) -> None:
    """Import in another process that is killed on the way."""
    environment = {
        **os.environ,
        "HEMASEAL_DATA_DIR": str(app.settings.data_dir),
        "DATABASE_URL": app.settings.database,
        "PYTHONPATH": str(ROOT),
    }
    command = [sys.executable, "-c", KILLED, str(folder), str(when), actor.user_id, actor.hospital_id or ""]
    command.append(app.clock.now().isoformat())
    done = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == -signal.SIGKILL, done.stderr


def rows(app: App) -> list[Dataset]:
    with read_scope(app.engine) as session:
        return list(session.exec(select(Dataset)).all())


def files_of(app: App) -> list[Path]:
    return [path for path in (app.settings.hospitals_dir / "north").rglob("*") if path.is_file()]


def images_of(app: App, view: service.DatasetView) -> np.ndarray[tuple[int, ...], np.dtype[np.uint8]]:
    node = Identity.load(KeyStore(app.settings.keys_dir, "north.training", load_master_key(app.settings)))
    sealed = sealed_path(app.settings, "north", view.id)
    archive = open_dataset(sealed, node=node, trust=app.trust(), study=LEUKEMIA, dataset_id=view.id, at=app.clock.now())
    return np.asarray(archive.arrays.images)


def test_a_killed_import_goes_on_where_it_stopped_and_gives_the_same_set_once(
    app: App, hospital: Actor, folder: Path
) -> None:
    killed(app, hospital, folder, 13)
    assert rows(app) == []
    left = files_of(app)
    assert sum(path.name.startswith("part-") for path in left) == 2
    pixels = cell(1).tobytes()[:64]
    index = (folder / "index.csv").read_text()
    secrets = [b"leukemi", b"index.csv", index.split(",")[5].split("\n")[-1].encode(), pixels]
    assert not any(secret in path.read_bytes() for path in left for secret in secrets if secret)
    assert {path.stat().st_mode & 0o777 for path in left if path.suffix == ".sealed"} == {0o600}
    seen: list[int] = []
    made = service.import_folder(
        app, hospital, folder=folder, provenance=Provenance.CLINICAL, progress=lambda done, _: seen.append(done)
    )
    assert made.acquired.resumed == 2 * BUNDLE
    assert seen == list(range(1, 25))
    expected, _ = load_arrays(split_by_patient(read_index(folder, LEUKEMIA), seed=0), folder, LEUKEMIA)
    assert np.array_equal(images_of(app, made), expected.images)
    assert [row.id for row in rows(app)] == [made.id]
    assert [path.name for path in files_of(app)] == [f"{made.id}.sealed"]


def test_an_import_that_was_killed_after_it_was_stored_does_not_come_in_twice(
    app: App, hospital: Actor, folder: Path
) -> None:
    killed(app, hospital, folder, "stored")
    (row,) = rows(app)
    made = service.import_folder(app, hospital, folder=folder, provenance=Provenance.CLINICAL)
    assert made.id == row.id
    assert len(rows(app)) == 1
    again = service.import_folder(app, hospital, folder=folder, provenance=Provenance.CLINICAL)
    assert again.id != made.id  # asked for anew, it is a data set of its own


def test_what_an_import_left_that_was_killed_while_it_was_sealed_goes_with_the_next_try(
    app: App, hospital: Actor, folder: Path
) -> None:
    killed(app, hospital, folder, "sealing")
    assert len(list((app.settings.hospitals_dir / "north" / "datasets").iterdir())) == 1
    assert rows(app) == []
    made = service.import_folder(app, hospital, folder=folder, provenance=Provenance.CLINICAL)
    assert made.acquired.resumed == 24
    assert [path.name for path in files_of(app)] == [f"{made.id}.sealed"]


def test_what_was_left_of_a_data_set_goes_with_it_and_what_is_old_with_any_other(
    app: App, hospital: Actor, folder: Path
) -> None:
    made = service.import_folder(app, hospital, folder=folder, provenance=Provenance.CLINICAL)
    place = app.settings.hospitals_dir / "north" / "datasets"
    own, old, new = place / f".{made.id}.sealed.x1", place / ".another.sealed.x2", place / ".another.sealed.x3"
    for draft in (own, old, new):
        draft.write_bytes(b"sealed")
    os.utime(old, (0, 0))
    other = service.import_folder(app, hospital, folder=folder, provenance=Provenance.CLINICAL)
    assert sorted(place.iterdir()) == sorted([own, new, *(place / f"{one.id}.sealed" for one in (made, other))])
    service.delete_dataset(app, hospital, made.id)
    assert sorted(place.iterdir()) == sorted([new, place / f"{other.id}.sealed"])


def test_a_bundle_that_is_exchanged_while_the_import_runs_ends_it(app: App, hospital: Actor, folder: Path) -> None:
    killed(app, hospital, folder, 13)

    def exchange(done: int, total: int) -> None:
        if done == total:
            first, second = sorted(path for path in files_of(app) if path.name.startswith("part-"))[:2]
            first.write_bytes(second.read_bytes())

    with pytest.raises(DatasetRefused, match="has been changed"):
        service.import_folder(app, hospital, folder=folder, provenance=Provenance.CLINICAL, progress=exchange)
    assert rows(app) == []
    assert service.import_folder(app, hospital, folder=folder, provenance=Provenance.CLINICAL).images == 24


def test_other_choices_or_changed_files_are_another_import(app: App, hospital: Actor, folder: Path) -> None:
    killed(app, hospital, folder, 13)
    other = service.import_folder(app, hospital, folder=folder, provenance=Provenance.CLINICAL, seed=5)
    assert other.acquired.resumed == 0
    path = next(folder.glob("*/*.png"))
    os.utime(path, ns=(1, 1))
    assert service.import_folder(app, hospital, folder=folder, provenance=Provenance.CLINICAL).acquired.resumed == 0


def test_a_bundle_that_was_changed_is_read_again_and_an_old_one_is_forgotten(
    app: App, hospital: Actor, folder: Path
) -> None:
    killed(app, hospital, folder, 13)
    first = next(path for path in files_of(app) if path.name == "part-00000.sealed")
    first.write_bytes(first.read_bytes()[:-1] + b"\0")
    made = service.import_folder(app, hospital, folder=folder, provenance=Provenance.CLINICAL)
    assert (made.acquired.resumed, made.images) == (0, 24)
    killed(app, hospital, folder, 13)
    later = replace(app, clock=FixedClock(app.clock.now() + timedelta(days=400)))
    with import_parts(later, "north", what="something else", side=96) as parts:
        parts.clear()
    assert not [path for path in files_of(app) if path.name.startswith("part-")]


def test_the_same_import_twice_at_once_is_refused(app: App, hospital: Actor, folder: Path) -> None:
    def again(done: int, total: int) -> None:
        if done == 1:
            with pytest.raises(DatasetRefused, match="the same import is running already"):
                service.import_folder(app, hospital, folder=folder, provenance=Provenance.CLINICAL)

    service.import_folder(app, hospital, folder=folder, provenance=Provenance.CLINICAL, progress=again)
    assert len(rows(app)) == 1


def test_an_import_that_could_not_be_sealed_goes_on_when_it_can(
    app: App, hospital: Actor, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def none(*_: object, **__: object) -> None:
        raise MemberRefused

    with monkeypatch.context() as patch:
        patch.setattr(App, "certificate_of", none)
        with pytest.raises(MemberRefused):
            service.import_folder(app, hospital, folder=folder, provenance=Provenance.CLINICAL)
    made = service.import_folder(app, hospital, folder=folder, provenance=Provenance.CLINICAL)
    assert (made.acquired.resumed, made.images) == (24, 24)


def test_folders_of_classes_with_dicom_are_imported_and_the_risk_of_text_is_told_and_audited(
    app: App, hospital: Actor, tmp_path: Path
) -> None:
    place = tmp_path / "set"
    for label in ("normal", "leukemic"):
        (place / label).mkdir(parents=True)
        for number in range(4):
            (place / label / f"{number}.png").write_bytes(encoded(cell(number + 10 * len(label))))
        dicom = dataset_of(cell(77 + len(label)), photometric="RGB", Modality="XC", PatientName="Musterfrau^Erika")
        (place / label / "x.dcm").write_bytes(written(dicom, uid.JPEG2000Lossless))
    (place / "notes.txt").write_text("x")
    made = service.import_folder(app, hospital, folder=place, provenance=Provenance.CLINICAL)
    assert (made.images, made.patients, made.acquired.dicom) == (10, 10, 2)
    assert made.acquired.burned_in == (("a photograph may show a label", 2),)
    assert made.rejected == [(0, "it lies in no folder that is named as a class")]
    assert made.refused_files[0].path == "notes.txt"
    by_stem = service.import_folder(
        app, hospital, folder=place, provenance=Provenance.CLINICAL, naming=service.Naming.FILE_STEM
    )
    assert by_stem.patients == 5
    with read_scope(app.engine) as session:
        entries = b"".join(entry.entry for entry in session.exec(select(AuditEntry)).all())
    assert b"text_may_be_burned_in" in entries
    app.engine.dispose()
    files = [path for path in app.settings.data_dir.rglob("*") if path.is_file()]
    assert not any(b"usterfrau" in path.read_bytes() for path in files)
