"""A data set without ``index.csv``: a folder for each class, named as the study names it, with that class's images."""

from enum import StrEnum
from pathlib import Path, PurePosixPath

from core.errors import DatasetRefused
from core.imaging.index import Record, is_safe_path
from core.imaging.sources import INDEX_NAME, ImageSource, as_source
from core.studies import Study

SITE = "folder"


class Naming(StrEnum):
    """Whose an image is, where no index says so."""

    EACH_FILE = "each-file"
    FILE_STEM = "file-stem"


def has_index(place: Path | ImageSource) -> bool:
    """Tell whether a data set brings its ``index.csv``."""
    return bool(as_source(place).stamp(INDEX_NAME))


def read_class_folders(
    place: Path | ImageSource, study: Study, *, naming: Naming = Naming.EACH_FILE, modality: str = ""
) -> tuple[list[Record], list[tuple[str, str]]]:
    """List the images of folders that are named as the study's classes.

    Args:
        place: the folder that holds the folders, or one around it; a path or another source. Files may lie deeper.
        study: whose labels the folders use; capitals do not matter.
        naming: each file is its own patient, or, when somebody says that files are named by patient, the files of one
            name without its ending are one patient's, in whatever folder. Only in the second case can a split keep
            patients apart.
        modality: one of the study's, of all the images; the study's first when not said.

    Returns:
        The records, with their place in the list of files as line, and (path, reason) of files in no such folder.

    Raises:
        DatasetRefused: no folder is named as a class, or the modality is none of the study's.
    """
    modality = modality or study.modalities[0]
    if modality not in study.modalities:
        raise DatasetRefused(f"the modality {modality[:40]!r} is none of {', '.join(study.modalities)}")
    labels = {name.casefold(): name for name in study.class_names}
    records: list[Record] = []
    strangers: list[tuple[str, str]] = []
    names = as_source(place).names()
    tops = {PurePosixPath(name).parts[0] for name in names}
    around = len(tops) == 1 and not {top.casefold() for top in tops} & labels.keys()
    for number, path in enumerate(names, 1):
        parts = PurePosixPath(path).parts[around:]
        label = labels.get(parts[0].casefold()) if len(parts) > 1 else None
        if label is None or not is_safe_path(path):
            strangers.append((path, "it lies in no folder that is named as a class"))
            continue
        patient = PurePosixPath(path).stem.casefold() if naming is Naming.FILE_STEM else path
        records.append(
            Record(
                path=path,
                label=label,
                label_index=study.index_of(label),
                modality=modality,
                site=SITE,
                patient=patient,
                line=number,
            )
        )
    if not records:
        classes = ", ".join(study.class_names)
        raise DatasetRefused(f"there is neither an {INDEX_NAME} nor a folder named as a class ({classes})")
    return records, strangers
