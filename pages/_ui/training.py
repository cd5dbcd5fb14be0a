"""Words and charts of federated runs, shared by the authority's and the hospital's pages: data in, frames out."""

from collections.abc import Mapping, Sequence

import pandas as pd

from core.services.run_steps import PhaseState, PhaseView
from core.services.run_views import TASKS, RoundFigures, RunView
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

TASK_TITLES: dict[str, str] = {
    "training_s": "Training",
    "evaluation_s": "Evaluation and export",
    "cryptography_s": "Cryptography",
    "other_s": "Other",
}

PHASES: dict[PhaseState, str] = {
    PhaseState.DONE: ":material/check_circle:",
    PhaseState.NOW: ":material/sync:",
    PhaseState.TO_COME: ":material/radio_button_unchecked:",
}


def metric_frame(
    rounds: Sequence[RoundFigures], own: Mapping[int, Mapping[str, Mapping[str, float]]], metric: str
) -> pd.DataFrame:
    """Return a long frame (Round, Who, value): the global figure of each finished round, and each node's own."""
    rows = []
    for one in rounds:
        if one.round > 0 and one.finished and metric in one.metrics:
            rows.append({"Round": one.round, "Who": "All hospitals together", METRICS[metric]: one.metrics[metric]})
            rows += [
                {"Round": one.round, "Who": slug.capitalize(), METRICS[metric]: figures[metric]}
                for slug, figures in sorted(own.get(one.round, {}).items())
                if metric in figures
            ]
    return pd.DataFrame(rows, columns=["Round", "Who", METRICS[metric]])


def seconds_frame(rounds: Sequence[RoundFigures]) -> pd.DataFrame:
    """Return seconds by task for each round that has begun, over all parties."""
    return pd.DataFrame(
        [{"Round": one.round, **{TASK_TITLES[task]: round(one.seconds[task], 3) for task in TASKS}} for one in rounds]
    )


def phase_line(phases: Sequence[PhaseView]) -> str:
    """Return a round's phases in one line: done, under way, to come."""
    names = {PhaseState.NOW: "**{}**\N{NO-BREAK SPACE}now"}
    return " · ".join(
        f"{PHASES[view.state]}\N{NO-BREAK SPACE}" + names.get(view.state, "{}").format(view.phase) for view in phases
    )


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
