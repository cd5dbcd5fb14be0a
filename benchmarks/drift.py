"""How well the measure of drift tells another laboratory from the same one: ``python -m benchmarks.drift``.

``--data ROOT --json FILE [--draws 200] [--seed 1]``; ROOT holds ``leukemia_cells`` and ``normal_blood_cells``. The
measure is defined in `core.imaging.drift`; its limits were fixed before anything here was computed.

Each draw takes some patients of ``leukemia_cells`` as a hospital's training patients, with all their pictures, and
other patients as those who send `SENT` pictures each. Then, for each pair of `SIZES` (training patients, new ones):

- *alarm*: share of draws in which at least one figure has drifted, with Wilson's 95 % interval;
- *distance*: median over draws of the largest D of a draw.

New pictures are: of the same laboratory; of the same laboratory but normal cells only (another mix of cells); the
same with a lamp a tenth dimmer or a quarter dimmer, out of focus by a Gaussian of 1 px at 160 px, or with less blue in
the light (a tenth, a quarter); and those of ``normal_blood_cells``, another laboratory with normal cells, a picture a
patient. Whole data sets are read, the training parts of `split_by_patient` too: nothing was fitted to any of them.
"""

import csv
import json
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Annotated, Any

import cv2
import numpy as np
import typer

from benchmarks.fit_looks import read
from benchmarks.gate import wilson
from core.imaging.decode import Pixels
from core.imaging.drift import Looks, compare, figures_of, looks_of_figures
from core.imaging.index import is_safe_path
from core.studies import LEUKEMIA

HOME, ELSEWHERE = "leukemia_cells", "normal_blood_cells"
SENT = 3
SIZES = ((14, 20), (14, 40), (40, 20), (40, 40))
"""A demo hospital's training patients and half the data set's; the fewest new patients that are judged, and more."""

Change = Callable[[Pixels], Pixels]


def _times(red: float, green: float, blue: float) -> Change:
    factors = np.array([red, green, blue])
    return lambda pixels: np.clip(pixels * factors, 0, 255).astype(np.uint8)


CHANGES: Mapping[str, Change] = {
    "a lamp a tenth dimmer": _times(0.9, 0.9, 0.9),
    "a lamp a quarter dimmer": _times(0.75, 0.75, 0.75),
    "a tenth less blue": _times(1, 1, 0.9),
    "a quarter less blue": _times(1, 1, 0.75),
    "out of focus by 1 px": lambda pixels: np.asarray(cv2.GaussianBlur(pixels, (0, 0), 1), np.uint8),
}


class Pictures:
    """The figures of a data set's pictures, with their patients."""

    def __init__(self, figures: np.ndarray, patients: Sequence[str]) -> None:
        self.figures = figures
        self.patients = np.array(patients)
        self.names = sorted(set(patients))

    def of(self, names: Sequence[str]) -> "Pictures":
        """Return those of some patients."""
        kept = np.isin(self.patients, names)
        return Pictures(self.figures[kept], self.patients[kept].tolist())

    def looks(self) -> Looks:
        """Return how they look."""
        return looks_of_figures(self.figures, self.patients.tolist())

    def sent(self, names: Sequence[str], rng: np.random.Generator) -> dict[str, list[tuple[float, ...]]]:
        """Return up to `SENT` pictures of each of some patients."""
        places = {name: np.flatnonzero(self.patients == name) for name in names}
        chosen = {name: rng.permutation(of)[:SENT] for name, of in places.items() if len(of)}
        return {name: [tuple(self.figures[place]) for place in of] for name, of in chosen.items()}


def measured(folder: Path, *, labels: Sequence[str] = (), change: Change = lambda pixels: pixels) -> Pictures:
    """Measure the pictures of a data set, those of some labels or all, changed or as they are."""
    with (folder / "index.csv").open(encoding="utf-8", newline="") as file:
        rows = [row for row in csv.DictReader(file) if is_safe_path(row["path"])]
    kept = [row for row in rows if not labels or row["label"] in labels]
    figures = np.array([figures_of(change(read(folder / row["path"])), LEUKEMIA) for row in kept])
    return Pictures(figures, [row["patient"] for row in kept])


def row(
    home: Pictures, new: Pictures, *, sizes: tuple[int, int], draws: int, seed: int, same_patients: bool
) -> dict[str, Any]:
    """Return how often new pictures raise the alarm.

    Args:
        home: the laboratory that trained.
        new: from where pictures come.
        sizes: training patients, new patients.
        draws: how many times patients are drawn.
        seed: of the draws.
        same_patients: `new` is of the same patients as `home`; then nobody is drawn for both.
    """
    rng, alarms, distances = np.random.default_rng(seed), 0, []
    for _ in range(draws):
        drawn = rng.permutation(home.names)
        trained, rest = drawn[: sizes[0]], drawn[sizes[0] :]
        from_whom = rest if same_patients else rng.permutation(new.names)
        found = compare(home.of(trained).looks(), new.sent(from_whom[: sizes[1]].tolist(), rng))
        alarms += any(one.drifted for one in found)
        distances.append(max(one.distance for one in found))
    return {
        "trained": sizes[0],
        "new": sizes[1],
        "alarm": alarms / draws,
        "interval": wilson(alarms, draws),
        "distance": float(np.median(distances)),
    }


def main(
    data: Annotated[Path, typer.Option()],
    json_file: Annotated[Path, typer.Option("--json")],
    draws: Annotated[int, typer.Option(min=1)] = 200,
    seed: Annotated[int, typer.Option()] = 1,
) -> None:
    """Measure and write the figures."""
    home = measured(data / HOME)
    sources: dict[str, tuple[Pictures, bool]] = {
        "the same laboratory": (home, True),
        "the same laboratory, normal cells only": (measured(data / HOME, labels=("normal",)), True),
        **{f"the same laboratory, {name}": (measured(data / HOME, change=by), True) for name, by in CHANGES.items()},
        "another laboratory": (measured(data / ELSEWHERE), False),
    }
    found = {
        name: [row(home, new, sizes=sizes, draws=draws, seed=seed, same_patients=same) for sizes in SIZES]
        for name, (new, same) in sources.items()
    }
    json_file.write_text(json.dumps({"draws": draws, "seed": seed, "sent": SENT, "rows": found}, indent=1))
    for name, rows in found.items():
        cells = [f"{one['alarm']:7.1%} (D {one['distance']:.2f})" for one in rows]
        print(f"{name:58}", *cells)


if __name__ == "__main__":
    typer.run(main)
