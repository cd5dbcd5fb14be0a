"""What an order means for its rounds, in words: who is asked, who must finish, who may drop out; what was chosen."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from core.learning.orders import AggregationMode, asked_in_round, survivors_needed
from core.learning.run_choices import (
    MAX_DEADLINE_S,
    MAX_PATIENCE,
    MAX_SERVER_RATE,
    MAX_TRIES,
    Combining,
    CombiningRule,
    OnFailure,
    RoundRules,
    ServerOptimiser,
    ServerOptions,
)
from core.learning.training import MAX_PROXIMAL

__all__ = [
    "MAX_DEADLINE_S",
    "MAX_PATIENCE",
    "MAX_PROXIMAL",
    "MAX_SERVER_RATE",
    "MAX_TRIES",
    "OPTIMISERS",
    "Combining",
    "CombiningRule",
    "OnFailure",
    "RoundPlan",
    "RoundRules",
    "ServerOptimiser",
    "ServerOptions",
    "choices_in_words",
    "choices_of",
    "round_plan",
]

RULES = {
    CombiningRule.MEAN: "weighted mean",
    CombiningRule.MEDIAN: "median",
    CombiningRule.TRIMMED_MEAN: "trimmed mean",
    CombiningRule.KRUM: "Krum",
    CombiningRule.MULTI_KRUM: "Multi-Krum",
    CombiningRule.NORM_BOUNDED: "mean of updates bounded in norm to",
}
OPTIMISERS = {
    ServerOptimiser.FEDAVG: "FedAvg",
    ServerOptimiser.FEDADAM: "FedAdam",
    ServerOptimiser.FEDYOGI: "FedYogi",
}


@dataclass(frozen=True)
class RoundPlan:
    """One round of an order.

    Attributes:
        members: hospitals of the run.
        asked: hospitals that the round asks.
        needed: how many of them must finish it.
    """

    members: int
    asked: int
    needed: int

    @property
    def may_drop_out(self) -> int:
        """How many of the hospitals asked may drop out without ending the attempt."""
        return self.asked - self.needed

    @property
    def text(self) -> str:
        """The plan in plain words."""
        who = f"all {self.members} hospitals" if self.asked == self.members else f"{self.asked} of {self.members}"
        dropping = {0: "none of them may drop out", 1: "one of them may drop out"}
        may = dropping.get(self.may_drop_out, f"{self.may_drop_out} of them may drop out")
        return f"Each round asks {who} and needs {self.needed} to finish: {may}."


def round_plan(mode: AggregationMode, *, members: int, minimum: int, participation: float) -> RoundPlan:
    """Return what an order with these choices asks of each round, as `core.learning.orders.RunOptions` has it.

    Args:
        mode: how updates travel; `blind` itself says how many must finish.
        members: hospitals that were chosen.
        minimum: how many must finish each round, as far as the mode leaves it to the order.
        participation: share of the members that a round asks, in (0, 1].
    """
    asked = asked_in_round(members, participation=participation, minimum=minimum)
    needed = survivors_needed(asked) if mode is AggregationMode.BLIND else minimum
    return RoundPlan(members=members, asked=asked, needed=needed)


def choices_in_words(*, combining: Combining, server: ServerOptions, proximal: float, rules: RoundRules) -> list[str]:
    """Return what was chosen beside the defaults, a few words each."""
    words = []
    if combining.rule is not CombiningRule.MEAN:
        words.append(f"combined by {RULES[combining.rule]}{_limits(combining)}")
    if server != ServerOptions():
        words.append(f"server optimiser {OPTIMISERS[server.optimiser]}, rate {server.learning_rate:g}")
    if proximal:
        words.append(f"FedProx with weight {proximal:g}")
    if rules.participation < 1:
        words.append(f"each round asks {100 * rules.participation:.0f} % of the hospitals")
    if rules.deadline_s:
        words.append(f"training may take {rules.deadline_s / 60:g} min")
    if rules.tries > 1:
        words.append(f"a round is tried {rules.tries} times")
    if rules.patience:
        words.append(f"ends after {rules.patience} rounds without a lower validation loss")
    if rules.on_failure is OnFailure.PAUSE:
        words.append("a failed round pauses the run")
    return words


def _limits(combining: Combining) -> str:
    if combining.rule is CombiningRule.NORM_BOUNDED:
        return f" {combining.norm_bound:g}"
    return f" against {combining.malicious} malicious" if combining.malicious else ""


def choices_of(options: Mapping[str, Any]) -> list[str]:
    """Return `choices_in_words` of a stored run; rows from before there was any choice lack it."""
    return choices_in_words(
        combining=Combining(**options.get("combining", {})),
        server=ServerOptions(**options.get("server", {})),
        proximal=float(options.get("training", {}).get("proximal", 0.0)),
        rules=RoundRules(**options.get("round_rules", {})),
    )
