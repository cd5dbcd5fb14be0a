"""A report as one HTML file: all text escaped, Plotly's program inside, nothing fetched from anywhere."""

from collections.abc import Sequence
from functools import singledispatch
from html import escape

from core.evaluation.tables.blocks import Block, Heading, Plot, Sentence, Table

_STYLE = """
:root { color-scheme: light; --ink: #1a262b; --quiet: #54636a; --rule: #c9d3d7; --tint: #eef3f5; }
body { font: 16px/1.5 system-ui, sans-serif; color: var(--ink); margin: 0 auto; max-width: 70rem; padding: 1.5rem; }
h1, h2 { line-height: 1.2; } h2 { margin-top: 2.5rem; border-top: 2px solid var(--rule); padding-top: 1rem; }
table { border-collapse: collapse; margin: .75rem 0; font-size: .95rem; }
caption { text-align: left; color: var(--quiet); padding-bottom: .3rem; }
th, td { text-align: left; padding: .3rem .7rem; border-bottom: 1px solid var(--rule); vertical-align: top; }
thead th { background: var(--tint); } td.number { text-align: right; font-variant-numeric: tabular-nums; }
.wide { overflow-x: auto; } details { margin: .5rem 0 1.5rem; } summary { cursor: pointer; }
.notice { background: var(--tint); padding: .7rem 1rem; border-left: 4px solid var(--quiet); }
figure { margin: 1rem 0; }
"""

_NOTICE, _NUMBER = ' class="notice"', ' class="number"'


def to_html(title: str, blocks: Sequence[Block]) -> str:
    """Return the whole file."""
    from plotly.offline import get_plotlyjs  # noqa: PLC0415  megabytes that only this needs

    return (
        f'<!doctype html><html lang="en"><head><meta charset="utf-8"><title>{escape(title)}</title>'
        '<meta name="viewport" content="width=device-width, initial-scale=1">'
        f"<style>{_STYLE}</style><script>{get_plotlyjs()}</script></head>"
        f"<body><main><h1>{escape(title)}</h1>{''.join(map(html_of, blocks))}</main></body></html>\n"
    )


@singledispatch
def html_of(block: Block) -> str:
    """Return one block of a report as HTML."""
    raise TypeError(f"{type(block).__name__} is no block of a report")


@html_of.register
def _(block: Heading) -> str:
    return f"<h2>{escape(block.text)}</h2>"


@html_of.register
def _(block: Sentence) -> str:
    return f"<p{_NOTICE if block.is_notice else ''}>{escape(block.text)}</p>"


@html_of.register
def _(block: Table) -> str:
    head = "".join(f'<th scope="col">{escape(one)}</th>' for one in block.heads)
    body = "".join(
        f'<tr><th scope="row">{escape(str(row[0]))}</th>{"".join(map(_cell, row[1:]))}</tr>' for row in block.rows
    )
    caption = escape(block.caption)
    return (
        f'<div class="wide" tabindex="0" role="region" aria-label="{caption}"><table>'
        f"<caption>{caption}</caption><thead><tr>{head}</tr></thead><tbody>{body}</tbody></table></div>"
    )


@html_of.register
def _(block: Plot) -> str:
    config = {"displayModeBar": False}
    drawn = block.figure.to_html(full_html=False, include_plotlyjs=False, div_id=block.key, config=config)
    says = escape(block.says)
    return (
        f'<figure role="group" aria-label="{says}"><figcaption>{says}</figcaption>{drawn}</figure>'
        f"<details><summary>The same as a table</summary>{html_of(block.numbers)}</details>"
    )


def _cell(value: object) -> str:
    text = str(value)
    numeric = text[:1].isdigit() or text[:1] in {"-", "+"}
    return f"<td{_NUMBER if numeric else ''}>{escape(text)}</td>"
