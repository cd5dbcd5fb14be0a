"""Training runs: order one, watch it live, steer it."""

from collections.abc import Callable

import pandas as pd
import streamlit as st

from core.errors import HemaSealError
from core.services import run_views, runs
from core.services.accounts import Role
from core.services.app import Actor, App
from core.services.run_steps import PhaseState, phases_of, step_title
from core.services.runs import AggregationMode, RunStatus
from pages._ui import blind_demo, charts, guard, privacy, run_order, run_rounds, shell, state, times, training

LIVE = (RunStatus.QUEUED, RunStatus.RUNNING)
EVERY_S = 2.0
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

app = state.app()
person = guard.actor()


def watch() -> None:
    """Draw the choice of a run and the run itself, again every two seconds while it is under way."""
    views = run_views.list_runs(app, person)
    if not views:
        shell.empty_state("No run yet", "Order one under “New run”: choose hospitals, rounds and how updates travel.")
        return
    by_id = {view.id: view for view in views}
    if (newest := st.session_state.pop("run_newest", None)) in by_id:
        st.session_state["run_chosen"] = newest
    chosen = st.selectbox("Run", list(by_id), format_func=lambda key: training.run_title(by_id[key]), key="run_chosen")
    live = by_id[chosen].status in LIVE
    st.fragment(_draw, run_every=EVERY_S if live else None)(chosen, live=live)


def _draw(run_id: str, *, live: bool) -> None:
    """Draw one run; a fragment of its own, so it asks again who is there."""
    actor = guard.actor(Role.AUTHORITY)
    seen: run_views.OwnFigures = st.session_state.setdefault(f"own_figures_{run_id}", {})
    try:
        detail = run_views.run_detail(app, actor, run_id, seen=seen)
        if detail.run.status in LIVE and not detail.worker_alive:
            runs.wake_worker(app, actor)
    except HemaSealError as error:
        shell.show_error(error)
        return
    if live and detail.run.status not in LIVE:
        st.rerun()
    _standing(detail)
    _controls(detail)
    _members(detail)
    run_rounds.draw(detail)
    _figures(detail)
    privacy.of_run(detail)
    _costs(detail)
    _left_out(detail)
    _events(detail)


def _standing(detail: run_views.RunDetail) -> None:
    """Draw state, progress and what the cloud can see."""
    run = detail.run
    st.markdown(f"{training.STATUS[run.status]} · round {run.rounds_done} of {run.rounds} · {run.study}")
    st.progress(run.rounds_done / run.rounds, text=_now(detail))
    st.caption(f"Mode **{training.MODE[run.mode]}**: {run.mode.visible_to_cloud}")
    if detail.choices:
        st.caption("Ordered with: " + "; ".join(detail.choices) + ".")
    if run.status is RunStatus.PAUSED and run.reason:
        st.warning(
            f"**The run paused itself.** {run.reason}  \nSee to what is named above, then press Resume: the round is "
            "tried again from the start, with new keys. Or abort; finished rounds stay stored.",
            icon=":material/pause:",
        )
    elif run.status is RunStatus.PAUSED:
        st.info(
            "The authority paused this run. Resume plays the round in hand again from its start.",
            icon=":material/pause:",
        )
    elif run.status is RunStatus.FAILED:
        st.error(
            f"{run.reason}  \nResume tries the round again from the start; finished rounds stay stored.",
            icon=":material/error:",
        )
    elif run.reason:
        st.caption(run.reason)


def _now(detail: run_views.RunDetail) -> str:
    """Return what happens at this moment."""
    if detail.run.status is RunStatus.QUEUED:
        return "The worker starts; its first run takes about half a minute longer."
    if detail.run.status is not RunStatus.RUNNING:
        return ""
    if not detail.worker_alive:
        return "The worker was lost; a new one takes over."
    current = detail.rounds[-1] if detail.rounds else None
    if current is None:
        return "The parties come up."
    if detail.run.wish.value != "go":
        return f"Asked to {detail.run.wish.value}; it stops at the next training step."
    at_work = [
        f"{party.partition('.')[0]} trains, {done} of {total} steps"
        for party, (done, total) in current.progress.items()
    ]
    phases = phases_of(detail.run.mode, current, under_way=True)
    now = next((view.phase for view in phases if view.state is PhaseState.NOW), None)
    ended = "the next one begins" if current.round < detail.run.rounds else "the serving model is exported"
    under_way = ended if now is None else now.lower()
    return f"Round {current.round}: " + ("; ".join(at_work) or under_way)


def _controls(detail: run_views.RunDetail) -> None:
    """Draw pause, resume and abort."""
    run = detail.run
    with st.container(horizontal=True, key="run_controls"):
        if run.status in LIVE and st.button("Pause", icon=":material/pause:", key="run_pause"):
            _act(runs.pause, run.id)
        if run.status in (RunStatus.PAUSED, RunStatus.FAILED) and st.button(
            "Resume", icon=":material/play_arrow:", key="run_resume"
        ):
            _act(runs.resume, run.id)
        if run.status in (*LIVE, RunStatus.PAUSED) and st.button("Abort …", icon=":material/stop:", key="run_abort"):
            _confirm_abort(run.id)


