"""A hospital's data sets for people: import a folder or a zip, draw synthetic cells, list, delete. Authorised here.

Images are read in memory, sealed for the hospital's training node and kept nowhere else; the application itself can
not open them again.
"""

import hashlib
from collections.abc import Sequence
from dataclasses import astuple, replace
from pathlib import Path
from typing import BinaryIO, NamedTuple

import numpy as np
from sqlmodel import col, select

from core.errors import DatasetRefused, InvalidInput, NotAuthorised, NotFound
from core.imaging.datasets import (
    Acquired,
    ImageSource,
    Naming,
    Progress,
    Record,
    ZipSource,
    as_source,
    assign_to_hospitals,
    has_index,
    import_arrays,
    patient_stains,
    read_class_folders,
    read_index,
    split_by_patient,
)
from core.imaging.decode import encode_png
from core.imaging.synthetic import CELLS_PER_PATIENT, STYLES, SmearStyle, generate_arrays, generate_cell
from core.services import audit
from core.services.app import Actor, App
from core.services.authorise import Action
from core.services.dataset_store import (
    SYNTHETIC_NAME,
    default_name,
    remove_file,
    store_arrays,
    style_slug,
)
from core.services.dataset_views import Assignment, DatasetView, Portion, Provenance, Rejected, view_of
from core.services.import_parts import import_parts
from core.services.own_hospital import own_hospital
from core.settings import Mode, Settings
from core.studies import LEUKEMIA, Study
from db.engine import read_scope, session_scope
from db.models import Dataset, RunMember

__all__ = [
    "CELLS_PER_PATIENT",
    "SYNTHETIC_STUDY",
    "Acquired",
    "Assignment",
    "DatasetView",
    "Naming",
    "Portion",
    "Provenance",
    "Rejected",
    "checked_folder",
    "datasets",
    "delete_dataset",
    "generate_dataset",
    "import_folder",
    "import_zip",
    "may_import_folders",
    "preview_cells",
]

MAX_NAME = 80
PATIENT_RANGE = (6, 100)  # of a synthetic set
SYNTHETIC_SITE = "synthetic-"
SYNTHETIC_STUDY = LEUKEMIA
"""The one study whose images can be drawn (`core.imaging.synthetic`)."""


def datasets(app: App, actor: Actor) -> list[DatasetView]:
    """Return the data sets of the actor's own hospital, the newest first.

    Raises:
        NotAuthorised: the actor does not administer a hospital's data.
    """
    with read_scope(app.engine) as session:
        hospital = own_hospital(app, session, actor, Action.READ_DATASET)
        rows = session.exec(
            select(Dataset).where(Dataset.hospital_id == hospital.id).order_by(col(Dataset.created_at).desc())
        ).all()
    return [view_of(app, hospital, row) for row in rows]


def import_folder(
    app: App,
    actor: Actor,
    *,
    folder: str | Path,
    name: str = "",
    provenance: Provenance,
    study: Study = LEUKEMIA,
    portion: Portion | None = None,
    seed: int = 0,
    naming: Naming = Naming.EACH_FILE,
    modality: str = "",
    progress: Progress | None = None,
) -> DatasetView:
    """Import a folder of the machine that the application runs on: with an ``index.csv``, or with folders of classes.

    An import that was interrupted goes on where it stopped when the same is asked again within a week, and never comes
    in twice. Of DICOM files only the pixels are kept.

    Args:
        app: the application.
        actor: an administrator of the hospital.
        folder: its path.
        name: shown in lists; sealed in the database.
        provenance: what the images are; a folder of synthetic sites is synthetic unless said to be clinical.
        study: whose labels the index uses.
        portion: which patients to take; all when None.
        seed: of the split into training, validation and test.
        naming: without an index: whose an image is.
        modality: without an index: how all images were made; the study's first modality when not said.
        progress: called with (done, total) after each image.

    Raises:
        NotAuthorised: not the actor's to do, or folders may not be imported by path here.
        DatasetRefused: no such folder, the index cannot be used (the text names lines), or the same import is running.
        InvalidInput: the name cannot be used.
        MemberRefused: the hospital's training node has no valid certificate.
    """
    with read_scope(app.engine) as session:
        slug = own_hospital(app, session, actor, Action.IMPORT_DATASET).slug
    path = checked_folder(app.settings, folder)
    choices = _Choices(slug, name, provenance, study, portion, seed, naming, modality)
    return _import(app, actor, path, choices, progress)


