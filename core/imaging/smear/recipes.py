"""What each kind of white cell looks like by the textbook: size, N/C ratio, nuclear shape, chromatin, granules.

Sources: ICSH recommendations for morphological grading (Palmer et al. 2015); Bain, Blood Cells, 5th ed., ch. 3; FAB
and WHO descriptions of blasts. The pictures are for demonstration and tests, never evidence about patients.
"""

from dataclasses import dataclass
from enum import StrEnum

Range = tuple[float, float]
Triple = tuple[float, float, float]


class CellKind(StrEnum):
    """Kinds of white cells that can be drawn."""

    BLAST = "blast"
    PROMYELOCYTE = "promyelocyte"
    NEUTROPHIL = "neutrophil"
    LYMPHOCYTE = "lymphocyte"
    MONOCYTE = "monocyte"
    EOSINOPHIL = "eosinophil"


class NucleusShape(StrEnum):
    """Outlines of nuclei."""

    ROUND = "round"
    KIDNEY = "kidney"
    LOBED = "lobed"


@dataclass(frozen=True, kw_only=True)
class Recipe:
    """What a kind of cell looks like. Densities are optical, to red, green and blue light.

    Attributes:
        radius_um: radius of the cell.
        nucleus_share: radius of the nucleus over radius of the cell (for lobes: of the circle around them).
        shape: outline of the nucleus.
        lobes: number of lobes.
        nucleus: density of the nucleus.
        clumps: 0 fine, even chromatin; 1 coarse, clumped.
        nucleoli: how many are seen.
        cytoplasm: density of the cytoplasm.
        rim: how much darker the outermost cytoplasm is.
        granules: density of granules; None where they are not seen.
        granule_share: share of the cytoplasm that granules fill.
        granule_grain: size of granules in pixels at 4.6 px/um.
        granules_over_nucleus: granules lie over the nucleus too.
        vacuoles: largest number of vacuoles.
        wobble: irregularity of the cell's outline.
    """

    radius_um: Range
    nucleus_share: Range
    shape: NucleusShape = NucleusShape.ROUND
    lobes: tuple[int, int] = (1, 1)
    nucleus: Triple
    clumps: Range
    nucleoli: tuple[int, int] = (0, 0)
    cytoplasm: Triple
    rim: float = 0.3
    granules: Triple | None = None
    granule_share: float = 0.0
    granule_grain: float = 0.9
    granules_over_nucleus: bool = False
    vacuoles: int = 0
    wobble: float = 0.05


RECIPES: dict[CellKind, Recipe] = {
    CellKind.BLAST: Recipe(
        radius_um=(5.6, 8.6),
        nucleus_share=(0.80, 0.93),
        nucleus=(0.70, 1.18, 0.44),
        clumps=(0.0, 0.25),
        nucleoli=(1, 4),
        cytoplasm=(0.62, 0.62, 0.20),
        rim=0.55,
        wobble=0.07,
    ),
    CellKind.PROMYELOCYTE: Recipe(
        radius_um=(7.0, 9.2),
        nucleus_share=(0.68, 0.82),
        nucleus=(0.72, 1.16, 0.44),
        clumps=(0.1, 0.35),
        nucleoli=(1, 2),
        cytoplasm=(0.46, 0.56, 0.20),
        rim=0.35,
        granules=(0.62, 0.95, 0.30),
        granule_share=0.32,
        granule_grain=0.8,
        granules_over_nucleus=True,
        wobble=0.07,
    ),
    CellKind.NEUTROPHIL: Recipe(
        radius_um=(5.8, 7.4),
        nucleus_share=(0.66, 0.76),
        shape=NucleusShape.LOBED,
        lobes=(2, 5),
        nucleus=(0.98, 1.66, 0.66),
        clumps=(0.6, 1.0),
        cytoplasm=(0.12, 0.24, 0.14),
        rim=0.35,
        granules=(0.20, 0.36, 0.13),
        granule_share=0.40,
        granule_grain=0.7,
    ),
    CellKind.LYMPHOCYTE: Recipe(
        radius_um=(4.3, 6.2),
        nucleus_share=(0.72, 0.88),
        nucleus=(0.98, 1.60, 0.62),
        clumps=(0.6, 1.0),
        cytoplasm=(0.38, 0.34, 0.10),
        rim=0.30,
        wobble=0.08,
    ),
    CellKind.MONOCYTE: Recipe(
        radius_um=(7.0, 9.4),
        nucleus_share=(0.60, 0.72),
        shape=NucleusShape.KIDNEY,
        nucleus=(0.74, 1.24, 0.48),
        clumps=(0.4, 0.7),
        cytoplasm=(0.38, 0.44, 0.19),
        rim=0.20,
        granules=(0.16, 0.26, 0.08),
        granule_share=0.22,
        granule_grain=0.6,
        vacuoles=7,
        wobble=0.11,
    ),
    CellKind.EOSINOPHIL: Recipe(
        radius_um=(6.2, 7.8),
        nucleus_share=(0.62, 0.72),
        shape=NucleusShape.LOBED,
        lobes=(2, 2),
        nucleus=(0.95, 1.58, 0.62),
        clumps=(0.5, 0.9),
        cytoplasm=(0.14, 0.36, 0.28),
        rim=0.15,
        granules=(0.26, 0.86, 0.74),
        granule_share=0.55,
        granule_grain=1.0,
    ),
}
