"""A hospital's data sets as services: who may, what is kept where, and that only the training node can open them."""

import io
import zipfile
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from sqlmodel import SQLModel, select

from core.errors import DatasetRefused, InvalidInput, MemberRefused, NotAuthorised, NotFound, RecordDamaged
from core.imaging.archive import Archive, open_dataset
from core.imaging.datasets import load_arrays, read_index, split_by_patient
from core.imaging.synthetic import STYLES, generate_arrays
from core.imaging.synthetic import generate_dataset as write_synthetic
from core.services import datasets as service
from core.services.app import Actor, App, load_master_key
from core.services.dataset_store import UNREADABLE_NAME, sealed_path, seed_synthetic
from core.services.members import certificates, revoke_certificate
from core.settings import Mode
from core.studies import LEUKEMIA
from db.engine import read_scope, session_scope
from db.models import AuditEntry, Dataset, Provenance, Run, RunMember
from security.identity import Identity
from security.keys import KeyStore

SQLITE_ONLY = pytest.mark.parametrize("database_url", ["sqlite"], indirect=True)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder of real lines: two laboratories, six patients each, whose sites do not say synthetic."""
    path = tmp_path_factory.mktemp("cells")
    write_synthetic(path, patients=6, cells_per_patient=2, style=[STYLES["north"], STYLES["east"]], seed=1)
    index = path / "index.csv"
    index.write_text(index.read_text().replace("synthetic-north,", "one,").replace("synthetic-east,", "two,"))
    return path


def node(app: App, party: str) -> Identity:
    """A party's identity, as its own process would load it."""
    return Identity.load(KeyStore(app.settings.keys_dir, party, load_master_key(app.settings)))


def opened_by(app: App, party: str, sealed: Path, dataset_id: str) -> Archive:
    return open_dataset(
        sealed, node=node(app, party), trust=app.trust(), study=LEUKEMIA, dataset_id=dataset_id, at=app.clock.now()
    )


def sealed_file(app: App, view: service.DatasetView, slug: str = "north") -> Path:
    return sealed_path(app.settings, slug, view.id)


def rows(app: App) -> list[Dataset]:
    with read_scope(app.engine) as session:
        return list(session.exec(select(Dataset)).all())


def zipped(folder: Path) -> io.BytesIO:
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as archive:
        for path in sorted(folder.rglob("*")):
            archive.write(path, Path("cells") / path.relative_to(folder))
    return buffer


def test_an_imported_folder_is_listed_and_opens_only_at_its_own_training_node(
    app: App, hospital: Actor, hospital_east: Actor, folder: Path
) -> None:
    made = service.import_folder(app, hospital, folder=folder, name="Cells", provenance=Provenance.CLINICAL)
    assert (made.images, made.patients, made.rejected) == (24, 12, [])
    assert service.datasets(app, hospital) == [made]
    assert service.datasets(app, hospital_east) == []
    sealed = sealed_file(app, made)
    opened = opened_by(app, "north.training", sealed, made.id)
    expected, _ = load_arrays(split_by_patient(read_index(folder, LEUKEMIA), seed=0), folder, LEUKEMIA)
    assert opened.clinical
    assert np.array_equal(opened.arrays.images, expected.images)
    assert opened.arrays.class_counts(LEUKEMIA) == made.class_counts
    for other in ("north.serving", "east.training", "app", "authority"):
        with pytest.raises(DatasetRefused):
            opened_by(app, other, sealed, made.id)
    with pytest.raises(DatasetRefused):
        opened_by(app, "north.training", sealed, "another")
    whole = sealed.read_bytes()
    sealed.write_bytes(whole[:-1] + bytes([whole[-1] ^ 1]))
    with pytest.raises(DatasetRefused):
        opened_by(app, "north.training", sealed, made.id)


@SQLITE_ONLY
def test_neither_disk_nor_database_holds_a_name_a_label_or_a_pixel(app: App, hospital: Actor, folder: Path) -> None:
    broken = folder / "synthetic-north-001" / "0001.png"
    whole = broken.read_bytes()
    broken.write_text("text")
    try:
        made = service.import_folder(
            app, hospital, folder=folder, name="Acute leukaemia, many blasts", provenance=Provenance.CLINICAL
        )
    finally:
        broken.write_bytes(whole)
    assert made.rejected == [(2, "This file is not an image that can be read. [IMG-TYPE]")]
    assert made.refused_files[0].path == "synthetic-north-001/0001.png"
    assert service.datasets(app, hospital)[0].refused_files == ()
    assert service.datasets(app, hospital)[0].name == "Acute leukaemia, many blasts"
    app.engine.dispose()
    secrets = [b"synthetic-north-001", b"leukemi", b"leukaemi", b"blast", whole[100:132]]
    files = [path for path in app.settings.data_dir.rglob("*") if path.is_file()]
    assert any(path.suffix == ".sealed" for path in files)
    for path in files:
        content = path.read_bytes()
        assert not any(secret in content for secret in secrets), path.name
    modes = {path.stat().st_mode & 0o777 for path in files if path.suffix == ".sealed"}
    assert modes == {0o600}