def import_zip(
    app: App,
    actor: Actor,
    *,
    file: BinaryIO,
    name: str = "",
    provenance: Provenance,
    study: Study = LEUKEMIA,
    portion: Portion | None = None,
    seed: int = 0,
    naming: Naming = Naming.EACH_FILE,
    modality: str = "",
    progress: Progress | None = None,
) -> DatasetView:
    """Import a zip of such a folder; it is read in memory and never unpacked. See `import_folder`."""
    with read_scope(app.engine) as session:
        slug = own_hospital(app, session, actor, Action.IMPORT_DATASET).slug
    source = ZipSource.open(file)
    choices = _Choices(slug, name, provenance, study, portion, seed, naming, modality)
    with source.archive:
        return _import(app, actor, source, choices, progress)


def generate_dataset(
    app: App, actor: Actor, *, patients: int, cells_per_patient: int = CELLS_PER_PATIENT, seed: int = 0, name: str = ""
) -> DatasetView:
    """Draw a synthetic data set of single cells in the stain of the hospital's own synthetic laboratory.

    Raises:
        NotAuthorised: not the actor's to do.
        InvalidInput: a number is out of range, or the name cannot be used.
        MemberRefused: the hospital's training node has no valid certificate.
    """
    with read_scope(app.engine) as session:
        hospital = own_hospital(app, session, actor, Action.GENERATE_DATASET)
    if not PATIENT_RANGE[0] <= patients <= PATIENT_RANGE[1] or not 1 <= cells_per_patient <= 2 * CELLS_PER_PATIENT:
        raise InvalidInput(
            f"{PATIENT_RANGE[0]} to {PATIENT_RANGE[1]} patients of 1 to {2 * CELLS_PER_PATIENT} cells each"
        )
    name = _checked_name(name or SYNTHETIC_NAME)
    style = STYLES[style_slug(hospital.slug)]
    arrays = generate_arrays(patients=patients, cells_per_patient=cells_per_patient, style=style, seed=seed)
    provenance = Provenance.SYNTHETIC
    row = store_arrays(app, actor, hospital, arrays, study=SYNTHETIC_STUDY, name=name, provenance=provenance)
    return view_of(app, hospital, row)


def delete_dataset(app: App, actor: Actor, dataset_id: str) -> None:
    """Delete a data set that no run has used.

    Raises:
        NotAuthorised: not the actor's to do.
        NotFound: the hospital has no such data set.
        InvalidInput: a run used it; what the run's record says of it must stay true.
    """
    with session_scope(app.engine) as session:
        hospital = own_hospital(app, session, actor, Action.DELETE_DATASET, object_id=dataset_id)
        row = session.get(Dataset, dataset_id, with_for_update=True)
        if row is None or row.hospital_id != hospital.id:
            raise NotFound
        if session.exec(select(RunMember.run_id).where(RunMember.dataset_id == row.id).limit(1)).first() is not None:
            raise InvalidInput("a training run used this data set, so it is kept with the run's record")
        session.delete(row)
        session.flush()
        audit.append(app, session, actor, "dataset.delete", object_id=dataset_id)
    remove_file(app.settings, hospital.slug, dataset_id)


