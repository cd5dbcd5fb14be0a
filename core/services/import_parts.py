"""An import under way, so that it can go on after a crash: its finished files, sealed, in the hospital's folder.

What was read is kept in bundles. Until the import is whole they are sealed for the application itself, which held
these pixels in memory when it read them; the whole data set is sealed for the training node, as ever, and the bundles
are deleted. Nothing lies on the disk in clear. An import is known again by a keyed hash of what is imported and how; it
keeps the id that its data set will have, so that it cannot come in twice however it was interrupted.
"""

import hashlib
import hmac
import json
import shutil
from bisect import bisect_right
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from pathlib import Path

import numpy as np
from filelock import FileLock, Timeout
from safetensors import SafetensorError
from safetensors.numpy import load, save

from core.errors import DatasetRefused
from core.imaging.arrays import Outcome
from core.imaging.squares import Pixels, Places, StoredSquares
from core.services.app import APP_PARTY, App
from db.types import new_id
from security.context import Context, Purpose
from security.errors import SealBroken
from security.keys import hkdf
from security.private_files import write_private

KEPT_FOR = timedelta(days=7)
_JOB, _LOCK, _PARTS = "job.sealed", "lock", "part-*.sealed"


@dataclass
class ImportParts:
    """The finished part of one import; see `core.imaging.arrays.KeptOutcomes`.

    Attributes:
        dataset_id: the id that the data set has or will have.
        folder: where the bundles lie.
    """

    app: App
    folder: Path
    dataset_id: str
    side: int
    _ends: list[int] = field(default_factory=list)
    """Of each bundle: how many squares there are up to its end."""
    _digests: list[bytes] = field(default_factory=list)
    """Of each bundle: SHA-256 of it as it lies there."""
    _open: tuple[int, Pixels] | None = None
    """The bundle that was read last, and its squares."""

    def load(self) -> Iterator[Outcome]:
        """Yield what was kept; a bundle that was changed or is missing ends it, and what follows is read again."""
        while (path := self._path(len(self._ends))).exists():
            try:
                sealed = path.read_bytes()
                outcomes = self._opened(sealed, path)
            except (SealBroken, SafetensorError, ValueError, KeyError):
                break
            self._count(outcomes, sealed)
            yield from outcomes

    def add(self, outcomes: Sequence[Outcome]) -> None:
        """Keep the next bundle."""
        path = self._path(len(self._ends))
        sealed = self.app.records.seal(_encoded(outcomes, self.side), context=self._context(path.name))
        write_private(path, sealed)
        self._count(outcomes, sealed)

    def squares(self, places: Places) -> StoredSquares:
        """Return some of the squares that were kept; see `KeptOutcomes`.

        Asked for pixels, they raise `DatasetRefused` where a bundle was changed since.
        """
        return StoredSquares(self._fetch, places, self.side)

    def _fetch(self, places: Places) -> Pixels:
        found = np.empty((len(places), self.side, self.side, 3), np.uint8)
        for number, place in enumerate(places):
            bundle = bisect_right(self._ends, place)
            if self._open is None or self._open[0] != bundle:
                path = self._path(bundle)
                sealed = path.read_bytes() if path.exists() else b""
                if hashlib.sha256(sealed).digest() != self._digests[bundle]:
                    raise DatasetRefused("what was read of the import has been changed; import it again")
                outcomes = self._opened(sealed, path)
                kept = [outcome.square for outcome in outcomes if outcome.square is not None]
                self._open = bundle, np.stack(kept)
            found[number] = self._open[1][place - (self._ends[bundle - 1] if bundle else 0)]
        return found

    def _opened(self, sealed: bytes, path: Path) -> list[Outcome]:
        return _decoded(self.app.records.open(sealed, context=self._context(path.name)), self.side)

    def _count(self, outcomes: Sequence[Outcome], sealed: bytes) -> None:
        self._digests.append(hashlib.sha256(sealed).digest())
        squares = sum(outcome.square is not None for outcome in outcomes)
        self._ends.append((self._ends[-1] if self._ends else 0) + squares)

    def clear(self) -> None:
        """Forget the import: it is whole, or cannot become so."""
        shutil.rmtree(self.folder, ignore_errors=True)

    def _path(self, number: int) -> Path:
        return self.folder / f"part-{number:05}.sealed"

    def _context(self, name: str) -> Context:
        return _context(f"{self.dataset_id}/{name}")


