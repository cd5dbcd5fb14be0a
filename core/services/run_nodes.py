"""A round's table of nodes: in which phase each hospital is, what it does, its last sign, what came of it."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum

from core.learning.orders import training_party
from core.learning.run_events import FailureCode
from core.learning.run_figures import Failure, RoundFigures
from core.services.run_steps import Phase, done_at, phase_of, rank_of, step_title

__all__ = ["NodeResult", "NodeView", "nodes_of"]

_SENDS = frozenset({"train", "upload"})


class NodeResult(StrEnum):
    """What has come of a node's part in a round."""

    NONE = "nothing yet"
    SENT = "update sent"
    IN_MODEL = "in the model"
    LEFT_OUT = "left out"
    NOT_IN = "not in the model"


@dataclass(frozen=True)
class NodeView:
    """One node in the last attempt of a round.

    Attributes:
        slug: short name of its hospital.
        phase: of the round in which it is, or was when the round ended; None if it has not been heard of.
        doing: what it does or did last, in words.
        at: when it last gave a sign, or was left out; None if it has not been heard of.
        result: what came of it.
    """

    slug: str
    phase: Phase | None
    doing: str
    at: datetime | None
    result: NodeResult


def nodes_of(slugs: Sequence[str], one: RoundFigures, *, under_way: bool) -> list[NodeView]:
    """Return the nodes of a round, in the order given.

    Args:
        slugs: short names of the run's hospitals.
        one: the round.
        under_way: whether the run is; of one that is not, nobody is at work.
    """
    parties = [training_party(slug) for slug in slugs]
    left_out = {
        fault.party: fault
        for fault in one.failures
        if fault.attempt == one.attempts and fault.code is not FailureCode.STOPPED
    }
    at_work = under_way and one.ended_at is None
    return [
        _node(slug, party, one, parties, left_out, at_work=at_work) for slug, party in zip(slugs, parties, strict=True)
    ]


def _node(
    slug: str,
    party: str,
    one: RoundFigures,
    parties: Sequence[str],
    left_out: dict[str, Failure],
    *,
    at_work: bool,
) -> NodeView:
    last, heard = one.answered.get(party, ""), one.heard.get(party)
    fault = left_out.get(party)
    if party in one.progress:
        steps, total = one.progress[party]
        doing = f"trains, {steps} of {total} steps" if at_work else f"stopped after {steps} of {total} steps"
        return NodeView(slug, Phase.TRAINING, doing, heard, NodeResult.NONE)
    if fault is not None:
        why = f"at “{step_title(fault.step)}”: {fault.code.text}"
        result = NodeResult.IN_MODEL if one.finished and party in one.members else NodeResult.LEFT_OUT
        return NodeView(slug, phase_of(fault.step), why, fault.at or heard, result)
    if not last:
        return NodeView(slug, None, "not heard of yet" if at_work else "was not asked", None, _result(one, party))
    others = [one.answered.get(other, "") for other in parties if other not in left_out]
    furthest = max(others, key=rank_of)
    if at_work and rank_of(last) < rank_of(furthest):
        return NodeView(slug, phase_of(furthest), f"at work: {step_title(furthest)}", heard, _result(one, party))
    behind = sum(rank_of(other) < rank_of(last) for other in others)
    waits = f"; waits for {behind} other{'s' if behind > 1 else ''}" if at_work and behind else ""
    return NodeView(slug, phase_of(last), done_at(last) + waits, heard, _result(one, party))


def _result(one: RoundFigures, party: str) -> NodeResult:
    if one.finished and one.round > 0:
        return NodeResult.IN_MODEL if party in one.members else NodeResult.NOT_IN
    sent = any(answer.party == party and answer.step in _SENDS for answer in one.answers)
    return NodeResult.SENT if sent else NodeResult.NONE
