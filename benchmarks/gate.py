"""How often the quality gate refuses pictures, proper and ruined: ``python -m benchmarks.gate FOLDER [--every 20]``.

FOLDER is an ``index.csv`` folder of single stained cells. Ruined copies are made of every n-th picture.
"""

import time
from collections import Counter
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Annotated

import cv2
import numpy as np
import typer

from core.errors import ImageRefused
from core.imaging.datasets import read_index
from core.imaging.decode import Pixels, decode_upload
from core.imaging.quality import check_quality
from core.studies import LEUKEMIA


def blurred(sigma: float) -> Callable[[Pixels], Pixels]:
    """Return a blur of `sigma` pixels."""
    return lambda pixels: np.asarray(cv2.GaussianBlur(pixels, (0, 0), sigma), np.uint8)


COPIES: dict[str, Callable[[Pixels], Pixels]] = {
    "as they are": lambda pixels: pixels,
    "enlarged fourfold": lambda pixels: np.asarray(cv2.resize(pixels, None, fx=4, fy=4), np.uint8),
    "blurred by 1 px": blurred(1),
    "blurred by 2 px": blurred(2),
    "blurred by 3 px": blurred(3),
    "a quarter of the light": lambda pixels: pixels // 4,
    "twice the light": lambda pixels: np.minimum(pixels.astype(np.uint16) * 2, 255).astype(np.uint8),
    "without colour": lambda pixels: np.repeat(pixels[..., 1:2], 3, axis=2),
}


def refusals(pictures: Iterable[Pixels]) -> Counter[str]:
    """Count the reasons; "" stands for a picture that passed."""
    reasons: Counter[str] = Counter()
    for pixels in pictures:
        try:
            check_quality(pixels, LEUKEMIA)
            reasons[""] += 1
        except ImageRefused as error:
            reasons[error.detail.split(":")[0]] += 1
    return reasons


def main(
    folder: Annotated[Path, typer.Argument(help="Folder with index.csv.")],
    every: Annotated[int, typer.Option(help="Ruin every n-th picture.")] = 20,
) -> None:
    """Print a line per kind of copy."""
    files = [(folder / record.path).read_bytes() for record in read_index(folder, LEUKEMIA)]
    start = time.perf_counter()
    pictures = [decode_upload(data, max_bytes=2**26, max_pixels=40_000_000).pixels for data in files]
    print(f"decoding: {1000 * (time.perf_counter() - start) / len(files):.2f} ms each")
    for name, ruin in COPIES.items():
        chosen = pictures if name == "as they are" else pictures[::every]
        reasons = refusals(ruin(pixels) for pixels in chosen)
        refused = len(chosen) - reasons.pop("", 0)
        print(f"{name}: {100 * refused / len(chosen):.2f} % of {len(chosen)} refused {dict(reasons)}")


if __name__ == "__main__":
    typer.run(main)
