"""Who is asked in a round, and what becomes of a member that is not ready in time."""

from dataclasses import replace
from pathlib import Path
from typing import Any

from core.learning.run_choices import RoundRules
from core.learning.run_events import EventKind, FailureCode
from federated.softmax import SoftmaxLearner
from federated.transport.inprocess import InProcessHost, Lines
from tests.federation import Federation

DEADLINE_S = 60.0


def test_a_round_asks_only_its_share_of_the_members(tmp_path: Path) -> None:
    federation = Federation(tmp_path, rounds=6)
    federation.options = replace(federation.options, round_rules=RoundRules(participation=0.7))
    assert federation.play() == "finished"
    asked: dict[int, set[str]] = {}
    for _, event in federation.store.events:
        if event.kind is EventKind.ANSWERED and event.payload["step"] in {"train", "evaluate"}:
            asked.setdefault(event.round, set()).add(event.party)
    assert asked == {number: set(federation.options.participants(number)) for number in range(1, 7)}
    assert {len(parties) for parties in asked.values()} == {3}
    assert len(set(map(frozenset, asked.values()))) > 1, "rounds draw anew"
    assert [set(model.members) for model in federation.store.models[1:]] == list(asked.values())


class Straggler(SoftmaxLearner):
    """In its first training lets the deadline pass, and trains on until nobody waits for it."""

    def __init__(self, now: list[float]) -> None:
        super().__init__()
        self.now = now
        self.stopped = 0

    def fit(self, *arguments: Any, should_stop: Any, **options: Any) -> Any:
        """Train; the first time for ever, if it is not stopped."""
        if not self.stopped:
            self.now[0] += 2 * DEADLINE_S
            while not should_stop():
                pass
            self.stopped += 1
        return super().fit(*arguments, should_stop=should_stop, **options)


def test_a_straggler_is_late_once_is_told_to_stop_and_takes_part_in_the_next_round(tmp_path: Path) -> None:
    now = [0.0]
    lines = Lines(now=lambda: now[0])
    federation = Federation(tmp_path, should_stop=lines.given_up)
    federation.options = replace(federation.options, round_rules=RoundRules(deadline_s=DEADLINE_S))
    straggler = federation.learner = Straggler(now)
    federation.nodes["west"] = federation.node("west")
    with InProcessHost([*federation.nodes.values(), federation.enclave], lines=lines) as host:
        assert federation.coordinator(host).play().value == "finished"
    assert straggler.stopped == 1
    failures = [(one.round, one.party, one.payload) for _, one in federation.store.events if "code" in one.payload]
    assert [(number, party) for number, party, _ in failures] == [(1, "west.training")]
    assert (failures[0][2]["code"], failures[0][2]["step"]) == (FailureCode.LATE.value, "train")
    assert [len(model.members) for model in federation.store.models] == [0, 3, 4]
