"""De-identification of files and folders: what was written, what was held back and why, as a report."""

from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from core.errors import DatasetRefused, HemaSealError
from core.imaging.burned_in import STATED
from core.imaging.confidentiality import EDITION, PROFILE
from core.imaging.deidentify import Deidentified, deidentify

MAX_BYTES = 2 * 2**30
_IGNORED = {".DS_Store", "Thumbs.db", "DICOMDIR"}  # a DICOMDIR lists names, and is made anew by whoever needs it


@dataclass
class Report:
    """What came of each file.

    Attributes:
        written: new path, below the output folder, and why text may be burned into the picture, or "".
        held_back: (path of the original, reason); original names may name people, so these stay in the hospital.
        counts: attributes by what was done with them, over all files.
        patients: pseudonyms.
    """

    written: list[tuple[str, str]] = field(default_factory=list)
    held_back: list[tuple[str, str]] = field(default_factory=list)
    counts: Counter[str] = field(default_factory=Counter)
    patients: set[str] = field(default_factory=set)

    @property
    def at_risk(self) -> list[tuple[str, str]]:
        """The written files that somebody should look at, with the reason."""
        return [(path, reason) for path, reason in self.written if reason]

    def to_json(self) -> dict[str, Any]:
        """Return the report as plain values."""
        return {
            "profile": f"{PROFILE}, {EDITION}",
            "written": len(self.written),
            "patients": len(self.patients),
            "attributes": dict(self.counts),
            "text_may_be_burned_in": [{"file": path, "why": why} for path, why in self.at_risk],
            "held_back": [{"original": path, "why": why} for path, why in self.held_back],
        }


def deidentify_files(
    place: Path,
    out: Path,
    *,
    key: bytes,
    with_burned_in: bool = False,
    progress: Callable[[int, int], None] | None = None,
) -> Report:
    """De-identify a file, or all files below a folder, into ``out/<patient>/<series>/<instance>.dcm``.

    Names of folders and files are made of pseudonyms, so that none of the originals' survives; doing it again writes
    the same files again. A file that cannot be de-identified is held back and never stops the others.

    Args:
        place: a file or a folder.
        out: folder to write; neither in `place` nor around it.
        key: see `core.imaging.deidentify.deidentify`.
        with_burned_in: also write files that say that text is burned into their picture.
        progress: called with (done, total) after each file.

    Raises:
        DatasetRefused: there is nothing at `place`, or `out` overlaps with it.
    """
    source, target = place.resolve(), out.resolve()
    if not source.exists():
        raise DatasetRefused("there is no such file or folder")
    if target == source or target.is_relative_to(source) or source.is_relative_to(target):
        raise DatasetRefused("the folder to write must lie beside the originals, not in or around them")
    files = [source] if source.is_file() else sorted(path for path in source.rglob("*") if path.is_file())
    files = [path for path in files if path.name not in _IGNORED]
    report = Report()
    for done, path in enumerate(files, 1):
        name = path.name if path == source else path.relative_to(source).as_posix()
        try:
            made = _made_of(path, key)
        except HemaSealError as error:
            report.held_back.append((name, f"{error.text} {error.detail}".strip()))
        except OSError:
            report.held_back.append((name, "the file cannot be read"))
        else:
            if made.burned_in == STATED and not with_burned_in:
                report.held_back.append((name, made.burned_in))
            else:
                report.written.append((_write(target, made).relative_to(target).as_posix(), made.burned_in))
                report.counts.update(made.counts)
                report.patients.add(made.patient)
        if progress is not None:
            progress(done, len(files))
    return report


def _made_of(path: Path, key: bytes) -> Deidentified:
    if path.stat().st_size > MAX_BYTES:
        raise DatasetRefused(f"the file is larger than {MAX_BYTES // 2**30} GiB")
    return deidentify(path.read_bytes(), key=key)


def _write(out: Path, made: Deidentified) -> Path:
    """Write a file whole or not at all."""
    path = out / made.patient / (made.series or "no-series") / f"{made.instance}.dcm"
    path.parent.mkdir(parents=True, exist_ok=True)
    part = path.with_suffix(".part")
    part.write_bytes(made.data)
    part.replace(path)
    return path
