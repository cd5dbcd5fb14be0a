"""Steps, plans and the cloud's side of a round, in people's words."""

from itertools import pairwise

import pytest

from core.learning.orders import AggregationMode
from core.learning.run_choices import Combining, CombiningRule, OnFailure, RoundRules, ServerOptimiser, ServerOptions
from core.learning.run_events import EventKind
from core.learning.run_figures import RunEntry, figures_of
from core.services.blind_example import STEPS, blind_example
from core.services.cloud_view import seen_by_cloud
from core.services.run_plans import OPTIMISERS, RULES, choices_in_words, choices_of, round_plan
from core.services.run_steps import DONE, Phase, PhaseState, phases_of
from federated.messages import Step

BLIND_STEPS = [
    step
    for step in Step
    if step
    not in {
        Step.INITIALISE,
        Step.ADOPT,
        Step.TRAIN,
        Step.AVERAGE,
        Step.EVALUATE,
        Step.SUMMARISE,
        Step.EXPORT,
        Step.BEGIN,
    }
]
"""Steps of a blind round, in the order in which they happen."""


def answered(step: str, party: str = "north.training", **payload: object) -> RunEntry:
    return RunEntry(EventKind.ANSWERED, 1, party, {"step": step, **payload})


def states(mode: AggregationMode, entries: list[RunEntry]) -> dict[Phase, PhaseState]:
    (one,) = figures_of([RunEntry(EventKind.ROUND_STARTED, 1, "coordinator", {}), *entries])
    return {view.phase: view.state for view in phases_of(mode, one, under_way=True)}


def test_every_step_of_the_protocol_has_plain_words() -> None:
    assert set(DONE) == {step.value for step in Step}
    assert len(set(DONE.values())) == len(DONE)


def test_a_blind_round_goes_through_its_phases_in_order_and_never_back() -> None:
    done: list[RunEntry] = []
    reached = [states(AggregationMode.BLIND, done)]
    for step in BLIND_STEPS:
        done.append(answered(step.value))
        reached.append(states(AggregationMode.BLIND, done))

    now = [next(phase for phase, state in one.items() if state is PhaseState.NOW) for one in reached]
    order = list(Phase)
    assert all(order.index(before) <= order.index(after) for before, after in pairwise(now))
    assert (now[0], now[-1], len(set(now))) == (Phase.KEYS, Phase.SEALING, 7)


def test_whoever_trains_has_left_the_keys_behind() -> None:
    keys = [answered(step, party) for step in ("advertise", "deal") for party in ("north.training", "east.training")]
    assert states(AggregationMode.BLIND, keys[:3])[Phase.KEYS] is PhaseState.NOW
    assert states(AggregationMode.BLIND, keys)[Phase.TRAINING] is PhaseState.NOW
    trains = RunEntry(EventKind.PROGRESS, 1, "east.training", {"done": 1, "total": 6})
    assert states(AggregationMode.BLIND, [*keys[:3], trains])[Phase.TRAINING] is PhaseState.NOW
    assert states(AggregationMode.SEALED, [answered("average", "aggregation")])[Phase.FIGURES] is PhaseState.NOW


def test_a_finished_round_is_done_and_the_export_follows() -> None:
    finished = RunEntry(EventKind.ROUND_FINISHED, 1, "coordinator", {"metrics": {}, "members": []})
    assert set(states(AggregationMode.SEALED, [finished]).values()) == {PhaseState.DONE}
    assert Phase.EXPORT in states(AggregationMode.SEALED, [finished, answered("export")])


def test_of_a_run_that_is_not_under_way_nothing_happens_now() -> None:
    (one,) = figures_of([RunEntry(EventKind.ROUND_STARTED, 1, "coordinator", {}), answered("deal")])
    views = phases_of(AggregationMode.BLIND, one, under_way=False)
    assert PhaseState.NOW not in {view.state for view in views}


def test_the_cloud_holds_masked_vectors_by_hash_and_nothing_readable_in_blind() -> None:
    entries = [
        answered("advertise", bytes_in=300),
        answered("upload", bytes_in=5000, attached=[4096, "ab12"]),
        answered("figures-upload", bytes_in=900, attached=[800, "cd34"]),
    ]
    (one,) = figures_of(entries)
    view = seen_by_cloud(AggregationMode.BLIND, one)
    assert [(held.of, held.what, held.bytes, held.sha256, held.readable) for held in view.held] == [
        ("north", "masked update", 4096, "ab12", False),
        ("north", "masked validation figures", 800, "cd34", False),
    ]
    for hidden in ("update", "sum", "model", "figures"):
        assert any(hidden in line for line in view.could_not)


def test_in_plain_mode_the_cloud_reads_updates_and_in_sealed_it_does_not() -> None:
    (one,) = figures_of([answered("train", bytes_in=10), answered("average", "aggregation", bytes_in=20)])
    assert [held.readable for held in seen_by_cloud(AggregationMode.PLAIN, one).held] == [True, False]
    assert [held.readable for held in seen_by_cloud(AggregationMode.SEALED, one).held] == [False, False]


@pytest.mark.parametrize(
    ("mode", "members", "minimum", "participation", "text"),
    [
        (AggregationMode.BLIND, 3, 3, 1.0, "all 3 hospitals and needs 3 to finish: none of them"),
        (AggregationMode.BLIND, 4, 3, 1.0, "all 4 hospitals and needs 3 to finish: one of them"),
        (AggregationMode.BLIND, 10, 3, 1.0, "needs 7 to finish: 3 of them"),
        (AggregationMode.BLIND, 10, 3, 0.4, "asks 4 of 10 and needs 3"),
        (AggregationMode.SEALED, 10, 5, 0.2, "asks 5 of 10 and needs 5 to finish: none"),
    ],
)
def test_a_plan_says_how_many_may_drop_out(
    mode: AggregationMode, members: int, minimum: int, participation: float, text: str
) -> None:
    assert text in round_plan(mode, members=members, minimum=minimum, participation=participation).text


def test_choices_are_told_only_where_they_differ_from_the_defaults() -> None:
    assert choices_of({}) == []
    words = choices_in_words(
        combining=Combining(rule=CombiningRule.KRUM, malicious=1),
        server=ServerOptions(optimiser=ServerOptimiser.FEDYOGI, learning_rate=0.01),
        proximal=0.1,
        rules=RoundRules(participation=0.5, deadline_s=600, tries=3, on_failure=OnFailure.PAUSE),
    )
    assert words == [
        "combined by Krum against 1 malicious",
        "server optimiser FedYogi, rate 0.01",
        "FedProx with weight 0.1",
        "each round asks 50 % of the hospitals",
        "training may take 10 min",
        "a round is tried 3 times",
        "a failed round pauses the run",
    ]
    assert (set(RULES), set(OPTIMISERS)) == (set(CombiningRule), set(ServerOptimiser))


def test_the_example_hides_each_number_and_the_sum_until_the_group_masks_are_off() -> None:
    first, again = (blind_example([("a", 1.5), ("b", -2.5), ("c", 3.5)]) for _ in range(2))
    assert abs(first.total - 2.5) <= first.error
    assert (first.total, first.total_words) == (again.total, again.total_words)
    assert len(set(first.total_words)) == 1
    for hidden in (first.added, first.unmasked, *(member.uploaded for member in first.members)):
        assert len(set(hidden)) == len(hidden)
    assert first.unmasked != again.unmasked
    assert first.proved
    assert not first.changed_proved


def test_the_presented_steps_are_eight() -> None:
    assert len(STEPS) == 8
