"""Step 1: hospitals with different stains; and the small data sets that the other steps train on."""

from functools import lru_cache

import numpy as np

from core.evaluation.demonstration.journal import Say
from core.evaluation.demonstration.outcome import Outcome, Picture, Table
from core.imaging.datasets import DatasetArrays
from core.imaging.decode import encode_png
from core.imaging.synthetic import STYLES, generate_arrays, generate_cell

HOSPITALS = tuple(STYLES)
PATIENTS, CELLS = 6, 3
_SEED = 7
_SHOWN = (("a normal white cell", False), ("another normal white cell", False), ("a blast", True))


def show_hospitals(say: Say) -> Outcome:
    """Draw cells of each hospital and compare their colours."""
    pictures, rows, means = [], [], []
    for number, slug in enumerate(HOSPITALS):
        say(f"drawing cells of {slug.capitalize()}", number / len(HOSPITALS))
        rng = np.random.default_rng([_SEED, number])
        style = STYLES[slug].for_patient(rng)
        cells = [(what, generate_cell(rng, blast=blast, style=style)) for what, blast in _SHOWN]
        for what, pixels in cells:
            name = slug.capitalize()
            pictures.append(
                Picture(
                    caption=f"{name}: {what}",
                    alt=f"Synthetic picture of {what} as the laboratory of {name} stains and photographs it",
                    group=name,
                    png=encode_png(pixels),
                )
            )
        means.append(np.mean([pixels.mean(axis=(0, 1)) for _, pixels in cells], axis=0))
        rows.append((slug.capitalize(), *(f"{value:.0f}" for value in means[-1])))
    apart = max(float(np.abs(one - other).max()) for one in means for other in means)
    return Outcome(
        headline=f"{len(HOSPITALS)} hospitals, each with a stain and a lamp of its own.",
        as_told=apart > 1,
        facts=(("Largest difference of a mean colour between two hospitals", f"{apart:.0f} of 255 grey levels"),),
        pictures=tuple(pictures),
        tables=(
            Table(
                title="Mean colour of these pictures", columns=("Hospital", "Red", "Green", "Blue"), rows=tuple(rows)
            ),
        ),
    )


@lru_cache(maxsize=1)
def data_of_hospitals() -> dict[str, DatasetArrays]:
    """Draw a small data set for each hospital; the same each time, and drawn once in a process."""
    return {
        slug: generate_arrays(patients=PATIENTS, cells_per_patient=CELLS, style=STYLES[slug], seed=_SEED)
        for slug in HOSPITALS
    }
