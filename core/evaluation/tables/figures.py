"""The plots of a report, each with its numbers: intervals, ROC, precision and recall, calibration, confusion."""

from collections.abc import Mapping, Sequence
from typing import Any

from core.evaluation.tables import charts
from core.evaluation.tables.blocks import Plot, Table

Rows = Sequence[Mapping[str, Any]]
IN_TABLE = 12
"""About so many points of a curve stand in its table."""


def interval_plots(rows: Rows, titles: Mapping[str, str]) -> list[Plot]:
    """Return a plot of each of the figures `titles` names, one method beside the other."""
    plots = []
    for key, title in titles.items():
        names, own = [row["method"] for row in rows], [row["figures"][key] for row in rows]
        numbers = [(name, number(one["value"]), between(one)) for name, one in zip(names, own, strict=True)]
        plots.append(
            Plot(
                charts.intervals(names, own, title=title),
                f"{title} of each method with its 95 % interval",
                Table(title, ("method", "value", "interval"), numbers),
                f"interval-{key}",
            )
        )
    return plots


def curve_plots(rows: Rows, classes: Sequence[str]) -> list[Plot]:
    """Return the curves of all methods together, and each method's confusion."""
    return [
        _curve(rows, "roc", "ROC", "false positive rate", "true positive rate"),
        _curve(rows, "precision_recall", "Precision and recall", "recall", "precision"),
        _calibration(rows),
        *(_confusion(row, classes, place) for place, row in enumerate(rows)),
    ]


def number(value: float | None) -> str:
    """Return three decimals, or "none" where the figure does not exist."""
    return "none" if value is None else f"{value:.3f}"


def between(figure: Mapping[str, float | None]) -> str:
    """Return an interval."""
    return "" if figure["low"] is None else f"{number(figure['low'])} to {number(figure['high'])}"


def _curve(rows: Rows, key: str, title: str, x: str, y: str) -> Plot:
    series = [(row["method"], row["curves"][key]) for row in rows]
    numbers = [
        (name, number(point[0]), number(point[1]))
        for name, points in series
        for point in points[:: max(1, len(points) // IN_TABLE)]
    ]
    return Plot(
        charts.lines(series, x_title=x, y_title=y, diagonal=key == "roc"),
        f"{title} of any positive class, all methods",
        Table(title, ("method", x, y), numbers),
        key,
    )


def _calibration(rows: Rows) -> Plot:
    bins = [(row["method"], row["curves"]["calibration"]) for row in rows]
    series = [(name, [(one["probability"], one["right"]) for one in own]) for name, own in bins]
    numbers = [
        (name, number(one["probability"]), number(one["right"]), one["images"]) for name, own in bins for one in own
    ]
    x, y = "probability of the called class", "share that is right"
    return Plot(
        charts.lines(series, x_title=x, y_title=y, markers=True, diagonal=True),
        "Calibration: how often a method is right at each probability; on the dotted line they agree",
        Table("Calibration", ("method", x, y, "images"), numbers),
        "calibration",
    )


def _confusion(row: Mapping[str, Any], classes: Sequence[str], place: int) -> Plot:
    counts = row["curves"]["confusion"]
    return Plot(
        charts.confusion(counts, classes),
        f"Confusion of {row['method']}: labels by called classes, images of all seeds",
        Table(
            row["method"],
            ("label", *(f"called {name}" for name in classes)),
            [(name, *own) for name, own in zip(classes, counts, strict=True)],
        ),
        f"confusion-{place}",
    )
