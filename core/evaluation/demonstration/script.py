"""The script of the demonstration: its steps in their order, what the speaker says, what is real and what is small."""

from dataclasses import dataclass
from enum import StrEnum

__all__ = ["SCENES", "Scene", "StepName"]


class StepName(StrEnum):
    """Steps of the demonstration, in the order of the script."""

    HOSPITALS = "hospitals"
    MODES = "modes"
    DROP_OUT = "drop-out"
    TAMPERING = "tampering"
    INVERSION = "inversion"
    BOOKING = "booking"


@dataclass(frozen=True, kw_only=True)
class Scene:
    """One step as the presenter sees it before it runs.

    Attributes:
        step: which.
        title: what it shows.
        minutes: how long to talk about it.
        notes: what to say, sentence by sentence.
        real: what of it is the product's own code at work.
        small: what was made small so that it fits a talk.
    """

    step: StepName
    title: str
    minutes: float
    notes: tuple[str, ...]
    real: str
    small: str


_SCENES = (
    Scene(
        step=StepName.HOSPITALS,
        title="Hospitals with different stains",
        minutes=1.0,
        notes=(
            "Four hospitals want to recognise leukemic cells. Each has too few patients to train a network alone.",
            (
                "Look at the pictures: the same kinds of cell, but another stain, another lamp, another camera in each "
                "laboratory. A network that has seen one laboratory only is lost in the next."
            ),
            "So they should train together. But pictures of patients must not leave a hospital, and they will not.",
        ),
        real="The pictures are drawn now by the generator that fills the demo's data sets.",
        small="They are synthetic: nobody's blood, a few cells for each hospital.",
    ),
    Scene(
        step=StepName.MODES,
        title="One round in each mode, and what the cloud saw",
        minutes=2.0,
        notes=(
            (
                "Each hospital trains on its own pictures and sends how its network changed, the update. A cloud joins "
                "the updates. The question is what that cloud can read."
            ),
            "Plain: it reads every number. The histogram is the update of one hospital, as the cloud has it.",
            (
                "Sealed: it carries an encrypted parcel that only one separate process can open. Its bytes are evenly "
                "spread: there is nothing to read."
            ),
            (
                "Blind: it adds masked numbers. What it holds of the same update is evenly spread over all "
                "numbers there "
                "are, and does not resemble the true one beside it. Nobody at all can read a hospital's update."
            ),
            "And the model at the end is the same in all three, but for rounding.",
        ),
        real="Three runs by the code of real runs: signed orders, certificates, sealing, masks, proof of the sum.",
        small="A network of 9,674 parameters, a few images for each hospital, one round, all parties in one process.",
    ),
    Scene(
        step=StepName.DROP_OUT,
        title="A hospital drops out in the midst of a blind round",
        minutes=1.5,
        notes=(
            (
                "Masks cancel only if everybody's upload is there. So what if a hospital's line breaks after the masks "
                "were agreed, and before it uploads?"
            ),
            "Watch South: it answers twice, then no more.",
            (
                "The others hold shares of South's mask key. Enough of them together take its masks off the sum; fewer "
                "could not. The round ends well with three hospitals, and their updates stay hidden."
            ),
        ),
        real="A blind run by the code of real runs; the connection to South is cut between two steps.",
        small="One round, four hospitals in one process, the network of 9,674 parameters.",
    ),
    Scene(
        step=StepName.TAMPERING,
        title="A cloud that changes the sum is caught",
        minutes=1.5,
        notes=(
            (
                "Now the cloud cheats. It adds 1 to a single number of the sum, in units far below anything that one "
                "could see in the model, and signs it."
            ),
            (
                "The hospitals do not believe a sum because it is signed. They draw a random point together, "
                "each hashes "
                "its own masked numbers there, and the hashes must add up to the hash of the sum."
            ),
            "They do not. Every hospital that checks refuses, and no model comes out of this round.",
            "The same cloud, when it changes nothing, gets its model: the check is not a lock that is always shut.",
        ),
        real="The dishonest cloud signs with the coordinator's real key; hospitals are the code of real runs.",
        small="One round, four hospitals in one process; one number of 9,675 is changed, by 1.",
    ),
    Scene(
        step=StepName.INVERSION,
        title="Can somebody see the picture in an update?",
        minutes=2.0,
        notes=(
            (
                "Is an update harmless, since it is no picture? No. This is an attack of 2019: look for a "
                "picture whose "
                "update would be the one that was sent."
            ),
            (
                "From the plain update it finds the cell. PSNR says how close in decibels; a surface of the right mean "
                "colour stands beside it, because a number alone says nothing."
            ),
            (
                "Then the same attack, with the same effort, on what the cloud holds of the same update in "
                "blind mode. We "
                "even give the attacker the network, which a blind cloud does not have. Noise comes out."
            ),
        ),
        real="Both updates are taken from the cloud's hands in real rounds, and attacked by the same code.",
        small=(
            "The easiest case for the attacker: a smooth network, one picture of 32 by 32 pixels, one training step. "
            "With many pictures and steps the attack is far harder, but nobody can promise that it fails."
        ),
    ),
    Scene(
        step=StepName.BOOKING,
        title="A patient uploads and books",
        minutes=2.0,
        notes=(
            (
                "What is it all for? A patient sends a picture. It is checked, sealed for one hospital and stored; the "
                "application cannot open it again."
            ),
            (
                "That hospital's enclave answers with a calibrated probability and a heat map, signed. A doctor "
                "will look "
                "at it; until then it is no diagnosis."
            ),
            (
                "The patient chooses a free time of that hospital's doctors and has an appointment. Sign in as "
                "demo-doctor in another window: the case is on the worklist."
            ),
        ),
        real=(
            "The services, the database, the enclave and the model of an installation, with the rights of the demo "
            "patient; every act is in the audit log."
        ),
        small="The picture is synthetic and the patient is the demo's. Reset cancels the appointment; the case stays.",
    ),
)
SCENES: dict[StepName, Scene] = {scene.step: scene for scene in _SCENES}
