"""Plots of the comparison as Plotly figures; `core.evaluation.tables.page` puts the numbers beside each as a table.

Series differ by colour (Okabe and Ito's palette), dash and marker.
"""

from collections.abc import Mapping, Sequence
from typing import Any

import plotly.graph_objects as go

COLOURS = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9", "#6B6B6B", "#000000")
_DASHES = ("solid", "dash", "dot", "dashdot", "longdash", "longdashdot", "solid", "dot")
_MARKERS = ("circle", "square", "diamond", "triangle-up", "cross", "x", "star", "pentagon")

Series = Sequence[tuple[str, Sequence[Sequence[float]]]]
"""Names with points (x, y)."""


def lines(series: Series, *, x_title: str, y_title: str, markers: bool = False, diagonal: bool = False) -> go.Figure:
    """Return one line for each series over the unit square.

    Args:
        series: what is drawn.
        x_title: what is on the abscissa.
        y_title: what is on the ordinate.
        markers: draw the points too.
        diagonal: draw the line on which both are the same.
    """
    figure = go.Figure()
    for number, (name, points) in enumerate(series):
        figure.add_scatter(
            x=[point[0] for point in points],
            y=[point[1] for point in points],
            name=name,
            mode="lines+markers" if markers else "lines",
            line={"color": COLOURS[number % len(COLOURS)], "dash": _DASHES[number % len(COLOURS)], "width": 2},
            marker={"symbol": _MARKERS[number % len(COLOURS)], "size": 8},
        )
    if diagonal:
        figure.add_shape(type="line", x0=0, y0=0, x1=1, y1=1, line={"color": "#999999", "dash": "dot", "width": 1})
    figure.update_layout(height=440, margin={"l": 8, "r": 8, "t": 8, "b": 8}, template="plotly_white")
    figure.update_xaxes(title=x_title, range=[-0.01, 1.01])
    figure.update_yaxes(title=y_title, range=[-0.01, 1.01])
    return figure


def intervals(names: Sequence[str], figures: Sequence[dict[str, Any]], *, title: str) -> go.Figure:
    """Return one point with its interval for each name; figures that do not exist are left out."""
    known = [(name, one) for name, one in zip(names, figures, strict=True) if one["value"] is not None]
    figure = go.Figure()
    figure.add_scatter(
        x=[one["value"] for _, one in known],
        y=[name for name, _ in known],
        mode="markers",
        marker={"color": COLOURS[0], "size": 10},
        error_x={
            "type": "data",
            "symmetric": False,
            "array": [max(0.0, (one["high"] or one["value"]) - one["value"]) for _, one in known],
            "arrayminus": [max(0.0, one["value"] - (one["low"] or one["value"])) for _, one in known],
        },
        showlegend=False,
    )
    height = 80 + 36 * max(1, len(known))
    figure.update_layout(height=height, margin={"l": 8, "r": 8, "t": 8, "b": 8}, template="plotly_white")
    figure.update_xaxes(title=title)
    figure.update_yaxes(autorange="reversed")
    return figure


def bars(labels: Sequence[str], series: Mapping[str, Sequence[float | None]], *, y_title: str) -> go.Figure:
    """Return bars from 0 to 1 beside each other for each label, a series a colour and pattern; None leaves a gap."""
    figure = go.Figure()
    for number, (name, values) in enumerate(series.items()):
        figure.add_bar(
            x=list(labels),
            y=list(values),
            name=name,
            marker={"color": COLOURS[number], "pattern": {"shape": ("", "/", ".", "x")[number % 4]}},
            text=["" if value is None else f"{value:.3g}" for value in values],
            textposition="outside",
            cliponaxis=False,
        )
    figure.update_layout(height=380, margin={"l": 8, "r": 8, "t": 24, "b": 8}, template="plotly_white", barmode="group")
    figure.update_yaxes(title=y_title, range=[0, 1.1])
    return figure


def confusion(counts: Sequence[Sequence[int]], classes: Sequence[str]) -> go.Figure:
    """Return a confusion matrix, row = label, column = called class, shaded by the share of its row."""
    shares = [[count / max(1, sum(row)) for count in row] for row in counts]
    figure = go.Figure(
        go.Heatmap(
            z=shares,
            x=list(classes),
            y=list(classes),
            text=[[str(count) for count in row] for row in counts],
            texttemplate="%{text}",
            colorscale="Blues",
            zmin=0,
            zmax=1,
            colorbar={"title": "share"},
        )
    )
    figure.update_layout(height=360, margin={"l": 8, "r": 8, "t": 8, "b": 8}, template="plotly_white")
    figure.update_xaxes(title="called")
    figure.update_yaxes(title="label", autorange="reversed")
    return figure
