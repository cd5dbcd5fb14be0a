"""The order of an evaluation: a folder of this server, the study, how much is done."""

import streamlit as st

from core.errors import HemaSealError
from core.services import evaluation_orders as service
from core.services.app import Actor, App
from core.studies import STUDIES
from pages._ui import shell, studies

NEWEST = "evaluation_newest"
"""Name of an evaluation that was ordered just now, for the page to show."""
PROFILES = {False: "Quick: at most 1,500 images, one seed", True: "Full: all images, three seeds, some hours"}


def draw(app: App, person: Actor) -> None:
    """Draw the form, or why there is none."""
    if not service.may_import_folders(app):
        st.info(
            "Folders of the server are switched off on this installation (`HEMASEAL_IMPORT_ROOT`). Evaluations that "
            "commands made are shown under “Results” when they lie in its data folder.",
            icon=":material/info:",
        )
        return
    st.markdown(
        "Another process does the work, with throw-away keys and models of its own: runs, models and data sets of this "
        "installation are not touched. It works on when you leave this page, and what was stopped goes on later."
    )
    with st.form("evaluation_form"):
        folder = st.text_input(
            "Folder on this server", key="evaluation_folder", placeholder="/path/to/a/folder/with/index.csv"
        )
        study = studies.choose(list(STUDIES), key="evaluation_study")
        full = st.radio("How much", list(PROFILES), format_func=PROFILES.__getitem__, key="evaluation_full")
        tables = st.checkbox(
            "Tables of the papers: metrics, comparison of methods, ablation, security and cloud",
            value=True,
            key="evaluation_tables",
        )
        attacks = st.checkbox(
            "Attacks: what a cloud, a thief, a poisoning hospital and a stranger achieve",
            value=True,
            key="evaluation_attacks",
        )
        is_public = st.checkbox(
            "These images are public or drawn; none is of a patient of a member hospital", key="evaluation_public"
        )
        st.caption(
            "A comparison trains networks in the clear, and attacks show the pictures that they recover: no patient's "
            "image may be among them. Who orders says so, and the order is in the audit log."
        )
        if not st.form_submit_button("Order evaluation", type="primary", key="evaluation_send"):
            return
    try:
        name = service.order(
            app,
            person,
            folder=folder,
            study=study.name,
            full=bool(full),
            tables=tables,
            attacks=attacks,
            is_public=is_public,
        )
    except HemaSealError as error:
        shell.show_error(error)
        return
    st.session_state[NEWEST] = name
    st.success("Ordered. Watch it under “Results”.", icon=":material/task_alt:")
