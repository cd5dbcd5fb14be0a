"""What an attack came to, as values and as JSON; and what all attacks together say of privacy, integrity and access."""

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from enum import StrEnum
from typing import Any

from core.diagnosis.conclusion import wilson


class View(StrEnum):
    """What the adversary sees (docs/results.md, "Attack lab")."""

    PLAIN = "plain"
    SEALED = "sealed"
    BLIND = "blind"
    STORED = "stored"
    STORED_CLEAR = "stored-clear"
    SERVICES = "services"


class Figure(StrEnum):
    """Which figure an attack counts for."""

    PRIVACY = "privacy"
    INTEGRITY = "integrity"
    ACCESS = "access"
    NONE = "none"


@dataclass(frozen=True, kw_only=True)
class Attacked:
    """One attack on one view.

    Attributes:
        attack: its name.
        adversary: who attacks.
        view: what it sees.
        figure: which figure the trials count for.
        trials: how often it was tried where there was something to be had.
        successes: of the adversary.
        figures: what was measured beside, by name; numbers, texts, or tables of them.
        seed: fixes what is drawn; masks and keys are drawn from the system and differ each time.
        seconds: that it took.
        picture: file beside the results with true pictures above what came out; empty where there is none.
    """

    attack: str
    adversary: str
    view: View
    figure: Figure
    trials: int
    successes: int
    figures: Mapping[str, Any] = field(default_factory=dict)
    seed: int = 0
    seconds: float = 0.0
    picture: str = ""

    def to_json(self) -> dict[str, Any]:
        """Plain values."""
        return asdict(self)

    @classmethod
    def from_json(cls, values: Mapping[str, Any]) -> "Attacked":
        """Read what `to_json` wrote."""
        return cls(**{**values, "view": View(values["view"]), "figure": Figure(values["figure"])})


GOALS = {Figure.PRIVACY: 98.31, Figure.INTEGRITY: 100.0, Figure.ACCESS: 100.0}
"""In per cent."""
PRIVATE_VIEWS: Mapping[str, tuple[View, ...]] = {
    "as used": (View.BLIND, View.STORED),
    "sealed": (View.SEALED, View.STORED),
    "plain": (View.PLAIN, View.STORED_CLEAR),
}
"""Of which views a privacy figure is made."""


def summary(results: Sequence[Attacked]) -> list[dict[str, Any]]:
    """Return each figure in per cent: share of the trials that failed for the adversary, with Wilson's interval."""
    rows = []
    for name, views in PRIVATE_VIEWS.items():
        own = [one for one in results if one.figure is Figure.PRIVACY and one.view in views]
        rows.append(_row("privacy preservation", name, own, GOALS[Figure.PRIVACY]))
    for figure, title in ((Figure.INTEGRITY, "data integrity"), (Figure.ACCESS, "access security")):
        rows.append(_row(title, "", [one for one in results if one.figure is figure], GOALS[figure]))
    return [row for row in rows if row["trials"]]


def _row(title: str, of: str, results: Sequence[Attacked], goal: float) -> dict[str, Any]:
    trials, successes = sum(one.trials for one in results), sum(one.successes for one in results)
    row: dict[str, Any] = {"figure": title, "of": of, "trials": trials, "successes": successes, "goal": goal}
    row["attacks"] = {f"{one.attack} ({one.view.value})": [one.trials, one.successes] for one in results}
    if trials:
        low, high = wilson(trials - successes, trials)
        row |= {"percent": 100 * (1 - successes / trials), "low": 100 * low, "high": 100 * high}
    return row
