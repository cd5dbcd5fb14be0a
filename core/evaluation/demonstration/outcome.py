"""What a step of the demonstration leaves to be shown: words, tables, curves and pictures, as values and as JSON."""

from typing import ClassVar

from pydantic import BaseModel, ConfigDict

__all__ = ["Curves", "Outcome", "Picture", "Shown", "Table"]


class Shown(BaseModel):
    """Base of all of it: immutable, bytes as base64 in JSON."""

    model_config: ClassVar[ConfigDict] = ConfigDict(
        frozen=True, extra="forbid", ser_json_bytes="base64", val_json_bytes="base64"
    )


class Table(Shown):
    """A table.

    Attributes:
        title: what it lists.
        columns: their names.
        rows: texts, one for each column.
    """

    title: str
    columns: tuple[str, ...]
    rows: tuple[tuple[str, ...], ...]


class Curves(Shown):
    """Several curves over the same places, such as histograms.

    Attributes:
        title: what they show, in one sentence.
        x_title: what is on the abscissa, with its unit.
        y_title: what is on the ordinate, with its unit.
        x: places.
        series: name -> one value for each place.
    """

    title: str
    x_title: str
    y_title: str
    x: tuple[float, ...]
    series: dict[str, tuple[float, ...]]


class Picture(Shown):
    """A picture.

    Attributes:
        caption: stands below it.
        alt: what it shows, for people who do not see it.
        group: pictures of one group stand in one row.
        png: its bytes.
    """

    caption: str
    alt: str
    group: str
    png: bytes


class Outcome(Shown):
    """What came out of a step.

    Attributes:
        headline: in one sentence.
        as_told: whether it came out as the speaker notes tell it.
        facts: name and value of single figures.
        pictures: in order.
        curves: in order.
        tables: in order.
    """

    headline: str
    as_told: bool
    facts: tuple[tuple[str, str], ...] = ()
    pictures: tuple[Picture, ...] = ()
    curves: tuple[Curves, ...] = ()
    tables: tuple[Table, ...] = ()
