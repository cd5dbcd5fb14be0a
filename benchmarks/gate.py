"""What the gate refuses: foreign pictures, proper ones by mistake, ruined ones: ``python -m benchmarks.gate``.

``--data ROOT --json FILE [--seed 1] [--every 20]``; ROOT holds the four data sets. For each study:

- *foreign refused*: share of 500 pictures that the study does not look at (`benchmarks.foreign_images.MIX`, drawn with
  ``--seed``; 0 was used while the gate was made, 1 is reported) that raise any `ImageRefused`, by kind, with Wilson's
  95 % interval. Those of other studies are, for stained studies, all scans, for `multimodal` all three sets of smears.
  A field is not foreign to `leukemia`, it is split into cells; a single cell sent to `leukemia_subtypes` is reported
  apart.
- *wrongly refused*: share of proper pictures of patients (groups) of the validation and test parts of
  `split_by_patient` (30 %, seed 0), which `benchmarks.fit_looks` never read, that are refused; 95 % interval by 1,000
  bootstraps over patients. For `leukemia` also normal_blood_cells, another laboratory, of which nothing was read in
  fitting: all of it, and the five kinds of mature white cells alone.
- *ruined*: share of copies of every n-th held-out picture that are refused. One pixel of blur or a grey copy of a grey
  scan is no reason to refuse; the rows only show where the limits lie.
- *ms*: median and 95th percentile of one call of `check_quality` on held-out pictures enlarged to 224 px, one thread.
"""

import json
import time
from collections import Counter, defaultdict
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import Annotated, Any

import cv2
import numpy as np
import typer

from benchmarks.fit_looks import FOLDERS, read
from benchmarks.foreign_images import foreign_images
from core.diagnosis.conclusion import wilson
from core.errors import ImageRefused
from core.imaging.datasets import Part, read_index, split_by_patient
from core.imaging.decode import Pixels
from core.imaging.foreign import looks_like
from core.imaging.quality import check_quality
from core.studies import STUDIES, Study, Subject

OTHER_LABORATORY = "normal_blood_cells"
MATURE = ("basophil", "eosinophil", "lymphocyte", "monocyte", "neutrophil")
REPLICATES = 1000
TIMED = 200


def blurred(sigma: float) -> Callable[[Pixels], Pixels]:
    """Return a blur of `sigma` pixels."""
    return lambda pixels: np.asarray(cv2.GaussianBlur(pixels, (0, 0), sigma), np.uint8)


COPIES: dict[str, Callable[[Pixels], Pixels]] = {
    "enlarged fourfold": lambda pixels: np.asarray(cv2.resize(pixels, None, fx=4, fy=4), np.uint8),
    "blurred by 1 px": blurred(1),
    "blurred by 2 px": blurred(2),
    "blurred by 3 px": blurred(3),
    "blurred by 5 px": blurred(5),
    "a quarter of the light": lambda pixels: pixels // 4,
    "twice the light": lambda pixels: np.minimum(pixels.astype(np.uint16) * 2, 255).astype(np.uint8),
    "without colour": lambda pixels: np.repeat(pixels[..., 1:2], 3, axis=2),
}


def refusal(pixels: Pixels, study: Study) -> str:
    """Return why a picture is refused, without figures; "" if it is not."""
    try:
        check_quality(pixels, study)
    except ImageRefused as error:
        return f"{error.code} {error.detail.split(':')[0]}"
    return ""


def over_patients(hits: Sequence[bool], patients: Sequence[str]) -> tuple[float, float]:
    """Return the 95 % bootstrap interval of a share over patients."""
    names, own = np.unique(np.array(patients), return_inverse=True)
    found = np.bincount(own, np.array(hits, float), minlength=len(names))
    counts = np.bincount(own, minlength=len(names))
    draws = np.random.default_rng(0).integers(0, len(names), (REPLICATES, len(names)))
    low, high = np.percentile(found[draws].sum(axis=1) / counts[draws].sum(axis=1), [2.5, 97.5])
    return float(low), float(high)


def proper(root: Path, study: Study) -> tuple[list[Pixels], list[str]]:
    """Return the held-out pictures of a study and their patients."""
    folder = root / FOLDERS[study.name]
    parts = split_by_patient(read_index(folder, study), seed=0)
    records = [*parts[Part.VALIDATION], *parts[Part.TEST]]
    return [read(folder / record.path) for record in records], [record.patient for record in records]


