"""How a blind round works, for people who present it: its eight steps in words, and an example with throw-away keys."""

from dataclasses import dataclass
from enum import StrEnum

from core.evaluation.blind_example import CLIP, COPIES, BlindExample, ExampleMember, blind_example

__all__ = ["CLIP", "COPIES", "STEPS", "BlindExample", "BlindStep", "ExampleMember", "Way", "blind_example"]


class Way(StrEnum):
    """Where something goes in a step."""

    UP = "hospitals to cloud"
    DOWN = "cloud to hospitals"
    AT_HOSPITALS = "at the hospitals"


@dataclass(frozen=True)
class BlindStep:
    """A step of a blind round.

    Attributes:
        title: its name.
        carried: what is made or sent, in a few words.
        ways: where it goes, in order.
        text: one or two sentences for people.
    """

    title: str
    carried: str
    ways: tuple[Way, ...]
    text: str


STEPS = (
    BlindStep(
        "Keys",
        "two new public keys each",
        (Way.UP, Way.DOWN),
        "Each hospital makes two new key pairs for this attempt and signs the public halves. Any two hospitals can now "
        "agree on a mask that one adds and the other subtracts.",
    ),
    BlindStep(
        "Shares",
        "encrypted shares of secrets",
        (Way.UP, Way.DOWN),
        "Each one shares its mask key and the seed of its own mask out among the others, encrypted, so that enough of "
        "them can stand in for it if it drops out.",
    ),
    BlindStep(
        "Train and upload",
        "masked vectors",
        (Way.AT_HOSPITALS, Way.UP),
        "It trains, writes the change of each weight as an integer, adds pair masks, its own mask and the group mask, "
        "and uploads what then looks random.",
    ),
    BlindStep(
        "Agree who is in",
        "signed list of uploads",
        (Way.DOWN, Way.UP),
        "The cloud names whose uploads it has; more than two thirds must sign the same list before anybody unmasks.",
    ),
    BlindStep(
        "Unmask",
        "shares, one kind for each hospital",
        (Way.UP,),
        "They reveal shares: of the own masks of those who stayed, of the mask keys of those who dropped out; never "
        "both of one hospital.",
    ),
    BlindStep(
        "Sum and point",
        "signed sum, then random values",
        (Way.DOWN, Way.UP),
        "The cloud signs the sum, on which the group masks still are. Only then do hospitals reveal the random values "
        "that make a point nobody could foresee.",
    ),
    BlindStep(
        "Check",
        "a hash of each one's vector",
        (Way.UP, Way.DOWN),
        "Each hospital hashes its own masked vector at that point. The hashes must add up to the hash of the sum: one "
        "changed number anywhere is found.",
    ),
    BlindStep(
        "Apply and seal",
        "the sealed new model",
        (Way.AT_HOSPITALS, Way.UP),
        "The hospitals take the group masks off, make the new model, sign its hash, and seal it for each other and the "
        "authority. The cloud stores what it cannot open.",
    ),
)
