"""One picture: measured points and the line fitted through them, as a stand-alone SVG; no package but NumPy."""

from collections.abc import Sequence
from dataclasses import dataclass
from html import escape

import numpy as np

WIDTH, HEIGHT = 720, 420
LEFT, RIGHT, TOP, BOTTOM = 78, 24, 52, 62
INK, PAPER, GRID, POINT, LINE = "#1f2933", "#ffffff", "#d9dee3", "#1565a7", "#b4471f"
SVG = (
    f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {HEIGHT}" role="img"'
    f' font-family="sans-serif" font-size="13" fill="{INK}">'
)
STEPS = (1, 2, 2.5, 5, 10)


@dataclass(frozen=True)
class Fit:
    """The least-squares line y = intercept + slope * x and the share of the variance that it explains."""

    slope: float
    intercept: float
    r_squared: float


def fit(x: Sequence[float], y: Sequence[float]) -> Fit:
    """Return the least-squares line through at least two points with different x."""
    slope, intercept = np.polyfit(x, y, 1)
    rest = np.asarray(y) - (intercept + slope * np.asarray(x))
    spread = np.asarray(y) - np.mean(y)
    variance = float(spread @ spread)
    explained = 1 - float(rest @ rest) / variance if variance > 0 else 1.0
    return Fit(float(slope), float(intercept), explained)


def ticks(highest: float, count: int = 5) -> list[float]:
    """Return round values from 0 up to the first that is not below `highest`, which must be positive."""
    rough = highest / count
    power = 10 ** np.floor(np.log10(rough))
    step = next(float(factor * power) for factor in STEPS if factor * power >= rough * (1 - 1e-9))
    return [step * index for index in range(int(np.ceil(highest / step - 1e-9)) + 1)]


@dataclass(frozen=True)
class Chart:
    """Points (x, y) with a label for each x; y starts at 0.

    Attributes:
        symbol: what the line's equation calls x.
        fitted: whether a point counts for the line (filled) or not (hollow); at least two must.
        note: what hollow points are.
    """

    title: str
    symbol: str
    note: str
    x_title: str
    y_title: str
    x: Sequence[float]
    y: Sequence[float]
    x_labels: Sequence[str]
    fitted: Sequence[bool]

    def line(self) -> Fit:
        """Return the line through the points that count for it."""
        chosen = [point for point, counts in zip(zip(self.x, self.y, strict=True), self.fitted, strict=True) if counts]
        return fit([x for x, _ in chosen], [y for _, y in chosen])

    def svg(self) -> str:
        """Return the picture with its fitted line, whose equation stands below the title."""
        line, marks = self.line(), ticks(max(self.y))
        low, high = min(self.x), max(self.x)

        def across(value: float) -> float:
            return LEFT + 20 + (value - low) / (high - low) * (WIDTH - LEFT - RIGHT - 40)

        def up(value: float) -> float:
            return HEIGHT - BOTTOM - value / marks[-1] * (HEIGHT - TOP - BOTTOM)

        sentence = f"line: {line.intercept:.3g} + {line.slope:.3g} · {self.symbol}, R² = {line.r_squared:.3f}"
        parts = [
            SVG,
            f"<title>{escape(self.title)}</title>",
            f'<rect width="{WIDTH}" height="{HEIGHT}" fill="{PAPER}"/>',
            _text(LEFT, 22, self.title, anchor="start", more=' font-size="16" font-weight="bold"'),
            _text(LEFT, 41, sentence, anchor="start", more=f' fill="{LINE}"'),
            _text(WIDTH - RIGHT, 41, "" if all(self.fitted) else f"hollow: {self.note}", anchor="end"),
        ]
        for value in marks:
            height = up(value)
            parts += [
                f'<path d="M{LEFT} {height:.1f}H{WIDTH - RIGHT}" stroke="{GRID}"/>',
                _text(LEFT - 8, height + 4, f"{value:g}", anchor="end"),
            ]
        parts += [
            _text(across(value), HEIGHT - BOTTOM + 20, label)
            for value, label in zip(self.x, self.x_labels, strict=True)
        ]
        inside = [value for value, counts in zip(self.x, self.fitted, strict=True) if counts]
        ends = [(across(value), up(line.intercept + line.slope * value)) for value in (min(inside), max(inside))]
        parts.append(
            f'<path d="M{ends[0][0]:.1f} {ends[0][1]:.1f}L{ends[1][0]:.1f} {ends[1][1]:.1f}"'
            f' stroke="{LINE}" stroke-width="2"/>'
        )
        parts += [
            f'<circle cx="{across(x):.1f}" cy="{up(y):.1f}" r="5" stroke="{POINT}" stroke-width="2"'
            f' fill="{POINT if counts else PAPER}"/>'
            for x, y, counts in zip(self.x, self.y, self.fitted, strict=True)
        ]
        middle = (TOP + HEIGHT - BOTTOM) / 2
        parts += [
            _text((LEFT + WIDTH - RIGHT) / 2, HEIGHT - 16, self.x_title),
            _text(20, middle, self.y_title, more=f' transform="rotate(-90 20 {middle})"'),
            "</svg>",
        ]
        return "\n".join(parts) + "\n"


def _text(x: float, y: float, words: str, *, anchor: str = "middle", more: str = "") -> str:
    return f'<text x="{x:.1f}" y="{y:.1f}" text-anchor="{anchor}"{more}>{escape(words)}</text>'
