"""What ``attacks.json`` of a folder says, in order, as blocks: success beside its control and its baseline, and why."""

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from core.evaluation.attacks.report import number_text
from core.evaluation.attacks.result import View
from core.evaluation.tables import charts
from core.evaluation.tables.blocks import Block, Heading, Plot, Sentence, Table
from core.evaluation.tables.figures import number

FILE = "attacks.json"
ROLES: Mapping[str, tuple[View, ...]] = {
    "control: readable": (View.PLAIN, View.STORED_CLEAR),
    "sealed": (View.SEALED,),
    "as used: blind, stored sealed": (View.BLIND, View.STORED),
}
"""What the adversary of a privacy attack sees; where its control fails, an attack proves nothing elsewhere."""
_PSNR, _AUC, _BLANK = "psnr ", "auc", "auc with random words in place of the uploads"


def contents(folder: Path) -> list[Block]:
    """Return headings, sentences, tables and plots of a folder in which attacks were run.

    Raises:
        FileNotFoundError: none were.
    """
    found = json.loads((folder / FILE).read_text(encoding="utf-8"))
    attacks = found["attacks"]
    plots = [_success(attacks), _areas(attacks), _likeness(attacks)]
    return [
        Heading("Attacks"),
        Sentence("Successes are those of the adversary. Definitions: docs/results.md, “Attack lab”."),
        _together(found["summary"]),
        *(plot for plot in plots if plot is not None),
        _tried(attacks),
        *(_counted(one) for one in attacks if "found of injected" in one["figures"]),
        *(_figures(one) for one in attacks),
        Table(
            "What they were run on",
            ("what", "value"),
            [(key, found[key]) for key in ("data", "study", "profile", "index")],
        ),
    ]


def _together(rows: Sequence[Mapping[str, Any]]) -> Table:
    cells = [
        (
            f"{row['figure']}, {row['of']}" if row["of"] else row["figure"],
            row["trials"],
            row["successes"],
            f"{row['percent']:.2f} % ({row['low']:.2f} to {row['high']:.2f})",
            f"{row['goal']:g} %",
        )
        for row in rows
    ]
    heads = ("figure", "trials", "successes", "failed for the adversary (95 % interval)", "goal")
    return Table("All attacks together", heads, cells)


def _success(attacks: Sequence[Mapping[str, Any]]) -> Plot | None:
    """Return the share of trials that succeed, by what the adversary sees."""
    own = [one for one in attacks if one["figure"] == "privacy" and one["trials"]]
    if not own:
        return None
    names = list(dict.fromkeys(one["attack"] for one in own))
    shares = {
        role: [
            next(
                (one["successes"] / one["trials"] for one in own if one["attack"] == name and one["view"] in views),
                None,
            )
            for name in names
        ]
        for role, views in ROLES.items()
    }
    cells = [(name, *(number(shares[role][place]) for role in ROLES)) for place, name in enumerate(names)]
    return Plot(
        charts.bars(names, shares, y_title="share of trials that succeed"),
        "Share of trials in which the adversary succeeds, beside the control in which it can read everything",
        Table("Share of trials that succeed", ("attack", *ROLES), cells),
        "attacks-success",
    )


def _areas(attacks: Sequence[Mapping[str, Any]]) -> Plot | None:
    """Return the areas under the curve of what is inferred, and those of the same adversary without any upload."""
    known = {
        f"{one['attack']}, {one['view']}{more}": one["figures"][key]
        for one in attacks
        for key, more in ((_AUC, ""), (_BLANK, ", baseline: random words"))
        if key in one["figures"] and (key == _AUC or one["view"] == View.BLIND)
    }
    return _with_intervals(known, "AUC", "a half is chance", "attacks-auc")


def _likeness(attacks: Sequence[Mapping[str, Any]]) -> Plot | None:
    """Return how like the true pictures those are that were found, beside what nobody needs an attack for."""
    known = {
        f"{one['attack']}, {one['view']}: {key.removeprefix(_PSNR)}": values
        for one in attacks
        for key, values in one["figures"].items()
        if key.startswith(_PSNR)
    }
    return _with_intervals(known, "PSNR in dB", "flat colour and mean picture are baselines", "attacks-psnr")


def _with_intervals(known: Mapping[str, Sequence[float]], title: str, note: str, key: str) -> Plot | None:
    if not known:
        return None
    figures = [dict(zip(("value", "low", "high"), values, strict=True)) for values in known.values()]
    cells = [
        (name, number(one["value"]), f"{number(one['low'])} to {number(one['high'])}")
        for name, one in zip(known, figures, strict=True)
    ]
    return Plot(
        charts.intervals(list(known), figures, title=title),
        f"{title} with its 95 % interval; {note}",
        Table(title, ("attack and view", "value", "95 % interval"), cells),
        key,
    )


def _tried(attacks: Sequence[Mapping[str, Any]]) -> Table:
    heads = ("attack", "adversary", "view", "counts for", "trials", "successes", "seed", "seconds")
    keys = ("attack", "adversary", "view", "figure", "trials", "successes", "seed", "seconds")
    return Table("Each attack, kept in attacks/NAME.json", heads, [[one[key] for key in keys] for one in attacks])


def _counted(one: Mapping[str, Any]) -> Table:
    """Return what was injected, kind by kind, and how much of it was found."""
    kinds = one["figures"]["found of injected"]
    cells = [(kind, found, of) for kind, (found, of) in kinds.items()]
    return Table(f"{one['attack']}, {one['view']}: found of injected", ("kind", "found", "injected"), cells)


def _figures(one: Mapping[str, Any]) -> Table:
    cells = [(name, number_text(value)) for name, value in one["figures"].items() if name != "found of injected"]
    return Table(f"{one['attack']}, {one['view']}: what was measured beside", ("figure", "value"), cells)
