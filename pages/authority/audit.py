"""Audit log: look through it, verify it from the first entry to its signed head, take it away."""

from collections.abc import Callable

import pandas as pd
import streamlit as st

from core.errors import HemaSealError
from core.services import audit as service
from core.services import audit_proofs as proofs
from core.services.accounts import session_actor
from core.services.users import staff_names
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
            st.download_button(
                "Verifier",
                data=proofs.verifier,
                file_name="verify_audit.py",
                mime="text/x-python",
                icon=":material/terminal:",
                key="audit_verifier",
                on_click="ignore",
            )
        st.caption(
            "An export is checked anywhere, without this database and this program: "
            "`python verify_audit.py hemaseal-audit.jsonl --root hemaseal-root.pem` needs Python and the package "
            "`cryptography`. Keep root certificate and verifier, which are public, from before: those that come "
            "together with a forged log prove nothing."
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


def one_entry() -> None:
    """Draw the choice of an entry and, when asked, the proof that it is in the log."""
    st.markdown("Prove that one entry is in the log without handing out the others.")
    with st.container(horizontal=True, vertical_alignment="bottom"):
        number = st.number_input("Entry No.", min_value=1, step=1, key="audit_prove_number", width=180)
        asked = st.button("Verify this entry", icon=":material/fact_check:", key="audit_prove")
    if asked:
        with st.spinner("Checking every entry …"):
            found = proofs.prove_entry(app, person, int(number))
        st.success(
            f"**Entry {found.number:,} is in the log** of {found.size:,} entries that was signed just now.",
            icon=":material/verified:",
        )
        _download(found.proof, f"hemaseal-entry-{found.number}.json")


def kept_heads() -> None:
    """Draw what makes a cut-off end visible: a head to keep, and the comparison with heads that were kept."""
    st.markdown(
        "Who could sign for this program could also put the log back to an earlier state. A **head** that somebody "
        "else keeps (a hospital, an auditor, a sheet of paper) shows that: it names the number of entries and their "
        "hash. Keep one now and then; add its line to the file of those that you keep."
    )
    token = guard.token() or ""
    st.download_button(
        "Head to keep",
        data=lambda: proofs.head_to_keep(app, session_actor(app, token)),
        file_name="hemaseal-head.jsonl",
        mime="application/jsonl",
        icon=":material/bookmark_add:",
        key="audit_head",
        on_click="ignore",
    )
    file = st.file_uploader("Heads that you kept", type=["jsonl"], key="audit_kept")
    if st.button("Compare with the log", disabled=file is None, key="audit_compare") and file is not None:
        with st.spinner("Checking every entry …"):
            found = proofs.compare(app, person, file.getvalue())
        st.success(
            f"**Nothing is missing.** The {found.old_size:,} entries that were signed on "
            f"{times.show_time(found.old_time)} are the first of the {found.size:,} of today.",
            icon=":material/verified:",
        )
        _download(found.proof, "hemaseal-comparison.json")


def _download(proof: bytes, name: str) -> None:
    """Draw the button that takes a proof away, and how it is checked."""
    st.download_button(
        "Download the proof", data=proof, file_name=name, mime="application/json", key="audit_proof", on_click="ignore"
    )
    st.caption(f"`python verify_audit.py {name} --root hemaseal-root.pem`")


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
    names = staff_names(app, person)
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


def safely(part: Callable[[], None]) -> None:
    """Draw a part of the page, or why it cannot be drawn."""
    try:
        part()
    except HemaSealError as error:
        shell.show_error(error)


shell.title("Audit log", "Who did what, and who looked at whose data. Names and findings are never in it.")
safely(verification)
with st.expander("Verify one entry", key="audit_one_entry"):
    safely(one_entry)
with st.expander("Compare with a head you kept", key="audit_kept_heads"):
    safely(kept_heads)
safely(entries)
