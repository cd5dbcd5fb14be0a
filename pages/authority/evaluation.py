"""Evaluation: tables of the papers and attacks on a data set, ordered, watched, and read with all they rest on."""

from collections.abc import Callable
from functools import partial

import streamlit as st

from core.errors import HemaSealError
from core.services import evaluation_orders
from core.services import evaluations as service
from core.services.accounts import Role, session_actor
from core.services.evaluations import Evaluation, Order, Phase
from pages._ui import evaluation_blocks, evaluation_order, guard, shell, state, studies, times

EVERY_S = 2.0
PHASES: dict[Phase, str] = {
    Phase.WAITING: ":material/schedule: its process starts",
    Phase.RUNNING: ":material/sync: running",
    Phase.STOPPING: ":material/pause: stops as soon as it can",
    Phase.STOPPED: ":material/pause_circle: stopped; it can go on where it was",
    Phase.LOST: ":material/error: its process ended before it was done; it can go on where it was",
    Phase.FAILED: ":material/error: failed",
    Phase.FINISHED: ":material/check_circle: finished",
}
BY_COMMAND = ":material/terminal: made by a command, not from here"

app = state.app()
person = guard.actor()


def results() -> None:
    """Draw the choice of an evaluation, how far it is, and what came of it."""
    views = {view.name: view for view in service.evaluations(app, person)}
    if not views:
        shell.empty_state(
            "No evaluation yet",
            "Order one under “New evaluation”, or point the commands of docs/results.md at a folder below "
            "`evaluation` in this installation's data folder.",
        )
        return
    if (newest := st.session_state.pop(evaluation_order.NEWEST, None)) in views:
        st.session_state["evaluation_chosen"] = newest
    chosen = st.selectbox("Evaluation", list(views), key="evaluation_chosen")
    with st.container(key="live_evaluation"):
        moving = views[chosen].is_moving
        st.fragment(stand, run_every=EVERY_S if moving else None)(chosen, live=moving)
    chapters = service.contents(app, person, chosen)
    if not chapters:
        st.caption("Tables and attacks appear here when they are finished.")
        return
    heading = st.segmented_control(
        "Part", list(chapters), default=next(iter(chapters)), required=True, key=f"evaluation_part_{chosen}"
    )
    evaluation_blocks.draw(chapters[str(heading)], key=f"block_{chosen}_{heading}".replace(" ", "_").lower())
    if heading == "Attacks":
        pictures(chosen)


def stand(name: str, *, live: bool) -> None:
    """Draw how far an evaluation is, and what can be done to it; a fragment of its own, so it asks who is there."""
    try:
        actor = guard.actor(Role.AUTHORITY)
        view = next((one for one in service.evaluations(app, actor) if one.name == name), None)
    except HemaSealError as error:
        shell.show_error(error)
        return
    if view is None or view.is_moving != live:
        st.rerun()
    now = view.standing
    st.markdown(f"{PHASES[now.phase] if now else BY_COMMAND} · {view.steps} steps finished")
    if now is not None and view.is_moving:
        doing = f": {now.step}" + (f" · {now.what}" if now.what else "")
        counted = f", {now.done} of {now.total} done" if now.total else ""
        st.progress(now.share, text=f"{now.part.capitalize()}{counted}{doing}" if now.part else "Reading the order")
    if now is not None and now.phase is Phase.FAILED:
        st.error(now.reason, icon=":material/error:")
    if view.order is not None:
        ordered(view.order)
    controls(view)


def ordered(order: Order) -> None:
    """Draw what was ordered."""
    made = " and ".join([*(["attacks"] if order.attacks else []), *(["tables"] if order.tables else [])])
    shell.facts(
        [
            ("Data set", f"`{order.data}`"),
            ("Study", studies.title_of(order.study)),
            ("Ordered", f"{made}, {'full' if order.full else 'quick'} profile, {times.show_time(order.at)}"),
        ]
    )


def controls(view: Evaluation) -> None:
    """Draw what can be done to an evaluation, and what can be taken along."""
    acts: dict[str, tuple[str, str, Callable[[], None], bool]] = {
        "stop": ("Stop", ":material/pause:", partial(act, evaluation_orders.stop, view.name), view.is_moving),
        "go_on": ("Go on", ":material/play_arrow:", partial(act, evaluation_orders.go_on, view.name), view.may_go_on),
        "remove": ("Delete", ":material/delete:", partial(removal, view.name), not view.is_moving),
    }
    with st.container(horizontal=True, key="evaluation_controls"):
        for key, (label, icon, do, is_possible) in acts.items():
            if is_possible and st.button(label, icon=icon, key=f"evaluation_{key}"):
                do()
        files(view.name)


def act(what: Callable[..., None], name: str) -> None:
    """Do what a button asks and draw the page again."""
    try:
        what(app, guard.actor(Role.AUTHORITY), name)
    except HemaSealError as error:
        shell.show_error(error)
    else:
        st.rerun()


@st.dialog("Delete this evaluation?")
def removal(name: str) -> None:
    """Ask before results of hours are gone."""
    st.markdown(f"All steps, tables and reports of **{name}** are deleted from the server. The images stay.")
    if st.button("Delete it", type="primary", key="evaluation_remove_sure"):
        act(evaluation_orders.remove, name)


def files(name: str) -> None:
    """Draw the files that can be taken along: reports, and the result of each step that a number comes from."""
    there, token = service.kept(app, guard.actor(Role.AUTHORITY), name), guard.token() or ""
    for path in there.reports:
        take(name, path, f"Report as {path.rpartition('.')[2].upper()}", token)
    if there.steps:
        with st.popover("Files of the steps", icon=":material/data_object:"):
            st.caption("Every number on this page comes from one of these files.")
            take(name, str(st.selectbox("File", there.steps, key="evaluation_file")), "Save", token)


def take(name: str, path: str, label: str, token: str) -> None:
    """Draw a button that saves a file; it is read when it is pressed."""
    st.download_button(
        label,
        data=lambda: service.read_file(app, session_actor(app, token), name, path),
        file_name=f"{name}-{path.replace('/', '-')}",
        icon=":material/download:",
        on_click="ignore",
        key=f"evaluation_take_{path}",
    )


def pictures(name: str) -> None:
    """Draw the pictures that attacks left: true ones above what was recovered."""
    for path in service.kept(app, person, name).pictures:
        title = path.rpartition("/")[2].removesuffix(".png").replace("-", " ")
        caption = f"{title}: true pictures above, what was recovered below"
        st.image(service.read_file(app, person, name, path), caption=caption, alt=caption)


shell.title(
    "Evaluation",
    "The tables of both papers and the attacks, on a data set of your choice. Nothing here is typed in: each number "
    "comes from a file that a step of the evaluation left, with its seed, its commit and the hash of the images.",
)
shell.research_notice()
shell.sections(
    {"Results": results, "New evaluation": lambda: evaluation_order.draw(app, person)}, key="evaluation_section"
)
