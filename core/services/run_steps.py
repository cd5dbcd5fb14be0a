"""The steps of a run in people's words: what each one did, and the phases of a round that they belong to."""

from collections import Counter
from dataclasses import dataclass
from enum import StrEnum

from core.learning.orders import AggregationMode
from core.learning.run_figures import RoundFigures

__all__ = ["DONE", "Phase", "PhaseState", "PhaseView", "done_at", "phase_of", "phases_of", "rank_of", "step_title"]


class Phase(StrEnum):
    """Parts of a round, in their order."""

    OPENING = "Opening"
    KEYS = "Keys"
    TRAINING = "Training"
    ADDING = "Adding"
    CHECKING = "Checking"
    APPLYING = "Applying"
    FIGURES = "Figures"
    SEALING = "Sealing"
    EXPORT = "Export"


class PhaseState(StrEnum):
    """How far a phase has come."""

    DONE = "done"
    NOW = "now"
    TO_COME = "to come"


@dataclass(frozen=True)
class PhaseView:
    """A phase of a round with its state."""

    phase: Phase
    state: PhaseState


@dataclass(frozen=True)
class _Words:
    """A step: its phase, a short title for “at”, and what whoever answered it has done."""

    phase: Phase
    title: str
    done: str


_STEPS = {
    "initialise": _Words(Phase.OPENING, "first weights", "drew the first weights"),
    "adopt": _Words(Phase.OPENING, "opening", "sealed and signed the first global model"),
    "begin": _Words(Phase.OPENING, "opening", "took the run's first model and signed its lineage"),
    "train": _Words(Phase.TRAINING, "training", "trained and sent its update"),
    "average": _Words(Phase.ADDING, "combining", "opened, checked and combined the updates"),
    "evaluate": _Words(Phase.FIGURES, "evaluation", "evaluated the new global model on its own patients"),
    "summarise": _Words(Phase.FIGURES, "adding figures", "added the validation figures and signed the lineage"),
    "advertise": _Words(Phase.KEYS, "keys", "made new keys for this attempt and signed them"),
    "deal": _Words(Phase.KEYS, "shares of keys", "shared out its secrets, so that others can stand in for it"),
    "upload": _Words(Phase.TRAINING, "training and upload", "trained, masked its update and sent it"),
    "agree": _Words(Phase.ADDING, "agreeing who is in", "signed whose updates are in the sum"),
    "unmask": _Words(Phase.ADDING, "unmasking", "revealed the shares that take masks off the sum"),
    "reveal": _Words(Phase.CHECKING, "drawing the point", "saw the signed sum and revealed its random value"),
    "hash": _Words(Phase.CHECKING, "checking the sum", "signed the hash of its own masked vector"),
    "apply": _Words(Phase.APPLYING, "applying", "checked the sum, took the group mask off and made the new model"),
    "figures-advertise": _Words(Phase.FIGURES, "keys for the figures", "made new keys for the figures"),
    "figures-deal": _Words(Phase.FIGURES, "shares for the figures", "shared out its secrets for the figures"),
    "figures-upload": _Words(Phase.FIGURES, "evaluation", "evaluated the new model and sent its masked figures"),
    "figures-agree": _Words(Phase.FIGURES, "agreeing whose figures", "signed whose figures are in the sum"),
    "figures-unmask": _Words(Phase.FIGURES, "unmasking the figures", "revealed the shares for the figures' sum"),
    "figures-reveal": _Words(Phase.FIGURES, "drawing a point again", "revealed its random value for the figures"),
    "figures-hash": _Words(Phase.FIGURES, "checking the figures", "signed the hash of its own masked figures"),
    "figures-tally": _Words(Phase.FIGURES, "adding figures", "read the sum of all figures and signed the lineage"),
    "seal": _Words(Phase.SEALING, "sealing", "sealed the new model for members and authority"),
    "open": _Words(Phase.SEALING, "checking the seal", "opened the sealed model and found its own"),
    "export": _Words(Phase.EXPORT, "export", "exported, calibrated and sealed the serving model"),
}

_RANKS = {step: place for place, step in enumerate(_STEPS)}
_RANKS["open"] = _RANKS["seal"]
DONE = {step: words.done for step, words in _STEPS.items()}
"""Step -> what a party that answered it has done."""

_AVERAGED = (Phase.TRAINING, Phase.ADDING, Phase.FIGURES)
_BLIND = (
    Phase.KEYS,
    Phase.TRAINING,
    Phase.ADDING,
    Phase.CHECKING,
    Phase.APPLYING,
    Phase.FIGURES,
    Phase.SEALING,
)


def step_title(step: str) -> str:
    """Return a step's short title."""
    return _STEPS[step].title if step in _STEPS else step


def phase_of(step: str) -> Phase | None:
    """Return the phase that a step belongs to; None for a step that is not known here."""
    return _STEPS[step].phase if step in _STEPS else None


def rank_of(step: str) -> int:
    """Return a number by which the steps of one round are in order.

    Sealing and checking the seal, which are asked of different parties, have the same one.
    """
    return _RANKS.get(step, -1)


def done_at(step: str) -> str:
    """Return what a party that answered a step has done."""
    return DONE.get(step, "answered")


def phases_of(mode: AggregationMode, one: RoundFigures, *, under_way: bool) -> list[PhaseView]:
    """Return the phases of a round with their states, in order; the last round's end with the export once it begins.

    Args:
        mode: of the run.
        one: the round.
        under_way: whether the run is; of one that is not, nothing happens now.
    """
    blind = mode is AggregationMode.BLIND
    if one.round == 0:
        phases = [Phase.OPENING, Phase.SEALING] if blind else [Phase.OPENING]
    else:
        phases = list(_BLIND if blind else _AVERAGED)
    exported = any(answer.step == "export" for answer in one.answers)
    reached = _furthest(phases, one)
    views = [
        PhaseView(phase, _state(place, reached, done=one.finished, under_way=under_way))
        for place, phase in enumerate(phases)
    ]
    return [*views, PhaseView(Phase.EXPORT, PhaseState.DONE)] if exported else views


def _furthest(phases: list[Phase], one: RoundFigures) -> int:
    """Return the place of the furthest phase that has begun; the first one before anybody has answered."""
    steps = Counter(answer.step for answer in one.answers)
    begun = {_STEPS[step].phase for step in steps if step in _STEPS}
    if one.progress or (steps["deal"] and steps["deal"] >= steps["advertise"]):
        begun.add(Phase.TRAINING)
    if steps["average"]:
        begun.add(Phase.FIGURES)
    return max((phases.index(phase) for phase in begun if phase in phases), default=0)


def _state(place: int, reached: int, *, done: bool, under_way: bool) -> PhaseState:
    if done or place < reached:
        return PhaseState.DONE
    return PhaseState.NOW if under_way and place == reached else PhaseState.TO_COME
