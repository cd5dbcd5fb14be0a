"""What the parts of a doctor's case page share: a line that says what was done, and forms that are empty after it."""

import streamlit as st

_NOTE, _TURN = "case_note", "case_turn"


def done(text: str) -> None:
    """Draw the whole page anew, with a line that says what was done and empty forms."""
    st.session_state[_NOTE] = text
    st.session_state[_TURN] = turn() + 1
    st.rerun()


def turn() -> int:
    """Return a number that is part of the forms' keys and grows with every act: a new key is an empty field."""
    return int(st.session_state.get(_TURN, 0))


def told() -> None:
    """Draw what was done last, once."""
    if text := st.session_state.pop(_NOTE, ""):
        st.success(text, icon=":material/check_circle:")
        st.toast(text, icon=":material/check_circle:")
