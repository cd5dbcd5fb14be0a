"""Time from upload to result through the service: a throw-away installation, real enclave processes, real images.

What is timed is `core.services.cases.submit`: decoding, gate, routing, sealing for two hospitals, storing, the
enclave's answer with its heat map, verification, and the signed audit entries of it all. Definitions: docs/results.md.
"""

import tempfile
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np
from sqlmodel import select

from core.diagnosis.bundle import ServingModel
from core.diagnosis.checkpoint_file import load_checkpoint
from core.errors import HemaSealError, ImageRefused, InvalidInput
from core.services import setup
from core.services.app import Actor, App
from core.services.cases import submit
from core.services.models import install
from core.services.sessions import actor_of
from core.settings import ROOT, Mode, Settings
from db.engine import read_scope, session_scope
from db.models import CaseStatus, Hospital, User

SHIPPED_MODEL = ROOT / "models" / "leukemia.model"
SUFFIXES = frozenset({".png", ".jpg", ".jpeg", ".tif", ".tiff", ".bmp"})
PLACE = "Stockholm, Sweden"
_ROUNDS = 4  # bcrypt; nobody signs in
_UPLOADS = 10**6  # one patient sends them all
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
    with tempfile.TemporaryDirectory(prefix="hemaseal-respond-") as folder:
        settings = Settings(
            data_dir=Path(folder) / "var",
            database_url=database_url,
            mode=Mode.DEMO,
            master_key=None,
            uploads_per_hour=_UPLOADS,
        )
        setup.run(settings, demo_contents=False, rounds=_ROUNDS)
        app = App.start(settings)
        try:
            _serve(app, load_checkpoint(checkpoint, settings=settings, at=app.clock.now()))
            return _measure(app, order, n, progress)
        finally:
            app.supervisor.stop_all()
            app.engine.dispose()


def _serve(app: App, model: ServingModel) -> None:
    with session_scope(app.engine) as session:
        install(app, session, model)


def _measure(app: App, files: list[Path], n: int, progress: Progress) -> ResponseTimes:
    with read_scope(app.engine) as session:
        patient = actor_of(app, session.exec(select(User).where(User.username == "demo-patient")).one())
        hospitals = session.exec(select(Hospital.id).order_by(Hospital.slug)).all()
    cold: list[float] = []
    totals: list[float] = []
    stages: list[dict[str, float]] = []
    refused = position = 0
    while len(totals) < n:
        if refused > len(files):
            raise InvalidInput("the gate refuses these images")
        data = files[position % len(files)].read_bytes()
        position += 1
        warm = len(cold) >= len(hospitals)
        try:
            took, inside = _upload(app, patient, data, preferred=None if warm else hospitals[len(cold)])
        except ImageRefused:
            refused += 1
            continue
        if not warm:  # the first upload at each hospital starts its enclave
            cold.append(took)
            continue
        totals.append(took)
        stages.append(inside)
        progress(len(totals), n)
    names = sorted({name for inside in stages for name in inside} - {"total"})
    return ResponseTimes(
        **asdict(_quantiles(totals)),
        stages={name: _quantiles([inside.get(name, 0.0) for inside in stages]) for name in names},
        cold_ms=round(cold[0], 2),
        n=len(totals),
        refused=refused,
        engine=app.engine.dialect.name,
    )


def _upload(app: App, patient: Actor, data: bytes, *, preferred: str | None) -> tuple[float, dict[str, float]]:
    started = time.perf_counter()
    case = submit(
        app, patient, files=[data], study="leukemia", place=PLACE, preferred=preferred, allow_fallback=preferred is None
    )
    took = (time.perf_counter() - started) * 1e3
    if case.status is CaseStatus.WAITING:
        raise HemaSealError("no enclave answered")
    return took, dict(case.stages_ms)


def _quantiles(values: list[float]) -> Quantiles:
    middle, high = np.percentile(values, [50, 95])
    return Quantiles(round(float(middle), 2), round(float(high), 2))
