"""Where a hospital's data sets lie: a sealed file in the hospital's own folder and a row without names.

Authorises nothing; `core.services.datasets` does that, and set-up uses it for the demo's synthetic sets.
"""

import re
import time
from collections.abc import Sequence
from contextlib import suppress
from datetime import datetime
from pathlib import Path

from sqlmodel import Session, select

from core.errors import NotFound, RecordDamaged
from core.imaging.archive import Archive, seal_dataset
from core.imaging.datasets import Acquired, DatasetArrays, Part, Rejected
from core.imaging.drift import Looks, looks_of
from core.imaging.synthetic import CELLS_PER_PATIENT, STYLES, generate_arrays
from core.services import audit
from core.services.app import APP_PARTY, App
from core.services.context import Actor
from core.settings import Settings
from core.studies import LEUKEMIA, Study
from db.engine import read_scope, session_scope
from db.models import Dataset, Hospital, Provenance
from db.types import new_id
from security.context import Context, Purpose
from security.errors import SealBroken
from security.keys import KeyUse

SYNTHETIC_NAME = "Synthetic smears"
UNREADABLE_NAME = "(name cannot be read)"
DEMO_PATIENTS = 20
DRAFT_S = 2 * 86_400
"""Nobody writes one data set for longer."""
NOTHING_SPECIAL = Acquired()
_ID = re.compile(r"[0-9a-f]{32}")
_SLUG = re.compile(r"[a-z][a-z0-9-]{1,30}")


def sealed_path(settings: Settings, slug: str, dataset_id: str) -> Path:
    """Return where a hospital's sealed data set lies.

    Raises:
        RecordDamaged: short name or id are not of the form that the app gives: no part of a path comes from elsewhere.
    """
    if not _SLUG.fullmatch(slug) or not _ID.fullmatch(dataset_id):
        raise RecordDamaged
    return settings.hospitals_dir / slug / "datasets" / f"{dataset_id}.sealed"


def open_name(app: App, row: Dataset) -> str:
    """Return what the hospital called its data set, or that this cannot be read (the row was changed from outside)."""
    try:
        return app.records.open(row.name, context=_name_context(row.id)).decode()
    except SealBroken:
        return UNREADABLE_NAME


def open_looks(app: App, row: Dataset) -> Looks | None:
    """Return how a data set's training images look; None where nobody measured it, or the row was changed."""
    if row.looks is None:
        return None
    try:
        return Looks.decode(app.records.open(row.looks, context=_looks_context(row.id)))
    except SealBroken:
        return None


def _looks_context(dataset_id: str) -> Context:
    return Context(purpose=Purpose.DATASET_LOOKS, study="", sender=APP_PARTY, object_id=dataset_id)


def _name_context(dataset_id: str) -> Context:
    return Context(purpose=Purpose.DATASET_NAME, study="", sender=APP_PARTY, object_id=dataset_id)


def style_slug(hospital_slug: str) -> str:
    """Return the synthetic laboratory that a hospital has: its own in the demo, one chosen by its name otherwise."""
    names = sorted(STYLES)
    return hospital_slug if hospital_slug in STYLES else names[sum(hospital_slug.encode()) % len(names)]


def store_arrays(
    app: App,
    actor: Actor | str,
    hospital: Hospital,
    arrays: DatasetArrays,
    *,
    study: Study,
    name: str,
    provenance: Provenance,
    rejected: Sequence[Rejected] = (),
    acquired: Acquired = NOTHING_SPECIAL,
    dataset_id: str = "",
) -> Dataset:
    """Seal a data set for the hospital's training node, write the file, then the row and the audit entry.

    Of a rejected file the row keeps the line and the reason, not the name: names tell labels and people. An import
    that may be interrupted gives the id beforehand.

    Raises:
        MemberRefused: the training node has no valid sealing certificate.
        DatabaseUnavailable: nothing was kept, the file neither.
    """
    recipient = app.certificate_of(f"{hospital.slug}.training", KeyUse.SEAL)
    dataset_id = dataset_id or new_id()
    training = arrays.part(Part.TRAINING)
    looks = looks_of(training.images, training.patients)
    row = Dataset(
        id=dataset_id,
        hospital_id=hospital.id,
        study_code=study.code,
        name=app.records.seal(name.encode(), context=_name_context(dataset_id)),
        provenance=provenance,
        images=len(arrays),
        patients=len(set(arrays.patients)),
        class_counts=arrays.class_counts(study),
        looks=None if looks is None else app.records.seal(looks.encode(), context=_looks_context(dataset_id)),
        rejected=[[str(item.line), item.reason] for item in rejected],
        created_at=app.clock.now(),
    )
    path = sealed_path(app.settings, hospital.slug, dataset_id)
    archive = Archive(arrays, provenance.value)
    _forget_drafts(path)
    seal_dataset(path, archive, sender=app.identity, recipient=recipient, study=study, dataset_id=dataset_id)
    try:
        with session_scope(app.engine) as session:
            session.add(row)
            session.flush()
            audit.append(
                app,
                session,
                actor,
                "dataset.add",
                object_id=dataset_id,
                details={
                    "images": row.images,
                    "patients": row.patients,
                    "rejected": len(row.rejected),
                    "provenance": provenance.value,
                    "dicom": acquired.dicom,
                    "text_may_be_burned_in": sum(count for _, count in acquired.burned_in),
                },
            )
    except BaseException:
        path.unlink(missing_ok=True)
        raise
    return row


def seed_synthetic(app: App, hospital_slug: str, *, patients: int = DEMO_PATIENTS, seed: int = 0) -> bool:
    """Give a hospital without a data set a synthetic one of `patients` x 12 cells; tell whether it was needed.

    Raises:
        NotFound: there is no such hospital.
        MemberRefused: its training node has no valid sealing certificate.
    """
    with read_scope(app.engine) as session:
        hospital = session.exec(select(Hospital).where(Hospital.slug == hospital_slug)).first()
        if hospital is None:
            raise NotFound
        if _has_dataset(session, hospital.id):
            return False
    style = STYLES[style_slug(hospital_slug)]
    arrays = generate_arrays(patients=patients, cells_per_patient=CELLS_PER_PATIENT, style=style, seed=seed)
    provenance = Provenance.SYNTHETIC
    store_arrays(app, APP_PARTY, hospital, arrays, study=LEUKEMIA, name=SYNTHETIC_NAME, provenance=provenance)
    return True


def remove_file(settings: Settings, slug: str, dataset_id: str) -> None:
    """Delete a sealed file; a file that is gone already is no error."""
    path = sealed_path(settings, slug, dataset_id)
    path.unlink(missing_ok=True)
    _forget_drafts(path)


def _forget_drafts(path: Path) -> None:
    """Delete what a process left that was killed while it wrote this data set, or any other one days ago."""
    for draft in path.parent.glob(".*"):
        with suppress(FileNotFoundError):  # somebody else's, who has just finished it
            if draft.name.startswith(f".{path.name}.") or time.time() - draft.stat().st_mtime > DRAFT_S:
                draft.unlink()


def default_name(at: datetime) -> str:
    """Return a name for an import that got none."""
    return f"Import of {at:%Y-%m-%d %H:%M} UTC"


def _has_dataset(session: Session, hospital_id: str) -> bool:
    """Tell whether a hospital has any data set."""
    return session.exec(select(Dataset.id).where(Dataset.hospital_id == hospital_id).limit(1)).first() is not None
