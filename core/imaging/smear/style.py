"""How a laboratory's smears look: stain, lamp, sharpness. One style per demo hospital, small variations per patient."""

from dataclasses import dataclass, replace

import numpy as np

Colour = tuple[float, float, float]


@dataclass(frozen=True, kw_only=True)
class SmearStyle:
    """Stain and illumination of one laboratory.

    Attributes:
        slug: short name; the site of its images is ``synthetic-<slug>``.
        glass: RGB 0-255 of the empty glass under the lamp.
        azure: strength of the blue-violet dye (nuclei, basophilic cytoplasm); 1 is ordinary.
        eosin: strength of the pink dye (red cells, eosinophil granules); 1 is ordinary.
        red_cell_tint: what the red cells take from each of the red, green and blue light, relative to ordinary.
        azure_tint: the same for everything that azure stains.
        vignette: loss of light at the corners, 0 to 1.
        slope: largest change of light from one side to the other, 0 to 1.
        blur: width of the optics' point spread in pixels at 160 px side.
        noise: standard deviation of the camera's noise in grey levels.
        pixels_per_um: scale at 160 px side.
        crowding: mean number of red cells in a picture.
    """

    slug: str
    glass: Colour = (254.0, 233.0, 212.0)
    azure: float = 1.0
    eosin: float = 1.0
    red_cell_tint: Colour = (1.0, 1.0, 1.0)
    azure_tint: Colour = (1.0, 1.0, 1.0)
    vignette: float = 0.03
    slope: float = 0.02
    blur: float = 0.65
    noise: float = 1.6
    pixels_per_um: float = 4.6
    crowding: float = 15.0

    @property
    def site(self) -> str:
        """Value of the ``site`` column; says that the images are synthetic."""
        return f"synthetic-{self.slug}"

    def for_patient(self, rng: np.random.Generator) -> "SmearStyle":
        """Return the style of one patient's slide: slides of one laboratory differ a little from day to day."""
        glass = np.clip(np.array(self.glass) * rng.normal(1, 0.006, 3) * rng.normal(1, 0.01), 150, 255)
        return replace(
            self,
            glass=(float(glass[0]), float(glass[1]), float(glass[2])),
            azure=self.azure * float(rng.lognormal(0, 0.09)),
            eosin=self.eosin * float(rng.lognormal(0, 0.09)),
            blur=self.blur * float(rng.lognormal(0, 0.12)),
            crowding=self.crowding * float(rng.uniform(0.7, 1.3)),
        )


STYLES: dict[str, SmearStyle] = {
    style.slug: style
    for style in (
        SmearStyle(slug="north"),
        SmearStyle(
            slug="east",
            glass=(253.0, 252.0, 241.0),
            red_cell_tint=(1.42, 0.92, 1.0),
            azure_tint=(1.08, 1.0, 0.82),
            eosin=0.95,
            crowding=12.0,
        ),
        SmearStyle(
            slug="south",
            glass=(250.0, 238.0, 233.0),
            red_cell_tint=(0.80, 0.95, 0.92),
            azure_tint=(0.86, 1.04, 0.95),
            azure=1.06,
            blur=0.85,
            crowding=18.0,
        ),
        SmearStyle(
            slug="west",
            glass=(232.0, 230.0, 224.0),
            red_cell_tint=(1.0, 0.9, 1.0),
            azure_tint=(1.0, 0.92, 0.85),
            azure=0.88,
            eosin=0.86,
            vignette=0.10,
            slope=0.05,
            noise=2.6,
            pixels_per_um=4.3,
        ),
    )
}
