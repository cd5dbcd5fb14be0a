"""What an evaluation says, drawn on a page: tables, and each plot with its numbers beside it."""

from collections.abc import Sequence

import pandas as pd
import streamlit as st

from core.services.evaluations import Block, Plot, Sentence, Table
from pages._ui import charts

_OWN_LOOK = "plotly"
"""Streamlit lays its theme over this template; the report's white one would stay white on a dark page."""


def draw(blocks: Sequence[Block], *, key: str) -> None:
    """Draw the blocks of one heading.

    Args:
        blocks: what it says.
        key: unique on the page.
    """
    for number, block in enumerate(blocks):
        match block:
            case Sentence(text):
                st.markdown(text)
            case Table():
                st.markdown(f"**{block.caption}**")
                st.dataframe(_frame(block), hide_index=True, height="content", key=f"{key}_{number}", alt=block.caption)
            case Plot():
                st.markdown(f"**{block.says}**")
                figure = block.figure.update_layout(template=_OWN_LOOK)
                charts.plot_with_table(figure, _frame(block.numbers), key=f"{key}_{block.key}", alt=block.says)


def _frame(table: Table) -> pd.DataFrame:
    return pd.DataFrame(
        [[str(cell) for cell in row] for row in table.rows], columns=[str(head) for head in table.heads]
    )
