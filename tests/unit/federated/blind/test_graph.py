"""The neighbour graph: its shape, the chances behind its thresholds, and a cloud that tries to cut members off."""

import math
from fractions import Fraction
from itertools import pairwise, product

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from core.learning.lineage import COMMITTEE, COMMITTEE_SIGNERS
from core.learning.orders import survivors_needed
from core.learning.run_events import FailureCode
from federated.aggregation.blind.graph import Plan, neighbours, plan, tail
from federated.failures import Refused

TABLE = (10, 32, 64, 100, 200, 500, 1000, 2000, 5000)


def parties_of(count: int) -> list[str]:
    return [f"hospital-{number}" for number in range(count)]


def components(alive: set[str], graph: dict[str, tuple[str, ...]]) -> int:
    """How many parts the graph has among `alive` (union-find)."""
    root = {party: party for party in alive}

    def find(party: str) -> str:
        while root[party] != party:
            root[party] = root[root[party]]
            party = root[party]
        return party

    for party in alive:
        for other in graph[party]:
            if other in alive:
                root[find(party)] = find(other)
    return sum(find(party) == party for party in alive)


# chances


@pytest.mark.parametrize(("places", "share"), list(product([0, 1, 4, 7], [0.05, 0.3, 0.5])))
def test_tails_are_those_of_counting_every_case(places: int, share: float) -> None:
    chances = [Fraction(0)] * (places + 1)
    for case in product((0, 1), repeat=places):
        chances[sum(case)] += Fraction(share) ** sum(case) * (1 - Fraction(share)) ** (places - sum(case))
    exact = [float(sum(chances[least:], Fraction(0))) for least in range(places + 2)]
    np.testing.assert_allclose(tail(places, share), exact, rtol=1e-12)


@pytest.mark.parametrize("places", [27, 55, 101])
def test_small_tails_keep_their_digits(places: int) -> None:
    share = Fraction(0.05)
    for least in range(places + 2):
        exact = sum(math.comb(places, x) * share**x * (1 - share) ** (places - x) for x in range(least, places + 1))
        assert tail(places, 0.05)[least] == pytest.approx(float(exact), rel=1e-10)


@pytest.mark.parametrize("members", [65, 100, 1000, 5000])
def test_a_fixed_number_of_colluders_is_no_worse_than_the_bound(members: int) -> None:
    chosen = plan(members)
    size, half = chosen.degree + 1, chosen.degree // 2
    for places, least in (
        (size, 2 * chosen.share_threshold - size),
        (half, chosen.share_threshold - 1 - half),
        (size, size - chosen.share_threshold + 1),
    ):
        marked = int(members * 0.05)
        ways = sum(
            math.comb(marked, x) * math.comb(members - marked, places - x)
            for x in range(least, min(places, marked) + 1)
        )
        assert Fraction(ways, math.comb(members, places)) <= Fraction(float(tail(places, 0.05)[least]))


# plans


