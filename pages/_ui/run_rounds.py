"""One round of a run: how far it has come, who is in it, what it cost each hospital, and what the cloud could see."""

from datetime import datetime

import pandas as pd
import streamlit as st

from core.services.cloud_view import seen_by_cloud
from core.services.run_nodes import NodeResult, nodes_of
from core.services.run_steps import phases_of
from core.services.run_views import RoundFigures, RunDetail
from core.services.runs import AggregationMode, RunStatus
from pages._ui import state, times, training

NEWEST = -1
RESULTS = {
    NodeResult.NONE: training.MISSING,
    NodeResult.SENT: "→ update sent",
    NodeResult.IN_MODEL: "✓ in the model",
    NodeResult.LEFT_OUT: "✕ left out",
    NodeResult.NOT_IN: "○ not in the model",
}


def draw(detail: RunDetail) -> None:
    """Draw the choice of a round and that round; the newest one until another is chosen."""
    if not detail.rounds:
        return
    st.header("Rounds", anchor=False)
    live = detail.run.status is RunStatus.RUNNING
    numbers = [one.round for one in detail.rounds]
    by_number = {one.round: one for one in detail.rounds}
    chosen = st.selectbox(
        "Round",
        [NEWEST, *reversed(numbers)],
        format_func=lambda number: "The newest" if number == NEWEST else _title(by_number[number], live=live),
        key="run_round",
    )
    one = by_number.get(chosen, detail.rounds[-1])
    st.markdown(f"**{_title(one, live=live)}**{_attempts(one)}")
    st.markdown(training.phase_line(phases_of(detail.run.mode, one, under_way=live)))
    _hospitals(detail, one)
    with st.container():
        _cost(one)
    _costs(detail, one)
    _cloud(detail.run.mode, one)


def _title(one: RoundFigures, *, live: bool) -> str:
    name = "Opening" if one.round == 0 else f"Round {one.round}"
    return name if one.finished else f"{name}, {'under way' if live else 'not finished'}"


def _attempts(one: RoundFigures) -> str:
    return f" · attempt {one.attempts}" if one.attempts > 1 else ""


def _hospitals(detail: RunDetail, one: RoundFigures) -> None:
    """Draw in which phase each node is, what it does, its last sign and what came of it."""
    live = detail.run.status is RunStatus.RUNNING
    names = {member.slug: member.hospital for member in detail.members}
    nodes = nodes_of(list(names), one, under_way=live)
    standing = [
        {
            "Hospital": names[node.slug],
            "Phase": node.phase.value if node.phase else training.MISSING,
            "Does" if live else "Did last": node.doing,
            "Last sign": _age(node.at, live=live),
            "Result": RESULTS[node.result],
        }
        for node in nodes
    ]
    st.dataframe(
        pd.DataFrame(standing),
        hide_index=True,
        key="run_round_hospitals",
        column_config={title: st.column_config.Column(width="large") for title in ("Does", "Did last")},
        alt="Nodes in this round: phase, what each does, last sign, result",
    )


def _costs(detail: RunDetail, one: RoundFigures) -> None:
    """Draw what the round cost each hospital, where somebody opens it."""
    title = "What this round cost each hospital"
    part = st.expander(title, icon=":material/timer:", key="run_costs", on_change="rerun")
    if not part.open:
        return
    costs = []
    for member in detail.members:
        party = f"{member.slug}.training"
        split, (up, down) = one.split_of(party), one.traffic.get(party, (0, 0))
        costs.append(
            {
                "Hospital": member.hospital,
                **{title: training.seconds(split[task]) for task, title in training.SPLIT_TITLES.items()},
                "Sent": training.size(up),
                "Received": training.size(down),
            }
        )
    part.dataframe(
        pd.DataFrame(costs), hide_index=True, key="run_round_costs", alt="Time and bytes of each hospital in this round"
    )


def _age(at: datetime | None, *, live: bool) -> str:
    """Return when a node last gave a sign: how long ago while the run is under way, afterwards at what time."""
    if at is None:
        return training.MISSING
    return training.ago(at, state.app().clock.now()) if live else times.show_time(at, seconds=True)


def _cost(one: RoundFigures) -> None:
    spent = sum(one.seconds.values())
    if spent:
        share, so_far = 100 * one.seconds["cryptography_s"] / spent, "" if one.finished else " so far"
        st.caption(
            f"Cryptography took {training.seconds(one.seconds['cryptography_s'])}, {share:.1f} % of all parties' work "
            f"in this round{so_far}. {training.size(one.bytes_up)} went to the coordinator, "
            f"{training.size(one.bytes_down)} from it; all attempts are counted."
        )


def _cloud(mode: AggregationMode, one: RoundFigures) -> None:
    """Draw what the cloud held in this round, and what it could and could not read, where somebody opens it."""
    title = "What the cloud could see in this round"
    part = st.expander(title, icon=":material/visibility:", key="run_cloud", on_change="rerun")
    if not part.open:
        return
    view = seen_by_cloud(mode, one)
    with part:
        if view.held:
            st.dataframe(
                pd.DataFrame(
                    [
                        {
                            "From": held.of,
                            "What": held.what,
                            "Cloud can read it": "yes" if held.readable else "no",
                            "Size": training.size(held.bytes),
                            "SHA-256 begins": held.sha256 or training.MISSING,
                            "Came at": times.show_time(held.at, seconds=True) if held.at else training.MISSING,
                        }
                        for held in view.held
                    ]
                ),
                hide_index=True,
                key="run_cloud_held",
                alt="What hospitals handed to the cloud in this round",
            )
        seen, unseen = st.columns(2)
        seen.markdown("**It could see**\n" + "\n".join(f"- {line}" for line in view.could))
        unseen.markdown("**It could not see**\n" + "\n".join(f"- {line}" for line in view.could_not))
        if mode is AggregationMode.BLIND:
            st.caption(
                "The signed, masked uploads of a run's last finished round are published; anybody can add them again "
                "with `python -m federated verify`."
            )
        if one.attempts > 1:
            st.caption("The table is of the last attempt; earlier ones left the same kinds of things.")
