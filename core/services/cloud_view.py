"""What the cloud held in a round, told from the run's own events, and what it could and could not read of it."""

from dataclasses import dataclass
from datetime import datetime

from core.learning.orders import AggregationMode, slug_of
from core.learning.run_figures import Answer, RoundFigures

__all__ = ["CloudView", "HeldObject", "seen_by_cloud"]


@dataclass(frozen=True)
class HeldObject:
    """Something that a party handed to the cloud.

    Attributes:
        of: whose it is: a hospital's slug, or the aggregation enclave.
        what: what it is.
        readable: whether the cloud can read it.
        bytes: its size.
        at: when it came.
        sha256: first hex digits of its SHA-256, where the coordinator notes it.
    """

    of: str
    what: str
    readable: bool
    bytes: int
    at: datetime | None
    sha256: str


@dataclass(frozen=True)
class CloudView:
    """One round from the cloud's side.

    Attributes:
        held: what hospitals handed over that carries something of their data or of the model.
        could: what it could also see, as sentences.
        could_not: what it could not see, as sentences.
    """

    held: list[HeldObject]
    could: tuple[str, ...]
    could_not: tuple[str, ...]


_KINDS: dict[AggregationMode, dict[str, str]] = {
    AggregationMode.PLAIN: {
        "initialise": "first weights",
        "train": "update",
        "evaluate": "validation figures",
        "average": "sealed global model",
    },
    AggregationMode.SEALED: {
        "initialise": "sealed first weights",
        "train": "sealed update",
        "evaluate": "sealed validation figures",
        "average": "sealed global model",
    },
    AggregationMode.BLIND: {
        "upload": "masked update",
        "figures-upload": "masked validation figures",
        "seal": "sealed global model",
    },
}
_READABLE = {"initialise", "train", "evaluate"}
"""Steps whose replies can be read in plain mode; in the others none can."""

_COULD = {
    AggregationMode.PLAIN: (
        "Every hospital's update, number by number, and so the new global model too.",
        "Every hospital's own validation figures, and those of all together.",
    ),
    AggregationMode.SEALED: (
        "Who took part, when each message came and how large it was, and how long each task took.",
        "The validation figures of all hospitals together, which are published with the model.",
    ),
    AggregationMode.BLIND: (
        "Who took part, when each message came and how large it was, and how long each task took.",
        "Public keys, signatures, encrypted shares, and hashes of masked vectors.",
        "The own masks of hospitals that stayed and the pair masks of those that dropped out, which members reveal.",
        "The validation figures of all hospitals together, which the members publish with the model.",
    ),
}
_COULD_NOT = {
    AggregationMode.PLAIN: ("The images: they never leave a hospital, in any mode.",),
    AggregationMode.SEALED: (
        "A hospital's update or its own figures: they are sealed for the aggregation enclave, which opens each.",
        "The global model: it is sealed for the members and the authority.",
        "The images: they never leave a hospital, in any mode.",
    ),
    AggregationMode.BLIND: (
        "A hospital's update: masks that it shares with the others that stayed, and the group mask, are still on it.",
        "The sum of the updates: the group mask hides it, and its key was never in the cloud.",
        "The global model: the members make it themselves and seal it.",
        "A single hospital's figures.",
        "The images: they never leave a hospital, in any mode.",
    ),
}


def seen_by_cloud(mode: AggregationMode, one: RoundFigures) -> CloudView:
    """Return what the cloud held in the last attempt of a round."""
    return CloudView(
        held=[_held(mode, answer) for answer in one.answers if answer.step in _KINDS[mode]],
        could=_COULD[mode],
        could_not=_COULD_NOT[mode],
    )


def _held(mode: AggregationMode, answer: Answer) -> HeldObject:
    return HeldObject(
        of=slug_of(answer.party),
        what=_KINDS[mode][answer.step],
        readable=mode is AggregationMode.PLAIN and answer.step in _READABLE,
        bytes=answer.attached or answer.bytes,
        at=answer.at,
        sha256=answer.sha256,
    )
