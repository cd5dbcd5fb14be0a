"""What a hospital's data sets have spent of their privacy: every training, recorded before it begins.

Epsilon is computed from this history each time (`core.learning.privacy`). An attempt that was abandoned counts, since
its update may have been sent; so does one that a crash cut short.
"""

import json
import math
import os
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from core.learning.privacy import PrivacyUnit, StepBlock, epsilon_of
from core.learning.run_events import FailureCode
from federated.failures import Refused

HISTORY_NAME = "privacy-spend.jsonl"
LIMIT_NAME = "privacy-limit"


@dataclass(frozen=True, kw_only=True)
class Spent:
    """One training of a data set.

    Attributes:
        dataset: id of the data set.
        run: id of the run.
        round: round of the run.
        attempt: id of the attempt.
        unit: whose presence the noise hides.
        block: the noised steps; with noise 0 for a training without differential privacy.
    """

    dataset: str
    run: str
    round: int
    attempt: str
    unit: PrivacyUnit
    block: StepBlock

    def to_json(self) -> dict[str, Any]:
        """Return JSON values."""
        return asdict(self)

    @classmethod
    def from_json(cls, values: dict[str, Any]) -> "Spent":
        """Read what `to_json` wrote.

        Raises:
            KeyError, TypeError, ValueError: it is something else.
        """
        return cls(**{**values, "unit": PrivacyUnit(values["unit"]), "block": StepBlock(**values["block"])})


class SpendBook:
    """A history that lives as long as its node's object: for simulations."""

    def __init__(self, *, limit: float = math.inf) -> None:
        """Begin an empty history.

        Args:
            limit: the hospital's own largest epsilon of a data set, beside each order's.
        """
        self._limit = limit
        self._entries: list[Spent] = []

    def spend(self, entry: Spent, *, budget: float, delta: float) -> float:
        """Record a training that is about to begin, if it may.

        Args:
            entry: what will be done.
            budget: largest epsilon that the order allows the data set; infinite for a training without privacy.
            delta: at which epsilon is computed.

        Returns:
            Epsilon of the data set after this training, over all its private trainings; infinite for one without noise.

        Raises:
            Refused: with `PRIVACY_BUDGET`, the data set would have spent more than order or hospital allow. A hospital
                with a limit of its own refuses all training without noise.
        """
        private = [one.block for one in self.entries(entry.dataset) if one.block.noise_multiplier > 0]
        epsilon = epsilon_of([*private, entry.block], delta)
        if epsilon > min(budget, self.limit()):
            raise Refused(FailureCode.PRIVACY_BUDGET)
        self._write(entry)
        self._entries.append(entry)
        return epsilon

    def entries(self, dataset: str) -> Iterator[Spent]:
        """Yield all trainings of a data set, in order."""
        return (entry for entry in self._entries if entry.dataset == dataset)

    def unprotected(self, dataset: str) -> int:
        """Return how many trainings of a data set had no noise; no epsilon covers them."""
        return sum(entry.block.noise_multiplier == 0 for entry in self.entries(dataset))

    def limit(self) -> float:
        """Return the hospital's own limit, infinite where it has none."""
        return self._limit

    def _write(self, entry: Spent) -> None:
        """Keep an entry beyond this object's life; here nothing."""


class FileSpendBook(SpendBook):
    """A history in a file of the node's own folder: one line a training, on disk before the training begins.

    A file ``privacy-limit`` beside it may hold the hospital's own largest epsilon, a number as text.
    """

    def __init__(self, folder: Path) -> None:
        """Read the history.

        Raises:
            KeyError, TypeError, ValueError: a whole line is no record of a training; nothing may be trained on a
                history that is not known.
        """
        super().__init__()
        self._folder = folder
        file = folder / HISTORY_NAME
        if file.exists():
            for line in file.read_text(encoding="utf-8").splitlines():
                if line.startswith("{") and line.endswith("}}"):  # a torn line is one whose training never began
                    self._entries.append(Spent.from_json(json.loads(line)))

    def limit(self) -> float:
        """See `SpendBook.limit`; one that cannot be read allows nothing."""
        file = self._folder / LIMIT_NAME
        if not file.exists():
            return math.inf
        try:
            limit = float(file.read_text(encoding="ascii"))
        except (OSError, ValueError):
            return 0.0
        return limit if math.isfinite(limit) else 0.0

    def _write(self, entry: Spent) -> None:
        self._folder.mkdir(parents=True, exist_ok=True)
        with (self._folder / HISTORY_NAME).open("a", encoding="utf-8") as file:
            line = json.dumps(entry.to_json(), separators=(",", ":"))
            file.write(f"\n{line}\n")  # the first line break ends a line that a crash may have torn
            file.flush()
            os.fsync(file.fileno())
        folder = os.open(self._folder, os.O_RDONLY)
        try:
            os.fsync(folder)
        finally:
            os.close(folder)
