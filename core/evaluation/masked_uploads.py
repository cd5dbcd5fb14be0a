"""The masked uploads of a blind sum as the cloud holds them: proved, and read as the numbers they seem to stand for."""

from dataclasses import dataclass
from datetime import datetime
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from core.errors import CheckpointRefused, RecordDamaged
from federated.aggregation.blind.fixed_point import Encoding
from federated.aggregation.blind.published import Checked, check_published
from federated.aggregation.blind.record_check import PublishedBroken
from federated.aggregation.blind.statements import Label
from federated.board import RECORD, VECTOR
from federated.checkpoints import decode_state, sha256_of_state
from security.certificates import Trust

BINS = 32
EDGES = tuple(float(edge) for edge in np.linspace(-1, 1, BINS + 1))
"""Edges of the bins: shares of the largest number that a word holds."""


@dataclass(frozen=True)
class HeldUploads:
    """The uploads of the sum of a round's updates.

    Attributes:
        checked: what `check_published` found.
        numbers: party -> its words as signed shares of the largest one, -1 to 1, float32; images of the party last.
    """

    checked: Checked
    numbers: dict[str, NDArray[np.float32]]


def is_published(attempt: Path) -> bool:
    """Tell whether an attempt's folder holds the complete sum of its updates."""
    return (attempt / Label.UPDATE.value / RECORD).exists()


def held_uploads(attempt: Path, trust: Trust, at: datetime) -> HeldUploads:
    """Read what a `FileBoard` holds of the sum of updates of an attempt, after everything in it was proved.

    Args:
        attempt: folder of the attempt.
        trust: the authority's root and revocation list.
        at: when certificates must be valid.

    Raises:
        RecordDamaged: it does not prove itself; the text says what is wrong, and whose it is.
    """
    folder = attempt / Label.UPDATE.value
    try:
        checked = check_published(folder, trust, at)
    except PublishedBroken as broken:
        raise RecordDamaged(str(broken)) from broken
    numbers = {}
    for party in checked.members:
        path = folder / (party + VECTOR)
        kind = np.dtype(f"<i{path.stat().st_size // checked.words}")
        numbers[party] = np.fromfile(path, kind).astype(np.float32) / np.float32(2.0 ** (8 * kind.itemsize - 1))
    return HeldUploads(checked, numbers)


def vector_of_state(data: bytes, sha256: str) -> NDArray[np.float64]:
    """Return the weights of an opened global model in one vector, in the order in which uploads have them.

    Raises:
        CheckpointRefused: it is damaged, or not the model of this name.
    """
    state = decode_state(data)
    if sha256_of_state(state) != sha256:
        raise CheckpointRefused("the weights or moments are not those that were announced")
    return np.concatenate([np.asarray(array, np.float64).ravel() for array in state.weights.values()])


def largest_number(members: int, clip: float) -> float:
    """Return the largest number that a word of a sum of so many members stands for."""
    encoding = Encoding.for_members(members, clip=clip)
    return float(2.0 ** (encoding.word - 1 - encoding.guard) / encoding.scale)


def shares_by_bin(numbers: NDArray[np.floating]) -> tuple[float, ...]:
    """Return how many per cent of numbers fall between each two of `EDGES`; what is beyond counts at the ends."""
    counts = np.histogram(np.clip(numbers, -1, 1), bins=EDGES)[0]
    return tuple(float(count) * 100 / len(numbers) for count in counts)