def report_proper(pictures: Sequence[Pixels], patients: Sequence[str], study: Study) -> dict[str, Any]:
    """Return how many of proper pictures are refused, and why."""
    reasons = [refusal(pixels, study) for pixels in pictures]
    refused = [bool(reason) for reason in reasons]
    return {
        "pictures": len(refused),
        "patients": len(set(patients)),
        "refused": float(np.mean(refused)),
        "interval": over_patients(refused, patients),
        "reasons": dict(Counter(reason for reason in reasons if reason)),
    }


def report_foreign(found: Iterable[tuple[str, Pixels]], study: Study) -> dict[str, Any]:
    """Return how many foreign pictures are refused, by kind."""
    kinds: dict[str, list[bool]] = defaultdict(list)
    for kind, pixels in found:
        kinds[kind].append(bool(refusal(pixels, study)))
    every = [hit for hits in kinds.values() for hit in hits]
    rows = {kind: [sum(hits), len(hits)] for kind, hits in kinds.items()}
    return {
        "pictures": len(every),
        "refused": float(np.mean(every)),
        "interval": wilson(sum(every), len(every)),
        **rows,
    }


def milliseconds(pictures: Sequence[Pixels], study: Study) -> dict[str, float]:
    """Return the time of the gate for pictures of 224 px."""
    spent = []
    for pixels in pictures[:TIMED]:
        large = np.asarray(cv2.resize(pixels, (224, 224), interpolation=cv2.INTER_CUBIC), np.uint8)
        start = time.perf_counter()
        refusal(large, study)
        spent.append(1000 * (time.perf_counter() - start))
    return {"p50": float(np.percentile(spent, 50)), "p95": float(np.percentile(spent, 95))}


def foreign_to(study: Study, root: Path) -> list[Path]:
    """Return the files of other data sets that are foreign to a study."""
    smears = [FOLDERS["leukemia"], FOLDERS["leukemia_subtypes"], OTHER_LABORATORY]
    folders = [FOLDERS["multimodal"]] if study.is_stained else smears
    return [path for folder in folders for path in sorted((root / folder).rglob("*.jpg"))]


def judge(root: Path, study: Study, *, seed: int, every: int) -> dict[str, Any]:
    """Return all figures of a study."""
    pictures, patients = proper(root, study)
    result: dict[str, Any] = {
        "foreign": report_foreign(foreign_images(study, foreign_to(study, root), seed=seed), study),
        "proper": report_proper(pictures, patients, study),
        "looks like": dict(Counter(str(looks_like(pixels)) for pixels in pictures)),
        "ruined": {
            name: float(np.mean([bool(refusal(ruin(pixels), study)) for pixels in pictures[::every]]))
            for name, ruin in COPIES.items()
        },
        "ms": milliseconds(pictures, study),
    }
    other = sorted((root / OTHER_LABORATORY).rglob("*.jpg"))
    if study.subject is Subject.CELL:
        white = [path for path in other if path.parent.name in MATURE]
        for name, files in (("another laboratory", other), ("another laboratory, mature white cells", white)):
            result[name] = report_proper([read(path) for path in files], [path.name for path in files], study)
    if study.subject is Subject.FIELD:
        single = report_foreign((("cell", read(path)) for path in other), study)
        result["single cells of another laboratory refused"] = single["refused"]
    return result


def main(
    data: Annotated[Path, typer.Option(help="Folder of the data sets.")],
    json_file: Annotated[Path | None, typer.Option("--json", help="Also write the figures here.")] = None,
    seed: Annotated[int, typer.Option(help="Of the foreign pictures.")] = 1,
    every: Annotated[int, typer.Option(help="Ruin every n-th picture.")] = 20,
    study: Annotated[list[str] | None, typer.Option(help="Only these studies.")] = None,
) -> None:
    """Print the figures of each study."""
    cv2.setNumThreads(1)
    figures = {name: judge(data, STUDIES[name], seed=seed, every=every) for name in study or FOLDERS}
    for name, found in figures.items():
        print(f"{name}:")
        for part, values in found.items():
            print(f"  {part}: {json.dumps(values)}")
    if json_file is not None:
        json_file.write_text(json.dumps(figures, indent=1), encoding="utf-8")


if __name__ == "__main__":
    typer.run(main)
