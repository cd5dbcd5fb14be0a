"""The hospital's node: queue and health, certificates, data sets, what it did, and the audit head to keep."""

import pandas as pd
import streamlit as st

from core.errors import HemaSealError
from core.services import datasets
from core.services import node as service
from core.services.accounts import session_actor
from core.services.audit_proofs import head_to_keep
from core.services.members import in_use
from pages._ui import guard, node_health, node_log, shell, state, times
from pages._ui.words import KEY_USES, PARTY_PARTS

STATES = {"valid": "✓ valid", "expired": "⚠ expired", "revoked": "✕ revoked"}
SOON_DAYS = 30

app = state.app()
person = guard.actor()


def certificates() -> None:
    """Draw the node's certificates with their expiry."""
    views = service.certificates(app, person)
    now = app.clock.now()
    table = [
        {
            "Part": PARTY_PARTS.get(view.party.partition(".")[2], view.party),
            "Key": KEY_USES.get(view.key_use, view.key_use),
            "State": STATES[view.state],
            "Expires": times.show_date(view.not_after),
            "Days left": (view.not_after - now).days if view.state == "valid" else None,
            "Serial": view.serial,
        }
        for view in views
    ]
    st.dataframe(pd.DataFrame(table), hide_index=True, key="node_certificates", alt="Certificates of this hospital")
    soon = [view for view in in_use(views) if (view.not_after - now).days < SOON_DAYS]
    if soon:
        parts = sorted({PARTY_PARTS.get(view.party.partition(".")[2], view.party) for view in soon})
        st.warning(
            f"A certificate of {' and '.join(parts)} ends within {SOON_DAYS} days or has ended; ask the trusted "
            "authority to renew it.",
            icon=":material/schedule:",
        )
    st.caption(
        "The training node and the serving enclave have keys of their own: who opens one can not use the other. "
        "Private keys never leave the node's folder and are encrypted there."
    )


def data_sets() -> None:
    """Draw a line for each data set; the page “Data sets” has the rest."""
    views = datasets.datasets(app, person)
    if not views:
        shell.empty_state("No data set yet", "Without one this node can not take part in a run; see “Data sets”.")
        return
    table = [
        {
            "Data set": view.name,
            "Origin": view.provenance.value,
            "Training": sum(view.class_counts.get("training", [])),
            "Validation": sum(view.class_counts.get("validation", [])),
            "Kept for tests": sum(view.class_counts.get("test", [])),
            "Patients": view.patients,
        }
        for view in views
    ]
    st.dataframe(pd.DataFrame(table), hide_index=True, key="node_datasets", alt="Data sets of this hospital")


def audit_head() -> None:
    """Draw the download of the audit log's signed head, which the hospital keeps."""
    token = guard.token() or ""
    st.download_button(
        "Head of the audit log",
        data=lambda: head_to_keep(app, session_actor(app, token)),
        file_name="hemaseal-head.jsonl",
        mime="application/jsonl",
        icon=":material/bookmark_add:",
        key="node_audit_head",
        on_click="ignore",
    )
    st.caption(
        "It holds hashes and a number, no data. Keep one now and then: whoever cuts entries off the end of the log, "
        "even with this program's own key, can not cut them off before a head that you kept."
    )


try:
    own = service.node(app, person)
    shell.title(
        f"Node of {own.hospital}", "Your part of the federation: is it well, are its keys valid, what did it do?"
    )
    st.header("Queue and health", anchor=False)
    node_health.draw(app, person)
    st.header("Certificates", anchor=False)
    certificates()
    st.header("Data sets", anchor=False)
    data_sets()
    st.header("What this node did", anchor=False)
    node_log.draw(app, person)
    st.header("What others cannot take back", anchor=False)
    audit_head()
    times.zone_note()
except HemaSealError as error:
    shell.show_error(error)
