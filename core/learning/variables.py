"""Names and shapes of the variables that a run trains and its updates hold, for those who do not load Keras.

``architectures/variables.json`` is written by ``python -m core.learning.variables`` from the networks themselves; a
test builds each network again and compares.
"""

import json
import math
from collections.abc import Mapping
from functools import cache
from pathlib import Path
from typing import Any

from core.learning.architectures import ARCHITECTURES, build
from core.studies import STUDIES, Study

__all__ = ["parameters_of", "variables_of"]

FILE = Path(__file__).with_name("architectures") / "variables.json"
CLASSES = 0
"""Stands in the file for a side of a shape that is the study's number of classes."""
_PROBES = (2, 3)

Shapes = dict[str, tuple[int, ...]]


def variables_of(architecture: str, study: Study) -> Shapes:
    """Return name -> shape of each variable of an update, in the order in which updates hold them.

    Raises:
        ValueError: unknown architecture.
    """
    kept = _kept().get(architecture, {}).get(str(study.input_size))
    if kept is None:
        raise ValueError(f"the variables of {architecture!r} at {study.input_size} px are not known")
    return {
        name: tuple(len(study.classes) if side == CLASSES else side for side in shape) for name, shape in kept.items()
    }


def parameters_of(shapes: Mapping[str, tuple[int, ...]]) -> int:
    """Return how many numbers variables of these shapes hold."""
    return sum(math.prod(shape) for shape in shapes.values())


@cache
def _kept() -> dict[str, dict[str, dict[str, list[int]]]]:
    kept: dict[str, dict[str, dict[str, list[int]]]] = json.loads(FILE.read_text(encoding="utf-8"))
    return kept


def built(architecture: str, *, input_size: int) -> dict[str, list[int]]:
    """Build a network and return the shapes of its variables as the file keeps them; imports Keras."""
    few, more = (
        {one.path: tuple(one.shape) for one in build(architecture, input_size=input_size, classes=count).weights}
        for count in _PROBES
    )
    return {
        name: [CLASSES if side != other else side for side, other in zip(shape, more[name], strict=True)]
        for name, shape in few.items()
    }


def main() -> None:
    """Write the file again."""
    sizes = sorted({study.input_size for study in STUDIES.values()})
    found: dict[str, Any] = {
        name: {str(size): built(name, input_size=size) for size in sizes} for name in ARCHITECTURES
    }
    lines = [
        f"{json.dumps(name)}: {{\n"
        + ",\n".join(f"  {json.dumps(size)}: {json.dumps(shapes)}" for size, shapes in of.items())
        + "\n}"
        for name, of in found.items()
    ]
    FILE.write_text("{\n" + ",\n".join(lines) + "\n}\n", encoding="utf-8")


if __name__ == "__main__":
    main()
