"""The attack lab's results as tables for a terminal."""

from collections.abc import Mapping
from typing import Any

from rich.table import Table


def to_table(found: Mapping[str, Any]) -> list[Table]:
    """Return the attacks and the summary as tables.

    Args:
        found: what `core.evaluation.attacks.lab.run` returns.
    """
    attacks = Table("attack", "view", "trials", "successes", "figures", title="Attacks")
    for one in found["attacks"]:
        said = ", ".join(f"{name} {number_text(value)}" for name, value in one["figures"].items())
        attacks.add_row(one["attack"], one["view"], f"{one['trials']:,}", f"{one['successes']:,}", said)
    whole = Table("figure", "of", "trials", "failed for the adversary", "interval", "goal", title="Together")
    for row in found["summary"]:
        share, span = f"{row['percent']:.2f} %", f"{row['low']:.2f} to {row['high']:.2f} %"
        whole.add_row(row["figure"], row["of"], f"{row['trials']:,}", share, span, f"{row['goal']:g} %")
    return [attacks, whole]


def number_text(value: object) -> str:
    """Return a figure of an attack in short: a number, a value with its interval, or names with such."""
    if isinstance(value, float):
        return f"{value:.3g}"
    if isinstance(value, list | tuple) and all(isinstance(one, float) for one in value):
        return f"{value[0]:.3g} ({', '.join(f'{one:.3g}' for one in value[1:])})"
    if isinstance(value, Mapping):
        return "[" + ", ".join(f"{name} {number_text(one)}" for name, one in value.items()) + "]"
    return str(value)
