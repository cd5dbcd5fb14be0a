"""How well white cells are found in smear fields: ``python -m benchmarks.cells [--data FOLDER]``.

Definitions, fixed before the code:

- *Drawn fields*: `FIELDS` fields of `core.imaging.synthetic_field`, 640 x 480 px at zoom 1, in the four laboratories'
  styles in turn and at zooms 0.5, 1 and 2; 3 to 15 white cells of random kinds, a quarter laid against another one.
  The truth is the centre and the radius with which each was drawn.
- *Composed fields*: the middles (discs of `DISC` px radius with a soft edge) of 8 pictures of single cells, of one
  patient where the set tells patients, pasted on drawn red cells under the pictures' own light. The truth is the
  middle of each picture and the textbook's radius of its kind, since where a real cell ends is not known.
- A cell is *found* if the centre of a box lies within half its radius of its centre; each box finds one cell at most.
  Recall is the share of cells found, precision the share of boxes that found one. Bars: recall 0.95, precision 0.90.
- *Framing*: red-cell diameter found over that drawn, for it sets the crops' side.
- *Counts without truth*: cells in real fields (``leukemia_subtypes``), where nobody has marked them.
- *Taken for a field*: share of the pictures of single cells that would be split, which none should be; and of the
  fields that would not be, which none should be either.
- *Time*: median of 20 runs on one drawn field of 1600 x 1200 px with 40 cells, one thread. Bar: 50 ms.

FOLDER holds ``leukemia_cells``, ``normal_blood_cells`` and ``leukemia_subtypes`` (each with its ``index.csv``).
"""

import csv
import time
from collections import defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Annotated

import cv2
import numpy as np
import typer

from core.imaging.cells import CellsFound, find_cells
from core.imaging.decode import Pixels, decode_upload
from core.imaging.smear.recipes import RECIPES, CellKind
from core.imaging.smear.style import STYLES
from core.imaging.synthetic import REFERENCE_SIDE
from core.imaging.synthetic_field import generate_field

FIELDS = 60
COMPOSED = 40
EACH = 8
DISC = 46
SEED = 20
EVERY = 5
KINDS = tuple(CellKind)
RADIUS_UM: dict[str, float] = {
    **{kind: sum(RECIPES[kind].radius_um) / 2 for kind in KINDS},
    "basophil": sum(RECIPES[CellKind.NEUTROPHIL].radius_um) / 2,
}


@dataclass
class Score:
    """Counts that recall and precision are made of."""

    cells: int = 0
    boxes: int = 0
    found: int = 0

    def add(self, truth: Sequence[tuple[float, float, float]], answer: CellsFound) -> None:
        """Match boxes with cells (x, y, radius), the nearest pairs first."""
        pairs = sorted(
            (float(np.hypot(box.x - x, box.y - y)), number, place)
            for number, (x, y, radius) in enumerate(truth)
            for place, box in enumerate(answer.cells)
            if np.hypot(box.x - x, box.y - y) <= radius / 2
        )
        cells: set[int] = set()
        boxes: set[int] = set()
        for _, number, place in pairs:
            if number not in cells and place not in boxes:
                cells.add(number)
                boxes.add(place)
        self.cells += len(truth)
        self.boxes += len(answer.cells)
        self.found += len(cells)

    def __str__(self) -> str:
        """Recall and precision with their counts."""
        recall, precision = self.found / max(self.cells, 1), self.found / max(self.boxes, 1)
        return f"recall {recall:.3f} ({self.found} of {self.cells}), precision {precision:.3f} ({self.boxes} boxes)"


def drawn_fields() -> None:
    """Measure on drawn fields."""
    rng = np.random.default_rng(SEED)
    scores: dict[float, Score] = defaultdict(Score)
    framing, missed = [], 0
    for number in range(FIELDS):
        style = list(STYLES.values())[number % len(STYLES)].for_patient(rng)
        zoom = (0.5, 1.0, 2.0)[number % 3]
        kinds = [KINDS[int(k)] for k in rng.integers(0, len(KINDS), int(rng.integers(3, 16)))]
        field = generate_field(rng, kinds=kinds, style=style, height=int(480 * zoom), width=int(640 * zoom), zoom=zoom)
        answer = find_cells(field.pixels)
        scores[zoom].add([(cell.x, cell.y, cell.radius) for cell in field.cells], answer)
        framing.append(answer.red_cell / (2 * 3.65 * style.pixels_per_um * zoom))
        missed += not answer.is_field
    for zoom, score in scores.items():
        print(f"drawn fields, zoom {zoom}: {score}")
    total = Score(*(sum(getattr(score, name) for score in scores.values()) for name in ("cells", "boxes", "found")))
    print(f"drawn fields: {total}")
    low, middle, high = np.percentile(framing, [5, 50, 95])
    print(f"framing: {middle:.2f} (5th to 95th percentile {low:.2f} to {high:.2f}); {missed} not taken for fields")


