"""Enclaves: which program they may run. The authority approves the installed one, or withdraws what it approved."""

import pandas as pd
import streamlit as st

from core.errors import HemaSealError
from core.services import approvals as service
from core.services.approvals import MeasurementView, Standing
from pages._ui import enclave_words, guard, shell, state, times

STANDING = {
    Standing.APPROVED: "✓ approved",
    Standing.NEVER_APPROVED: "✕ not approved: cases wait",
    Standing.WITHDRAWN: "✕ withdrawn: cases wait",
}

app = state.app()
person = guard.actor()


def installed(view: MeasurementView) -> None:
    """Draw what this installation's enclaves run, what differs from what was approved, and the approval."""
    st.header("The installed program", anchor=False)
    shell.facts(
        [
            ("State", STANDING[view.standing]),
            ("Measurement", f"`{view.installed.sha256}`"),
            ("Code", f"`{view.installed.code_sha256}`"),
            ("Libraries", f"`{view.installed.libraries_sha256}`"),
        ]
    )
    if view.problem:
        st.warning(f"No list of approvals is believed: {view.problem}.", icon=":material/gpp_maybe:")
    if view.standing is Standing.APPROVED:
        return
    if view.differences:
        st.markdown("It differs from what was approved last:")
        rows = [
            {"Part": one.name, "Approved": one.approved or times.NOTHING, "Installed": one.installed or times.NOTHING}
            for one in view.differences
        ]
        st.dataframe(
            pd.DataFrame(rows),
            hide_index=True,
            height="content",
            key="enclaves_differences",
            alt="Parts of the program that differ from what was approved, before and now",
        )
    looked = st.checkbox("I know where this program comes from and that it is what was reviewed", key="enclaves_looked")
    if st.button(
        "Approve the installed program",
        type="primary",
        icon=":material/verified_user:",
        key="enclaves_approve",
        disabled=not looked,
    ):
        number = service.approve(app, person, view.installed.sha256)
        st.session_state["enclaves_done"] = f"Approved under number {number}. Cases that wait are answered from now on."
        st.rerun()


def approved(view: MeasurementView) -> None:
    """Draw the approvals in force, and the withdrawal of one."""
    st.header("Approvals in force", anchor=False)
    if not view.approved:
        shell.empty_state("Nothing is approved", "No enclave answers until the installed program is approved.")
        return
    rows = [
        {
            "Number": one.number,
            "Measurement": one.measurement.sha256[:16],
            "Code": one.code_sha256[:16],
            "Approved": times.show_time(one.at),
            "Installed": "yes" if one.measurement == view.installed else "no",
            "Libraries": ", ".join(one.libraries),
        }
        for one in view.approved
    ]
    st.dataframe(
        pd.DataFrame(rows), hide_index=True, height="content", key="enclaves_table", alt="Approvals that are in force"
    )
    times.zone_note()
    st.caption(
        f"List number {view.number}, signed. Results name the number of the approval and the measurement of program "
        "and model together; which model may serve is decided on the page Models."
    )
    labels = {f"{one.number} · {one.measurement.sha256[:16]}": one.measurement.sha256 for one in view.approved}
    with st.form("enclaves_withdrawal", border=True):
        chosen = st.selectbox("Approval to withdraw", list(labels), key="enclaves_chosen")
        st.markdown("Enclaves of that program end. Cases are kept and wait until another program is approved.")
        if st.form_submit_button("Withdraw", icon=":material/block:"):
            number = service.withdraw(app, person, labels[chosen])
            st.session_state["enclaves_done"] = f"Withdrawn; list number {number} is in force."
            st.rerun()


def elsewhere(view: MeasurementView) -> None:
    """Draw how the enclaves on other machines are."""
    if not view.elsewhere:
        return
    st.header("On other machines", anchor=False)
    approvals = {one.measurement.sha256: str(one.number) for one in view.approved}
    rows = [
        {
            "Enclave": one.party,
            "Address": one.address,
            "State": enclave_words.STATES[one.state],
            "Since": times.show_time(one.since),
            "Measurement": one.measurement[:16] or times.NOTHING,
            "Approval": approvals.get(one.measurement, times.NOTHING),
        }
        for one in view.elsewhere
    ]
    st.dataframe(
        pd.DataFrame(rows),
        hide_index=True,
        height="content",
        key="enclaves_elsewhere",
        alt="Enclaves on other machines, whether each answers, since when, and what it runs",
    )
    st.caption("As this app process has seen it since it was started; each other one of the same app looks for itself.")


shell.title(
    "Enclaves",
    "Patients' images are opened by enclaves only. An enclave states what program it runs; the app talks to it, and "
    "believes its answers, only if you have approved that program.",
)
if done := st.session_state.pop("enclaves_done", ""):
    st.success(done, icon=":material/check_circle:")
try:
    shown = service.overview(app, person)
    installed(shown)
    approved(shown)
    elsewhere(shown)
except HemaSealError as error:
    shell.show_error(error)
st.caption(
    "A program states its measurement itself: that finds a wrong version or a changed file, not an administrator who "
    "wants to deceive. Only hardware (a TEE) could prove it."
)
