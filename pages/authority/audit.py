"""Audit log: look through it, verify it from the first entry to its signed head, take it away."""

import pandas as pd
import streamlit as st

from core.errors import HemaSealError
from core.services import audit as service
from core.services.accounts import accounts, session_actor
from pages._ui import guard, shell, state, times
from pages._ui.words import ACT_GROUPS, OUTCOMES

_PAGE = 50

app = state.app()
person = guard.actor()


def verification() -> None:
    """Draw the check of the whole log with its result, and the export."""
    with st.container(border=True, key="verification"):
        st.markdown(
            "Every act, and every look at a patient's data, is an entry. Each entry holds the hash of the one before; "
            "the last state is signed. Changing, removing or reordering anything breaks the chain."
        )
        with st.container(horizontal=True):
            asked = st.button("Verify the whole log", type="primary", icon=":material/verified:", key="audit_verify")
            token = guard.token() or ""
            st.download_button(
                "Export",
                data=lambda: service.export(app, session_actor(app, token)),
                file_name="hemaseal-audit.jsonl",
                mime="application/jsonl",
                icon=":material/download:",
                key="audit_export",
                on_click="ignore",
            )
            st.download_button(
                "Root certificate",
                data=service.root_certificate(app),
                file_name="hemaseal-root.pem",
                mime="application/x-pem-file",
                icon=":material/license:",
                key="audit_root",
                on_click="ignore",
            )
        st.caption(
            "An export is checked anywhere, without this database: "
            "`python -m security audit-verify FILE --root hemaseal-root.pem`. Keep the root certificate, which is "
            "public, from before: one that comes together with a forged log proves nothing."
        )
        if asked:
            _verify()


def _verify() -> None:
    """Verify now and draw what was found."""
    try:
        with st.spinner("Checking every entry …"):
            view = service.verify(app, person)
    except HemaSealError as error:
        shell.show_error(error)
        return
    st.success(
        f"**The log is whole.** {view.size:,} {'entry' if view.size == 1 else 'entries'} fit together, and the head "
        f"was signed by {view.signer} on {times.show_time(view.signed_at, seconds=True)}.",
        icon=":material/verified:",
    )
    st.caption(f"Root of the tree: `{view.root}`")


def _who(view: service.EntryView, names: dict[str, str]) -> str:
    """Return a user name, the name of a party, or, for patients, who stay nameless here, the first part of the id."""
    if view.actor in names or view.role == "party":
        return names.get(view.actor, view.actor)
    return f"{view.role} {view.actor[:8]}…"


def entries() -> None:
    """Draw the filter and one page of entries, the newest first."""
    group, outcome, about = st.columns(3)
    action = group.selectbox("What", list(ACT_GROUPS), format_func=ACT_GROUPS.__getitem__, key="audit_action")
    ended = outcome.selectbox(
        "How it ended",
        [None, *service.Outcome],
        format_func=lambda o: OUTCOMES[o.value] if o else "Any",
        key="audit_outcome",
    )
    object_id = about.text_input("About (id)", key="audit_object", placeholder="id of a case, run, account …")
    filters = (action, ended, object_id)
    if st.session_state.get("audit_filters") != filters:
        st.session_state["audit_filters"], st.session_state["audit_pages"] = filters, [None]
    pages: list[int | None] = st.session_state["audit_pages"]
    found = service.list_entries(
        app, person, action=action, outcome=ended, object_id=object_id.strip(), before=pages[-1], limit=_PAGE
    )
    if not found:
        shell.empty_state("No entry fits", "Choose another filter to see more.")
        return
    names = {view.user_id: view.username for view in accounts(app, person)}
    table = [
        {
            "No.": view.number,
            "Time": times.show_time(view.time, seconds=True),
            "Who": _who(view, names),
            "As": view.role,
            "What": view.action,
            "Ended": OUTCOMES.get(view.outcome, view.outcome),
            "About": view.object_id,
            "Details": ", ".join(f"{name}: {value}" for name, value in view.details.items()),
        }
        for view in found
    ]
    widths = {"No.": 60, "Time": 190, "Who": 140, "As": 80, "What": 150, "Ended": 80, "About": 130}
    st.dataframe(
        pd.DataFrame(table),
        hide_index=True,
        height=560,
        key="audit_table",
        alt="Entries of the audit log",
        column_config={name: st.column_config.Column(width=pixels) for name, pixels in widths.items()},
    )
    with st.container(horizontal=True, vertical_alignment="center"):
        if st.button("Newer", key="audit_newer", disabled=len(pages) == 1):
            pages.pop()
            st.rerun()
        if st.button("Older", key="audit_older", disabled=len(found) < _PAGE):
            pages.append(found[-1].number)
            st.rerun()
        st.caption(f"Times are shown in your time zone, {times.zone_name()}.", width="content")


shell.title("Audit log", "Who did what, and who looked at whose data. Names and findings are never in it.")
try:
    verification()
    entries()
except HemaSealError as error:
    shell.show_error(error)
