"""Five hundred pictures that no study looks at, in a fixed and stated mix, seeded; for `benchmarks.gate`.

Sources: the data sets of the other studies, sample pictures that come with scikit-image, scikit-learn and Matplotlib
where installed (photographs of people, a cat, things, buildings, a flower, stained tissue, an eye, the moon, pages of
text; each cut, turned and scaled into many, so that they are fewer sources than pictures), and pictures drawn here.
Half of those in colour are sent to a study of scans as grey pictures, or colour alone would tell them.
"""

from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path

import cv2
import numpy as np
from skimage import data as samples
from sklearn.datasets import load_sample_image

from core.imaging.decode import Pixels, decode_upload
from core.imaging.smear.red_cells import paint_platelets, paint_red_cells
from core.imaging.smear.style import STYLES
from core.imaging.synthetic import photograph
from core.studies import Study

SIDE = 224
Draw = Callable[[np.random.Generator], Pixels]

MIX: Mapping[str, int] = {
    "other study": 100,
    "photograph": 130,
    "grey photograph or texture": 60,
    "stained tissue": 50,
    "eye, moon, stars": 20,
    "page of text": 40,
    "red cells only": 40,
    "blank slide": 15,
    "smudge": 15,
    "gradient": 10,
    "noise": 10,
    "stripes or squares": 5,
    "drawing": 5,
}
"""Kind -> how many; 500 in all."""
_KEPT_IN_COLOUR = frozenset({"grey photograph or texture"})
_PHOTOGRAPHS = ("astronaut", "cat", "coffee", "rocket", "logo", "stereo_motorcycle", "colorwheel")
_GREY = ("camera", "brick", "grass", "gravel", "coins", "clock", "cell", "horse")


def foreign_images(study: Study, others: Sequence[Path], *, seed: int) -> Iterator[tuple[str, Pixels]]:
    """Yield (kind, uint8[h, w, 3] RGB): `MIX` for a study.

    Args:
        study: half of what is in colour becomes grey where it looks at scans.
        others: picture files of studies that look at something else; 100 are drawn.
        seed: fixes every picture.
    """
    rng = np.random.default_rng(seed)
    draws = _sources()
    draws["other study"] = lambda own: _read(others[int(own.integers(len(others)))])
    for kind, count in MIX.items():
        for number in range(count):
            pixels = draws[kind](rng)
            if not study.is_stained and number % 2 and kind not in _KEPT_IN_COLOUR:
                pixels = _grey(pixels)
            yield kind, pixels


def _sources() -> dict[str, Draw]:
    """Return how each kind but "other study" is drawn."""
    photographs = [_sample(name) for name in _PHOTOGRAPHS]
    photographs += [load_sample_image(name) for name in ("china.jpg", "flower.jpg")]
    tissue = [samples.immunohistochemistry(), _as_eosin(samples.immunohistochemistry())]
    sky = [samples.retina(), samples.hubble_deep_field(), _sample("moon")]
    pages = [_sample("page"), _sample("text")]
    return {
        "photograph": _cut_from(photographs),
        "grey photograph or texture": _cut_from([_sample(name) for name in _GREY]),
        "stained tissue": _cut_from(tissue),
        "eye, moon, stars": _cut_from(sky),
        "page of text": lambda rng: _cut_from(pages)(rng) if rng.random() < 0.5 else _page(rng),  # noqa: PLR2004
        "red cells only": _red_cells,
        "blank slide": _blank,
        "smudge": _smudge,
        "gradient": _gradient,
        "noise": _noise,
        "stripes or squares": _stripes,
        "drawing": _drawing,
    }


def _sample(name: str) -> Pixels:
    found = getattr(samples, name)()
    picture = np.asarray(found[0] if isinstance(found, tuple) else found)
    if picture.dtype == bool:
        picture = picture.astype(np.uint8) * 255
    if picture.ndim == 2:  # noqa: PLR2004  grey
        picture = np.repeat(picture[..., None], 3, axis=2)
    return np.ascontiguousarray(picture[..., :3], dtype=np.uint8)


def _read(path: Path) -> Pixels:
    return decode_upload(path.read_bytes(), max_bytes=2**26, max_pixels=40_000_000).pixels


def _grey(pixels: Pixels) -> Pixels:
    return np.repeat(cv2.cvtColor(pixels, cv2.COLOR_RGB2GRAY)[..., None], 3, axis=2)


def _cut_from(pictures: Sequence[Pixels]) -> Draw:
    """Return what cuts a square of 35 to 100 % of a picture's shorter side, mirrored and relit a little."""

    def draw(rng: np.random.Generator) -> Pixels:
        picture = pictures[int(rng.integers(len(pictures)))]
        height, width = picture.shape[:2]
        side = int(rng.uniform(0.35, 1) * min(height, width))
        top, left = int(rng.integers(height - side + 1)), int(rng.integers(width - side + 1))
        square = picture[top : top + side, left : left + side]
        square = square[:, :: -1 if rng.random() < 0.5 else 1]  # noqa: PLR2004
        resized = cv2.resize(np.ascontiguousarray(square), (SIDE, SIDE), interpolation=cv2.INTER_AREA)
        return np.clip(resized * rng.uniform(0.85, 1.15), 0, 255).astype(np.uint8)

    return draw