@contextmanager
def import_parts(app: App, slug: str, *, what: str, side: int) -> Iterator[ImportParts]:
    """Open the parts of an import, new or interrupted; nobody else works on them meanwhile.

    Args:
        app: the application.
        slug: short name of the hospital.
        what: tells the import from any other: a hash of study, choices, records and state of the files.
        side: of the squares, in pixels.

    Raises:
        DatasetRefused: the same import runs already.
    """
    place = app.settings.hospitals_dir / slug / "imports"
    place.mkdir(parents=True, exist_ok=True, mode=0o700)
    _forget_old(app, place)
    key = hkdf(app.name_key, info=b"hemaseal/imports/1")
    folder = place / hmac.digest(key, json.dumps([slug, what]).encode(), "sha256").hex()[:32]
    lock = FileLock(place / f"{folder.name}.lock", timeout=0)
    try:
        lock.acquire()
    except Timeout:
        raise DatasetRefused("the same import is running already") from None
    try:
        folder.mkdir(exist_ok=True, mode=0o700)
        yield ImportParts(app, folder, _dataset_id(app, folder), side)
    finally:
        if not folder.exists():
            Path(lock.lock_file).unlink(missing_ok=True)
        lock.release()


def _dataset_id(app: App, folder: Path) -> str:
    """Return the id that an import has given its data set, or give it one."""
    job = _job_of(app, folder)
    if job is not None:
        return job[0]
    dataset_id = new_id()
    text = json.dumps([dataset_id, app.clock.now().isoformat()])
    for path in folder.glob("*"):
        path.unlink()  # parts of an import whose beginning cannot be read
    write_private(folder / _JOB, app.records.seal(text.encode(), context=_context(folder.name)))
    return dataset_id


def _job_of(app: App, folder: Path) -> tuple[str, datetime] | None:
    """Return the data set's id and when the import began; None when it is not known."""
    try:
        text = app.records.open((folder / _JOB).read_bytes(), context=_context(folder.name))
    except (OSError, SealBroken):
        return None
    dataset_id, began = json.loads(text)
    return dataset_id, datetime.fromisoformat(began)


def _forget_old(app: App, place: Path) -> None:
    """Delete what was interrupted long ago and never taken up again."""
    for folder in place.iterdir():
        if folder.is_dir():
            job = _job_of(app, folder)
            if job is not None and app.clock.now() - job[1] > KEPT_FOR:
                shutil.rmtree(folder, ignore_errors=True)


def _context(object_id: str) -> Context:
    return Context(purpose=Purpose.DATASET_PART, study="", sender=APP_PARTY, object_id=object_id)


def _encoded(outcomes: Sequence[Outcome], side: int) -> bytes:
    """Return a bundle as bytes (safetensors): squares of those that have one, and a line for each."""
    squares = [outcome.square for outcome in outcomes if outcome.square is not None]
    images = np.stack(squares) if squares else np.empty((0, side, side, 3), np.uint8)
    lines = [[outcome.digest.hex(), outcome.reason, outcome.dicom, outcome.burned_in] for outcome in outcomes]
    return save({"images": images}, {"lines": json.dumps(lines)})


def _decoded(data: bytes, side: int) -> list[Outcome]:
    """Return the outcomes of a bundle.

    Raises:
        ValueError, KeyError, SafetensorError: not such a bundle.
    """
    length = int.from_bytes(data[:8], "little")
    lines = json.loads(json.loads(data[8 : 8 + length])["__metadata__"]["lines"])
    images = load(data)["images"]
    if images.shape[1:] != (side, side, 3):
        raise ValueError("squares of another size")
    squares = iter(images)
    return [
        Outcome(None if reason else next(squares), bytes.fromhex(digest), reason, dicom=dicom, burned_in=burned_in)
        for digest, reason, dicom, burned_in in lines
    ]
