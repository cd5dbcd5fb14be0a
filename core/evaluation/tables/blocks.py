"""What a report consists of, apart from how it is drawn: headings, sentences, tables, and plots with their numbers."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True)
class Heading:
    """Begins a section."""

    text: str


@dataclass(frozen=True)
class Sentence:
    """Plain text; a notice stands out."""

    text: str
    is_notice: bool = False


@dataclass(frozen=True)
class Table:
    """A table whose first column names its rows.

    Attributes:
        caption: what it shows.
        heads: titles of the columns.
        rows: cells as text.
    """

    caption: str
    heads: Sequence[str]
    rows: Sequence[Sequence[object]]


@dataclass(frozen=True)
class Plot:
    """A plot with the same numbers as a table.

    Attributes:
        figure: Plotly's.
        says: one sentence for those who cannot see it.
        numbers: what is in it.
        key: unique in the report.
    """

    figure: Any
    says: str
    numbers: Table
    key: str


Block = Heading | Sentence | Table | Plot
