"""The file of a trunk's weights: read from ``models/``, refused unless it is exactly the file the code was made for."""

import hashlib
from dataclasses import dataclass
from functools import cache
from pathlib import Path

import numpy as np

from core.errors import CheckpointRefused
from core.learning.weights import Weights, decode_arrays

FOLDER = Path(__file__).resolve().parents[3] / "models"


@dataclass(frozen=True, kw_only=True)
class TrunkFile:
    """Weights that are shipped: not secret, not trained by anybody here, the same at every hospital.

    Attributes:
        name: file name under ``models/``; its origin and terms are in the ``.md`` beside it.
        sha256: of the whole file, hex. A file that somebody changed would change what every hospital learns.
    """

    name: str
    sha256: str

    def read(self) -> Weights:
        """Return the arrays as float32, by the names of their variables.

        Raises:
            CheckpointRefused: the file is missing, changed or damaged.
        """
        return _read(FOLDER / self.name, self.sha256)


@cache
def _read(path: Path, sha256: str) -> Weights:
    try:
        data = path.read_bytes()
    except OSError as error:
        raise CheckpointRefused(f"the trunk {path.name} cannot be read") from error
    if hashlib.sha256(data).hexdigest() != sha256:
        raise CheckpointRefused(f"the trunk {path.name} is not the one that this version was made for")
    arrays, _metadata = decode_arrays(data)
    return {name: array.astype(np.float32) for name, array in arrays.items()}