def test_a_zip_is_imported_like_its_folder(app: App, hospital: Actor, folder: Path) -> None:
    made = service.import_zip(app, hospital, file=zipped(folder), provenance=Provenance.PUBLIC)
    assert (made.images, made.provenance) == (24, Provenance.PUBLIC)
    assert made.name.startswith("Import of 2026-01-05")


def test_hospitals_that_share_a_folder_take_different_patients(
    app: App, hospital: Actor, hospital_east: Actor, folder: Path
) -> None:
    patients: list[set[str]] = []
    for position, (actor, slug) in enumerate([(hospital, "north"), (hospital_east, "east")]):
        portion = service.Portion(how="dirichlet", hospitals=2, position=position, alpha=0.5, seed=7)
        made = service.import_folder(app, actor, folder=folder, provenance=Provenance.PUBLIC, portion=portion)
        opened = opened_by(app, f"{slug}.training", sealed_file(app, made, slug), made.id)
        patients.append(set(opened.arrays.patients))
    assert not patients[0] & patients[1]
    assert len(patients[0] | patients[1]) == 12


@SQLITE_ONLY
def test_synthetic_images_stay_synthetic_and_nothing_else_passes_for_it(
    app: App, hospital: Actor, folder: Path, tmp_path: Path
) -> None:
    write_synthetic(tmp_path / "own", patients=3, cells_per_patient=1, style=STYLES["west"], seed=0)
    made = service.import_folder(app, hospital, folder=tmp_path / "own", provenance=Provenance.PUBLIC)
    assert made.provenance is Provenance.SYNTHETIC
    made = service.import_folder(app, hospital, folder=tmp_path / "own", provenance=Provenance.CLINICAL)
    assert made.provenance is Provenance.CLINICAL
    assert opened_by(app, "north.training", sealed_file(app, made), made.id).clinical
    with pytest.raises(InvalidInput, match="not synthetic"):
        service.import_folder(app, hospital, folder=folder, provenance=Provenance.SYNTHETIC)


def test_a_generated_set_is_sealed_marked_and_written_to_the_audit_log(app: App, hospital: Actor) -> None:
    made = service.generate_dataset(app, hospital, patients=6, cells_per_patient=2, seed=4)
    assert (made.provenance, made.images, made.patients) == (Provenance.SYNTHETIC, 12, 6)
    opened = opened_by(app, "north.training", sealed_file(app, made), made.id)
    expected = generate_arrays(patients=6, cells_per_patient=2, style=STYLES["north"], seed=4)
    assert np.array_equal(opened.arrays.images, expected.images)
    with read_scope(app.engine) as session:
        entries = [row.entry for row in session.exec(select(AuditEntry)).all()]
    assert any(b"dataset.add" in entry and made.id.encode() in entry for entry in entries)


@SQLITE_ONLY
def test_set_up_gives_a_hospital_one_synthetic_set_and_only_once(app: App) -> None:
    assert seed_synthetic(app, "east", patients=6)
    assert not seed_synthetic(app, "east", patients=6)
    assert [row.provenance for row in rows(app)] == [Provenance.SYNTHETIC]
    with pytest.raises(NotFound):
        seed_synthetic(app, "nowhere")


@SQLITE_ONLY
@pytest.mark.parametrize("who", ["patient", "doctor", "authority"])
def test_other_roles_may_neither_see_nor_add_nor_delete_data_sets(
    app: App, hospital: Actor, folder: Path, who: str, request: pytest.FixtureRequest
) -> None:
    made = service.generate_dataset(app, hospital, patients=6, cells_per_patient=1)
    actor: Actor = request.getfixturevalue(who)
    for act in (
        lambda: service.datasets(app, actor),
        lambda: service.import_folder(app, actor, folder=folder, provenance=Provenance.PUBLIC),
        lambda: service.import_zip(app, actor, file=zipped(folder), provenance=Provenance.PUBLIC),
        lambda: service.generate_dataset(app, actor, patients=6),
        lambda: service.delete_dataset(app, actor, made.id),
    ):
        with pytest.raises(NotAuthorised):
            act()
    assert len(rows(app)) == 1


@SQLITE_ONLY
def test_another_hospital_cannot_delete_a_data_set(app: App, hospital: Actor, hospital_east: Actor) -> None:
    made = service.generate_dataset(app, hospital, patients=6, cells_per_patient=1)
    with pytest.raises(NotFound):
        service.delete_dataset(app, hospital_east, made.id)
    assert sealed_file(app, made).exists()


def test_a_data_set_is_deleted_with_its_file_unless_a_run_used_it(app: App, hospital: Actor, authority: Actor) -> None:
    gone = service.generate_dataset(app, hospital, patients=6, cells_per_patient=1)
    service.delete_dataset(app, hospital, gone.id)
    assert rows(app) == []
    assert not sealed_path(app.settings, "north", gone.id).exists()
    kept = service.generate_dataset(app, hospital, patients=6, cells_per_patient=1)
    with session_scope(app.engine) as session:
        run = Run(
            study_code=LEUKEMIA.code,
            mode="sealed",
            options={},
            rounds=1,
            requested_by=authority.user_id,
            created_at=app.clock.now(),
        )
        session.add(run)
        session.flush()
        session.add(RunMember(run_id=run.id, hospital_id=str(hospital.hospital_id), dataset_id=kept.id))
    with pytest.raises(InvalidInput, match="a training run used"):
        service.delete_dataset(app, hospital, kept.id)
    assert sealed_file(app, kept).exists()


