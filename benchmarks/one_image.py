"""What one image costs from pixels to heat map: `python -m benchmarks.one_image --data DIR --json FILE`.

Definitions, fixed before measuring: `--images` pictures drawn from a data set with seed 0, decoded beforehand, one
after the other in one process with one thread, after ten to warm up. Of each is timed, by the clock: *gate* (light,
focus, stain and whether it shows what the study looks at), *preprocess* (square, resize, min-max), *infer* (LiteRT, all
orientations that the study asks for) and *heat map* (evidence, and overlay as PNG); for a picture that the gate refuses
another one is drawn. The total is the sum of the four of one picture, not of their medians. Bar: the median of the
total 40 ms at 224 px (study `multimodal`), on two cores.
"""

import json
import time
from pathlib import Path
from typing import Annotated

import cv2
import numpy as np
import typer

from core.clock import SystemClock
from core.diagnosis.assessment import assess
from core.diagnosis.checkpoint_file import load_checkpoint
from core.diagnosis.predictor import Predictor
from core.errors import ImageRefused
from core.imaging.datasets import read_index
from core.imaging.decode import decode_upload
from core.imaging.quality import check_quality
from core.settings import ROOT, Settings
from core.studies import STUDIES

BAR_MS = 40.0
WARM_UP = 10
STAGES = ("gate", "preprocess", "infer", "heat_map")


def main(
    data: Annotated[Path, typer.Option(exists=True, file_okay=False, help="Folder with index.csv.")],
    study_name: Annotated[str, typer.Option("--study")] = "multimodal",
    images: Annotated[int, typer.Option(min=1)] = 200,
    json_file: Annotated[Path | None, typer.Option("--json", help="Write the figures here.")] = None,
) -> None:
    """Measure, print and fail above the bar."""
    study = STUDIES[study_name]
    shipped = ROOT / "models" / f"{study_name}.model"
    predictor = Predictor(load_checkpoint(shipped, settings=Settings(), at=SystemClock().now()))
    cv2.setNumThreads(1)
    records = read_index(data, study)
    rows, refused = [], 0
    for number in np.random.default_rng(0).permutation(len(records)):
        content = (data / records[number].path).read_bytes()
        pixels = decode_upload(content, max_bytes=2**26, max_pixels=40_000_000).pixels
        started = time.perf_counter()
        try:
            check_quality(pixels, study)
        except ImageRefused:
            refused += 1
            continue
        gate = (time.perf_counter() - started) * 1e3
        rows.append({"gate": gate, **assess(pixels, study, predictor.predict).stages_ms})
        if len(rows) == images + WARM_UP:
            break
    table = np.array([[row[stage] for stage in STAGES] for row in rows[WARM_UP:]])
    table = np.column_stack([table, table.sum(axis=1)])
    times = {
        name: {"p50_ms": float(np.median(column)), "p95_ms": float(np.quantile(column, 0.95))}
        for name, column in zip((*STAGES, "total"), table.T, strict=True)
    }
    for name, time_of in times.items():
        print(f"{name:12}{time_of['p50_ms']:8.1f}{time_of['p95_ms']:8.1f} ms")
    figures = {
        "study": study.name,
        "side_px": study.input_size,
        "orientations": study.orientations,
        "images": len(table),
        "refused": refused,
        **times,
    }
    if json_file is not None:
        json_file.write_text(json.dumps(figures, indent=1), encoding="utf-8")
    if times["total"]["p50_ms"] > BAR_MS:
        raise typer.Exit(1)


if __name__ == "__main__":
    typer.run(main)
