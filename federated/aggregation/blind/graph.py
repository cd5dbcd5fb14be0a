"""Who shares masks and secrets with whom in a blind sum, how many shares open a secret, and how safe that is."""

import hashlib
import math
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from functools import cache

import numpy as np
from numpy.typing import NDArray

from core.learning.run_events import FailureCode
from federated.failures import Refused

_LEAST_SURVIVORS = 3
_COMPLETE = 32
"""Up to so many members everyone is everyone's neighbour."""


@dataclass(frozen=True, kw_only=True)
class Plan:
    """Degree and threshold of a blind sum's graph, and what they hold against.

    A *closed neighbourhood* is a member with its neighbours: ``degree + 1`` members, who hold its secrets' shares.

    Attributes:
        members: members asked, N; those who never answer keep their places in the graph.
        degree: neighbours of each, k: even, or N - 1 in the complete graph.
        share_threshold: shares that open a secret; as many of each survivor's closed neighbourhood must survive.
        colluders: share of the members that may help the cloud; they are chosen before the graph is drawn.
        drop_outs: share of the members that may drop out at random without ending the attempt.
        security_bits: the chance that a drawn graph is not safe is below 2^-security_bits; in the complete graph, 0.
        complete: whether everyone is everyone's neighbour.
    """

    members: int
    degree: int
    share_threshold: int
    colluders: float
    drop_outs: float
    security_bits: int
    complete: bool


def survivors_needed(members: int) -> int:
    """Return how many of the members asked must survive or sign one set: more than two thirds, at least 3."""
    return max(_LEAST_SURVIVORS, 2 * members // 3 + 1)


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

    Write m = k + 1, t for the threshold, c and d for the numbers of colluders and drop-outs among N members. The cloud
    claims what drop-outs it likes after it has seen the graph, which is a ring (`neighbours`).

    1. A secret of each kind of one member opens only if 2t <= m + the colluders in its closed neighbourhood, since an
       honest member reveals shares of one kind only: no closed neighbourhood may hold 2t - m colluders.
    2. Honest survivors within k/2 places of each other are neighbours, so they fall apart only at two gaps, each of k/2
       places in a row that dropped out or collude. A survivor beside a gap keeps t of its closed neighbourhood, so at
       most m - t of a gap dropped out: two disjoint rows of k/2 places must not hold t - 1 - k/2 colluders each.
    3. The attempt goes on unless a closed neighbourhood loses more than m - t members.

    Places are uniform, so each count is hypergeometric, and counts in disjoint rows are negatively associated. Bounds:
    N P[C_m >= 2t - m] + (N P[C_k/2 >= t - 1 - k/2])^2 / 2 < 2^-security_bits and N P[D_m > m - t] < 2^-failure_bits.
    Graph after Bell et al. 2020 (eprint 2020/704, sections 3 and 4); the two gaps are this project's own argument.

    Raises:
        Refused: `TOO_FEW` for fewer than three members.
    """
    if members < _LEAST_SURVIVORS:
        raise Refused(FailureCode.TOO_FEW)
    shares = {"colluders": colluders, "drop_outs": drop_outs, "security_bits": security_bits}
    bad, gone = _count_of(colluders, members), _count_of(drop_outs, members)
    for half in range(1, (members - 1) // 2 if members > _COMPLETE else 0):
        size = 2 * half + 1
        colluding, in_row = tail(members, bad, size), tail(members, bad, half)
        dropping = tail(members, gone, size)
        for threshold in range(size, half + 1, -1):
            if members * dropping[size - threshold + 1] >= 2.0**-failure_bits:
                continue
            both = members * colluding[2 * threshold - size]
            apart = (members * in_row[threshold - 1 - half]) ** 2 / 2
            if both + apart < 2.0**-security_bits:
                return Plan(members=members, degree=2 * half, share_threshold=threshold, complete=False, **shares)
            break
    needed = survivors_needed(members)
    return Plan(members=members, degree=members - 1, share_threshold=needed, complete=True, **shares)


def tail(population: int, marked: int, drawn: int) -> NDArray[np.float64]:
    """Return P[X >= x] for x = 0 .. drawn + 1, X the number of `marked` ones among `drawn` of a `population`."""
    low, high = max(0, drawn + marked - population), min(drawn, marked)
    pmf = np.zeros(drawn + 2)
    for x in range(low, high + 1):
        pmf[x] = math.exp(
            _log_choose(marked, x) + _log_choose(population - marked, drawn - x) - _log_choose(population, drawn)
        )
    return np.minimum(np.cumsum(pmf[::-1])[::-1], 1.0)


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


def short_of_neighbours(
    graph: Mapping[str, Sequence[str]], survivors: Collection[str], threshold: int, *, among: Sequence[str]
) -> list[str]:
    """Return the survivors in `among` that keep fewer than `threshold` members of their closed neighbourhoods.

    While there is one, nothing may be revealed about it: the cloud may be cutting it off from the others.
    """
    kept = frozenset(survivors)
    return [party for party in among if party in kept and 1 + len(kept.intersection(graph[party])) < threshold]


def _count_of(share: float, members: int) -> int:
    return math.ceil(round(share * members, 6))


def _log_choose(population: int, drawn: int) -> float:
    return math.lgamma(population + 1) - math.lgamma(drawn + 1) - math.lgamma(population - drawn + 1)
