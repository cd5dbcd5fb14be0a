"""Training runs: order one, watch it live, steer it, compare up to ten."""

from collections.abc import Callable
from functools import partial

import pandas as pd
import streamlit as st

from core.errors import HemaSealError
from core.services import run_views, runs
from core.services.accounts import Role
from core.services.app import Actor, App
from core.services.run_steps import PhaseState, phases_of, step_title
from core.services.runs import RunStatus
from pages._ui import (
    blind_demo,
    cloud_uploads,
    guard,
    privacy,
    run_charts,
    run_compare,
    run_order,
    run_rounds,
    shell,
    state,
    times,
    training,
)

LIVE = (RunStatus.QUEUED, RunStatus.RUNNING)
EVERY_S = 2.0
ABORT = "run_abort_asked"

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
    with st.container(key="live_run"):
        st.fragment(_draw, run_every=EVERY_S if live else None)(chosen, live=live)
    if st.session_state.pop(ABORT, None) == chosen:
        _confirm_abort(chosen)  # from out here: a dialog of the live part ends, deaf, when that part is drawn again


def _draw(run_id: str, *, live: bool) -> None:
    """Draw one run; a fragment of its own, so it asks again who is there."""
    actor = guard.actor(Role.AUTHORITY)
    memory: run_views.RunMemory = st.session_state.setdefault(f"run_memory_{run_id}", run_views.RunMemory())
    try:
        detail = run_views.run_detail(app, actor, run_id, memory=memory)
        if detail.run.status in LIVE and not detail.worker_alive:
            runs.wake_worker(app, actor)
    except HemaSealError as error:
        shell.show_error(error)
        return
    if live and detail.run.status not in LIVE:
        st.rerun()
    _draw_parts(detail, _standing, _controls, _members, run_rounds.draw, cloud_uploads.draw)
    with st.container():
        shown = run_charts.window(detail)
    _draw_parts(shown, run_charts.figures, privacy.of_run, run_charts.costs)
    _draw_parts(detail, _left_out, _events)


def _draw_parts(detail: run_views.RunDetail, *parts: Callable[[run_views.RunDetail], None]) -> None:
    for part in parts:
        with st.container():  # a place of its own: what a part adds or leaves out does not move the others
            part(detail)


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
            st.session_state[ABORT] = run.id
            st.rerun()


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
            "Node": training.node_state(member),
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
    """Draw what happened, the newest first, where somebody opens it."""
    part = st.expander("What happened", icon=":material/list:", key="run_events", on_change="rerun")
    if not part.open:
        return
    with part:
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
sections: dict[str, Callable[[], None]] = {
    "Watch": watch,
    "Compare": partial(run_compare.draw, app, person),
    "New run": order,
    "How blind works": blind_demo.draw,
}
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
