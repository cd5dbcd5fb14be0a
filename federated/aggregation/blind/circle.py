"""Who takes part in a round's blind sums, who is whose neighbour, and how many of them are enough.

Everything follows from the authority's signed order and the round's number, so neither the cloud nor a hospital can
choose neighbours; what the cloud can do is to claim drop-outs, which the thresholds make harmless.
"""

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass
from functools import lru_cache

from core.learning.lineage import COMMITTEE
from core.learning.orders import RunOptions, survivors_needed
from federated.aggregation.blind.graph import Plan, neighbours, plan


@dataclass(frozen=True)
class Circle:
    """The members of a round and how they belong together.

    Attributes:
        parties: who is asked, sorted.
        plan: degree of the graph and the threshold of shares, with what they are secure against.
        neighbours: party -> its neighbours, without itself.
        committee: who checks, applies and signs; everybody in a small federation.
        points: party -> where its share lies on the polynomials (Shamir), from 1.
        seed: from order and round; orders the ring and draws the committee.
    """

    parties: tuple[str, ...]
    plan: Plan
    neighbours: Mapping[str, tuple[str, ...]]
    committee: tuple[str, ...]
    points: Mapping[str, int]
    seed: bytes

    @property
    def survivors_needed(self) -> int:
        """Fewer survivors of the whole circle than this fail the round."""
        return survivors_needed(len(self.parties))

    @property
    def committee_needed(self) -> int:
        """Fewer members of the committee than this fail the round."""
        return survivors_needed(len(self.committee))

    @property
    def share_threshold(self) -> int:
        """So many members of a closed neighbourhood open a secret, and as many must be there for a member to go on."""
        return self.plan.share_threshold

    @property
    def figures(self) -> "Circle":
        """The circle of the round's second sum: the committee, which holds the new weights."""
        if self.committee == self.parties:
            return self
        return _circle(self.committee, self.seed)

    def closed(self, party: str) -> frozenset[str]:
        """Return a party's closed neighbourhood: its neighbours and itself."""
        return frozenset((*self.neighbours[party], party))


def circle_of(options: RunOptions, *, order: bytes, round_number: int) -> Circle:
    """Return the circle of a round.

    Args:
        options: what the order says.
        order: the order as the authority signed it.
        round_number: from 1.
    """
    seed = hashlib.sha256(b"circle" + round_number.to_bytes(4, "big") + hashlib.sha256(order).digest()).digest()
    return _circle(options.participants(round_number), seed)


def witnesses(options: RunOptions, *, order: bytes, round_number: int) -> tuple[tuple[str, ...], tuple[str, ...]]:
    """Return whose updates can be in a round's model, and who can sign its lineage.

    Args:
        options: what the order says.
        order: the order as the authority signed it.
        round_number: from 0; all members answer for round 0, of which the first ones (`COMMITTEE`) are asked.
    """
    if round_number == 0:
        return options.parties, options.parties[:COMMITTEE]
    circle = circle_of(options, order=order, round_number=round_number)
    return circle.parties, circle.committee


@lru_cache(maxsize=4)
def _circle(parties: tuple[str, ...], seed: bytes) -> Circle:
    chosen = plan(len(parties))
    drawn = sorted(parties, key=lambda party: hashlib.sha256(seed + b"committee" + party.encode()).digest())
    return Circle(
        parties=parties,
        plan=chosen,
        neighbours=neighbours(parties, seed, chosen.degree),
        committee=tuple(sorted(drawn[:COMMITTEE])),
        points={party: number for number, party in enumerate(parties, 1)},
        seed=seed,
    )
