"""What is done to a study's pictures on their way to the network; `core.imaging.preprocess` does it."""

from dataclasses import dataclass
from enum import StrEnum

REFERENCE_VERSION = 1
"""Of the reference stain in `core.imaging.stain_norm`."""


class StainNormalisation(StrEnum):
    """How a smear is brought to the reference stain."""

    NONE = "none"
    REINHARD = "reinhard"
    """Mean and spread of lightness and colour (Reinhard et al. 2001)."""
    MACENKO = "macenko"
    """The two dyes and their amounts (Macenko et al. 2009)."""


@dataclass(frozen=True, kw_only=True)
class Preprocessing:
    """The steps between a decoded picture and the network's input, in the order in which they are done.

    By default all are off but the square, its resizing and the min-max normalisation.

    Attributes:
        stain: stain normalisation, for smears only.
        clahe: contrast-limited adaptive histogram equalisation of the lightness (CIE L*), tiles of an eighth.
        clip_limit: contrast limit of CLAHE.
        bilateral: edge-preserving bilateral filter.
        sigma_colour: the filter's width in grey levels.
        sigma_space: the filter's width in pixels of the network input.
        guided: edge-preserving guided filter, the picture its own guide.
        guided_radius: half the filter's window in pixels of the network input.
        guided_edge: contrast in grey levels above which an edge is kept.
        minmax: stretch each picture to its darkest and brightest value (second paper, equation 1); without, values are
            divided by 255.
    """

    stain: StainNormalisation = StainNormalisation.NONE
    clahe: bool = False
    clip_limit: float = 2.0
    bilateral: bool = False
    sigma_colour: float = 20.0
    sigma_space: float = 2.0
    guided: bool = False
    guided_radius: int = 2
    guided_edge: float = 12.0
    minmax: bool = True

    @property
    def version(self) -> str:
        """Name of these choices, written into data sets and models; equal names mean equal pixels."""
        parts = ["square-area-1"]
        if self.stain is not StainNormalisation.NONE:
            parts.append(f"{self.stain.value}-{REFERENCE_VERSION}")
        if self.clahe:
            parts.append(f"clahe-{self.clip_limit:g}")
        if self.bilateral:
            parts.append(f"bilateral-{self.sigma_colour:g}-{self.sigma_space:g}")
        if self.guided:
            parts.append(f"guided-{self.guided_radius}-{self.guided_edge:g}")
        return "+".join([*parts, "minmax" if self.minmax else "scaled"])
