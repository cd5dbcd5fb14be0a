"""Who looked at a patient's data: what others did with it, when, and from which hospital."""

import pandas as pd
import streamlit as st

from core.errors import HemaSealError
from core.services.access_log import Access, accesses
from core.services.accounts import Role
from pages._ui import clinic, guard, shell, state, times

app = state.app()
person = guard.actor(Role.PATIENT)


def table(acts: list[Access]) -> None:
    """Draw what others did, the newest first."""
    rows = [  # three columns, so that a telephone shows them without breaking each word
        {
            "When": times.show_time(act.time),
            "Who": clinic.literal(" · ".join(filter(None, (act.who, act.place)))),
            "What": " · ".join(
                filter(None, (act.what if act.times == 1 else f"{act.what} ({act.times} times)", act.case))
            ),
        }
        for act in acts
    ]
    with st.container(key="access_table"):
        st.table(pd.DataFrame(rows), hide_index=True, alt="Who did what with your data")


shell.title(
    "Who looked at my data",
    "Everything that somebody else, or a program, did with your pictures, results, messages and appointments. "
    "Nobody can look without a line appearing here, and nobody can take a line away unnoticed.",
)
pages: list[int | None] = st.session_state.setdefault("access_pages", [None])
try:
    found = accesses(app, person, before=pages[-1])
except HemaSealError as error:
    shell.show_error(error)
    st.stop()
if found.acts:
    table(found.acts)
else:
    shell.empty_state(
        "Nobody so far", "When somebody looks at your data, it is written here.", icon=":material/visibility:"
    )
with st.container(horizontal=True):
    if len(pages) > 1 and st.button("Newer", key="access_newer"):
        pages.pop()
        st.rerun()
    if found.before is not None and st.button("Older", key="access_older"):
        pages.append(found.before)
        st.rerun()
times.zone_note()
st.caption("A line that you do not understand or did not expect? Write to the hospital under “Messages”.")
