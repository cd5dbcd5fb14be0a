"""From data to Plotly figures that everybody can read; nothing here knows where the data came from.

Series differ by colour (Okabe and Ito's palette), dash and marker, and a table stands beside each chart.
"""

from collections.abc import Sequence

import pandas as pd
import plotly.graph_objects as go
import streamlit as st
from streamlit.delta_generator import DeltaGenerator

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
            line={"color": COLOURS[k], "dash": _DASHES[(number + number // len(COLOURS)) % len(_DASHES)], "width": 2},
            marker={"symbol": _MARKERS[k], "size": 8},
        )
    return _finish(figure, x_title, y_title, y_range, height, legend=series is not None)


def rows_figure(
    labels: Sequence[str],
    values: Sequence[float],
    *,
    marked: Sequence[bool],
    limit: float,
    x_title: str,
    names: tuple[str, str],
) -> go.Figure:
    """Return horizontal bars from 0 to 1, the first label on top, with a line at `limit`.

    Args:
        labels: one for each bar.
        values: 0..1, written at the bars' ends.
        marked: which bars stand out, by colour and pattern.
        limit: where the line is.
        x_title: what is measured.
        names: what a plain bar and a marked one mean.
    """
    figure = go.Figure()
    for number, name in enumerate(names):
        chosen = [place for place, is_marked in enumerate(marked) if is_marked == bool(number)]
        figure.add_bar(
            y=[labels[place] for place in chosen],
            x=[values[place] for place in chosen],
            name=name,
            orientation="h",
            marker={"color": COLOURS[number], "pattern": {"shape": ("", "/")[number]}},
            text=[f"{values[place]:.2f}" for place in chosen],
            textposition="outside",
            cliponaxis=False,
        )
    figure.add_vline(x=limit, line={"dash": "dash", "width": 2, "color": COLOURS[-1]})
    _finish(figure, x_title, "", None, 96 + 32 * len(labels), legend=True)
    figure.update_layout(barmode="overlay", hovermode="closest")
    figure.update_xaxes(range=[0, 1.2], tickvals=[0, 0.25, 0.5, 0.75, 1])
    figure.update_yaxes(title=None, categoryorder="array", categoryarray=list(reversed(labels)), automargin=True)
    return figure


def plot_with_table(figure: go.Figure, frame: pd.DataFrame, *, key: str, alt: str) -> None:
    """Draw a chart and its numbers, as `with_table` does.

    Args:
        figure: what to draw.
        frame: the numbers in it.
        key: stable key, unique on the page.
        alt: one sentence that says what the chart shows, for people who do not see it.
    """
    with with_table(frame, key=key, alt=alt):
        st.plotly_chart(figure, width="stretch", key=key, alt=alt, config={"displayModeBar": False})


def with_table(frame: pd.DataFrame, *, key: str, alt: str) -> DeltaGenerator:
    """Make a place for a chart, and beside it a tab that the keyboard reaches, with the same numbers as a table.

    The table is drawn when somebody opens its tab: a page opens sooner without tables that nobody looks at.

    Args:
        frame: the numbers in the chart.
        key: the chart's key, unique on the page.
        alt: one sentence that says what the chart shows.
    """
    chart, table = st.tabs(["Chart", "Table"], key=f"{key}_tabs", on_change="rerun")
    if table.open:
        table.dataframe(frame, hide_index=True, width="stretch", key=f"{key}_table", alt=alt)
    return chart


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
