"""What the attack lab found (`core.evaluation.attacks`), joined to the tables: ``OUT/attacks/*.json`` beside the steps.

Nothing is measured or made up here: where the lab has left no results, the figures do not exist.
"""

import json
from collections.abc import Collection, Sequence
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any

from core.diagnosis.conclusion import wilson
from core.errors import InvalidInput
from core.evaluation.attacks.result import Attacked, Figure, View

FOLDER = "attacks"
_FIELDS = frozenset(field.name for field in fields(Attacked))


@dataclass(frozen=True)
class Withstood:
    """The share of trials that failed for the adversary, with Wilson's interval."""

    trials: int
    failed: int
    share: float
    low: float
    high: float


def read_attacks(out: Path) -> list[Attacked]:
    """Return the lab's results below a folder of tables; none where it was not run.

    Raises:
        InvalidInput: a file is not such a result.
    """
    found = []
    for file in sorted((out / FOLDER).glob("*.json")):
        try:
            rows = json.loads(file.read_text(encoding="utf-8"))
            found += [_attacked(row) for row in rows]
        except (ValueError, KeyError, TypeError, AttributeError) as error:
            raise InvalidInput(f"{file} holds no results of the attack lab: {error}") from error
    return found


def _attacked(row: dict[str, Any]) -> Attacked:
    one = Attacked.from_json({name: value for name, value in row.items() if name in _FIELDS})
    if not 0 <= one.successes <= one.trials:
        raise ValueError(f"{one.successes} successes of {one.trials} trials")
    return one


def withstood(
    attacks: Sequence[Attacked], figure: Figure, views: Collection[View] = frozenset(View)
) -> Withstood | None:
    """Return the share of trials that failed, over all attacks against `figure` with one of `views`; None for none."""
    own = [attack for attack in attacks if attack.figure is figure and attack.view in views]
    trials = sum(attack.trials for attack in own)
    if not trials:
        return None
    failed = trials - sum(attack.successes for attack in own)
    return Withstood(trials, failed, failed / trials, *wilson(failed, trials))
