"""The choice of a study: drawn only where there is more than one to choose from."""

from collections.abc import Collection

import streamlit as st

from core.studies import STUDIES, Study


def choose(names: Collection[str], *, key: str, label: str = "Study") -> Study:
    """Return the study that is chosen, the first of the known ones to begin with.

    Args:
        names: names of the studies to choose from, at least one; shown in the order of `STUDIES`.
        key: of the widget.
        label: what the choice is called.
    """
    offered = [name for name in STUDIES if name in names]
    if len(offered) == 1:
        return STUDIES[offered[0]]
    return STUDIES[st.selectbox(label, offered, format_func=title_of, key=key)]


def title_of(name: str) -> str:
    """Return a study's title; the name itself where it is not known here."""
    return STUDIES[name].title if name in STUDIES else name
