"""The hospital's node: certificates, data sets, own figures beside those of all, last runs."""

import pandas as pd
import streamlit as st

from core.errors import HemaSealError
from core.services import datasets, privacy_spend, run_views
from core.services import node as service
from core.services.accounts import session_actor
from core.services.audit_proofs import head_to_keep
from pages._ui import charts, guard, privacy, shell, state, times, training
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
    soon = [view for view in views if view.state == "valid" and (view.not_after - now).days < SOON_DAYS]
    if soon:
        st.warning("A certificate expires soon; ask the trusted authority for a new one.", icon=":material/schedule:")
    st.caption(
        "The training node and the serving enclave have keys of their own: who opens one can not use the other. "
        "Private keys never leave the node's folder and are encrypted there."
    )


def privacy_spent() -> None:
    """Draw what the data sets have spent of their privacy."""
    seen: run_views.OwnFigures = st.session_state.setdefault("node_privacy_figures", {})
    views = privacy_spend.own_spend(app, person, seen=seen)
    if views:
        privacy.of_hospital(views)
    else:
        shell.empty_state("Nothing spent", "No data set of this hospital has been trained on yet.")


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


def figures(node: service.NodeView) -> None:
    """Draw a run's figures: this hospital's own beside those of all hospitals together."""
    views = service.last_runs(app, person)
    if not views:
        shell.empty_state("No run yet", "The trusted authority orders runs; those with this hospital appear here.")
        return
    by_id = {view.id: view for view in views}
    chosen = st.selectbox("Run", list(by_id), format_func=lambda key: training.run_title(by_id[key]), key="node_run")
    seen: run_views.OwnFigures = st.session_state.setdefault(f"node_figures_{chosen}", {})
    view = service.comparison(app, person, chosen, seen=seen)
    st.markdown(f"{training.STATUS[view.run.status]} · round {view.run.rounds_done} of {view.run.rounds}")
    if view.run.reason:
        st.caption(view.run.reason)
    if view.rounds:
        _chart(view, node)
    else:
        st.caption("Figures appear when the first round is finished.")
    spent = sum(view.seconds.values())
    if view.seconds["training_s"]:
        share = f"{100 * view.seconds['cryptography_s'] / spent:.1f} %"
        cryptography = f"{training.seconds(view.seconds['cryptography_s'])} ({share})"
        shell.facts(
            [
                ("This node trained for", training.seconds(view.seconds["training_s"])),
                ("and spent on cryptography", cryptography),
            ]
        )
    if view.left_out:
        st.markdown("**Left out**")
        frame = pd.DataFrame(view.left_out, columns=["Round", "At", "Why"])
        st.dataframe(frame, hide_index=True, key="node_failures", alt="Where this node was left out")


def _chart(view: service.RunComparison, node: service.NodeView) -> None:
    """Draw one figure over the rounds."""
    chosen = st.segmented_control(
        "Figure",
        list(training.METRICS),
        default="auc",
        required=True,
        format_func=training.METRICS.__getitem__,
        key="node_metric",
    )
    title = training.METRICS[chosen]
    rows = [
        {"Round": number, "Who": who, title: figures[chosen]}
        for number, (own, everybody) in view.rounds.items()
        for who, figures in ((node.hospital, own), ("All hospitals together", everybody))
        if chosen in figures
    ]
    frame = pd.DataFrame(rows, columns=["Round", "Who", title])
    figure = charts.line_figure(
        frame, x="Round", y=title, series="Who", x_title="Round", y_title=training.METRIC_AXIS[chosen]
    )
    figure.update_xaxes(dtick=1)
    charts.plot_with_table(figure, frame, key="node_chart", alt=f"{title} by round, this hospital and all together")
    st.caption(
        "Own figures are of this hospital's validation patients. They are sealed for this node, the trusted "
        "authority and this application; no other hospital and not the cloud can read them."
    )


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
    shell.title(f"Node of {own.hospital}", "Your part of the federation: keys, data, and what it achieves.")
    st.header("Own figures beside those of all", anchor=False)
    figures(own)
    st.header("Privacy spent", anchor=False)
    privacy_spent()
    st.header("Certificates", anchor=False)
    certificates()
    st.header("Data sets", anchor=False)
    data_sets()
    st.header("What others cannot take back", anchor=False)
    audit_head()
    times.zone_note()
except HemaSealError as error:
    shell.show_error(error)
