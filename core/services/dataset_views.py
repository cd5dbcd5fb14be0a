"""What people see of data sets, and how a shared folder is divided between hospitals. No database access here."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import datetime

from core.imaging.datasets import Acquired, Assignment, Rejected
from core.services.app import App
from core.services.dataset_store import NOTHING_SPECIAL, open_name, sealed_path
from core.studies import STUDIES_BY_CODE, Study
from db.models import Dataset, Hospital, Provenance

__all__ = ["Assignment", "DatasetView", "Portion", "Provenance", "Rejected", "view_of"]


@dataclass(frozen=True)
class Portion:
    """Which patients of a shared folder are this hospital's, so that several can import one folder without overlap.

    Attributes:
        how: deal patients alike, keep sites together, or make class mixes, numbers or stains differ.
        hospitals: into how many portions the folder is divided.
        position: which of them this hospital takes, from 0.
        alpha: concentration for ``dirichlet`` and ``quantity``.
        seed: the same for all hospitals that share the folder.
    """

    how: Assignment
    hospitals: int
    position: int
    alpha: float = 0.5
    seed: int = 0


@dataclass(frozen=True)
class DatasetView:
    """A data set as its hospital sees it.

    Attributes:
        id: id of the data set.
        study: what is asked of its images.
        name: given by the hospital.
        provenance: synthetic, public or clinical.
        images: number of images.
        patients: number of patients.
        class_counts: images per class, in the study's order, by part.
        rejected: (line of index.csv, reason) of files that were left out.
        created_at: when it was added.
        sealed_bytes: size of the sealed file; 0 when the file is gone.
        refused_files: the same as `rejected` with file names; only right after the import.
        acquired: what the images came as; only right after the import.
        patients_known: somebody said whose each image is; False only right after the import.
    """

    id: str
    study: Study
    name: str
    provenance: Provenance
    images: int
    patients: int
    class_counts: dict[str, list[int]]
    rejected: list[tuple[int, str]]
    created_at: datetime
    sealed_bytes: int
    refused_files: tuple[Rejected, ...] = field(default=(), compare=False)
    acquired: Acquired = field(default=NOTHING_SPECIAL, compare=False)
    patients_known: bool = field(default=True, compare=False)


def view_of(
    app: App,
    hospital: Hospital,
    row: Dataset,
    refused: Sequence[Rejected] = (),
    acquired: Acquired = NOTHING_SPECIAL,
) -> DatasetView:
    """Return what the hospital sees of a row."""
    path = sealed_path(app.settings, hospital.slug, row.id)
    return DatasetView(
        id=row.id,
        study=STUDIES_BY_CODE[row.study_code],
        name=open_name(app, row),
        provenance=row.provenance,
        images=row.images,
        patients=row.patients,
        class_counts=row.class_counts,
        rejected=[(int(line), reason) for line, reason in row.rejected],
        created_at=row.created_at,
        sealed_bytes=path.stat().st_size if path.exists() else 0,
        refused_files=tuple(refused),
        acquired=acquired,
    )