def preview_cells(hospital_slug: str, *, seed: int, count: int = 6) -> bytes:
    """Return a PNG strip of synthetic cells, half of them blasts, in a hospital's stain; holds nobody's image."""
    style: SmearStyle = STYLES[style_slug(hospital_slug)]
    rng = np.random.default_rng(seed)
    cells = [generate_cell(rng, blast=number < count // 2, style=style) for number in range(count)]
    return encode_png(np.hstack(cells))


def may_import_folders(app: App) -> bool:
    """Tell whether folders can be imported by path: in the demo, or below the folder that the settings name."""
    return app.settings.import_root is not None or app.settings.mode is Mode.DEMO


class _Choices(NamedTuple):
    """What somebody chose for an import; two imports with the same choices and files are the same import."""

    slug: str
    name: str
    provenance: Provenance
    study: Study
    portion: Portion | None
    seed: int
    naming: Naming
    modality: str


def _import(
    app: App, actor: Actor, place: Path | ImageSource, choices: _Choices, progress: Progress | None
) -> DatasetView:
    """Read, divide, load and store."""
    name = _checked_name(choices.name or default_name(app.clock.now()))
    study = choices.study
    records, strangers = _records_of(place, choices)
    provenance = choices.provenance
    synthetic = all(record.site.startswith(SYNTHETIC_SITE) for record in records)
    if synthetic and provenance is not Provenance.CLINICAL:  # what was said to be clinical stays clinical
        provenance = Provenance.SYNTHETIC
    elif provenance is Provenance.SYNTHETIC:
        raise InvalidInput("this folder holds images that are not synthetic; say whether they are public or clinical")
    chosen = _portion_of(records, choices.portion, place, study)
    split = split_by_patient(chosen, seed=choices.seed)
    with import_parts(app, choices.slug, what=_identity(place, choices, records), side=study.input_size) as parts:
        with read_scope(app.engine) as session:
            hospital = own_hospital(app, session, actor, Action.IMPORT_DATASET)
            row = session.get(Dataset, parts.dataset_id)
        if row is not None:  # it was whole already, and only the answer was lost
            parts.clear()
            return view_of(app, hospital, row)
        try:
            arrays, rejected, acquired = import_arrays(split, place, study, progress, parts)
        except DatasetRefused:
            parts.clear()
            raise
        with read_scope(app.engine) as session:  # again, since reading may have taken long
            hospital = own_hospital(app, session, actor, Action.IMPORT_DATASET)
        row = store_arrays(
            app,
            actor,
            hospital,
            arrays,
            study=study,
            name=name,
            provenance=provenance,
            rejected=[*strangers, *rejected],
            acquired=acquired,
            dataset_id=parts.dataset_id,
        )
        parts.clear()
    view = view_of(app, hospital, row, [*strangers, *rejected], acquired)
    return replace(view, patients_known=has_index(place) or choices.naming is not Naming.EACH_FILE)


def _records_of(place: Path | ImageSource, choices: _Choices) -> tuple[list[Record], list[Rejected]]:
    """Return what there is to import, by the index or by the folders, and files that are no part of it."""
    if has_index(place):
        return read_index(place, choices.study), []
    records, strangers = read_class_folders(place, choices.study, naming=choices.naming, modality=choices.modality)
    return records, [Rejected(path, reason, 0) for path, reason in strangers]


def _identity(place: Path | ImageSource, choices: _Choices, records: Sequence[Record]) -> str:
    """Return a hash of all that makes an import this one: choices, records, and the state of each file."""
    source, digest = as_source(place), hashlib.sha256(repr(choices).encode())
    for record in records:
        digest.update(repr((astuple(record), source.stamp(record.path))).encode())
    return digest.hexdigest()


def _portion_of(
    records: Sequence[Record], portion: Portion | None, place: Path | ImageSource, study: Study
) -> Sequence[Record]:
    """Return the records of the hospital's portion."""
    if portion is None:
        return records
    if not 0 <= portion.position < portion.hospitals:
        raise InvalidInput(f"portion {portion.position + 1} of {portion.hospitals}")
    if portion.how == "stain" and not study.is_stained:
        raise InvalidInput("these images are not stained, so they cannot be divided by stain")
    stains = patient_stains(records, place, seed=portion.seed) if portion.how == "stain" else {}
    groups = assign_to_hospitals(
        records, portion.hospitals, how=portion.how, alpha=portion.alpha, seed=portion.seed, stains=stains
    )
    return groups[portion.position]


def checked_folder(settings: Settings, folder: str | Path) -> Path:
    """Return the resolved folder if it may be imported.

    Raises:
        NotAuthorised: folders may not be imported by path here.
        DatasetRefused: there is no such folder.
    """
    if settings.import_root is None and settings.mode is not Mode.DEMO:
        raise NotAuthorised("importing folders by path is switched off; set HEMASEAL_IMPORT_ROOT or upload a zip")
    try:
        path = Path(str(folder).strip()).expanduser().resolve()
    except (ValueError, RuntimeError) as error:  # a null byte, or the home of nobody
        raise DatasetRefused("this is not a path") from error
    own = path.is_relative_to(settings.data_dir.resolve())
    outside = settings.import_root is not None and not path.is_relative_to(settings.import_root.resolve())
    if own or outside or not path.is_dir():
        raise DatasetRefused("there is no folder with an index.csv at this path that may be imported")
    return path


def _checked_name(name: str) -> str:
    """Return a name that can be shown on one line."""
    name = name.strip()
    if not 0 < len(name) <= MAX_NAME or not name.isprintable():
        raise InvalidInput(f"a name takes 1 to {MAX_NAME} characters")
    return name
