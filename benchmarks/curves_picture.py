"""The curves of `benchmarks.curves` as one stand-alone SVG of three panels: points with their 95 % intervals."""

import math
from collections.abc import Mapping, Sequence
from html import escape
from typing import Any

WIDTH, PANEL, LEFT, RIGHT, TOP, BOTTOM = 720, 330, 70, 24, 56, 58
INK, PAPER, GRID = "#1f2933", "#ffffff", "#d9dee3"
STYLES = (("#0072B2", "circle"), ("#D55E00", "square"))
FIGURE = "auc"
Row = Mapping[str, Any]


def picture_of(rows: Sequence[Row]) -> str:
    """Return the picture of all points that have figures."""
    shown = [row for row in rows if "figures" in row and row["figures"][FIGURE]["low"] is not None]
    private = [row for row in shown if row["curve"] == "privacy"]
    sent = [row for row in shown if row["curve"] == "bytes"]
    apart = [row for row in shown if row["curve"] == "hospitals"]
    lowest = min((row["figures"][FIGURE]["low"] for row in shown), default=0.0)
    low = math.floor(10 * lowest) / 10
    networks = list(dict.fromkeys(row["architecture"] for row in private))
    panels = [
        _panel(
            "AUC against epsilon per patient (delta 1e-5)",
            "epsilon, logarithmic; the marks on the right edge are not private",
            [(name, _by_epsilon(private, name)) for name in networks],
            low,
        ),
        _panel(
            "AUC against bytes that a hospital sends",
            "MB in the whole run, logarithmic",
            [
                ("rounds of the same training", _by_bytes(sent, words=False)),
                ("six rounds, shorter words", _by_bytes(sent, words=True)),
            ],
            low,
        ),
        _panel(
            "AUC where hospitals differ",
            "",
            [("", [(float(place), row, str(row["name"])) for place, row in enumerate(apart)])],
            low,
        ),
    ]
    drawn = "\n".join(f'<g transform="translate(0 {place * PANEL})">{panel}</g>' for place, panel in enumerate(panels))
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {len(panels) * PANEL}" role="img"'
        f' font-family="sans-serif" font-size="12" fill="{INK}"><title>AUC against privacy, bytes and differences'
        f' of hospitals</title><rect width="{WIDTH}" height="{len(panels) * PANEL}" fill="{PAPER}"/>\n{drawn}\n</svg>\n'
    )


Placed = tuple[float, Row, str]
"""Where on the abscissa, the point, and what stands below it."""


def _by_epsilon(rows: Sequence[Row], network: str) -> list[Placed]:
    own = [row for row in rows if row["architecture"] == network and row.get("epsilon", 0.0) < 1e4]  # noqa: PLR2004  a control
    known = [row["epsilon"] for row in rows if row.get("epsilon", 1e9) < 1e4]  # noqa: PLR2004
    edge = 2 * max(known, default=1.0)
    return sorted(
        (
            (math.log10(row.get("epsilon", edge)), row, f"{row['epsilon']:.2g}" if "epsilon" in row else "none")
            for row in own
        ),
        key=lambda placed: placed[0],
    )


def _by_bytes(rows: Sequence[Row], *, words: bool) -> list[Placed]:
    own = [row for row in rows if bool(row["word"]) == words]
    placed = [(math.log10(row["bytes"]), row, f"{row['bytes'] / 1e6:.2g}") for row in own]
    return sorted(placed, key=lambda one: one[0])


def _panel(title: str, x_title: str, series: Sequence[tuple[str, Sequence[Placed]]], low: float) -> str:
    places = [x for _, points in series for x, _, _ in points]
    if not places:
        return _text(LEFT, 24, f"{title}: no point yet", anchor="start")
    left, span = min(places), (max(places) - min(places)) or 1.0
    bottom = PANEL - BOTTOM

    def across(x: float) -> float:
        return LEFT + 30 + (x - left) / span * (WIDTH - LEFT - RIGHT - 60)

    def up(y: float) -> float:
        return bottom - (y - low) / (1.0 - low) * (bottom - TOP)

    parts = [_text(LEFT, 22, title, anchor="start", more=' font-size="15" font-weight="bold"')]
    for tenth in range(round(10 * low), 11):
        height = up(tenth / 10)
        parts += [
            f'<path d="M{LEFT} {height:.1f}H{WIDTH - RIGHT}" stroke="{GRID}"/>',
            _text(LEFT - 8, height + 4, f"{tenth / 10:.1f}", anchor="end"),
        ]
    written: set[int] = set()
    for number, (name, points) in enumerate(series):
        colour, shape = STYLES[number]
        if name:
            mark = LEFT + 10 + 280 * number
            parts += [_mark(shape, mark, 40, colour), _text(mark + 12, 44, name, anchor="start")]
        line = "L".join(f"{across(x):.1f} {up(row['figures'][FIGURE]['value']):.1f}" for x, row, _ in points)
        if x_title:
            parts.append(f'<path d="M{line}" fill="none" stroke="{colour}" stroke-width="1.5"/>')
        for x, row, label in points:
            figure, place = row["figures"][FIGURE], across(x) + 3 * number
            parts += [
                f'<path d="M{place:.1f} {up(figure["low"]):.1f}V{up(figure["high"]):.1f}" stroke="{colour}"/>',
                _mark(shape, place, up(figure["value"]), colour),
            ]
            if not any(abs(place - one) < 26 for one in written) or not x_title:  # noqa: PLR2004  a label's width
                written.add(round(place))
                turned = "" if x_title else f' transform="rotate(-18 {place:.1f} {bottom + 18})"'
                parts.append(_text(place, bottom + 18, label, anchor="middle" if x_title else "end", more=turned + ""))
    parts.append(_text((LEFT + WIDTH - RIGHT) / 2, PANEL - 12, x_title))
    return "".join(parts)


def _mark(shape: str, x: float, y: float, colour: str) -> str:
    if shape == "circle":
        return f'<circle cx="{x:.1f}" cy="{y:.1f}" r="4.5" fill="{colour}"/>'
    return f'<rect x="{x - 4:.1f}" y="{y - 4:.1f}" width="8" height="8" fill="{colour}"/>'


def _text(x: float, y: float, words: str, *, anchor: str = "middle", more: str = "") -> str:
    return f'<text x="{x:.1f}" y="{y:.1f}" text-anchor="{anchor}"{more}>{escape(words)}</text>'
