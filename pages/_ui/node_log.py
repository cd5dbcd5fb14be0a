"""The newest lines of a hospital's own node: narrowed by level and words, and as a file."""

import pandas as pd
import streamlit as st

from core.services.accounts import session_actor
from core.services.app import Actor, App
from core.services.node_log import Level, as_text, node_log
from pages._ui import guard, shell, times

LEVELS = {Level.INFO: "Everything", Level.WARNING: "Warnings and errors", Level.ERROR: "Errors"}
SHOWN = {Level.INFO: "info", Level.WARNING: "⚠ warning", Level.ERROR: "✕ error"}


def draw(app: App, person: Actor) -> None:
    """Draw the filter, the lines, and the download."""
    left, right = st.columns(2, vertical_alignment="bottom")
    with left:
        least = st.segmented_control(
            "Show", list(LEVELS), default=Level.INFO, required=True, format_func=LEVELS.__getitem__, key="log_level"
        )
    with right:
        words = st.text_input("With the words", key="log_words", placeholder="for example: paused")
    found = node_log(app, person, least=least, words=words)
    if not found:
        narrowed = bool(words) or least is not Level.INFO
        shell.empty_state(
            "No line like that" if narrowed else "Nothing yet",
            "Show everything, or take words away." if narrowed else "Lines appear with the first run or picture.",
        )
        return
    rows = [
        {
            "Time": times.show_time(one.at, seconds=True),
            "What happened": one.text,
            "Level": SHOWN[one.level],
            "From": one.source.value,
        }
        for one in found
    ]
    st.dataframe(
        pd.DataFrame(rows), hide_index=True, height=320, key="node_log", alt="The newest lines of this node's log"
    )
    token = guard.token() or ""
    st.download_button(
        "Download these lines",
        data=lambda: as_text(node_log(app, session_actor(app, token), least=least, words=words)),
        file_name="hemaseal-node.log",
        mime="text/plain",
        icon=":material/download:",
        key="node_log_download",
        on_click="ignore",
    )
    st.caption("Of your own node alone, and without figures of images or names of patients. Times in the file are UTC.")
