"""``index.csv``: one line per image with path, label, modality, site and patient; every line is checked before use."""

import csv
import io
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

from core.errors import DatasetRefused
from core.imaging.sources import INDEX_NAME, ImageSource, as_source
from core.studies import Study

COLUMNS = ("path", "label", "modality", "site", "patient", "source_label")
REQUIRED = COLUMNS[:-1]
MAX_INDEX_BYTES = 64 * 2**20
MAX_FIELD = 512
NAMED_PROBLEMS = 3


@dataclass(frozen=True, slots=True)
class Record:
    """One image of a data set.

    Attributes:
        path: relative to the data set's folder, with forward slashes.
        label: as written in ``index.csv``.
        label_index: position in the study's classes.
        modality: how the image was made, one of the study's.
        site: where the image was made.
        patient: pseudonym; all images of one patient stay together.
        line: where ``index.csv`` names it; 0 where there is none.
    """

    path: str
    label: str
    label_index: int
    modality: str
    site: str
    patient: str
    line: int = 0


def read_index(folder: Path | ImageSource, study: Study) -> list[Record]:
    """Read and check a data set's index; the images themselves are not opened.

    Args:
        folder: holds ``index.csv`` (UTF-8) and the images that it names; a path or another source.
        study: whose labels and modalities the lines must use.

    Returns:
        The records in the order of the file, at least one.

    Raises:
        DatasetRefused: no index, no lines, a column missing, or lines with an empty field, an unknown label or
            modality, a path that leaves the folder or comes twice, or a patient at two sites. The text names lines.
    """
    records: list[Record] = []
    problems: list[str] = []
    path_lines: dict[str, int] = {}
    patient_sites: dict[str, tuple[str, int]] = {}
    for line, row in _rows(as_source(folder)):
        problem = _problem_of(row, study)
        if problem is None:
            record = _record_of(row, study, line)
            first = path_lines.setdefault(record.path.casefold(), line)
            site, site_line = patient_sites.setdefault(record.patient, (record.site, line))
            if first != line:
                problem = f"the path is the same as on line {first}"
            elif site != record.site:
                problem = f"the patient is under another site on line {site_line}"
            else:
                records.append(record)
        if problem is not None:
            problems.append(f"line {line}: {problem}")
    if problems:
        more = f"; and {len(problems) - NAMED_PROBLEMS} more" if len(problems) > NAMED_PROBLEMS else ""
        raise DatasetRefused("; ".join(problems[:NAMED_PROBLEMS]) + more)
    if not records:
        raise DatasetRefused(f"{INDEX_NAME} names no image")
    return records


def write_index(folder: Path, rows: list[dict[str, str]]) -> None:
    """Write ``index.csv`` with all columns (`COLUMNS`)."""
    with (folder / INDEX_NAME).open("w", encoding="utf-8", newline="") as file:
        writer = csv.DictWriter(file, COLUMNS)
        writer.writeheader()
        writer.writerows(rows)


def is_safe_path(path: str) -> bool:
    """Tell whether a relative path stays in its folder on any system, by its letters alone."""
    parts = PurePosixPath(path).parts
    return (
        bool(parts)
        and not path.startswith("/")
        and ".." not in parts
        and not any(letter in path for letter in "\\:")
        and path.isprintable()
        and len(path) <= MAX_FIELD
    )


def _rows(source: ImageSource) -> Iterator[tuple[int, dict[str, str]]]:
    """Yield (line number, row) with blanks stripped."""
    try:
        data = source.read(INDEX_NAME, MAX_INDEX_BYTES)
        if len(data) > MAX_INDEX_BYTES:
            raise DatasetRefused(f"{INDEX_NAME} is larger than {MAX_INDEX_BYTES // 2**20} MiB")
        reader = csv.reader(io.StringIO(data.decode("utf-8-sig"), newline=""), strict=True)
        header = _header_of(next(reader, []))
        for values in reader:
            if not values:
                continue
            if len(values) != len(header):
                raise DatasetRefused(f"line {reader.line_num}: {len(values)} fields instead of {len(header)}")
            yield reader.line_num, dict(zip(header, (value.strip() for value in values), strict=True))
    except FileNotFoundError:
        raise DatasetRefused(f"there is no {INDEX_NAME} in the folder") from None
    except UnicodeDecodeError:
        raise DatasetRefused(f"{INDEX_NAME} is not UTF-8 text") from None
    except csv.Error as error:
        raise DatasetRefused(f"{INDEX_NAME} is not a table of comma-separated values: {error}") from None
    except OSError:
        raise DatasetRefused(f"{INDEX_NAME} cannot be read") from None


def _header_of(values: list[str]) -> list[str]:
    """Return the column names, complete and without doubles."""
    header = [name.strip() for name in values]
    missing = [name for name in REQUIRED if name not in header]
    if missing:
        raise DatasetRefused(f"{INDEX_NAME} {'lacks the columns ' + ', '.join(missing) if header else 'is empty'}")
    if len(set(header)) != len(header):
        raise DatasetRefused(f"{INDEX_NAME} has a column twice")
    return header


def _problem_of(row: dict[str, str], study: Study) -> str | None:
    """Return what is wrong with a line taken alone; patients are never named, since texts reach logs."""
    for name in REQUIRED:
        if not row[name]:
            return f"no {name}"
        if len(row[name]) > MAX_FIELD:
            return f"{name} is longer than {MAX_FIELD} characters"
    if not is_safe_path(row["path"]):
        return "the path leaves the folder"
    if row["label"] not in study.class_names:
        return f"the label {row['label'][:40]!r} is none of {', '.join(study.class_names)}"
    if row["modality"] not in study.modalities:
        return f"the modality {row['modality'][:40]!r} is not {' or '.join(study.modalities)}"
    return None


def _record_of(row: dict[str, str], study: Study, line: int) -> Record:
    """Return the record of a sound line."""
    return Record(
        path=PurePosixPath(row["path"]).as_posix(),
        label=sys.intern(row["label"]),
        label_index=study.index_of(row["label"]),
        modality=sys.intern(row["modality"]),
        site=sys.intern(row["site"]),
        patient=sys.intern(row["patient"]),
        line=line,
    )
