"""Runs side by side: the choice, where their orders differ, what came of them, their curves, and all of it as CSV."""

from string import ascii_uppercase

import pandas as pd
import streamlit as st

from core.services import run_comparison, run_views
from core.services.app import Actor, App
from core.services.run_comparison import MAX_COMPARED, ComparedRun
from pages._ui import charts, shell, times, training
from pages._ui.model_words import MODEL_STATES


def draw(app: App, person: Actor) -> None:
    """Draw the choice of runs and, once there are two, the comparison."""
    views = {view.id: view for view in run_views.list_runs(app, person)}
    if len(views) < 2:  # noqa: PLR2004  a comparison needs two
        shell.empty_state("Nothing to compare yet", "Order two runs or more under “New run”.")
        return
    chosen = st.multiselect(
        "Runs",
        list(views),
        format_func=lambda key: training.run_title(views[key]),
        placeholder=f"Choose two to {MAX_COMPARED} runs",
        key="compare_runs",
    )
    if len(chosen) > MAX_COMPARED:
        st.warning(
            f"At most {MAX_COMPARED} runs are compared at a time: take {len(chosen) - MAX_COMPARED} out again.",
            icon=":material/filter_list:",
        )
        return
    if len(chosen) < 2:  # noqa: PLR2004
        st.caption("The table, the curves and a file with all of it appear when two runs are chosen.")
        return
    compared = run_comparison.compare(app, person, chosen)
    letters = zip(ascii_uppercase, compared, strict=False)
    names = {one.run.id: f"{letter} · {training.MODE[one.run.mode]}" for letter, one in letters}
    _outcomes(compared, names)
    _curves(compared, names)
    _settings(compared, names)
    st.download_button(
        "Save as CSV",
        data=run_comparison.as_csv(compared),
        file_name="hemaseal-runs.csv",
        mime="text/csv",
        icon=":material/download:",
        on_click="ignore",
        key="compare_csv",
    )


def _outcomes(compared: list[ComparedRun], names: dict[str, str]) -> None:
    st.header("What came of them", anchor=False)
    rows = [
        {
            "Run": names[one.run.id],
            **{title: one.final.get(metric) for metric, title in training.METRICS.items()},
            "State": training.STATUS_WORDS[one.run.status],
            "Rounds": f"{one.run.rounds_done} of {one.run.rounds}",
            "Hospitals": len(one.hospitals),
            "Ordered": times.show_time(one.run.created_at, seconds=True),
            "On the clock": training.seconds(one.clock_s),
            "Training": training.seconds(one.seconds["training_s"]),
            "Cryptography": training.seconds(one.seconds["cryptography_s"]),
            "Travelled": training.size(one.bytes_up + one.bytes_down),
            "Privacy": one.privacy or training.MISSING,
            "Model": one.weights or training.MISSING,
            "Model is": MODEL_STATES[one.status] if one.status else training.MISSING,
        }
        for one in compared
    ]
    st.dataframe(
        pd.DataFrame(rows),
        hide_index=True,
        key="compare_table",
        alt="The chosen runs with mode, figures, time, bytes, privacy and model",
        column_config={title: st.column_config.NumberColumn(format="%.3f") for title in training.METRICS.values()},
    )
    st.caption(
        "Figures are those of the last finished round, on the validation patients of each run's own hospitals: runs "
        "with other hospitals or data sets were measured on other patients. Intervals need the single answers, which "
        "stay at the hospitals; `python -m core evaluate` gives them for a model on a data set of yours."
    )
    studies = {one.run.study for one in compared}
    if len(studies) > 1:
        st.warning(f"These runs are of different studies: {', '.join(sorted(studies))}.", icon=":material/warning:")


def _curves(compared: list[ComparedRun], names: dict[str, str]) -> None:
    st.header("By round", anchor=False)
    metric = training.choose_metric("compare_metric")
    title = training.METRICS[metric]
    rows = [
        {"Run": names[one.run.id], "Round": number, title: figures[metric]}
        for one in compared
        for number, figures in one.curves.items()
        if metric in figures
    ]
    if not rows:
        st.caption("None of these runs has finished a round yet.")
        return
    frame = pd.DataFrame(rows)
    figure = charts.line_figure(
        frame, x="Round", y=title, series="Run", x_title="Round", y_title=training.METRIC_AXIS[metric]
    )
    figure.update_xaxes(dtick=1)
    wide = frame.pivot_table(index="Round", columns="Run", values=title, sort=False).reset_index()
    charts.plot_with_table(figure, wide, key="compare_chart", alt=f"{title} by round, a line for each run")


def _settings(compared: list[ComparedRun], names: dict[str, str]) -> None:
    st.header("What was ordered", anchor=False)
    differ = run_comparison.differing(compared)
    every = st.toggle("Show the settings that are alike, too", key="compare_all")
    titles = list(compared[0].settings) if every else differ
    rows = [{"Setting": title, **{names[one.run.id]: one.settings[title] for one in compared}} for title in titles]
    hospitals = {names[one.run.id]: ", ".join(one.hospitals) for one in compared}
    if every or len(set(hospitals.values())) > 1:
        rows.append({"Setting": "Hospitals", **hospitals})
    if rows:
        alt = "Settings of the runs, each run a column"
        st.dataframe(pd.DataFrame(rows), hide_index=True, key="compare_settings", alt=alt)
    else:
        st.caption("All settings are alike; only the mode, the number of rounds or the draw of chance can differ.")