def composed_field(rng: np.random.Generator, pictures: Sequence[Pixels]) -> tuple[Pixels, list[tuple[float, float]]]:
    """Paste the middles of pictures on drawn red cells; return the field and the middles' places."""
    height, width = 480, 640
    glass = np.median([np.percentile(picture.reshape(-1, 3), 90, axis=0) for picture in pictures], axis=0)
    red, green, blue = (float(v) for v in glass)
    style = replace(STYLES["north"], glass=(red, green, blue), vignette=0.0, slope=0.0)
    canvas = generate_field(rng, kinds=(), style=style, height=height, width=width).pixels.astype(np.float32)
    y, x = np.mgrid[: 2 * DISC + 1, : 2 * DISC + 1] - float(DISC)
    soft = np.clip((DISC - np.hypot(x, y)) / 6, 0, 1)[..., None].astype(np.float32)
    middles: list[tuple[float, float]] = []
    for picture in pictures:
        squared = cv2.resize(picture, (REFERENCE_SIDE, REFERENCE_SIDE), interpolation=cv2.INTER_AREA)
        light = glass / np.maximum(np.percentile(picture.reshape(-1, 3), 90, axis=0), 1)
        for _ in range(500):
            cx, cy = (int(v) for v in rng.integers([DISC, DISC], [width - DISC, height - DISC]))
            if all(np.hypot(cx - a, cy - b) > 2 * DISC for a, b in middles):
                middles.append((cx, cy))
                half = REFERENCE_SIDE // 2
                disc = squared[half - DISC : half + DISC + 1, half - DISC : half + DISC + 1] * light.astype(np.float32)
                window = canvas[cy - DISC : cy + DISC + 1, cx - DISC : cx + DISC + 1]
                window[:] = window * (1 - soft) + disc * soft
                break
    return np.clip(np.rint(canvas), 0, 255).astype(np.uint8), middles


def read(path: Path) -> Pixels:
    """Decode a file."""
    return decode_upload(path.read_bytes(), max_bytes=2**26, max_pixels=40_000_000).pixels


def rows(folder: Path) -> list[dict[str, str]]:
    """Read ``index.csv``."""
    with (folder / "index.csv").open(encoding="utf-8", newline="") as file:
        return list(csv.DictReader(file))


def radius_of(label: str) -> float | None:
    """Return the textbook's radius in pixels of a kind by its name in a data set; None for what is no white cell."""
    name = label.lower()
    known = next((kind for kind in RADIUS_UM if kind in name), None)
    known = CellKind.MONOCYTE if "promonocyte" in name else known
    return None if known is None else RADIUS_UM[known] * 160 / 34.8


def composed_fields(folder: Path, column: str, by: str) -> None:
    """Measure on composed fields of one data set; `by` names the column whose equals go into one field."""
    rng = np.random.default_rng(SEED)
    groups: dict[str, list[tuple[Path, float]]] = defaultdict(list)
    for row in rows(folder):
        radius = radius_of(row[column])
        if radius is not None:
            groups[row[by]].append((folder / row["path"], radius))
    names = sorted(name for name, own in groups.items() if len(own) >= EACH)
    score = Score()
    for number in range(COMPOSED):
        own = groups[names[number % len(names)]]
        chosen = [own[int(i)] for i in rng.choice(len(own), EACH, replace=False)]
        pixels, middles = composed_field(rng, [read(path) for path, _ in chosen])
        truth = [(x, y, radius) for (x, y), (_, radius) in zip(middles, chosen, strict=False)]
        score.add(truth, find_cells(pixels))
    print(f"composed fields of {folder.name}: {score}")


def singles(folder: Path, files: Iterable[Path]) -> None:
    """Print the share of pictures of single cells that would be split, and how many cells are seen in them."""
    answers = [find_cells(read(path)) for path in files]
    split = np.mean([answer.is_field for answer in answers])
    print(f"{folder.name}: {split:.4f} of {len(answers)} pictures of single cells are taken for fields")


def real_fields(folder: Path) -> None:
    """Print counts of cells in real fields, where there is no truth."""
    counts: dict[str, list[int]] = defaultdict(list)
    fields: list[bool] = []
    for row in rows(folder)[::EVERY]:
        answer = find_cells(read(folder / row["path"]))
        counts[row["label"]].append(len(answer.cells))
        fields.append(answer.is_field)
    for label, found in sorted(counts.items()):
        low, middle, high = np.percentile(found, [5, 50, 95])
        print(f"{folder.name}, {label}: median {middle:.0f} cells ({low:.0f} to {high:.0f}) in {len(found)} fields")
    print(f"{folder.name}: {1 - np.mean(fields):.4f} of {len(fields)} fields are not taken for fields")


def timing() -> None:
    """Print the time for a large field."""
    rng, zoom = np.random.default_rng(SEED), 1600 / 800
    kinds = [KINDS[int(k)] for k in rng.integers(0, len(KINDS), 40)]
    field = generate_field(rng, kinds=kinds, style=STYLES["north"], height=1200, width=1600, zoom=zoom)
    cv2.setNumThreads(1)
    took = []
    for _ in range(20):
        before = time.perf_counter()
        find_cells(field.pixels)
        took.append((time.perf_counter() - before) * 1e3)
    print(f"1600 x 1200 px with {len(field.cells)} cells: median {np.median(took):.1f} ms")


def main(
    data: Annotated[Path | None, typer.Option(help="Folder of data sets of real pictures.")] = None,
    only_time: Annotated[bool, typer.Option(help="Measure the time alone.")] = False,
) -> None:
    """Print one line per measurement."""
    timing()
    if only_time:
        return
    drawn_fields()
    if data is None:
        return
    composed_fields(data / "leukemia_cells", "source_label", "patient")
    composed_fields(data / "normal_blood_cells", "label", "site")
    for name in ("leukemia_cells", "normal_blood_cells"):
        singles(data / name, [data / name / row["path"] for row in rows(data / name)[::EVERY]])
    real_fields(data / "leukemia_subtypes")


if __name__ == "__main__":
    typer.run(main)
