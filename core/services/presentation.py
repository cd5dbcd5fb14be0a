"""Presenter mode: play steps of the demonstration, look at what came of them, reset it. Only in demo mode.

Steps with a federation are played by another process with throw-away keys (`presentation_process`). The last one, a
patient's way from upload to appointment, is done here, by this installation's services with the demo patient's rights.
"""

from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass
from enum import StrEnum

import numpy as np

from core.errors import AppointmentRefused, DemoOnly, InvalidInput, NotFound
from core.evaluation.demonstration.journal import Entry, EntryKind, read_entries
from core.evaluation.demonstration.outcome import Curves, Outcome, Picture, Table
from core.evaluation.demonstration.script import SCENES, Scene, StepName
from core.services import appointments, audit, presentation_process
from core.services.app import Actor, App
from core.services.authorise import Action, Relation, authorise
from core.settings import Mode
from db.engine import read_scope, session_scope
from db.models import Appointment

__all__ = [
    "PLAYED_APART",
    "SCENES",
    "Booked",
    "Curves",
    "Outcome",
    "Picture",
    "Scene",
    "StepName",
    "StepState",
    "StepView",
    "Table",
    "book",
    "cancel_booking",
    "look",
    "play",
    "reset",
]

PLAYED_APART = tuple(step for step in StepName if step is not StepName.BOOKING)
"""Steps that the other process plays."""


class StepState(StrEnum):
    """How far a step is."""

    TO_COME = "to come"
    WAITING = "waiting"
    PLAYING = "playing"
    DONE = "done"
    FAILED = "failed"
    LOST = "lost"


@dataclass(frozen=True, kw_only=True)
class StepView:
    """One step as it stands.

    Attributes:
        step: which.
        state: how far it is.
        text: what happens now, or why it failed.
        share: how much of it is done, from 0 to 1.
        seconds: how long it has taken, or took.
        outcome: what came out, None before the end.
    """

    step: StepName
    state: StepState
    text: str = ""
    share: float = 0.0
    seconds: float = 0.0
    outcome: Outcome | None = None


@dataclass(frozen=True)
class Booked:
    """What came of the patient's step: what to show, the appointment's id, and how long it took in seconds."""

    outcome: Outcome
    appointment_id: str
    seconds: float


def look(app: App, actor: Actor) -> list[StepView]:
    """Return the steps that the other process plays, as they stand, in the script's order.

    Raises:
        NotAuthorised: only the authority presents.
        DemoOnly: this installation is no demo.
    """
    with read_scope(app.engine) as session:
        authorise(app, session, actor, Action.READ_PRESENTATION, Relation.ANY)
    _require_demo(app)
    folder, playing = presentation_process.folder_of(app.settings), presentation_process.is_playing(app.settings)
    return [_view(app, step, read_entries(folder, step), playing=playing) for step in PLAYED_APART]


def play(app: App, actor: Actor, steps: Sequence[StepName]) -> None:
    """Have steps played, one after the other in the script's order, by another process. Does not wait for it.

    Raises:
        NotAuthorised: only the authority presents.
        DemoOnly: this installation is no demo.
        InvalidInput: no step, one that is not played there, or another one is being played.
    """
    with session_scope(app.engine) as session:
        authorise(app, session, actor, Action.PRESENT, Relation.ANY)
        _require_demo(app)
        if not steps or not set(steps) <= set(PLAYED_APART):
            raise InvalidInput("no such step")
        if presentation_process.is_playing(app.settings):
            raise InvalidInput("another step is being played")
        audit.append(app, session, actor, "presentation.play", details={f"step.{step}": True for step in steps})
    chosen = [step for step in PLAYED_APART if step in steps]
    presentation_process.launch(app.settings, chosen, clock=app.clock)


def book(app: App, actor: Actor) -> Booked:
    """Send a synthetic picture as the demo patient, and book an appointment: in this installation, with its services.

    Raises:
        NotAuthorised: only the authority presents.
        DemoOnly: this installation is no demo.
        NotFound: the demo patient's account is gone or closed.
        HemaSealError: whatever a patient would meet.
    """
    from core.evaluation.demonstration.patient import demo_patient, upload_to_booking  # noqa: PLC0415  draws pictures

    with session_scope(app.engine) as session:
        authorise(app, session, actor, Action.PRESENT, Relation.ANY)
        _require_demo(app)
        patient = demo_patient(app)
        audit.append(app, session, actor, "presentation.book", object_id=patient.user_id)
    began = app.clock.now()
    outcome, appointment_id = upload_to_booking(app, patient, rng=np.random.default_rng())
    return Booked(outcome, appointment_id, (app.clock.now() - began).total_seconds())


def cancel_booking(app: App, actor: Actor, appointment_id: str) -> None:
    """Cancel an appointment that `book` made, as the demo patient would; one that is over stays.

    Raises:
        NotAuthorised: only the authority presents.
        DemoOnly: this installation is no demo.
    """
    from core.evaluation.demonstration.patient import demo_patient  # noqa: PLC0415  draws pictures

    with session_scope(app.engine) as session:
        authorise(app, session, actor, Action.PRESENT, Relation.ANY)
        _require_demo(app)
        if session.get(Appointment, appointment_id) is None:
            return
        audit.append(app, session, actor, "presentation.cancel", object_id=appointment_id)
    with suppress(AppointmentRefused, NotFound):  # cancelled meanwhile, begun, or erased
        appointments.cancel(app, demo_patient(app), appointment_id)


def reset(app: App, actor: Actor) -> None:
    """Forget what was played, and end what is being played.

    Raises:
        NotAuthorised: only the authority presents.
        DemoOnly: this installation is no demo.
    """
    with session_scope(app.engine) as session:
        authorise(app, session, actor, Action.PRESENT, Relation.ANY)
        _require_demo(app)
        audit.append(app, session, actor, "presentation.reset")
    presentation_process.clear(app.settings)


def _require_demo(app: App) -> None:
    if app.settings.mode is not Mode.DEMO:
        raise DemoOnly


def _view(app: App, step: StepName, entries: Sequence[Entry], *, playing: bool) -> StepView:
    if not entries:
        return StepView(step=step, state=StepState.TO_COME)
    last = entries[-1]
    if last.kind is EntryKind.ASKED:
        return StepView(step=step, state=StepState.WAITING if playing else StepState.LOST)
    first = next(entry for entry in entries if entry.kind is EntryKind.BEGUN)
    share = max(entry.share for entry in entries)
    if last.kind is EntryKind.ENDED:
        state = StepState.DONE
    elif last.kind is EntryKind.FAILED:
        state = StepState.FAILED
    else:
        state = StepState.PLAYING if playing else StepState.LOST
    until = app.clock.now() if state is StepState.PLAYING else last.at
    return StepView(
        step=step,
        state=state,
        text=last.text,
        share=share,
        seconds=(until - first.at).total_seconds(),
        outcome=last.outcome,
    )
