"""Time from upload to result through the service: a throw-away installation, real enclave processes, real images.

What is timed is `core.services.cases.submit`: decoding, gate, routing, sealing for two hospitals, storing, the
enclave's answer with its heat map, verification, and the signed audit entries of it all. Definitions: docs/results.md.
"""

import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict, dataclass
from itertools import cycle, islice
from pathlib import Path

import numpy as np
from sqlmodel import select

from core.diagnosis.checkpoint_file import read_file
from core.errors import HemaSealError, ImageRefused, InvalidInput
from core.evaluation.throwaway import SHIPPED_MODEL, serving_installation
from core.services.app import App
from core.services.cases import submit
from core.services.sessions import actor_of
from db.engine import read_scope
from db.models import CaseStatus, Hospital, User

SUFFIXES = frozenset({".png", ".jpg", ".jpeg", ".tif", ".tiff", ".bmp"})
PLACE = "Stockholm, Sweden"
Progress = Callable[[int, int], None]


@dataclass(frozen=True)
class Quantiles:
    """Median and 95th percentile in milliseconds."""

    p50_ms: float
    p95_ms: float


@dataclass(frozen=True)
class ResponseTimes:
    """Upload-to-result times of one run.

    Attributes:
        p50_ms: median of whole uploads, warm.
        p95_ms: 95th percentile of the same.
        stages: the same for each stage; ``enclave.…`` are parts of ``enclave``.
        cold_ms: the first upload of all: starts an enclave process and hands it the model.
        n: uploads that were timed.
        refused: images that the gate refused; they are not among `n`.
        engine: database, ``sqlite`` or ``mysql``.
    """

    p50_ms: float
    p95_ms: float
    stages: dict[str, Quantiles]
    cold_ms: float
    n: int
    refused: int
    engine: str

    def to_json(self) -> dict[str, object]:
        """Figures as plain numbers, rounded to a hundredth of a millisecond."""
        return {**asdict(self), "stages": {name: asdict(value) for name, value in self.stages.items()}}


def respond(
    images: Path,
    n: int,
    *,
    checkpoint: Path = SHIPPED_MODEL,
    database_url: str = "",
    seed: int = 0,
    progress: Progress = lambda _done, _total: None,
) -> ResponseTimes:
    """Time `n` uploads one after the other in a throw-away installation with four hospitals.

    Args:
        images: folder of images, searched with its sub-folders; drawn without replacement while they last.
        n: uploads to time.
        checkpoint: model file to serve.
        database_url: an empty MySQL schema to use; "" makes a SQLite file.
        seed: of the draw.
        progress: called with (done, n).

    Raises:
        InvalidInput: the folder holds no image that passes the gate.
        CheckpointRefused: the model file cannot be used.
    """
    files = sorted(path for path in images.rglob("*") if path.suffix.lower() in SUFFIXES)
    if not files or n < 1:
        raise InvalidInput(f"{images} holds no images")
    rng = np.random.default_rng(seed)
    order = [files[i] for i in rng.permutation(len(files))]
    with (
        tempfile.TemporaryDirectory(prefix="hemaseal-respond-") as folder,
        serving_installation(Path(folder) / "var", database_url=database_url, checkpoint=checkpoint) as app,
    ):
        return _measure(app, read_file(checkpoint).study, order, n, progress)


class Uploader:
    """A patient who sends pictures to the service of a throw-away installation, one after the other."""

    def __init__(self, app: App, study: str) -> None:
        """Take the demo's patient and all hospitals."""
        self._app, self._study = app, study
        with read_scope(app.engine) as session:
            self._patient = actor_of(app, session.exec(select(User).where(User.username == "demo-patient")).one())
            self.hospitals = session.exec(select(Hospital.id).order_by(Hospital.slug)).all()

    def upload(self, data: bytes, *, preferred: str | None = None) -> tuple[float, dict[str, float]]:
        """Send one picture and return milliseconds until its result is stored, whole and by stage.

        Raises:
            ImageRefused: the gate refuses it.
            HemaSealError: no enclave answered.
        """
        started = time.perf_counter()
        case = submit(
            self._app,
            self._patient,
            files=[data],
            study=self._study,
            place=PLACE,
            preferred=preferred,
            allow_fallback=preferred is None,
        )
        took = (time.perf_counter() - started) * 1e3
        if case.status is CaseStatus.WAITING:
            raise HemaSealError("no enclave answered")
        return took, dict(case.stages_ms)

    def start_enclaves(self, files: Iterator[bytes]) -> tuple[list[float], int]:
        """Send one picture to each hospital, which starts its enclave; return milliseconds, and pictures refused."""
        cold: list[float] = []
        refused = 0
        for data in files:
            try:
                cold.append(self.upload(data, preferred=self.hospitals[len(cold)])[0])
            except ImageRefused:
                refused += 1
            if len(cold) == len(self.hospitals):
                break
        return cold, refused


def _measure(app: App, study: str, files: list[Path], n: int, progress: Progress) -> ResponseTimes:
    uploader, refused_in_row = Uploader(app, study), 0
    contents = (path.read_bytes() for path in cycle(files))
    cold, refused = uploader.start_enclaves(islice(contents, len(files)))
    if len(cold) < len(uploader.hospitals):
        raise InvalidInput("the gate refuses these images")
    totals: list[float] = []
    stages: list[dict[str, float]] = []
    while len(totals) < n:
        try:
            took, inside = uploader.upload(next(contents))
        except ImageRefused:
            refused, refused_in_row = refused + 1, refused_in_row + 1
            if refused_in_row > len(files):
                raise InvalidInput("the gate refuses these images") from None
            continue
        refused_in_row = 0
        totals.append(took)
        stages.append(inside)
        progress(len(totals), n)
    names = sorted({name for inside in stages for name in inside} - {"total"})
    return ResponseTimes(
        **asdict(quantiles(totals)),
        stages={name: quantiles([inside.get(name, 0.0) for inside in stages]) for name in names},
        cold_ms=round(cold[0], 2),
        n=len(totals),
        refused=refused,
        engine=app.engine.dialect.name,
    )


def quantiles(values: Sequence[float]) -> Quantiles:
    """Return median and 95th percentile of milliseconds, rounded to a hundredth."""
    middle, high = np.percentile(values, [50, 95])
    return Quantiles(round(float(middle), 2), round(float(high), 2))
