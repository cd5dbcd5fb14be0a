"""What is done to a study's pictures on their way to the network; `core.imaging.preprocess` does it."""

from dataclasses import dataclass


@dataclass(frozen=True, kw_only=True)
class Preprocessing:
    """The steps between a decoded picture and the network's input.

    By default all are off but the square, its resizing and the min-max normalisation.

    Attributes:
        clahe: contrast-limited adaptive histogram equalisation of the lightness (CIE L*), tiles of an eighth.
        clip_limit: contrast limit of CLAHE.
        bilateral: edge-preserving bilateral filter.
        sigma_colour: the filter's width in grey levels.
        sigma_space: the filter's width in pixels of the network input.
    """

    clahe: bool = False
    clip_limit: float = 2.0
    bilateral: bool = False
    sigma_colour: float = 20.0
    sigma_space: float = 2.0

    @property
    def version(self) -> str:
        """Name of these choices, written into data sets and models; equal names mean equal pixels."""
        parts = ["square-area-1"]
        if self.clahe:
            parts.append(f"clahe-{self.clip_limit:g}")
        if self.bilateral:
            parts.append(f"bilateral-{self.sigma_colour:g}-{self.sigma_space:g}")
        return "+".join([*parts, "minmax"])
