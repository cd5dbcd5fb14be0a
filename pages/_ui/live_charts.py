"""Charts by Vega-Lite: those that change while somebody looks at them, and those of pages that people land on.

New data is drawn into the chart that stands there: Streamlit puts a new Plotly chart in place of the old one whenever
its data changes, and that blinks; a Vega-Lite chart whose description stays the same only takes the new data. And a
browser has a fifth of Plotly's code to read before the page stands. Looks are as in `charts`.
"""

from collections.abc import Sequence
from typing import Any

import pandas as pd
import streamlit as st

from pages._ui.charts import COLOURS, with_table

_HEIGHT = 300
_RANGE = {"type": "bar", "size": 14, "cornerRadius": 3, "opacity": 0.35}
_POINT = {"type": "point", "filled": True, "size": 60, "opacity": 1}
_MARK = "mark"
_KEPT = {"key": {"field": _MARK}}
"""Of a mark that takes the place of the former one when it comes again: else Vega keeps 10,000 that are gone before it
clears them away. It cannot be had for lines and areas, so that a line is drawn in pieces here."""
_DASHES = ([1, 0], [6, 3], [2, 2], [6, 2, 2, 2], [10, 3], [10, 2, 2, 2], [1, 0])
_SHAPES = ("circle", "square", "diamond", "triangle-up", "cross", "triangle-down", "stroke")
_WHOLE = {"format": "d", "tickMinStep": 1}
_DECIMAL = {"format": ".3~f"}
_LEGEND = {"orient": "top", "columns": 2, "symbolStrokeWidth": 0, "symbolSize": 90, "symbolOpacity": 1}
"""Two columns fit a telephone; symbols are as strong beside a pale band as elsewhere, to be seen on any ground."""


def lines_with_table(
    frame: pd.DataFrame,
    *,
    x: str,
    y: str,
    series: str,
    names: Sequence[str],
    y_title: str,
    y_most: float | None = None,
    key: str,
    alt: str,
) -> None:
    """Draw lines with markers, one per name, and the same numbers as a table in a tab that the keyboard reaches.

    Args:
        frame: long format, one row a point.
        x: column of the abscissa, whole numbers; its name is its title.
        y: column of the ordinate.
        series: column that names the line a point belongs to.
        names: all names that may come, in order: they keep their colour, dash and marker.
        y_title: what is on the ordinate, with its unit.
        y_most: no ordinate is drawn above it.
        key: stable key, unique on the page.
        alt: one sentence that says what the chart shows, for people who do not see it.
    """
    scale = {"zero": False} if y_most is None else {"zero": False, "domainMax": y_most}
    _with_table(
        {
            "encoding": {
                "x": {"field": x, "type": "quantitative", "title": x, "axis": _WHOLE, "scale": {"zero": False}},
                "y": {"field": y, "type": "quantitative", "title": y_title, "axis": _DECIMAL, "scale": scale},
                "color": _named(series, names, COLOURS),
            },
            "layer": [
                _line(x, y, (series,), {"strokeDash": {**_named(series, names, _DASHES), "legend": None}}),
                {
                    "mark": _POINT,
                    "encoding": {
                        "shape": _named(series, names, _SHAPES),
                        "tooltip": [_words(series), _number(x, x, "d"), _number(y, y_title)],
                        **_KEPT,
                    },
                },
            ],
        },
        frame,
        frame,
        of=(x, series),
        key=key,
        alt=alt,
    )


def spread_with_table(
    frame: pd.DataFrame,
    *,
    x: str,
    y: str,
    low: str,
    high: str,
    bars: str,
    y_title: str,
    y_most: float | None = None,
    key: str,
    alt: str,
) -> None:
    """Draw one line with markers over bars from the lowest to the highest, and a table as in `lines_with_table`.

    Args:
        frame: one row for each place of the abscissa; rows without `low` have no bar.
        x: column of the abscissa, whole numbers; its name is its title.
        y: column of the line, which it names in the legend.
        low: column of the bars' lower ends.
        high: column of their upper ends.
        bars: what they are, for the legend.
        y_title: what is on the ordinate, with its unit.
        y_most: no ordinate is drawn above it.
        key: stable key, unique on the page.
        alt: one sentence that says what the chart shows, for people who do not see it.
    """
    scale = {"zero": False} if y_most is None else {"zero": False, "domainMax": y_most}
    ordinate = {"type": "quantitative", "title": y_title, "axis": _DECIMAL, "scale": scale}
    named = _named("", [y, bars], (COLOURS[0], COLOURS[5]))
    colour = {part: named[part] for part in ("scale", "title", "legend", "type")}
    edges = {"y": {"field": low, **ordinate}, "y2": {"field": high}, "color": {"datum": bars, **colour}}
    line = {"y": {"field": y, **ordinate}, "color": {"datum": y, **colour}}
    told = [_number(x, x, "d"), _number(y, y_title), _number(low, low), _number(high, high)]
    known = [{"filter": f"isValid(datum['{low}'])"}]
    _with_table(
        {
            "encoding": {
                "x": {"field": x, "type": "quantitative", "title": x, "axis": _WHOLE, "scale": {"zero": False}}
            },
            "layer": [
                {"transform": known, "mark": _RANGE, "encoding": {**edges, "tooltip": told, **_KEPT}},
                _line(x, y, (), line),
                {"mark": _POINT, "encoding": {**line, "tooltip": told, **_KEPT}},
            ],
        },
        frame,
        frame,
        of=(x,),
        key=key,
        alt=alt,
    )


