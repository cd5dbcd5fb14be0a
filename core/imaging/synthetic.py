"""Synthetic single-cell smears, so that the demonstration needs no download. Marked synthetic wherever they go."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np
from numpy.typing import NDArray

from core.imaging.arrays import DatasetArrays, Progress
from core.imaging.decode import Pixels, encode_png
from core.imaging.index import Record, write_index
from core.imaging.preprocess import preprocess
from core.imaging.smear.fields import noise
from core.imaging.smear.recipes import CellKind
from core.imaging.smear.red_cells import paint_platelets, paint_red_cells
from core.imaging.smear.style import STYLES, SmearStyle
from core.imaging.smear.white_cells import paint_white_cell, radius_of
from core.imaging.splits import Part, split_by_patient
from core.studies import LEUKEMIA

__all__ = [
    "STYLES",
    "CellKind",
    "SmearStyle",
    "generate_arrays",
    "generate_cell",
    "generate_cells",
    "generate_dataset",
    "generate_mixed_dataset",
    "paint_cell",
]

REFERENCE_SIDE = 160
NORMAL_KINDS = (CellKind.NEUTROPHIL, CellKind.LYMPHOCYTE, CellKind.MONOCYTE, CellKind.EOSINOPHIL)
NORMAL_WEIGHTS = (0.42, 0.34, 0.16, 0.08)
BLAST_KINDS = (CellKind.BLAST, CellKind.PROMYELOCYTE)
BLAST_WEIGHTS = (0.82, 0.18)
CELLS_PER_PATIENT = 12
LEAST_SHARE, GREATEST_SHARE = 0.05, 0.90  # of blasts, over the patients of one laboratory


@dataclass(frozen=True)
class SyntheticCell:
    """One picture and what is in it.

    Attributes:
        record: as a line of ``index.csv`` gives it.
        kind: what was drawn.
        pixels: uint8[side, side, 3], RGB.
    """

    record: Record
    kind: CellKind
    pixels: Pixels


def generate_cell(rng: np.random.Generator, *, blast: bool, style: SmearStyle, side: int = REFERENCE_SIDE) -> Pixels:
    """Draw one white cell among red cells.

    Args:
        rng: source of all chance; the same state gives the same picture.
        blast: a blast or promyelocyte, else a normal white cell of a random kind.
        style: the laboratory's stain and lamp.
        side: of the picture in pixels.

    Returns:
        uint8[side, side, 3], RGB.
    """
    return paint_cell(rng, kind=_draw_kind(rng, blast=blast), style=style, side=side)


def paint_cell(rng: np.random.Generator, *, kind: CellKind, style: SmearStyle, side: int = REFERENCE_SIDE) -> Pixels:
    """Draw one white cell of a given kind among red cells; see `generate_cell`."""
    zoom = side / REFERENCE_SIDE
    scale = style.pixels_per_um * zoom
    radius = radius_of(rng, kind, scale)
    centre = (side / 2 + float(rng.normal(0, 3 * zoom)), side / 2 + float(rng.normal(0, 3 * zoom)))
    density = np.zeros((side, side, 3), np.float32)
    density += (0.006 * noise(rng, (side, side), 6 * zoom))[..., None]
    paint_red_cells(density, rng, style, scale, [(*centre, radius)])
    paint_platelets(density, rng, style, scale)
    paint_white_cell(density, rng, kind, centre=centre, radius=radius, scale=scale, style=style)
    return photograph(density, rng, style, zoom)


def generate_cells(
    *, patients: int, cells_per_patient: int, style: SmearStyle, seed: int, side: int = REFERENCE_SIDE
) -> Iterator[SyntheticCell]:
    """Draw the cells of invented patients of one laboratory, patient after patient.

    Patients differ in their share of blasts (0.05 to 0.90, evenly spread, in random order) and a little in stain.
    """
    return _draw_patients([cells_per_patient] * patients, style=style, seed=seed, side=side)


def _draw_patients(cells: Sequence[int], *, style: SmearStyle, seed: int, side: int) -> Iterator[SyntheticCell]:
    """Draw as many cells for each patient as `cells` says."""
    rng = np.random.default_rng([seed, *style.slug.encode()])
    shares = rng.permutation(np.linspace(LEAST_SHARE, GREATEST_SHARE, len(cells)))
    for number, (share, wanted) in enumerate(zip(shares, cells, strict=True), 1):
        patient = f"{style.site}-{number:03d}"
        slide = style.for_patient(rng)
        blasts = rng.permutation(wanted) < round(share * wanted)
        for count, blast in enumerate(blasts, 1):
            kind = _draw_kind(rng, blast=bool(blast))
            label = LEUKEMIA.classes[int(blast)].name
            record = Record(
                f"{patient}/{count:04d}.png", label, int(blast), LEUKEMIA.modalities[0], style.site, patient
            )
            yield SyntheticCell(record, kind, paint_cell(rng, kind=kind, style=slide, side=side))


def generate_dataset(
    folder: Path,
    *,
    patients: int,
    cells_per_patient: int = CELLS_PER_PATIENT,
    style: SmearStyle | Sequence[SmearStyle],
    seed: int,
    progress: Progress | None = None,
) -> int:
    """Write an ``index.csv`` folder of PNGs; several styles become several sites.

    Args:
        folder: made if missing; an ``index.csv`` in it is replaced.
        patients: per style.
        cells_per_patient: pictures per patient.
        style: one laboratory or several.
        seed: fixes every pixel.
        progress: called with (done, total) after each picture.

    Returns:
        Number of pictures written.
    """
    styles = [style] if isinstance(style, SmearStyle) else list(style)
    counts = [(one, [cells_per_patient] * patients) for one in styles]
    return _write_folder(folder, counts, seed=seed, progress=progress)


def generate_mixed_dataset(folder: Path, *, cells: int, seed: int, progress: Progress | None = None) -> int:
    """Write exactly `cells` pictures of all demo laboratories, about 12 for each of at least 12 patients.

    See `generate_dataset`.
    """
    patients = min(max(3 * len(STYLES), round(cells / CELLS_PER_PATIENT)), cells)
    each = [cells // patients + (number < cells % patients) for number in range(patients)]
    counts = [(style, each[place :: len(STYLES)]) for place, style in enumerate(STYLES.values())]
    return _write_folder(folder, counts, seed=seed, progress=progress)


def _write_folder(
    folder: Path, counts: Sequence[tuple[SmearStyle, Sequence[int]]], *, seed: int, progress: Progress | None
) -> int:
    """Draw and write the patients of each laboratory; `counts` are the cells of each patient."""
    total = sum(sum(cells) for _, cells in counts)
    rows: list[dict[str, str]] = []
    for style, cells in counts:
        for cell in _draw_patients(cells, style=style, seed=seed, side=REFERENCE_SIDE):
            record = cell.record
            path = folder / record.path
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(encode_png(cell.pixels))
            rows.append(
                {
                    "path": record.path,
                    "label": record.label,
                    "modality": LEUKEMIA.modalities[0],
                    "site": record.site,
                    "patient": record.patient,
                    "source_label": f"synthetic {cell.kind.value}",
                }
            )
            if progress is not None:
                progress(len(rows), total)
    write_index(folder, rows)
    return len(rows)


def generate_arrays(
    *, patients: int, cells_per_patient: int = CELLS_PER_PATIENT, style: SmearStyle, seed: int
) -> DatasetArrays:
    """Draw a data set straight into memory, split by patient; the same cells as `generate_dataset` writes."""
    cells = list(generate_cells(patients=patients, cells_per_patient=cells_per_patient, style=style, seed=seed))
    squares = {cell.record.path: preprocess(cell.pixels, LEUKEMIA.input_size, LEUKEMIA.preprocessing) for cell in cells}
    split = split_by_patient([cell.record for cell in cells], seed=seed)
    ordered = [(position, record) for position, part in enumerate(Part) for record in split[part]]
    return DatasetArrays(
        images=np.stack([squares[record.path] for _, record in ordered]),
        labels=np.array([record.label_index for _, record in ordered], np.int64),
        patients=tuple(record.patient for _, record in ordered),
        parts=np.array([position for position, _ in ordered], np.uint8),
    )


def _draw_kind(rng: np.random.Generator, *, blast: bool) -> CellKind:
    """Draw a kind as often as it is met."""
    kinds, weights = (BLAST_KINDS, BLAST_WEIGHTS) if blast else (NORMAL_KINDS, NORMAL_WEIGHTS)
    return kinds[int(rng.choice(len(kinds), p=weights))]


def photograph(density: NDArray[np.float32], rng: np.random.Generator, style: SmearStyle, zoom: float) -> Pixels:
    """Send light through optical densities (Beer-Lambert), through the lens and onto the camera."""
    side = density.shape[0]
    axis = np.linspace(-1, 1, side, dtype=np.float32)
    turn = rng.uniform(0, 2 * np.pi)
    slope = style.slope * (np.cos(turn) * axis[None, :] + np.sin(turn) * axis[:, None])
    lamp = (1 + slope) * (1 - style.vignette * 0.5 * (axis[None, :] ** 2 + axis[:, None] ** 2))
    light = np.exp(-density) * lamp[..., None] * np.array(style.glass, np.float32) * np.float32(rng.normal(1, 0.01))
    blurred = cv2.GaussianBlur(light, (0, 0), max(style.blur * zoom * float(rng.uniform(0.85, 1.25)), 0.2))
    blurred += rng.standard_normal(blurred.shape, dtype=np.float32) * np.float32(style.noise)
    return np.clip(np.rint(blurred), 0, 255).astype(np.uint8)
