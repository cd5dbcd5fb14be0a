"""A hospital's say in the runs that count on it: what each would have it send, leaving it, coming back."""

import pandas as pd
import streamlit as st

from core.errors import HemaSealError
from core.services import participation as service
from core.services import share_preview
from core.services.accounts import Role
from core.services.app import Actor, App
from core.services.participation import REASONS, LeaveReason, Participation
from core.services.runs import RunStatus
from pages._ui import guard, shell, state, times, training

BEGINS_LATER = (
    "It begins with the next attempt of a round. A round that is under way is finished with your update in it: the "
    "other hospitals' masks hang on yours by then."
)


def draw(app: App, person: Actor) -> None:
    """Draw each run that is planned or under way and counts on the person's hospital."""
    if note := st.session_state.pop("participation_note", ""):
        st.success(note, icon=":material/check_circle:")
    found = service.open_runs(app, person)
    if not found:
        shell.empty_state(
            "No run counts on you now",
            "The trusted authority orders runs. One with a data set of yours appears here before it trains on it.",
        )
        return
    for one in found:
        with st.container(border=True, key=f"run_{one.run.id}"):
            _run(app, person, one)
    times.zone_note()


def _run(app: App, person: Actor, one: Participation) -> None:
    run = one.run
    st.markdown(f"**{run.study}** · ordered {training.run_title(run)}")
    st.markdown(f"{training.STATUS[run.status]} · round {run.rounds_done} of {run.rounds}")
    st.text(f"Our data set: {one.dataset}")
    if run.reason:
        st.caption(run.reason)
    _standing(one)
    with st.container(horizontal=True):
        if st.button("What leaves this site …", icon=":material/visibility:", key=f"preview_{run.id}"):
            _preview(run.id)
        if one.left_at is None:
            if st.button("Leave this run …", icon=":material/logout:", key=f"leave_{run.id}"):
                _confirm_leave(one)
        elif st.button("Take part again", icon=":material/login:", type="primary", key=f"return_{run.id}"):
            _act(app, person, one)


def _standing(one: Participation) -> None:
    """Say whether the hospital takes part, and what its absence means for the others."""
    if one.plan is None:
        st.error(
            "The stored order of this run is not the authority's. Your node refuses it.", icon=":material/gpp_bad:"
        )
        return
    if one.left_at is None:
        st.markdown(f":material/check: **We take part.** {one.plan.text} Still in the run: {one.here}.")
        return
    why = REASONS[one.left_reason] if one.left_reason else "no reason is stored"
    others = "The others can go on without us." if one.goes_on_without_us else "Without us the run waits."
    st.markdown(f":material/logout: **We left** on {times.show_time(one.left_at)}: {why}. {others}")


@st.dialog("What leaves this site", width="large")
def _preview(run_id: str) -> None:
    """Draw what a run has the hospital send, each round and at the end."""
    try:
        told = share_preview.preview(state.app(), guard.actor(Role.HOSPITAL), run_id)
    except HemaSealError as error:
        shell.show_error(error)
        return
    st.markdown(f"Mode **{training.MODE[told.mode]}**: {told.mode.visible_to_cloud}")
    for when in dict.fromkeys(one.when for one in told.leaves):
        st.markdown(f"**What leaves {when}**")
        st.markdown("\n".join(_line(one) for one in told.leaves if one.when == when))
    st.markdown("**What never leaves**")
    st.markdown("\n".join(f"- {text}" for text in share_preview.NEVER))
    st.markdown("**Limits on what an update can say**")
    shell.facts(_limits(told))
    if told.sent is not None:
        st.markdown(
            f"Measured: in round {told.sent.round} this node sent {training.size(told.sent.size)} in "
            f"{told.sent.messages} messages."
        )
    with st.expander(f"The shape of each of the {len(told.tensors)} variables", key="preview_shapes"):
        st.dataframe(
            pd.DataFrame(
                [
                    {"Variable": one.name, "Shape": " x ".join(map(str, one.shape)), "Numbers": one.numbers}
                    for one in told.tensors
                ]
            ),
            hide_index=True,
            key="preview_tensors",
            alt="Name, shape and count of numbers of each variable of an update",
        )


def _line(one: share_preview.Leaving) -> str:
    """Return one thing that leaves as a line of a list, which a narrow window can show whole."""
    size = "" if one.size is None else f", {training.size(one.size)}"
    return f"- {one.what}: **{one.form}**{size}. Can be read by {one.readers}."


def _limits(told: share_preview.SharePreview) -> list[tuple[str, str]]:
    facts = [
        ("Network", f"{told.architecture}, {told.parameters:,} numbers in an update"),
        ("Weight of our update, at most", f"{told.images:,} images"),
    ]
    if told.words is not None:
        facts += [
            ("Largest change of one weight in a round", f"{told.words.clip:g}; more is cut off"),
            ("Rounded to steps of", f"1/{told.words.scale:,.0f} in words of {told.words.word} bits"),
        ]
    if told.privacy is None or told.cost is None:
        facts.append(
            ("Noise", "none: this run has no differential privacy, and nothing bounds what a model may remember")
        )
        return facts
    privacy = told.privacy
    facts += [
        ("Clipping norm of one patient's gradient", f"{privacy.clip_norm:g}"),
        ("Noise in each training step", f"{privacy.noise_multiplier:g} times that norm"),
        (
            "Privacy cost",
            f"epsilon {told.cost.epsilon:.2f} at delta {privacy.delta:g} in {told.rounds} rounds, beside earlier runs",
        ),
        ("Our node stops before epsilon", f"{privacy.budget_epsilon:g}"),
    ]
    return facts


@st.dialog("Leave this run?")
def _confirm_leave(one: Participation) -> None:
    """Say what leaving means, ask for the reason, and do it."""
    st.markdown(f"Your node answers nothing more of this run until you come back. {BEGINS_LATER}")
    if one.goes_on_without_us:
        st.markdown("The other hospitals are enough to go on without you.")
    else:
        st.warning("The others are too few without you: the run pauses until enough are back.", icon=":material/pause:")
    reason = st.selectbox(
        "We leave because …", list(REASONS), index=None, format_func=REASONS.__getitem__, key="leave_reason"
    )
    st.caption(
        "The trusted authority sees the reason; it is written to the audit log. Other hospitals see that you left."
    )
    if st.button("Leave now", type="primary", key="leave_confirm", disabled=reason is None) and reason is not None:
        _act(state.app(), guard.actor(Role.HOSPITAL), one, reason)


def _act(app: App, person: Actor, one: Participation, reason: LeaveReason | None = None) -> None:
    """Leave for a reason, or come back without one, and draw the page again."""
    try:
        if reason is None:
            service.return_to(app, person, one.run.id)
            note = "You take part again, from the next attempt of a round on."
            if one.run.status is not RunStatus.RUNNING:
                note += " A run that paused goes on when the authority resumes it."
        else:
            service.leave(app, person, one.run.id, reason)
            note = "You left the run. " + BEGINS_LATER
    except HemaSealError as error:
        shell.show_error(error)
        return
    st.session_state["participation_note"] = note
    st.rerun()