def _act(service: Callable[[App, Actor, str], None], run_id: str) -> None:
    """Do what a button asks, and draw the page again."""
    try:
        service(app, guard.actor(Role.AUTHORITY), run_id)
    except HemaSealError as error:
        shell.show_error(error)
        return
    st.rerun()


@st.dialog("Abort this run?")
def _confirm_abort(run_id: str) -> None:
    """Say what aborting means, and do it when it is confirmed."""
    st.markdown("The round in hand is thrown away. Finished rounds stay stored, but the run can not be resumed.")
    if st.button("Abort now", type="primary", key="run_abort_confirm"):
        _act(runs.abort, run_id)


def _members(detail: run_views.RunDetail) -> None:
    """Draw the hospitals, and the switch that makes a node drop out."""
    rows = [
        {
            "Hospital": member.hospital,
            "Data set": member.dataset,
            "Training images": member.images,
            "Node": "made to drop out" if member.drop_requested else "takes part",
        }
        for member in detail.members
    ]
    st.dataframe(pd.DataFrame(rows), hide_index=True, key="run_members", alt="Hospitals of this run")
    if detail.run.status in (*LIVE, RunStatus.PAUSED):
        with st.expander("Make a node drop out", icon=":material/power_off:", key="run_drop"):
            st.caption(
                "For demonstrations: its machine stops answering, and the round goes on without it while enough are "
                "left."
            )
            with st.container(horizontal=True):
                for member in detail.members:
                    _drop_button(detail.run.id, member)


def _drop_button(run_id: str, member: run_views.MemberView) -> None:
    title = f"Let {member.slug} come back" if member.drop_requested else f"Drop {member.slug}"
    if st.button(title, key=f"drop_{member.slug}"):
        try:
            runs.set_drop_out(
                app, guard.actor(Role.AUTHORITY), run_id, member.hospital_id, drop=not member.drop_requested
            )
        except HemaSealError as error:
            shell.show_error(error)
            return
        st.rerun(scope="fragment")


def _figures(detail: run_views.RunDetail) -> None:
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
    chosen = st.segmented_control(
        "Figure",
        list(training.METRICS),
        default="auc",
        required=True,
        format_func=training.METRICS.__getitem__,
        key="run_metric",
    )
    frame = training.metric_frame(detail.rounds, detail.own, chosen)
    title = training.METRICS[chosen]
    figure = charts.line_figure(
        frame, x="Round", y=title, series="Who", x_title="Round", y_title=training.METRIC_AXIS[chosen]
    )
    figure.update_xaxes(dtick=1)
    charts.plot_with_table(figure, frame, key="run_chart", alt=f"{title} by round, all hospitals together and each")
    st.caption("Measured after each round on patients that nobody trained on. " + OWN_FIGURES[detail.run.mode])


def _costs(detail: run_views.RunDetail) -> None:
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
    frame = training.seconds_frame(detail.rounds)
    figure = charts.bar_figure(
        [str(number) for number in frame["Round"]],
        {title: list(frame[title]) for title in training.TASK_TITLES.values()},
        x_title="Round (0 is the opening)",
        y_title="Seconds over all parties",
        stacked=True,
        height=280,
    )
    charts.plot_with_table(figure, frame, key="run_time", alt="Seconds by task in each round")
    st.caption("Round 0 draws and signs the first weights; if TensorFlow has to start first, that is in “Other”.")


def _left_out(detail: run_views.RunDetail) -> None:
    """Draw who dropped out or was refused, and why."""
    rows = [
        {"Round": one.round, "Party": fault.party, "At": step_title(fault.step), "Why": fault.code.text}
        for one in detail.rounds
        for fault in one.failures
        if fault.code is not run_views.FailureCode.STOPPED  # the authority's own wish
    ]
    if rows:
        st.header("Left out", anchor=False)
        st.dataframe(pd.DataFrame(rows), hide_index=True, key="run_failures", alt="Members that were left out")


def _events(detail: run_views.RunDetail) -> None:
    """Draw what happened, the newest first."""
    with st.expander("What happened", icon=":material/list:", key="run_events"):
        rows = [
            {
                "Time": times.show_time(event.at, seconds=True),
                "Round": event.round,
                "Party": event.party,
                "What": event.text,
            }
            for event in detail.events
        ]
        st.dataframe(pd.DataFrame(rows), hide_index=True, key="run_events_table", alt="Events of this run")
        times.zone_note()


def order() -> None:
    """Draw the form that orders a run, and go and watch the run that it ordered."""
    if run := run_order.order(app, person):
        runs.wake_worker(app, person)
        st.session_state["run_newest"] = run
        st.session_state["runs_next_section"] = "Watch"
        st.rerun()


shell.title(
    "Training runs",
    "Hospitals train one model together; each keeps its images. What the cloud can see depends on the mode.",
)
sections = {"Watch": watch, "New run": order, "How blind works": blind_demo.draw}
if (wanted := st.session_state.pop("runs_next_section", None)) in sections:
    st.session_state["runs_section"] = wanted
st.session_state.setdefault("runs_section", "Watch")  # a default beside a value of the session is warned of
section = st.segmented_control(
    "Section", list(sections), required=True, key="runs_section", label_visibility="collapsed"
)
try:
    sections[section or "Watch"]()
except HemaSealError as error:
    shell.show_error(error)
