"""Present: a scripted demonstration of ten minutes, played live; steps in any order, with notes for the speaker."""

from collections.abc import Callable, Sequence

import streamlit as st

from core.errors import HemaSealError
from core.services import presentation as service
from core.services.accounts import Role
from core.services.presentation import PLAYED_APART, SCENES, Booked, StepName, StepState, StepView
from pages._ui import guard, presentation, shell, state, training

EVERY_S = 1.0
MOVING = (StepState.WAITING, StepState.PLAYING)
BOOKED, PROBLEM = "present_booked", "present_problem"

app = state.app()
person = guard.actor()


def views() -> list[StepView]:
    """Return all steps as they stand; what the patient's step left lives in this tab."""
    booked: Booked | None = st.session_state.get(BOOKED)
    last = StepView(step=StepName.BOOKING, state=StepState.TO_COME)
    if booked is not None:
        last = StepView(
            step=StepName.BOOKING, state=StepState.DONE, seconds=booked.seconds, share=1.0, outcome=booked.outcome
        )
    return [*service.look(app, guard.actor(Role.AUTHORITY)), last]


def act(*what: Callable[[], None]) -> None:
    """Do what a button asks, keep what went wrong for the next run, and draw the page again."""
    st.session_state.pop(PROBLEM, None)
    try:
        for one in what:
            one()
    except HemaSealError as error:
        st.session_state[PROBLEM] = error
    st.rerun()


def play(steps: Sequence[StepName]) -> None:
    """Have steps played."""
    service.play(app, guard.actor(Role.AUTHORITY), steps)


def book() -> None:
    """Let the demo patient upload and book."""
    undo()
    with st.spinner("The patient uploads; the first time, an enclave starts ..."):
        st.session_state[BOOKED] = service.book(app, guard.actor(Role.AUTHORITY))


def undo() -> None:
    """Cancel the appointment that this tab made before."""
    booked: Booked | None = st.session_state.pop(BOOKED, None)
    if booked is not None:
        service.cancel_booking(app, guard.actor(Role.AUTHORITY), booked.appointment_id)


def reset() -> None:
    """Forget everything."""
    undo()
    service.reset(app, guard.actor(Role.AUTHORITY))


def draw(*, live: bool) -> None:
    """Draw progress and all steps; a fragment of its own, so it asks again who is there."""
    try:
        steps = views()
    except HemaSealError as error:
        shell.show_error(error)
        return
    moving = any(view.state in MOVING for view in steps)
    if moving != live:
        st.rerun()
    done, spent = sum(view.state is StepState.DONE for view in steps), sum(view.seconds for view in steps)
    st.progress(
        sum(view.share for view in steps) / len(steps),
        text=f"{done} of {len(steps)} steps done · {training.seconds(spent)} of computing",
    )
    with st.container(horizontal=True, key="present_controls"):
        if st.button(
            "Play the whole script", type="primary", icon=":material/play_arrow:", key="present_all", disabled=moving
        ):
            act(lambda: play(PLAYED_APART), book)
        if st.button("Reset", icon=":material/restart_alt:", key="present_reset"):
            act(reset)
    if PROBLEM in st.session_state:
        shell.show_error(st.session_state[PROBLEM])
    for number, view in enumerate(steps, 1):
        draw_step(number, view, moving=moving)


def draw_step(number: int, view: StepView, *, moving: bool) -> None:
    """Draw one step."""
    scene = SCENES[view.step]
    with st.container(border=True, key=f"present_step_{view.step}"):
        st.header(f"{number}. {scene.title}", anchor=False)
        took = f" · {training.seconds(view.seconds)}" if view.seconds else ""
        st.markdown(f"{presentation.STATES[view.state]}{took}")
        presentation.draw_notes(scene)
        again = "Play it again" if view.outcome is not None else "Play this step"
        apart = view.step in PLAYED_APART
        if st.button(again, icon=":material/play_arrow:", key=f"present_play_{view.step}", disabled=moving and apart):
            act((lambda: play([view.step])) if apart else book)
        if view.state is StepState.PLAYING:
            st.progress(view.share, text=view.text)
        if view.state is StepState.FAILED:
            st.error(view.text, icon=":material/error:")
        if view.outcome is not None:
            presentation.draw_outcome(scene, view.outcome)
        presentation.draw_honesty(scene)


shell.title(
    "Present",
    "Ten minutes that show the whole idea, computed while you talk. Play the script, or single steps in any order; "
    "results stay until you reset.",
)
shell.research_notice()
st.caption(
    ":material/info: Federations are played with throw-away keys beside this installation: its runs and models are not "
    "touched. Only the last step uses this installation, with the rights of the demo patient."
)
try:
    under_way = any(view.state in MOVING for view in views())
except HemaSealError as error:
    shell.show_error(error)
    st.stop()
with st.container(key="live_script"):
    st.fragment(draw, run_every=EVERY_S if under_way else None)(live=under_way)
