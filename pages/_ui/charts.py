"""From data to Plotly figures that everybody can read; nothing here knows where the data came from.

Series differ by colour (Okabe and Ito's palette), dash and marker, and a table stands beside each chart.
"""

from collections.abc import Sequence

import pandas as pd
import plotly.graph_objects as go
import streamlit as st

COLOURS = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9", "#6B6B6B")
_DASHES = ("solid", "dash", "dot", "dashdot", "longdash", "longdashdot", "solid")
_MARKERS = ("circle", "square", "diamond", "triangle-up", "cross", "x", "star")


def line_figure(
    frame: pd.DataFrame,
    *,
    x: str,
    y: str,
    series: str | None = None,
    x_title: str,
    y_title: str,
    y_range: tuple[float, float] | None = None,
    height: int = 320,
) -> go.Figure:
    """Return lines with markers, one per value of the column `series`.

    Args:
        frame: long format, one row a point.
        x: column of the abscissa.
        y: column of the ordinate.
        series: column that names the line a point belongs to; None draws one line.
        x_title: what is on the abscissa, with its unit.
        y_title: what is on the ordinate, with its unit.
        y_range: fixed limits of the ordinate.
        height: pixels.
    """
    figure = go.Figure()
    groups = [("", frame)] if series is None else list(frame.groupby(series, sort=False))
    for number, (name, rows) in enumerate(groups):
        k = number % len(COLOURS)
        figure.add_scatter(
            x=rows[x],
            y=rows[y],
            name=str(name),
            mode="lines+markers",
            line={"color": COLOURS[k], "dash": _DASHES[k], "width": 2},
            marker={"symbol": _MARKERS[k], "size": 8},
        )
    return _finish(figure, x_title, y_title, y_range, height, legend=series is not None)


def bar_figure(
    labels: Sequence[str],
    bars: dict[str, Sequence[float]],
    *,
    x_title: str,
    y_title: str,
    stacked: bool = False,
    height: int = 320,
) -> go.Figure:
    """Return vertical bars, `bars` mapping a series' name to one value per label, with the value above each.

    Stacked bars carry no values: thin layers have no room for them, and the table beside the chart has all of them.
    """
    figure = go.Figure()
    for number, (name, values) in enumerate(bars.items()):
        figure.add_bar(
            x=list(labels),
            y=list(values),
            name=name,
            marker={"color": COLOURS[number % len(COLOURS)], "pattern": {"shape": ("", "/", ".", "x")[number % 4]}},
            text=None if stacked else [f"{value:,.3g}" for value in values],
            textposition="outside",
            cliponaxis=False,
        )
    figure.update_layout(barmode="stack" if stacked else "group")
    return _finish(figure, x_title, y_title, None, height, legend=len(bars) > 1)


def plot_with_table(figure: go.Figure, frame: pd.DataFrame, *, key: str, alt: str) -> None:
    """Draw a chart and, in a tab that the keyboard reaches, the same numbers as a table.

    Args:
        figure: what to draw.
        frame: the numbers in it.
        key: stable key, unique on the page.
        alt: one sentence that says what the chart shows, for people who do not see it.
    """
    chart, table = st.tabs(["Chart", "Table"], key=f"{key}_tabs")
    with chart:
        st.plotly_chart(figure, width="stretch", key=key, alt=alt, config={"displayModeBar": False})
    with table:
        st.dataframe(frame, hide_index=True, width="stretch", key=f"{key}_table", alt=alt)


def _finish(
    figure: go.Figure,
    x_title: str,
    y_title: str,
    y_range: tuple[float, float] | None,
    height: int,
    *,
    legend: bool,
) -> go.Figure:
    """Apply what all charts share: axis titles, quiet margins, a legend above."""
    figure.update_layout(
        height=height,
        margin={"l": 8, "r": 8, "t": 36 if legend else 8, "b": 8},
        showlegend=legend,
        legend={"orientation": "h", "y": 1.02, "yanchor": "bottom", "x": 0},
        hovermode="x unified",
    )
    figure.update_xaxes(title=x_title)
    figure.update_yaxes(title=y_title, range=list(y_range) if y_range else None)
    return figure
