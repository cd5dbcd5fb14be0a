"""What a hospital's data set costs as its images pile up: drawing them in, opening them, training on them.

    python -m benchmarks.image_growth --json FILE [--sizes 100,1000,10000]

Definitions. Of each size a folder of single cells is drawn (PNG, 96 pixels, twelve for a patient; not timed), imported
by the hospital's administrator as the page does it, opened at the hospital's training node, and the leukemia study's
network is trained on its training images for one epoch of batches of 32. *Import* is from the call to the sealed
data set and its row; *open* from the sealed file to images in memory; *epoch* of a second epoch, the first compiles.
*Peak* is the largest resident memory of the process that did it, in MiB: one for each import, another for each
training, both fresh. The exponent is the slope of a line through the logarithms of cost and images. The bar is memory
that does not grow: an exponent of at most 0.05.
"""

import json
import os
import platform
import tempfile
import time
from concurrent.futures import ProcessPoolExecutor
from dataclasses import asdict, dataclass, fields
from multiprocessing import get_context
from pathlib import Path
from typing import Annotated

import numpy as np
import typer

from benchmarks.clinic_growth import person
from benchmarks.line_chart import fit
from benchmarks.processes import memory
from core.evaluation.throwaway import accounts_installation
from core.imaging.archive import open_dataset
from core.imaging.datasets import Part
from core.imaging.synthetic import CELLS_PER_PATIENT, STYLES, generate_dataset
from core.learning.training import Trainer, TrainingOptions
from core.services.app import App, load_master_key
from core.services.dataset_store import sealed_path
from core.services.datasets import import_folder
from core.settings import Mode, Settings
from core.studies import LEUKEMIA
from db.models import Provenance
from security.identity import Identity
from security.keys import KeyStore

HOSPITAL = "north"
BATCH = 32


@dataclass(frozen=True)
class Cost:
    """Seconds and MiB at one number of images; definitions above."""

    images: int
    import_s: float
    import_peak: float
    open_s: float
    epoch_s: float
    training_peak: float


def bring_in(settings: Settings, folder: Path) -> tuple[str, float, float]:
    """Import a folder; returns the data set's id, seconds, and this process's peak."""
    app = App.start(settings)
    begun = time.perf_counter()
    made = import_folder(app, person(app, "demo-hospital"), folder=folder, provenance=Provenance.SYNTHETIC)
    took = time.perf_counter() - begun
    app.engine.dispose()
    return made.id, took, memory(os.getpid()).peak


def train(settings: Settings, dataset_id: str) -> tuple[float, float, float]:
    """Open a data set at its node and train for two epochs; returns seconds of both and the peak."""
    app = App.start(settings)
    node = Identity.load(KeyStore(settings.keys_dir, f"{HOSPITAL}.training", load_master_key(settings)))
    begun = time.perf_counter()
    sealed = sealed_path(settings, HOSPITAL, dataset_id)
    archive = open_dataset(
        sealed, node=node, trust=app.trust(), study=LEUKEMIA, dataset_id=dataset_id, at=app.clock.now()
    )
    opened = time.perf_counter() - begun
    part = archive.arrays.part(Part.TRAINING)
    trainer = Trainer(LEUKEMIA.architecture, LEUKEMIA)
    weights, options = trainer.initial(0), TrainingOptions(epochs=1, batch=BATCH)
    for _ in range(2):
        begun = time.perf_counter()
        weights, _report = trainer.fit(weights, part.images, part.labels, options)
    app.engine.dispose()
    return opened, time.perf_counter() - begun, memory(os.getpid()).peak


def measure(images: int) -> Cost:
    """Draw, import and train on so many images, in an installation of their own."""
    with tempfile.TemporaryDirectory(prefix="hemaseal-images-") as name:
        folder, data_dir = Path(name, "cells"), Path(name, "var")
        patients = max(images // CELLS_PER_PATIENT, 3)
        cells = images // patients
        generate_dataset(folder, patients=patients, cells_per_patient=cells, style=STYLES[HOSPITAL], seed=0)
        settings = Settings(data_dir=data_dir, database_url="", master_key=None, mode=Mode.DEMO, import_root=Path(name))
        with accounts_installation(data_dir):
            pass
        with ProcessPoolExecutor(1, get_context("spawn"), max_tasks_per_child=1) as pool:
            dataset_id, import_s, import_peak = pool.submit(bring_in, settings, folder).result()
            open_s, epoch_s, training_peak = pool.submit(train, settings, dataset_id).result()
    found = Cost(images, import_s, import_peak, open_s, epoch_s, training_peak)
    return Cost(images, **{name: round(value, 3) for name, value in asdict(found).items() if name != "images"})


def exponents(found: list[Cost]) -> dict[str, float]:
    """Return by which power of the number of images each cost grows."""
    x = [float(np.log(one.images)) for one in found]
    names = [field.name for field in fields(Cost) if field.name != "images"]
    return {name: round(fit(x, [float(np.log(getattr(one, name))) for one in found]).slope, 2) for name in names}


def main(
    out: Annotated[Path, typer.Option("--json", help="Where all figures are written.")],
    sizes: Annotated[str, typer.Option(help="Numbers of images, at least two.")] = "100,1000,10000",
) -> None:
    """Measure each size and print a table."""
    found = []
    for size in sizes.split(","):
        found.append(measure(int(size)))
        print(found[-1], flush=True)
    slopes = exponents(found)
    machine = {"cpus": os.cpu_count(), "machine": platform.machine(), "python": platform.python_version()}
    answer = {"machine": machine, "load": os.getloadavg()[0], "costs": [asdict(one) for one in found]}
    out.write_text(json.dumps({**answer, "exponents": slopes}, indent=1), encoding="utf-8")
    print("| cost | " + " | ".join(f"{one.images:,}" for one in found) + " | exponent |")
    print("|---" * (len(found) + 2) + "|")
    for name, slope in slopes.items():
        print(f"| {name} | " + " | ".join(f"{getattr(one, name):.2f}" for one in found) + f" | {slope} |")


if __name__ == "__main__":
    typer.run(main)