@pytest.mark.parametrize("members", [*TABLE, 33, 53, 65, 130])
@pytest.mark.parametrize(("colluders", "drop_outs"), [(0.05, 0.05), (0.02, 0.1), (0.1, 0.02)])
def test_a_plan_keeps_its_promises(members: int, colluders: float, drop_outs: float) -> None:
    bits = 40 if colluders <= 0.05 else 20
    chosen = plan(members, colluders=colluders, drop_outs=drop_outs, security_bits=bits)
    k, t, m = chosen.degree, chosen.share_threshold, chosen.degree + 1
    if chosen.complete:
        assert (k, t) == (members - 1, survivors_needed(members))
        return
    assert k % 2 == 0
    assert k < members - 1

    def at_least(places: int, share: float, least: int) -> float:
        cases = ((math.comb(places, x), x) for x in range(least, places + 1))
        return math.fsum(ways * share**x * (1 - share) ** (places - x) for ways, x in cases)

    two_sets = at_least(COMMITTEE, colluders, 2 * COMMITTEE_SIGNERS - COMMITTEE)
    both_kinds = members * at_least(m, colluders, 2 * t - m)
    apart = (members * at_least(k // 2, colluders, t - 1 - k // 2)) ** 2 / 2
    assert two_sets + both_kinds + apart < 2.0**-bits
    assert members * at_least(m, drop_outs, m - t + 1) < 2.0**-20
    assert members * at_least(m, drop_outs, m - t) >= 2.0**-20


@pytest.mark.parametrize("members", range(3, 65))
def test_in_a_complete_graph_two_sets_of_survivors_cannot_both_be_signed(members: int) -> None:
    chosen = plan(members)
    honest = members - chosen.most_colluders
    assert chosen.complete
    assert 2 * (chosen.share_threshold - chosen.most_colluders) > honest
    assert chosen.share_threshold - chosen.most_colluders >= 2
    assert chosen.most_colluders >= int(0.05 * members)
    assert 3 <= survivors_needed(members) <= members


def test_four_hospitals_are_safe_from_the_cloud_with_one_of_them() -> None:
    assert plan(4) == Plan(
        members=4, degree=3, share_threshold=3, colluders=0.05, drop_outs=0.05, security_bits=40, complete=True
    )
    assert plan(4).most_colluders == 1
    assert plan(10).most_colluders == 3
    assert plan(1000).most_colluders == 50


def test_the_degree_grows_no_faster_than_the_logarithm_of_the_members() -> None:
    degrees = [plan(members).degree for members in TABLE]
    large = [(members, plan(members).degree) for members in (*TABLE, 20_000, 100_000) if members >= 100]
    assert all(degree <= 8.5 * math.log2(members) for members, degree in large)
    ratios = [degree / math.log2(members) for members, degree in large]
    assert all(later <= earlier for earlier, later in pairwise(ratios))
    assert degrees == [9, 31, 63, 54, 56, 60, 60, 64, 66]


def test_impossible_plans_are_refused() -> None:
    with pytest.raises(Refused) as refused:
        plan(2)
    assert refused.value.code == FailureCode.TOO_FEW
    with pytest.raises(ValueError, match="colluders"):
        plan(10, colluders=0.34)
    with pytest.raises(ValueError, match="no committee"):
        plan(1000, security_bits=60)


# graphs


@given(st.integers(3, 80), st.binary(min_size=32, max_size=32), st.data())
def test_neighbours_are_the_places_within_half_the_degree_on_a_ring(
    count: int, seed: bytes, data: st.DataObject
) -> None:
    degree = data.draw(st.sampled_from([k for k in range(count) if k % 2 == 0 or k == count - 1]))
    graph = neighbours(parties_of(count), seed, degree)
    ring = list(graph)
    assert sorted(ring) == sorted(parties_of(count))
    for place, party in enumerate(ring):
        near = {ring[(place + step) % count] for step in range(-(degree // 2), degree // 2 + 1)} - {party}
        assert set(graph[party]) == (near if degree < count - 1 else set(ring) - {party})
        assert len(graph[party]) == degree
        assert all(party in graph[other] for other in graph[party])


def test_the_ring_depends_on_the_seed_and_not_on_the_order_of_the_list() -> None:
    parties = parties_of(100)
    graph = neighbours(parties, b"a" * 32, 10)
    assert neighbours(parties[::-1], b"a" * 32, 10) == graph
    assert neighbours(parties, b"b" * 32, 10) != graph


@pytest.mark.parametrize(("count", "degree"), [(10, 3), (10, 10), (10, -2)])
def test_graphs_that_cannot_be_are_errors(count: int, degree: int) -> None:
    with pytest.raises(ValueError, match="no graph"):
        neighbours(parties_of(count), b"", degree)
    with pytest.raises(ValueError, match="no graph"):
        neighbours([*parties_of(9), "hospital-0"], b"", 4)


# a cloud that claims drop-outs


def unmaskable(party: str, survivors: set[str], bad: set[str], graph: dict[str, tuple[str, ...]], needed: int) -> bool:
    """Whether the cloud gets enough shares of a survivor's seed: from survivors around it and from all colluders."""
    return len({party, *graph[party]} & (survivors | bad)) >= needed


def cut_off(
    graph: dict[str, tuple[str, ...]], bad: set[str], chosen: Plan, *, rng: np.random.Generator, arc: int
) -> set[str]:
    """Return survivors after the cloud's greedy claims: it empties the places on both sides of an arc, farthest last.

    A claim is dropped again when a survivor's seed could not be opened any more.
    """
    ring, count, half = list(graph), len(graph), chosen.degree // 2
    start = int(rng.integers(count))
    wanted = [ring[(start - 1 - step) % count] for step in range(half)]
    wanted += [ring[(start + arc + step) % count] for step in range(half)]
    order = [*rng.permutation(wanted)] if rng.integers(2) else [*wanted]
    survivors = set(ring)
    for party in order:
        survivors.discard(party)
        touched = ({party, *graph[party]} & survivors) - bad
        if not all(unmaskable(other, survivors, bad, graph, chosen.share_threshold) for other in touched):
            survivors.add(party)
    return survivors


@settings(max_examples=40)
@given(st.sampled_from([65, 100, 300]), st.integers(0, 2**32 - 1), st.integers(1, 30))
def test_honest_survivors_stay_connected_whatever_drop_outs_the_cloud_claims(count: int, seed: int, arc: int) -> None:
    rng = np.random.default_rng(seed)
    chosen = plan(count)
    graph = neighbours(parties_of(count), rng.bytes(32), chosen.degree)
    bad = {parties_of(count)[number] for number in rng.choice(count, chosen.most_colluders, replace=False)}
    survivors = cut_off(graph, bad, chosen, rng=rng, arc=arc)
    assert components(survivors - bad, graph) == 1


@settings(max_examples=40)
@given(st.sampled_from([65, 100, 300]), st.integers(0, 2**32 - 1))
def test_honest_survivors_stay_connected_after_as_many_random_drop_outs_as_can_be(count: int, seed: int) -> None:
    rng = np.random.default_rng(seed)
    chosen = plan(count)
    graph = neighbours(parties_of(count), rng.bytes(32), chosen.degree)
    bad = {parties_of(count)[number] for number in rng.choice(count, chosen.most_colluders, replace=False)}
    survivors = set(graph)
    for party in rng.permutation(parties_of(count)):
        survivors.discard(party)
        touched = ({party, *graph[party]} & survivors) - bad
        if not all(unmaskable(other, survivors, bad, graph, chosen.share_threshold) for other in touched):
            survivors.add(party)
    assert len(survivors) < count
    assert components(survivors - bad, graph) == 1


def test_the_same_cloud_cuts_members_off_where_the_threshold_is_too_low() -> None:
    """A control: the attack above succeeds against a plan that breaks the condition on gaps."""
    rng = np.random.default_rng(1)
    weak = Plan(
        members=300, degree=20, share_threshold=11, colluders=0.1, drop_outs=0.05, security_bits=0, complete=False
    )
    apart = 0
    for _ in range(50):
        graph = neighbours(parties_of(300), rng.bytes(32), weak.degree)
        bad = {parties_of(300)[number] for number in rng.choice(300, weak.most_colluders, replace=False)}
        survivors = cut_off(graph, bad, weak, rng=rng, arc=12)
        apart += components(survivors - bad, graph) > 1
    assert apart > 0