def stacks_with_table(frame: pd.DataFrame, *, x: str, x_title: str, y_title: str, key: str, alt: str) -> None:
    """Draw stacked bars, one for each row, and the table that they come from in a tab that the keyboard reaches.

    Args:
        frame: wide format: the column `x`, and one column for each layer, the lowest first.
        x: column that names a bar.
        x_title: what `x` is.
        y_title: what is stacked, with its unit.
        key: stable key, unique on the page.
        alt: one sentence that says what the chart shows, for people who do not see it.
    """
    layers = [str(name) for name in frame.columns if name != x]
    _with_table(
        {
            "transform": [{"calculate": f"indexof({layers}, datum.Layer)", "as": "place"}],
            "mark": "bar",
            "encoding": {
                "x": {"field": x, "type": "ordinal", "title": x_title, "axis": {"labelAngle": 0, "labelOverlap": True}},
                "y": {"field": "Height", "type": "quantitative", "title": y_title},
                "color": _named("Layer", layers, COLOURS),
                "order": {"field": "place"},
                "tooltip": [_words(x, x_title), _words("Layer", "What"), _number("Height", y_title)],
                **_KEPT,
            },
        },
        frame.melt(id_vars=[x], var_name="Layer", value_name="Height"),
        frame,
        of=(x, "Layer"),
        key=key,
        alt=alt,
    )


def bars_with_table(frame: pd.DataFrame, *, x: str, y_title: str, key: str, alt: str) -> None:
    """Draw bars side by side, a group for each row with the value above each bar, and a table as in `lines_with_table`.

    Args:
        frame: wide format: the column `x`, and one column for each bar of a group.
        x: column that names a group; its name is its title.
        y_title: what is counted.
        key: stable key, unique on the page.
        alt: one sentence that says what the chart shows, for people who do not see it.
    """
    names = [str(name) for name in frame.columns if name != x]
    place = {"field": "Bar", "type": "nominal", "sort": names}
    height = {"field": "Height", "type": "quantitative"}
    _with_table(
        {
            "encoding": {
                "x": {"field": x, "type": "nominal", "title": x, "sort": None, "axis": {"labelAngle": 0}},
                "xOffset": place,
                "y": {**height, "title": y_title, "axis": _WHOLE},
            },
            "layer": [
                {
                    "mark": "bar",
                    "encoding": {
                        "color": _named("Bar", names, COLOURS),
                        "tooltip": [_words(x), _words("Bar", "What"), _number("Height", y_title, ",")],
                        **_KEPT,
                    },
                },
                {
                    "mark": {"type": "text", "dy": -9, "fontSize": 13},
                    "encoding": {"text": {"field": "Height", "format": ","}, **_KEPT},
                },
            ],
        },
        frame.melt(id_vars=[x], var_name="Bar", value_name="Height"),
        frame,
        of=(x, "Bar"),
        key=key,
        alt=alt,
    )


def _named(field: str, names: Sequence[str], values: Sequence[Any]) -> dict[str, Any]:
    """Return an encoding that gives each name its own of `values`, whatever rows are there."""
    scale = {"domain": list(names), "range": [values[number % len(values)] for number in range(len(names))]}
    return {"field": field, "type": "nominal", "scale": scale, "title": None, "legend": _LEGEND}


def _line(x: str, y: str, series: Sequence[str], encoding: dict[str, Any]) -> dict[str, Any]:
    """Return the layer of straight pieces from each point to the next of its series; a missing one leaves a gap."""
    following = [{"op": "lead", "field": name, "as": f"next {name}"} for name in (x, y)]
    ends = " && ".join(f"isValid(datum['{name}'])" for name in (y, f"next {y}"))
    return {
        "transform": [
            {"window": following, "groupby": list(series), "sort": [{"field": x}]},
            {"filter": ends},
        ],
        "mark": {"type": "rule", "strokeWidth": 2, "strokeCap": "round", "tooltip": None},
        "encoding": {**encoding, "x2": {"field": f"next {x}"}, "y2": {"field": f"next {y}"}, **_KEPT},
    }


def _words(field: str, title: str | None = None) -> dict[str, Any]:
    """Return how a tooltip shows words; by default the column's name is their title."""
    return {"field": field, "type": "nominal", "title": field if title is None else title}


def _number(field: str, title: str, form: str = _DECIMAL["format"]) -> dict[str, Any]:
    """Return how a tooltip shows a number, in a format of d3."""
    return {"field": field, "type": "quantitative", "title": title, "format": form}


def _with_table(
    spec: dict[str, Any], rows: pd.DataFrame, table: pd.DataFrame, *, of: Sequence[str], key: str, alt: str
) -> None:
    """Draw a chart, whose marks the columns `of` tell apart, and its table."""
    named = " + '/' + ".join(f"datum['{name}']" for name in of)
    whole = {
        **spec,
        "transform": [*spec.get("transform", ()), {"calculate": named, "as": _MARK}],
        "height": _HEIGHT,
        "background": "transparent",
    }
    with with_table(table, key=key, alt=alt):
        st.vega_lite_chart(rows, whole, width="stretch", key=key, alt=alt)
