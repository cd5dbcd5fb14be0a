"""The table of a round's nodes: phase, what each does, last sign, result."""

from datetime import UTC, datetime, timedelta

import pytest

from core.learning.orders import training_party
from core.learning.run_events import EventKind
from core.learning.run_figures import RunEntry, figures_of
from core.services.run_nodes import NodeResult, NodeView, nodes_of
from core.services.run_steps import Phase, rank_of
from federated.messages import Step

SLUGS = ("east", "north", "west")
NOON = datetime(2026, 1, 5, 12, tzinfo=UTC)


def entry(kind: EventKind, slug: str = "", second: int = 0, **payload: object) -> RunEntry:
    party = training_party(slug) if slug else "coordinator"
    return RunEntry(kind, 1, party, payload, NOON + timedelta(seconds=second))


def answered(slug: str, step: str, second: int = 0) -> RunEntry:
    return entry(EventKind.ANSWERED, slug, second, step=step)


def table(*entries: RunEntry, under_way: bool = True) -> dict[str, NodeView]:
    (one,) = figures_of([entry(EventKind.ROUND_STARTED), *entries])
    return {node.slug: node for node in nodes_of(SLUGS, one, under_way=under_way)}


def test_before_anybody_has_answered_nobody_has_been_heard_of() -> None:
    assert {(node.phase, node.at, node.result) for node in table().values()} == {(None, None, NodeResult.NONE)}


def test_a_node_trains_waits_for_others_or_is_at_work_on_what_others_have_done() -> None:
    nodes = table(
        answered("east", "advertise", 1),
        answered("north", "advertise", 2),
        answered("west", "advertise", 3),
        answered("east", "deal", 4),
    )
    assert (nodes["east"].phase, nodes["east"].at) == (Phase.KEYS, NOON + timedelta(seconds=4))
    assert nodes["east"].doing.endswith("; waits for 2 others")
    assert nodes["north"].doing == "at work: shares of keys"
    nodes = table(
        answered("east", "deal", 4),
        answered("north", "deal", 5),
        entry(EventKind.PROGRESS, "west", 9, done=3, total=12),
        answered("north", "upload", 10),
    )
    assert (nodes["west"].phase, nodes["west"].doing) == (Phase.TRAINING, "trains, 3 of 12 steps")
    assert nodes["west"].at == NOON + timedelta(seconds=9)
    assert nodes["north"].result is NodeResult.SENT
    assert nodes["east"].doing == "at work: training and upload"


def test_who_is_left_out_is_told_with_step_and_reason_and_nobody_waits_for_it() -> None:
    nodes = table(
        answered("east", "upload", 4),
        answered("north", "upload", 5),
        entry(EventKind.FAILED, "west", 6, step="upload", code="dropped-out"),
    )
    west = nodes["west"]
    assert (west.phase, west.result, west.at) == (Phase.TRAINING, NodeResult.LEFT_OUT, NOON + timedelta(seconds=6))
    assert "training and upload" in west.doing
    assert "waits" not in nodes["east"].doing


def test_a_failure_of_an_earlier_attempt_is_forgotten_in_the_next() -> None:
    nodes = table(
        entry(EventKind.FAILED, "west", 1, step="upload", code="late"),
        entry(EventKind.ATTEMPT_ABANDONED, second=2),
        entry(EventKind.ROUND_STARTED, second=3),
        answered("west", "advertise", 4),
    )
    assert (nodes["west"].result, nodes["west"].phase) == (NodeResult.NONE, Phase.KEYS)


@pytest.mark.parametrize("under_way", [True, False])
def test_a_finished_round_says_whose_update_is_in_the_model(under_way: bool) -> None:
    nodes = table(
        answered("east", "upload", 1),
        answered("north", "upload", 2),
        entry(EventKind.FAILED, "north", 3, step="figures-upload", code="late"),
        answered("east", "seal", 4),
        entry(
            EventKind.ROUND_FINISHED,
            second=5,
            metrics={},
            members=[training_party("east"), training_party("north")],
            seconds={},
        ),
        under_way=under_way,
    )
    assert [nodes[slug].result for slug in SLUGS] == [NodeResult.IN_MODEL, NodeResult.IN_MODEL, NodeResult.NOT_IN]
    assert nodes["west"].doing == "was not asked"
    assert "waits" not in nodes["east"].doing


def test_steps_are_ranked_in_the_order_of_the_protocol() -> None:
    blind = [
        Step.ADVERTISE,
        Step.DEAL,
        Step.UPLOAD,
        Step.AGREE,
        Step.APPLY,
        Step.FIGURES_UPLOAD,
        Step.SEAL,
        Step.EXPORT,
    ]
    ranks = [rank_of(step.value) for step in blind]
    assert ranks == sorted(set(ranks))
    assert rank_of(Step.OPEN.value) == rank_of(Step.SEAL.value)
    assert rank_of("") == -1
