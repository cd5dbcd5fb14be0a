"""Who shares masks and secrets with whom in a blind sum, how many shares open a secret, and how safe that is."""

import hashlib
import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import cache

import numpy as np
from numpy.typing import NDArray

from core.learning.lineage import COMMITTEE, COMMITTEE_SIGNERS, EVERYBODY
from core.learning.orders import MIN_MEMBERS, survivors_needed
from core.learning.run_events import FailureCode
from federated.failures import Refused


@dataclass(frozen=True, kw_only=True)
class Plan:
    """Degree and threshold of a blind sum's graph, and what they hold against.

    A *closed neighbourhood* is a member with its neighbours: ``degree + 1`` members, who hold its secrets' shares.

    Attributes:
        members: members asked, N; those who never answer keep their places in the graph.
        degree: neighbours of each, k: even, or N - 1 in the complete graph.
        share_threshold: shares that open a secret, t; as many of a survivor's closed neighbourhood must survive.
        colluders: share of the members that may help the cloud; they are chosen before the graph is drawn.
        drop_outs: chance of each member to drop out by itself that seldom ends an attempt.
        security_bits: a drawn graph is unsafe with a chance below 2^-security_bits. A run draws one for each round.
        complete: whether everyone is everyone's neighbour.
    """

    members: int
    degree: int
    share_threshold: int
    colluders: float
    drop_outs: float
    security_bits: int
    complete: bool

    @property
    def most_colluders(self) -> int:
        """How many members may help the cloud, which then learns one sum at most, of at least two others' vectors.

        Where everyone is in the committee and everyone's neighbour, nothing is left to chance: two sets of survivors
        cannot both find t signers, and two honest members are left in each.
        """
        if self.complete and self.members <= EVERYBODY:
            return min(2 * self.share_threshold - self.members - 1, self.share_threshold - 2)
        return int(self.members * self.colluders)


@cache
def plan(
    members: int,
    *,
    colluders: float = 0.05,
    drop_outs: float = 0.05,
    security_bits: int = 40,
    failure_bits: int = 20,
) -> Plan:
    """Return the sparsest safe graph, and for it the highest threshold that random drop-outs allow.

    Up to 64 members, who are then all in the committee, it is complete, and nothing is left to chance. Above that
    the cloud claims what drop-outs it likes after it has seen the graph, a ring in which places are uniform
    (`neighbours`). Write m = k + 1 and C_n, D_n for colluders and drop-outs among n places in a row. What may go wrong:

    1. Two survivor sets: an honest member reveals shares for the set that S = 29 of the committee of M = 40 signed. Two
       sets find as many signers only if 2 S - M of the committee are colluders.
    2. Both secrets of one member open, whatever was signed: an honest member reveals shares of one kind only, so this
       needs 2t - m colluders in its closed neighbourhood.
    3. The sum falls apart: honest survivors within k/2 places are neighbours, so it takes two gaps, each of k/2 places
       that dropped out or collude. A survivor beside a gap is unmasked by t members of its closed neighbourhood, who
       survived themselves, so at most m - t of the gap are honest: two disjoint rows with t - 1 - k/2 colluders each.
    4. A closed neighbourhood loses more than m - t members by itself: the attempt fails.

    Accepted when P[C_M >= 2 S - M] + N P[C_m >= 2t - m] + (N P[C_k/2 >= t - 1 - k/2])^2 / 2
    < 2^-security_bits and N P[D_m > m - t] < 2^-failure_bits. Counts are binomial: as in a sample of a large
    membership, and above the tails for a fixed number among N. Graph after Bell et al. 2020 (eprint 2020/704).

    Args:
        members: members asked, N.
        colluders: see `Plan`; above 0, below a third.
        drop_outs: see `Plan`; above 0.
        security_bits: see `Plan`; up to 42 with 5 % of colluders, which the committee allows.
        failure_bits: such drop-outs end an attempt with a chance below 2^-failure_bits.

    Raises:
        Refused: `TOO_FEW` for fewer than three members.
    """
    if members < MIN_MEMBERS:
        raise Refused(FailureCode.TOO_FEW)
    if not (0 < colluders < 1 / 3 and 0 < drop_outs < 1):
        raise ValueError(f"no graph holds against {colluders} colluders and {drop_outs} drop-outs")
    degree, threshold = members - 1, survivors_needed(members)
    if members > EVERYBODY:
        two_sets = float(tail(COMMITTEE, colluders)[2 * COMMITTEE_SIGNERS - COMMITTEE])
        unsafe = 2.0**-security_bits - two_sets
        if unsafe <= 0:
            raise ValueError(f"no committee of {COMMITTEE} is safe to 2^-{security_bits}")
        degree, threshold = _sparse(members, colluders, drop_outs, unsafe, 2.0**-failure_bits) or (degree, threshold)
    return Plan(
        members=members,
        degree=degree,
        share_threshold=threshold,
        colluders=colluders,
        drop_outs=drop_outs,
        security_bits=security_bits,
        complete=degree == members - 1,
    )


