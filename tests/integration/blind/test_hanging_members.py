"""A member that hangs in any step: it is late when the step's time is over, is told to stop, and the round goes on."""

from dataclasses import dataclass

import pytest

from core.learning.run_choices import ANSWER_S, MAX_DEADLINE_S, RoundRules
from core.learning.run_events import EventKind
from federated.messages import Step, unpack
from federated.transport.inprocess import InProcessHost, Lines
from tests.federation import RUN, Federation
from tests.integration.blind.cloud import FIGURES_STEPS, UPDATE_STEPS, fresh

WEST = "west.training"
"""The last one that is asked: in one process members take turns."""
WORK = {Step.UPLOAD, Step.FIGURES_UPLOAD, Step.EXPORT}


@dataclass
class Hanging:
    """Answers as its node does, but for one step, in which it lets `seconds` pass and then waits to be given up."""

    federation: Federation
    step: str
    seconds: float
    lines: Lines
    now: list[float]
    hung: int = 0
    party: str = WEST

    def answer(self, data: bytes) -> bytes:
        """Answer, or hang the first time."""
        header = unpack(data, notary=self.federation.notary(self.party)).header
        if header.step == self.step and not self.hung:
            self.hung += 1
            self.now[0] += self.seconds
            while not self.lines.given_up():
                pass
        return bytes(self.federation.nodes["west"].answer(data))


def played(
    federation: Federation, step: str, seconds: float, rules: RoundRules
) -> tuple[str, int, list[tuple[str, str]]]:
    """How the run ends in which west hangs; how often it did; failures as (step, code)."""
    fresh(federation, rules)
    now = [0.0]
    lines = Lines(now=lambda: now[0])
    west = Hanging(federation, step, seconds, lines, now)
    parties = [node for slug, node in federation.nodes.items() if slug != "west"]
    with InProcessHost([*parties, west], lines=lines) as host:  # type: ignore[list-item]
        ending = federation.coordinator(host, RUN).play().value
    failures = [
        (event.payload["step"], event.payload["code"])
        for _, event in federation.store.events
        if event.kind is EventKind.FAILED and event.party == WEST
    ]
    return ending, west.hung, failures


@pytest.mark.parametrize("step", [Step.BEGIN, *UPDATE_STEPS, *FIGURES_STEPS, Step.EXPORT])
def test_a_member_that_hangs_in_any_step_is_late_and_the_run_goes_on(four_hospitals: Federation, step: Step) -> None:
    seconds = ANSWER_S + (0 if step in WORK else 1)
    ending, hung, failures = played(four_hospitals, step, seconds, RoundRules(deadline_s=60.0))
    assert (ending, hung) == ("finished", 1), four_hospitals.store.reason
    assert failures[0] == (step.value, "late")
    members = set(four_hospitals.store.models[1].members)
    early = UPDATE_STEPS[: UPDATE_STEPS.index(Step.UPLOAD) + 1]
    assert (WEST in members) == (step not in early), "who hangs after its upload is hashed by the others"


def test_without_a_deadline_training_has_a_day_and_no_longer(four_hospitals: Federation) -> None:
    ending, _, failures = played(four_hospitals, Step.UPLOAD, MAX_DEADLINE_S + 1, RoundRules())
    assert (ending, failures[0]) == ("finished", ("upload", "late"))
