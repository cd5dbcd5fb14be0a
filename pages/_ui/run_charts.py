"""Charts of one run: figures by round with their spread over the hospitals, where the time went, what travelled."""

from dataclasses import replace

import streamlit as st

from core.services.run_views import RunDetail
from core.services.runs import AggregationMode
from pages._ui import live_charts, training

OWN_FIGURES = {
    AggregationMode.SEALED: (
        "A hospital's own figures are sealed for it, for you and for this application; the cloud only gets the sums "
        "of all."
    ),
    AggregationMode.BLIND: (
        "A hospital's own figures are sealed for it, for you and for this application; the cloud adds masked numbers "
        "and gets no figure but what the members publish of all together."
    ),
    AggregationMode.PLAIN: "In plain mode the cloud can read each hospital's own figures, as it can read the updates.",
}

NEWEST = 20
"""Rounds in the charts of a long run until somebody asks for all: they are drawn anew every two seconds."""


def window(detail: RunDetail) -> RunDetail:
    """Return the run with the rounds that its charts draw: the newest ones; of a long run all when it is asked for."""
    if len(detail.rounds) <= NEWEST:
        return detail
    if st.toggle(f"Draw all rounds in the charts, not the newest {NEWEST} only", key="run_all_rounds"):
        return detail
    rounds = detail.rounds[-NEWEST:]
    first = rounds[0].round
    return replace(detail, rounds=rounds, epsilon={n: one for n, one in detail.epsilon.items() if n >= first})


def figures(detail: RunDetail) -> None:
    """Draw loss, AUC and accuracy per round, of all hospitals together and of each."""
    finished = [one for one in detail.rounds if one.finished and one.metrics and one.round > 0]
    st.header("Validation figures", anchor=False)
    if not finished:
        st.caption("They appear when the first round is finished.")
        return
    for column, (metric, title) in zip(st.columns(len(training.METRICS)), training.METRICS.items(), strict=True):
        values = [one.metrics.get(metric) for one in finished]
        change = values[-1] - values[-2] if len(values) > 1 and None not in values[-2:] else None  # type: ignore[operator]
        column.metric(
            f"{title}, round {finished[-1].round}",
            training.MISSING if values[-1] is None else f"{values[-1]:.3f}",
            None if change is None else f"{change:+.3f}",
            delta_color="inverse" if metric == "loss" else "normal",
        )
    chosen = training.choose_metric("run_metric")
    each = st.toggle("Draw a line for each hospital", key="run_each")
    title, frame = training.METRICS[chosen], training.spread_frame(detail.rounds, detail.own, chosen)
    most = training.METRIC_MOST.get(chosen)
    if each:
        live_charts.lines_with_table(
            training.metric_frame(detail.rounds, detail.own, chosen),
            x="Round",
            y=title,
            series="Who",
            names=[training.TOGETHER, *(member.slug.capitalize() for member in detail.members)],
            y_title=training.METRIC_AXIS[chosen],
            y_most=most,
            key="run_chart",
            alt=f"{title} by round, all hospitals together and each",
        )
    else:
        live_charts.spread_with_table(
            frame,
            x="Round",
            y=training.TOGETHER,
            low=training.LOWEST,
            high=training.HIGHEST,
            bars="Lowest to highest",
            y_title=training.METRIC_AXIS[chosen],
            y_most=most,
            key="run_spread",
            alt=f"{title} by round: all hospitals together, and the spread over them",
        )
    bars = "" if each else "The bars reach from the lowest to the highest hospital. "
    st.caption(f"{bars}Measured after each round on patients that nobody trained on. {OWN_FIGURES[detail.run.mode]}")


def costs(detail: RunDetail) -> None:
    """Draw where the time went and how much travelled."""
    spent = sum(detail.totals[task] for task in training.TASK_TITLES)
    if not spent:
        return
    st.header("Time and traffic", anchor=False)
    columns = st.columns(4)
    columns[0].metric("Training", training.seconds(detail.totals["training_s"]))
    columns[1].metric(
        "Cryptography",
        training.seconds(detail.totals["cryptography_s"]),
        f"{100 * detail.totals['cryptography_s'] / spent:.1f} % of the work",
        delta_color="off",
        delta_arrow="off",
    )
    columns[2].metric("Sent to the coordinator", training.size(detail.totals["bytes_up"]))
    columns[3].metric("Sent by the coordinator", training.size(detail.totals["bytes_down"]))
    st.markdown("**Where a hospital's time went**")
    frame = training.seconds_frame(detail.rounds, [f"{member.slug}.training" for member in detail.members])
    live_charts.stacks_with_table(
        frame,
        x="Round",
        x_title="Round (0 is the opening)",
        y_title="Seconds, mean of the hospitals",
        key="run_time",
        alt="Seconds of a hospital in each round, by what it did",
    )
    st.caption(
        "A bar is the time on the clock from a round's begin to its end, all attempts together. What a hospital did "
        "not work, it waited: for the others, for the coordinator, for messages. Where all nodes share one machine, "
        "as in the demo, the work of one is the waiting of the others. Round 0 draws and signs the first weights; if "
        "TensorFlow has to start first, that is in “Other work”."
    )
    st.markdown("**What travelled**")
    live_charts.stacks_with_table(
        training.bytes_frame(detail.rounds),
        x="Round",
        x_title="Round (0 is the opening)",
        y_title="MiB, all parties together",
        key="run_bytes",
        alt="MiB to and from the coordinator in each round",
    )
