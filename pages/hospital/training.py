"""The hospital's part in training runs: what each would have it send, leaving, own figures, privacy spent."""

import pandas as pd
import streamlit as st

from core.errors import HemaSealError
from core.services import node as service
from core.services import privacy_spend, run_views
from pages._ui import guard, live_charts, participation, privacy, shell, state, training

app = state.app()
person = guard.actor()


def figures(node: service.NodeView) -> None:
    """Draw a run's figures: this hospital's own beside those of all hospitals together."""
    views = service.last_runs(app, person)
    if not views:
        shell.empty_state("No run yet", "The trusted authority orders runs; those with this hospital appear here.")
        return
    by_id = {view.id: view for view in views}
    chosen = st.selectbox(
        "Run",
        list(by_id),
        index=next((place for place, view in enumerate(views) if view.rounds_done), 0),  # the newest with figures
        format_func=lambda key: training.run_title(by_id[key]),
        key="node_run",
    )
    memory: run_views.RunMemory = st.session_state.setdefault(f"node_run_{chosen}", run_views.RunMemory())
    view = service.comparison(app, person, chosen, memory=memory)
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
    chosen = training.choose_metric("node_metric")
    title = training.METRICS[chosen]
    rows = [
        {"Round": number, "Who": who, title: figures[chosen]}
        for number, (own, everybody) in view.rounds.items()
        for who, figures in ((node.hospital, own), (training.TOGETHER, everybody))
        if chosen in figures
    ]
    frame = pd.DataFrame(rows, columns=["Round", "Who", title])
    live_charts.lines_with_table(
        frame,
        x="Round",
        y=title,
        series="Who",
        names=[node.hospital, training.TOGETHER],
        y_title=training.METRIC_AXIS[chosen],
        y_most=training.METRIC_MOST.get(chosen),
        key="node_chart",
        alt=f"{title} by round, this hospital and all together",
    )
    st.caption(
        "Own figures are of this hospital's validation patients. They are sealed for this node, the trusted "
        "authority and this application; no other hospital and not the cloud can read them."
    )


def privacy_spent() -> None:
    """Draw what the data sets have spent of their privacy."""
    seen: privacy_spend.OwnFigures = st.session_state.setdefault("node_privacy_figures", {})
    views = privacy_spend.own_spend(app, person, seen=seen)
    if views:
        privacy.of_hospital(views)
    else:
        shell.empty_state("Nothing spent", "No data set of this hospital has been trained on yet.")


try:
    own = service.node(app, person)
    shell.title(
        "Training runs", "Your say in the runs that count on your data, and what they have come to. Images never leave."
    )
    st.header("Runs that count on us", anchor=False)
    participation.draw(app, person)
    st.header("Own figures beside those of all", anchor=False)
    figures(own)
    st.header("Privacy spent", anchor=False)
    privacy_spent()
except HemaSealError as error:
    shell.show_error(error)
