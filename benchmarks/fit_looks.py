"""Fit the gate's densities: ``python -m benchmarks.fit_looks --data ROOT`` writes core/imaging/looks.safetensors.

ROOT holds leukemia_cells, leukemia_subtypes and multimodal. Only patients (groups) of the training part of
`split_by_patient` (70 %, seed 0) are read; the others judge the gate (``benchmarks.gate``). Each smear is used as it
is and once turned, moved, zoomed, relit, recoloured and blurred a little: other microscopes and other lamps.
normal_blood_cells is never read. Drawn cells and fields (`core.imaging.synthetic`) are sources of their own.

A source's bound is the quantile QUANTILE of the squared distances of pictures left out in FOLDS-fold
cross-validation over patients, times MARGIN, at most MOST_BOUND; then centres and whitening are fitted on all
training pictures.
"""

import json
from collections import defaultdict
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated, NamedTuple

import cv2
import numpy as np
import typer
from numpy.typing import NDArray
from safetensors.numpy import save
from sklearn.cluster import KMeans

from benchmarks.cells import composed_field
from core.imaging.datasets import Part, Record, read_index, split_by_patient
from core.imaging.decode import Pixels, decode_upload
from core.imaging.foreign import CLIP, FILE, FORMAT, TENSORS, Density, analysis_square, names_digest
from core.imaging.looks import NAMES, measure_looks
from core.imaging.smear.recipes import CellKind
from core.imaging.smear.style import STYLES
from core.imaging.synthetic import paint_cell
from core.imaging.synthetic_field import generate_field
from core.studies import STUDIES, Study, Subject

FOLDERS = {"leukemia": "leukemia_cells", "leukemia_subtypes": "leukemia_subtypes", "multimodal": "multimodal"}
CENTRES = {"stained": 10, "scan": 40}
QUANTILE = {"stained": 0.995, "scan": 0.99}
MARGIN = {"stained": 1.0, "scan": 1.15}
MOST_BOUND = {"stained": np.inf, "scan": 130.0}
"""A source of few and very different pictures (CT figures from 32 papers) would let in anything grey."""
FOLDS = 4
TIED = 0.1
DRAWN = 300
COMPOSED = 120
MOST = 1200
"""Pictures of one source that are read, evenly over the index."""
LIGHT_ONLY = ("light", "texture", "edge", "grain", "dark", "white", "mirror", "layout")


class Source(NamedTuple):
    """Looks float32[n, len(NAMES)] of one source, with the patient of each."""

    name: str
    subject: Subject
    looks: NDArray[np.float32]
    patients: NDArray[np.str_]


class Shape(NamedTuple):
    """What standardises and whitens, and the centres of each source."""

    middle: NDArray[np.float32]
    spread: NDArray[np.float32]
    whitening: NDArray[np.float32]
    centres: list[NDArray[np.float32]]


def training_records(study: Study, folder: Path) -> list[Record]:
    """Return the records of the patients that the gate may be fitted on."""
    return split_by_patient(read_index(folder, study), seed=0)[Part.TRAINING]


def read(path: Path) -> Pixels:
    """Decode a file."""
    return decode_upload(path.read_bytes(), max_bytes=2**26, max_pixels=40_000_000).pixels


def varied(pixels: Pixels, rng: np.random.Generator) -> Pixels:
    """Turn, move, zoom, relight, recolour and blur a smear a little."""
    height, width = pixels.shape[:2]
    turn, zoom = float(rng.choice([0, 90, 180, 270])), float(rng.uniform(0.75, 1.2))
    matrix = cv2.getRotationMatrix2D((width / 2, height / 2), turn, zoom)
    matrix[:, 2] += rng.uniform(-1, 1, 2) * width * 0.12
    moved = cv2.warpAffine(pixels, matrix, (width, height), borderMode=cv2.BORDER_REFLECT).astype(np.float32)
    lit = 255 * (moved / 255) ** rng.uniform(0.85, 1.2) * rng.uniform(0.88, 1.1, 3) + rng.uniform(-6, 6)
    return np.clip(cv2.GaussianBlur(lit, (0, 0), float(rng.uniform(0.2, 1.0))), 0, 255).astype(np.uint8)


def look(pictures: Sequence[tuple[str, Pixels]], rng: np.random.Generator, subject: Subject, name: str) -> Source:
    """Measure pictures (patient, pixels) as they are, and smears varied too."""
    rows = [measure_looks(analysis_square(pixels)) for _, pixels in pictures]
    patients = [patient for patient, _ in pictures]
    if subject is not Subject.SCAN:
        rows += [measure_looks(analysis_square(varied(pixels, rng))) for _, pixels in pictures]
        patients *= 2
    return Source(name, subject, np.array(rows), np.array(patients))


