"""Words and charts of federated runs, shared by the authority's and the hospital's pages: data in, frames out."""

from collections.abc import Mapping, Sequence
from datetime import datetime

import pandas as pd
import streamlit as st

from core.services.participation import REASONS
from core.services.run_steps import PhaseState, PhaseView
from core.services.run_views import WAITING, MemberView, RoundFigures, RunView
from core.services.runs import AggregationMode, RunStatus
from pages._ui import times

MISSING = "\N{EN DASH}"

STATUS: dict[RunStatus, str] = {
    RunStatus.QUEUED: ":material/schedule: waiting for the worker",
    RunStatus.RUNNING: ":material/sync: running",
    RunStatus.PAUSED: ":material/pause: paused",
    RunStatus.FINISHED: ":material/check_circle: finished",
    RunStatus.ABORTED: ":material/cancel: aborted",
    RunStatus.FAILED: ":material/error: failed",
}

STATUS_WORDS: dict[RunStatus, str] = {status: text.partition(": ")[2] for status, text in STATUS.items()}

MODE: dict[AggregationMode, str] = {
    AggregationMode.PLAIN: "plain",
    AggregationMode.SEALED: "sealed",
    AggregationMode.BLIND: "blind",
}

METRICS: dict[str, str] = {"auc": "AUC", "accuracy": "Accuracy", "loss": "Loss"}
METRIC_AXIS: dict[str, str] = {
    "auc": "Area under the ROC curve",
    "accuracy": "Share of images that are right",
    "loss": "Mean cross-entropy in nats",
}
METRIC_MOST: dict[str, float] = {"auc": 1.0, "accuracy": 1.0}

TASK_TITLES: dict[str, str] = {
    "training_s": "Training",
    "evaluation_s": "Evaluation and export",
    "cryptography_s": "Cryptography",
    "other_s": "Other",
}

SPLIT_TITLES: dict[str, str] = {
    "training_s": "Training",
    "evaluation_s": "Evaluation and export",
    "cryptography_s": "Cryptography",
    "other_s": "Other work",
    WAITING: "Waiting",
}
TOGETHER, LOWEST, HIGHEST = "All hospitals together", "Lowest", "Highest"
SENT, RECEIVED = "To the coordinator", "From the coordinator"
MINUTE_S = 60

PHASES: dict[PhaseState, str] = {
    PhaseState.DONE: ":material/check_circle:",
    PhaseState.NOW: ":material/sync:",
    PhaseState.TO_COME: ":material/radio_button_unchecked:",
}


def choose_metric(key: str) -> str:
    """Draw the choice of the figure that a chart by round shows; return its name among `METRICS`."""
    return str(
        st.segmented_control(
            "Figure", list(METRICS), default="auc", required=True, format_func=METRICS.__getitem__, key=key
        )
    )


def metric_frame(
    rounds: Sequence[RoundFigures], own: Mapping[int, Mapping[str, Mapping[str, float]]], metric: str
) -> pd.DataFrame:
    """Return a long frame (Round, Who, value): the global figure of each finished round, and each node's own."""
    rows = []
    for one in rounds:
        if one.round > 0 and one.finished and metric in one.metrics:
            rows.append({"Round": one.round, "Who": TOGETHER, METRICS[metric]: one.metrics[metric]})
            rows += [
                {"Round": one.round, "Who": slug.capitalize(), METRICS[metric]: figures[metric]}
                for slug, figures in sorted(own.get(one.round, {}).items())
                if metric in figures
            ]
    return pd.DataFrame(rows, columns=["Round", "Who", METRICS[metric]])


def spread_frame(
    rounds: Sequence[RoundFigures], own: Mapping[int, Mapping[str, Mapping[str, float]]], metric: str
) -> pd.DataFrame:
    """Return a figure of all hospitals together by finished round, with the lowest and the highest hospital's own."""
    rows = []
    for one in rounds:
        if one.round > 0 and one.finished and metric in one.metrics:
            row: dict[str, object] = {"Round": one.round, TOGETHER: one.metrics[metric]}
            each = {slug: figures[metric] for slug, figures in own.get(one.round, {}).items() if metric in figures}
            if each:
                low, high = min(each, key=each.__getitem__), max(each, key=each.__getitem__)
                row |= {LOWEST: each[low], "Lowest at": low.capitalize()}
                row |= {HIGHEST: each[high], "Highest at": high.capitalize()}
                row |= {slug.capitalize(): value for slug, value in sorted(each.items())}
            rows.append(row)
    frame = pd.DataFrame(rows)
    return frame if LOWEST in frame or frame.empty else frame.assign(**{LOWEST: None, HIGHEST: None})


def seconds_frame(rounds: Sequence[RoundFigures], parties: Sequence[str]) -> pd.DataFrame:
    """Return where the clock's seconds of each round went at a hospital, as the mean over those that took part."""
    rows = []
    for one in rounds:
        splits = [one.split_of(party) for party in parties if party in one.by_party]
        if splits:
            mean = {task: sum(split[task] for split in splits) / len(splits) for task in SPLIT_TITLES}
            rows.append({"Round": one.round, **{SPLIT_TITLES[task]: round(mean[task], 3) for task in SPLIT_TITLES}})
    return pd.DataFrame(rows, columns=["Round", *SPLIT_TITLES.values()])


def bytes_frame(rounds: Sequence[RoundFigures]) -> pd.DataFrame:
    """Return MiB to and from the coordinator in each round that has begun, all attempts and parties together."""
    mib = 2**20
    return pd.DataFrame(
        [{"Round": one.round, SENT: one.bytes_up / mib, RECEIVED: one.bytes_down / mib} for one in rounds],
        columns=["Round", SENT, RECEIVED],
    )


def ago(then: datetime, now: datetime) -> str:
    """Return how long ago something was, as people say it; a clock that runs behind makes nothing future."""
    passed = max(0, round((now - then).total_seconds()))
    return f"{passed} s ago" if passed < MINUTE_S else f"{passed // MINUTE_S} min ago"


def phase_line(phases: Sequence[PhaseView]) -> str:
    """Return a round's phases in one line: done, under way, to come."""
    names = {PhaseState.NOW: "**{}**\N{NO-BREAK SPACE}now"}
    return " · ".join(
        f"{PHASES[view.state]}\N{NO-BREAK SPACE}" + names.get(view.state, "{}").format(view.phase) for view in phases
    )


def node_state(member: MemberView) -> str:
    """Return whether a hospital's node takes part in a run, and why not, in a few words."""
    if member.left_at is not None:
        why = f": {REASONS[member.left_reason]}" if member.left_reason else ""
        return f"has left{why}"
    return "made to drop out" if member.drop_requested else "takes part"


def run_title(view: RunView) -> str:
    """Return a run in one line; nothing in it changes while the run goes on, so a list keeps its choice."""
    rounds = "1 round" if view.rounds == 1 else f"{view.rounds} rounds"
    return f"{times.show_time(view.created_at, seconds=True)} · {MODE[view.mode]} · {rounds}"


def size(count: float) -> str:
    """Return a number of bytes as people read it."""
    for unit in ("B", "KiB", "MiB"):
        if count < 1024:  # noqa: PLR2004 - the step between the units
            return f"{count:.0f} {unit}" if unit == "B" else f"{count:.1f} {unit}"
        count /= 1024
    return f"{count:.2f} GiB"


def seconds(value: float) -> str:
    """Return a duration as people read it."""
    return f"{value:.0f} s" if value >= 100 else f"{value:.1f} s"  # noqa: PLR2004 - three digits say enough
