"""The folder in which tables are made: each step's result as JSON, its arrays beside it, so that it can go on later.

A step that has a file is finished; files appear whole or not at all. A folder belongs to one question (data, study,
profile, checkpoint): it is refused for another one.
"""

import json
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Self

import numpy as np
from numpy.typing import NDArray

from core.errors import InvalidInput

Arrays = Mapping[str, NDArray[Any]]
QUESTION = "question.json"


class Workbook:
    """Finished steps below ``OUT/steps``."""

    def __init__(self, folder: Path, question: Mapping[str, Any]) -> None:
        """Open a folder, or begin it.

        Args:
            folder: ``OUT``; made if it is not there.
            question: what is asked, as JSON values.

        Raises:
            InvalidInput: the folder holds the steps of another question.
        """
        self.folder = folder
        self._steps = folder / "steps"
        self._steps.mkdir(parents=True, exist_ok=True)
        self.question: dict[str, Any] = json.loads(json.dumps(question))
        file = folder / QUESTION
        if not file.exists():
            _write_json(file, self.question)
        elif (before := json.loads(file.read_text(encoding="utf-8"))) != self.question:
            asked = self.question
            other = sorted(key for key in before.keys() | asked.keys() if before.get(key) != asked.get(key))
            raise InvalidInput(f"{folder} holds tables of another question: {', '.join(other)}")

    @classmethod
    def found(cls, folder: Path) -> Self:
        """Open a folder that was begun, whatever its question is.

        Raises:
            FileNotFoundError: no tables were begun there.
        """
        return cls(folder, json.loads((folder / QUESTION).read_text(encoding="utf-8")))

    def has(self, name: str) -> bool:
        """Whether a step is finished."""
        return (self._steps / f"{name}.json").exists()

    def read(self, name: str) -> dict[str, Any]:
        """Return what a finished step wrote."""
        found: dict[str, Any] = json.loads((self._steps / f"{name}.json").read_text(encoding="utf-8"))
        return found

    def made(self) -> dict[str, dict[str, Any]]:
        """Return what every finished step wrote, in the order in which they were finished."""
        steps = {file.stem: self.read(file.stem) for file in self._steps.glob("*.json")}
        own = {name: step for name, step in steps.items() if "made" in step}
        return dict(sorted(own.items(), key=lambda item: str(item[1]["made"]["at"])))

    def arrays(self, name: str) -> dict[str, NDArray[Any]]:
        """Return the arrays of a finished step."""
        with np.load(self._steps / f"{name}.npz", allow_pickle=False) as kept:
            return dict(kept)

    def write(self, name: str, result: Mapping[str, Any], arrays: Arrays | None = None) -> None:
        """Finish a step; its JSON comes last."""
        if arrays is not None:
            part = self._steps / f"{name}.part.npz"
            np.savez(part, **arrays)  # type: ignore[arg-type]  # names, not options
            part.replace(self._steps / f"{name}.npz")
        _write_json(self._steps / f"{name}.json", result)


def whole_file(path: Path, data: bytes) -> Path:
    """Write a file that appears whole or not at all, and return its path."""
    part = path.with_suffix(f"{path.suffix}.part")
    with part.open("wb") as file:
        file.write(data)
        file.flush()
        os.fsync(file.fileno())
    return part.replace(path)


def _write_json(path: Path, value: Mapping[str, Any]) -> None:
    whole_file(path, (json.dumps(value, indent=1, allow_nan=False) + "\n").encode())