@SQLITE_ONLY
@pytest.mark.parametrize(
    ("table", "column", "value"),
    [("dataset", "id", "../../../../master.key"), ("hospital", "slug", "../north"), ("hospital", "slug", "/etc")],
)
def test_no_path_comes_from_a_row_that_was_changed(
    app: App, hospital: Actor, table: str, column: str, value: str
) -> None:
    made = service.generate_dataset(app, hospital, patients=6, cells_per_patient=1)
    key = {"dataset": made.id, "hospital": hospital.hospital_id}[table]
    rows_of = SQLModel.metadata.tables[table]
    with session_scope(app.engine) as session:
        session.connection().execute(rows_of.update().where(rows_of.c.id == key).values({column: value}))
    files = {path for path in app.settings.data_dir.rglob("*") if path.is_file()}
    for act in (lambda: service.datasets(app, hospital), lambda: service.delete_dataset(app, hospital, made.id)):
        with pytest.raises((RecordDamaged, NotFound)):
            act()
    assert {path for path in app.settings.data_dir.rglob("*") if path.is_file()} >= files


@SQLITE_ONLY
def test_a_name_moved_to_another_data_set_is_not_shown(app: App, hospital: Actor) -> None:
    for name in ("one", "two"):
        service.generate_dataset(app, hospital, patients=6, cells_per_patient=1, name=name)
    first, second = rows(app)
    with session_scope(app.engine) as session:
        session.get_one(Dataset, first.id).name = second.name
    shown = {view.id: view.name for view in service.datasets(app, hospital)}
    assert shown[first.id] == UNREADABLE_NAME
    assert shown[second.id] in {"one", "two"}


@SQLITE_ONLY
@pytest.mark.parametrize("name", ["x" * 81, "two\nlines"])
def test_a_name_that_does_not_fit_on_a_line_is_refused(app: App, hospital: Actor, name: str) -> None:
    with pytest.raises(InvalidInput):
        service.generate_dataset(app, hospital, patients=6, cells_per_patient=1, name=name)


@SQLITE_ONLY
def test_bad_folders_are_refused_and_nothing_is_kept(app: App, hospital: Actor, tmp_path: Path) -> None:
    own = app.settings.data_dir / "keys"
    for folder in (tmp_path / "missing", own, app.settings.data_dir, Path("/etc"), tmp_path):
        with pytest.raises(DatasetRefused):
            service.import_folder(app, hospital, folder=folder, provenance=Provenance.PUBLIC)
    with pytest.raises(DatasetRefused, match="not a zip"):
        service.import_zip(app, hospital, file=io.BytesIO(b"text"), provenance=Provenance.PUBLIC)
    with pytest.raises(InvalidInput, match="6 to 100 patients"):
        service.generate_dataset(app, hospital, patients=10**6)
    assert rows(app) == []
    assert not app.settings.hospitals_dir.exists()


@SQLITE_ONLY
def test_outside_the_demo_only_folders_below_the_import_root_are_read(
    app: App, hospital: Actor, folder: Path, tmp_path: Path
) -> None:
    strict = replace(app, settings=app.settings.model_copy(update={"mode": Mode.PRODUCTION}))
    assert not service.may_import_folders(strict)
    with pytest.raises(NotAuthorised, match="HEMASEAL_IMPORT_ROOT"):
        service.import_folder(strict, hospital, folder=folder, provenance=Provenance.CLINICAL)
    rooted = replace(strict, settings=strict.settings.model_copy(update={"import_root": folder}))
    with pytest.raises(DatasetRefused):
        service.import_folder(rooted, hospital, folder=tmp_path, provenance=Provenance.CLINICAL)
    assert service.import_folder(rooted, hospital, folder=folder, provenance=Provenance.CLINICAL).images == 24


@SQLITE_ONLY
def test_nothing_is_sealed_for_a_node_whose_certificate_is_revoked(app: App, hospital: Actor, authority: Actor) -> None:
    held = certificates(app, authority)
    serial = next(view.serial for view in held if (view.party, view.key_use) == ("north.training", "seal"))
    revoke_certificate(app, authority, serial, "keyCompromise")
    with pytest.raises(MemberRefused):
        service.generate_dataset(app, hospital, patients=6, cells_per_patient=1)
    assert rows(app) == []


@SQLITE_ONLY
def test_a_file_that_went_missing_is_shown_as_missing(app: App, hospital: Actor) -> None:
    made = service.generate_dataset(app, hospital, patients=6, cells_per_patient=1)
    assert made.sealed_bytes == sealed_file(app, made).stat().st_size
    sealed_path(app.settings, "north", made.id).unlink()
    assert service.datasets(app, hospital)[0].sealed_bytes == 0