def sources(root: Path, rng: np.random.Generator) -> list[Source]:
    """Read and draw the pictures of all sources."""
    found: list[Source] = []
    cells: list[Pixels] = []
    for study_name, folder in FOLDERS.items():
        study = STUDIES[study_name]
        grouped: dict[str, list[Record]] = defaultdict(list)
        with_modality = _modalities(root / folder)
        for record in training_records(study, root / folder):
            grouped[f"{record.site} {with_modality[record.path]}"].append(record)
        for name, records in grouped.items():
            step = -(-len(records) // MOST)
            pictures = [(record.patient, read(root / folder / record.path)) for record in records[::step]]
            if study.subject is Subject.CELL:
                cells += [pixels for _, pixels in pictures[::4]]
            found.append(look(pictures, rng, study.subject, name))
            print(f"{name}: {len(pictures)} pictures of {len({patient for patient, _ in pictures})} patients or groups")
    found.append(look(_drawn_cells(rng), rng, Subject.CELL, "drawn cells"))
    found.append(look(_drawn_fields(rng), rng, Subject.FIELD, "drawn fields"))
    several = [[cells[k] for k in rng.integers(0, len(cells), int(rng.integers(4, 12)))] for _ in range(COMPOSED)]
    composed = [(f"c{i}", composed_field(rng, pictures)[0]) for i, pictures in enumerate(several)]
    found.append(look(composed, rng, Subject.FIELD, "composed fields"))
    return found


def _modalities(folder: Path) -> dict[str, str]:
    """Return the modality of each path of an index."""
    lines = (folder / "index.csv").read_text(encoding="utf-8").splitlines()
    place = {name: number for number, name in enumerate(lines[0].split(","))}
    rows = [line.split(",") for line in lines[1:]]
    return {row[place["path"]]: row[place["modality"]] for row in rows}


def _drawn_cells(rng: np.random.Generator) -> list[tuple[str, Pixels]]:
    kinds, styles = list(CellKind), list(STYLES.values())
    return [
        (f"d{i}", paint_cell(rng, kind=kinds[i % len(kinds)], style=styles[i % len(styles)].for_patient(rng)))
        for i in range(DRAWN)
    ]


def _drawn_fields(rng: np.random.Generator) -> list[tuple[str, Pixels]]:
    kinds, styles = list(CellKind), list(STYLES.values())
    pictures = []
    for i in range(DRAWN // 2):
        chosen = tuple(kinds[k] for k in rng.integers(0, len(kinds), int(rng.integers(4, 15))))
        side = int(rng.integers(320, 640))
        style = styles[i % len(styles)].for_patient(rng)
        drawn = generate_field(rng, kinds=chosen, style=style, height=side, width=side)
        pictures.append((f"f{i}", drawn.pixels))
    return pictures


def fit_shape(groups: Sequence[NDArray[np.float32]], centres: int) -> Shape:
    """Fit centres to each source and one whitening to all."""
    everything = np.concatenate(groups)
    middle, spread = everything.mean(axis=0), everything.std(axis=0) + 1e-3
    scaled = [np.clip((group - middle) / spread, -CLIP, CLIP) for group in groups]
    found = [KMeans(min(centres, len(group) // 12 + 1), n_init=2, random_state=0).fit(group) for group in scaled]
    scatter = np.concatenate([group - km.cluster_centers_[km.labels_] for group, km in zip(scaled, found, strict=True)])
    covariance = np.cov(scatter.T)
    covariance = (1 - TIED) * covariance + TIED * np.diag(np.diag(covariance))
    whitening = np.linalg.cholesky(np.linalg.inv(covariance)).astype(np.float32)
    placed = [(km.cluster_centers_ @ whitening).astype(np.float32) for km in found]
    return Shape(middle.astype(np.float32), spread.astype(np.float32), whitening, placed)


def density_of(columns: NDArray[np.int64], shape: Shape, bounds: NDArray[np.float32], of: Sequence[Source]) -> Density:
    """Put a density together."""
    return Density(
        columns=columns,
        middle=shape.middle,
        spread=shape.spread,
        whitening=shape.whitening,
        centres=np.concatenate(shape.centres),
        source_of=np.repeat(np.arange(len(of)), [len(own) for own in shape.centres]),
        bounds=bounds,
        sources=tuple(source.name for source in of),
        subjects=tuple(source.subject for source in of),
    )


def fit(kind: str, of: Sequence[Source]) -> Density:
    """Fit a density; the bounds come from pictures that were left out."""
    wanted = [i for i, name in enumerate(NAMES) if kind == "stained" or name.startswith(LIGHT_ONLY)]
    columns = np.array(wanted, np.int64)
    folds = [np.unique(source.patients, return_inverse=True)[1] % FOLDS for source in of]
    left_out: list[list[NDArray[np.float32]]] = [[] for _ in of]
    no_bounds = np.ones(len(of), np.float32)
    for fold in range(FOLDS):
        kept = [source.looks[own != fold][:, columns] for source, own in zip(of, folds, strict=True)]
        trial = density_of(columns, fit_shape(kept, CENTRES[kind]), no_bounds, of)
        for number, (source, own) in enumerate(zip(of, folds, strict=True)):
            left_out[number].append(trial.distances(source.looks[own == fold])[:, number])
    bounds = np.array([np.quantile(np.concatenate(own), QUANTILE[kind]) for own in left_out], np.float32)
    bounds = np.minimum(bounds * np.float32(MARGIN[kind]), np.float32(MOST_BOUND[kind]))
    return density_of(columns, fit_shape([s.looks[:, columns] for s in of], CENTRES[kind]), bounds, of)


def main(
    data: Annotated[Path, typer.Option(help="Folder of the data sets.")],
    out: Annotated[Path, typer.Option(help="File to write.")] = FILE,
) -> None:
    """Fit and write."""
    cv2.setNumThreads(1)
    every = sources(data, np.random.default_rng(0))
    tensors: dict[str, NDArray[np.generic]] = {}
    described: dict[str, list[tuple[str, str]]] = {}
    for kind in ("stained", "scan"):
        of = [source for source in every if (source.subject is Subject.SCAN) == (kind == "scan")]
        density = fit(kind, of)
        tensors |= {f"{kind}.{name}": np.ascontiguousarray(getattr(density, name)) for name in TENSORS}
        described[kind] = [(source.name, source.subject.value) for source in of]
        print(kind, dict(zip(density.sources, np.round(density.bounds), strict=True)))
    metadata = {"format": FORMAT, "looks": names_digest(), "sources": json.dumps(described)}
    out.write_bytes(save(tensors, metadata))
    print(f"{out}: {out.stat().st_size / 1000:.0f} kB")


if __name__ == "__main__":
    typer.run(main)