def everyone(members: int, threshold: int) -> Plan:
    """Return the complete graph over a committee that was drawn with `plan`'s odds, with this threshold of shares.

    Nothing can happen while fewer than 2 `threshold` - `members` of them collude, which `plan` counts as its case 1.
    """
    bounds = plan(EVERYBODY + 1)
    return replace(bounds, members=members, degree=members - 1, share_threshold=threshold, complete=True)


def _sparse(members: int, colluding: float, dropping: float, unsafe: float, failing: float) -> tuple[int, int] | None:
    for half in range(1, (members - 1) // 2):
        size = 2 * half + 1
        around, in_row, lost = tail(size, colluding), tail(half, colluding), tail(size, dropping)
        threshold = size - int(np.argmax(members * lost < failing)) + 1
        if threshold - 1 - half < 1:
            continue
        both_kinds = members * around[2 * threshold - size]
        apart = (members * in_row[threshold - 1 - half]) ** 2 / 2
        if both_kinds + apart < unsafe:
            return 2 * half, threshold
    return None


def tail(places: int, share: float) -> NDArray[np.float64]:
    """Return P[X >= x] for x = 0 .. places + 1, where X of so many places hold, each with chance `share` in (0, 1)."""
    ways = (math.lgamma(places + 1) - math.lgamma(x + 1) - math.lgamma(places - x + 1) for x in range(places + 1))
    chances = [math.exp(way + x * math.log(share) + (places - x) * math.log1p(-share)) for x, way in enumerate(ways)]
    return np.cumsum([0.0, *chances[::-1]])[::-1]


def neighbours(parties: Sequence[str], seed: bytes, degree: int) -> dict[str, tuple[str, ...]]:
    """Return each party's neighbours, in the order of the ring: a Harary graph on a ring that `seed` orders.

    Args:
        parties: all members asked in the round, in any order; never only those who answered, or the cloud could thin
            out the ring around a member until colluders are next to it.
        seed: from the authority's signed order and the round, the same for all attempts, so that nobody can try for
            a better one.
        degree: even, each party is joined to the `degree` / 2 next ones on either side; or one less than the parties.
    """
    count = len(parties)
    if len(set(parties)) != count or not 0 <= degree < count or (degree % 2 and degree != count - 1):
        raise ValueError(f"no graph of degree {degree} joins {count} parties")
    ring = sorted(parties, key=lambda party: hashlib.sha256(seed + party.encode()).digest())
    if degree == count - 1:
        return {party: tuple(ring[:place] + ring[place + 1 :]) for place, party in enumerate(ring)}
    half, around = degree // 2, ring + ring + ring
    return {
        party: tuple(around[place - half : place] + around[place + 1 : place + half + 1])
        for place, party in enumerate(ring, start=count)
    }
