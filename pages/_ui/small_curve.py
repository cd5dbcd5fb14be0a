"""“How two parties agree”: elliptic-curve Diffie-Hellman on a curve of 67 points, drawn and followed step by step."""

import pandas as pd
import plotly.graph_objects as go
import streamlit as st

from core.services import small_curve
from core.services.small_curve import Agreement
from pages._ui import charts

REAL_ORDER = "115792089210356248762697446949407573529996955224135760342422259061068512044369"
"""n of P-256 (SEC 2, 2.4.2)."""


def draw() -> None:
    """Draw the section."""
    st.markdown(
        "A hospital and the authority want a secret that nobody who listens can know. On the curve "
        f"y² = x³ + {small_curve.A}x + {small_curve.B}, counted modulo {small_curve.P}, points can be added. Adding "
        f"the point G = {small_curve.GENERATOR} to itself a number of times is quick; finding that number back is "
        "not. Choose two private numbers."
    )
    left, right = st.columns(2)
    own = left.slider("The hospital's private number", 1, small_curve.ORDER - 1, 9, key="curve_own")
    other = right.slider("The authority's private number", 1, small_curve.ORDER - 1, 24, key="curve_other")
    found = small_curve.agree(own, other)
    rows = _steps(found)
    charts.plot_with_table(
        _figure(found),
        pd.DataFrame(rows),
        key="curve",
        alt="The points of a small elliptic curve; the public points and the shared point are marked",
    )
    st.markdown("\n".join(f"{number}. {row['What happens']}: **{row['Point']}**" for number, row in enumerate(rows, 1)))
    st.caption(
        "Only the two public points were sent. Here anybody finds the private numbers by trying 66 of them; the "
        f"real curve, P-256, has {REAL_ORDER} points. This page computes with tinyec, which never holds a real key: "
        "those live in PyCryptodome and cryptography."
    )


def _steps(found: Agreement) -> list[dict[str, str]]:
    return [
        {"What happens": f"The hospital sends {found.own} · G", "Point": str(found.own_public)},
        {"What happens": f"The authority sends {found.other} · G", "Point": str(found.other_public)},
        {
            "What happens": f"The hospital takes {found.own} times the authority's point",
            "Point": str(found.seen_by_own),
        },
        {
            "What happens": f"The authority takes {found.other} times the hospital's point",
            "Point": str(found.seen_by_other),
        },
    ]


def _figure(found: Agreement) -> go.Figure:
    figure = go.Figure()
    places = small_curve.points()
    figure.add_scatter(
        x=[x for x, _ in places],
        y=[y for _, y in places],
        mode="markers",
        name="Points of the curve",
        marker={"color": charts.COLOURS[6], "size": 6, "opacity": 0.6},
        hovertemplate="(%{x}, %{y})<extra></extra>",
    )
    marked = {
        "G": small_curve.GENERATOR,
        "Hospital, public": found.own_public,
        "Authority, public": found.other_public,
        "Shared, secret": found.seen_by_own,
    }
    for number, ((name, (x, y)), symbol) in enumerate(
        zip(marked.items(), ("circle", "square", "diamond", "star"), strict=True)
    ):
        figure.add_scatter(
            x=[x],
            y=[y],
            mode="markers",
            name=name,
            marker={"color": charts.COLOURS[number], "size": 15, "symbol": symbol},
            hovertemplate=f"{name}: (%{{x}}, %{{y}})<extra></extra>",
        )
    figure.update_layout(
        height=420,
        margin={"l": 8, "r": 8, "t": 60, "b": 8},
        legend={"orientation": "h", "y": 1.02, "yanchor": "bottom", "x": 0},
    )
    figure.update_xaxes(title="x", range=[-1.5, small_curve.P + 0.5])
    figure.update_yaxes(title="y", range=[-1.5, small_curve.P + 0.5])
    return figure