def _as_eosin(pixels: Pixels) -> Pixels:
    """Turn the brown (DAB) of immunohistochemistry into eosin's pink and its blue into haematoxylin's violet."""
    density = -np.log((pixels.astype(np.float64) + 1) / 256).reshape(-1, 3)
    found = np.array([[0.65, 0.70, 0.29], [0.27, 0.57, 0.78]])  # haematoxylin, DAB: Ruifrok and Johnston 2001
    wanted = np.array([[0.64, 0.72, 0.27], [0.09, 0.95, 0.28]])  # haematoxylin, eosin
    amounts = np.clip(density @ np.linalg.pinv(found), 0, None)
    return np.clip(256 * np.exp(-amounts @ wanted), 0, 255).astype(np.uint8).reshape(pixels.shape)


def _page(rng: np.random.Generator) -> Pixels:
    page = np.full((SIDE, SIDE, 3), int(rng.integers(225, 256)), np.uint8)
    scale = float(rng.uniform(0.3, 0.8))
    for y in range(int(20 * scale) + 6, SIDE, int(34 * scale)):
        line = "".join(chr(int(rng.integers(97, 123))) if rng.random() > 0.15 else " " for _ in range(60))  # noqa: PLR2004
        cv2.putText(page, line, (8, y), cv2.FONT_HERSHEY_SIMPLEX, scale, (30, 30, 40), 1, cv2.LINE_AA)
    return page


def _red_cells(rng: np.random.Generator) -> Pixels:
    style = list(STYLES.values())[int(rng.integers(len(STYLES)))].for_patient(rng)
    density = np.zeros((160, 160, 3), np.float32)
    paint_red_cells(density, rng, style, style.pixels_per_um, [])
    paint_platelets(density, rng, style, style.pixels_per_um)
    return photograph(density, rng, style, 1.0)


def _glass(rng: np.random.Generator) -> Pixels:
    colour = rng.integers((225, 205, 195), (253, 245, 245))
    noise = rng.normal(0, 2, (SIDE, SIDE, 1))
    return np.clip(colour + noise, 0, 255).astype(np.uint8)


def _blank(rng: np.random.Generator) -> Pixels:
    return _glass(rng)


def _smudge(rng: np.random.Generator) -> Pixels:
    cloud = cv2.GaussianBlur(rng.normal(0, 1, (SIDE, SIDE)), (0, 0), float(rng.uniform(8, 25)))
    cloud = np.clip((cloud - cloud.min()) / (np.ptp(cloud) + 1e-9) * 1.6 - 0.6, 0, 1)
    dye = rng.uniform((0.3, 0.6, 0.1), (0.9, 1.4, 0.5))
    return np.clip(_glass(rng) * np.exp(-cloud[..., None] * dye), 0, 255).astype(np.uint8)


def _gradient(rng: np.random.Generator) -> Pixels:
    axis = np.linspace(0, 1, SIDE)
    turn = rng.uniform(0, 2 * np.pi)
    ramp = np.cos(turn) * axis[None, :] + np.sin(turn) * axis[:, None]
    ramp = (ramp - ramp.min()) / np.ptp(ramp)
    ends = rng.integers(0, 256, (2, 3))
    return (ends[0] + ramp[..., None] * (ends[1] - ends[0])).astype(np.uint8)


def _noise(rng: np.random.Generator) -> Pixels:
    fine = rng.normal(0, 1, (SIDE, SIDE, 3))
    sigma = float(rng.choice([0.0, 1.0, 3.0]))
    grain = cv2.GaussianBlur(fine, (0, 0), sigma) if sigma else fine
    return np.clip(128 + 60 * grain / grain.std(), 0, 255).astype(np.uint8)


def _stripes(rng: np.random.Generator) -> Pixels:
    period = int(rng.integers(6, 40))
    y, x = np.mgrid[:SIDE, :SIDE] // period
    pattern = (x + y if rng.random() < 0.5 else x) % 2  # noqa: PLR2004
    ends = rng.integers(0, 256, (2, 3))
    return np.where(pattern[..., None] == 0, ends[0], ends[1]).astype(np.uint8)


def _drawing(rng: np.random.Generator) -> Pixels:
    page = np.full((SIDE, SIDE, 3), 250, np.uint8)
    for _ in range(int(rng.integers(5, 15))):
        colour = tuple(int(value) for value in rng.integers(0, 256, 3))
        one, two = (tuple(int(value) for value in rng.integers(0, SIDE, 2)) for _ in range(2))
        if rng.random() < 0.5:  # noqa: PLR2004
            cv2.line(page, one, two, colour, int(rng.integers(1, 6)), cv2.LINE_AA)
        else:
            cv2.circle(page, one, int(rng.integers(5, 50)), colour, int(rng.integers(-1, 5)) or 1, cv2.LINE_AA)
    return page
