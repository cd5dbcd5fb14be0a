"""One round of a run: how far it has come, who is in it, what it cost each hospital, and what the cloud could see."""

import pandas as pd
import streamlit as st

from core.services.cloud_view import seen_by_cloud
from core.services.run_steps import done_at, phases_of, step_title
from core.services.run_views import FailureCode, RoundFigures, RunDetail
from core.services.runs import AggregationMode, RunStatus
from pages._ui import times, training

NEWEST = -1


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
    _cost(one)
    _cloud(detail.run.mode, one)


def _title(one: RoundFigures, *, live: bool) -> str:
    name = "Opening" if one.round == 0 else f"Round {one.round}"
    return name if one.finished else f"{name}, {'under way' if live else 'not finished'}"


def _attempts(one: RoundFigures) -> str:
    return f" · attempt {one.attempts}" if one.attempts > 1 else ""


def _hospitals(detail: RunDetail, one: RoundFigures) -> None:
    """Draw who is in and what each did last; then what it cost each."""
    left_out = {
        fault.party: f"left out at “{step_title(fault.step)}”: {fault.code.text}"
        for fault in one.failures
        if fault.code is not FailureCode.STOPPED
    }
    standing, costs = [], []
    for member in detail.members:
        party = f"{member.slug}.training"
        last = one.answered.get(party)
        did = done_at(last) if last else training.MISSING
        if party in one.progress:
            steps, total = one.progress[party]
            did = f"trains, {steps} of {total} steps"
        elif party in left_out and party not in one.members:
            did = left_out[party]
        seconds, (up, down) = one.by_party.get(party, {}), one.traffic.get(party, (0, 0))
        update = {"Update": _is_in(one, party)} if one.round > 0 else {}
        standing.append({"Hospital": member.hospital, **update, "Last": did})
        costs.append(
            {
                "Hospital": member.hospital,
                **{title: training.seconds(seconds.get(task, 0.0)) for task, title in training.TASK_TITLES.items()},
                "Sent": training.size(up),
                "Received": training.size(down),
            }
        )
    st.dataframe(
        pd.DataFrame(standing), hide_index=True, key="run_round_hospitals", alt="Hospitals in this round, what each did"
    )
    st.dataframe(
        pd.DataFrame(costs), hide_index=True, key="run_round_costs", alt="Time and bytes of each hospital in this round"
    )


def _is_in(one: RoundFigures, party: str) -> str:
    if one.finished:
        return "✓ in the model" if party in one.members else "✕ not in"
    sent = any(answer.party == party and answer.step in {"train", "upload"} for answer in one.answers)
    return "sent" if sent else training.MISSING


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
    """Draw what the cloud held in this round, and what it could and could not read."""
    view = seen_by_cloud(mode, one)
    with st.expander("What the cloud could see in this round", icon=":material/visibility:", key="run_cloud"):
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
