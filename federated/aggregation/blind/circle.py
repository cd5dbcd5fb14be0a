"""Who takes part in a round's blind sums, who is whose neighbour, and how many of them are enough.

Everything follows from the authority's signed order and the round's number, so neither the cloud nor a hospital can
choose neighbours; what the cloud can do is to claim drop-outs, which the thresholds make harmless.
"""

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass
from functools import lru_cache

from core.learning.lineage import committee_size, signers_needed
from core.learning.orders import RunOptions, survivors_needed
from federated.aggregation.blind.graph import Plan, everyone, neighbours, plan


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
        survivors_needed: fewer survivors of the whole circle than this fail the round.
        committee_needed: so many members of the committee must agree; fewer fail the round.
    """

    parties: tuple[str, ...]
    plan: Plan
    neighbours: Mapping[str, tuple[str, ...]]
    committee: tuple[str, ...]
    points: Mapping[str, int]
    seed: bytes
    survivors_needed: int
    committee_needed: int

    @property
    def share_threshold(self) -> int:
        """So many members of a closed neighbourhood open a secret, and as many must be there for a member to go on."""
        return self.plan.share_threshold

    @property
    def figures(self) -> "Circle":
        """The circle of the round's second sum: the committee, which holds the new weights."""
        if self.committee == self.parties:
            return self
        return _within(self.committee, self.committee_needed, self.seed)

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


def witnesses(options: RunOptions, *, order: bytes, round_number: int) -> tuple[tuple[str, ...], tuple[str, ...], int]:
    """Return whose updates can be in a round's model, who can sign its lineage, and how many of these must.

    Args:
        options: what the order says.
        order: the order as the authority signed it.
        round_number: from 0; all members answer for round 0, of which the first ones are asked.
    """
    if round_number == 0:
        members = len(options.parties)
        return options.parties, options.parties[: committee_size(members)], signers_needed(members)
    circle = circle_of(options, order=order, round_number=round_number)
    return circle.parties, circle.committee, circle.committee_needed


@lru_cache(maxsize=4)
def _circle(parties: tuple[str, ...], seed: bytes) -> Circle:
    chosen = plan(len(parties))
    drawn = sorted(parties, key=lambda party: hashlib.sha256(seed + b"committee" + party.encode()).digest())
    return Circle(
        parties=parties,
        plan=chosen,
        neighbours=neighbours(parties, seed, chosen.degree),
        committee=tuple(sorted(drawn[: committee_size(len(parties))])),
        points={party: number for number, party in enumerate(parties, 1)},
        seed=seed,
        survivors_needed=survivors_needed(len(parties)),
        committee_needed=signers_needed(len(parties)),
    )


@lru_cache(maxsize=4)
def _within(committee: tuple[str, ...], needed: int, seed: bytes) -> Circle:
    """Return the circle of a drawn committee: everyone is everyone's neighbour, and `needed` of them do everything."""
    chosen = everyone(len(committee), needed)
    return Circle(
        parties=committee,
        plan=chosen,
        neighbours=neighbours(committee, seed, chosen.degree),
        committee=committee,
        points={party: number for number, party in enumerate(committee, 1)},
        seed=seed,
        survivors_needed=needed,
        committee_needed=needed,
    )
