"""Each party's objects hold its own keys and nobody else's, though all live in one process.

The walk follows everything that Python code of a party could reach from its object: attributes, slots, containers,
closures, bound methods, and whatever else the garbage collector knows; not modules, classes and the globals of
functions, which are program text, not state (no module of the project keeps state). It is done on the parties of
`tests.federation`, and on those that the real worker builds, while a run is under way.
"""

import functools
import gc
import threading
import types
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from core.clock import FixedClock
from core.imaging.squares import StoredSquares
from core.learning.orders import AGGREGATION, COORDINATOR
from core.services.app import Actor, App
from federated.aggregation.enclave import AggregationEnclave
from federated.coordinator import Coordinator
from federated.node import TrainingNode
from federated.worker import Worker
from security.authority import CertificateAuthority
from security.identity import Identity
from security.keys import KeyStore, MasterKey, PrivateKey
from tests.federation import SLUGS, Federation, SoftmaxLearner
from tests.integration.runs_support import give_data, queue_run

TEXT = (types.ModuleType, type, types.CodeType, types.BuiltinFunctionType)


def reachable(root: object) -> Iterator[Any]:
    """Yield every object that `root` leads to, `root` included."""
    seen: set[int] = set()
    waiting: list[Any] = [root]
    keep: list[Any] = []
    while waiting:
        item = waiting.pop()
        if id(item) in seen or isinstance(item, TEXT):
            continue
        seen.add(id(item))
        keep.append(item)
        yield item
        if isinstance(item, types.FunctionType):
            waiting += [*(item.__closure__ or ()), *(item.__defaults__ or ()), *(item.__kwdefaults__ or {}).values()]
        else:
            waiting += gc.get_referents(item)


def secrets_of(root: object) -> dict[str, set[str]]:
    """Return whose private keys, identities and stores `root` leads to."""
    found: dict[str, set[str]] = {"identities": set(), "keys": set(), "stores": set(), "powers": set()}
    for item in reachable(root):
        if isinstance(item, Identity):
            found["identities"].add(item.party)
        elif isinstance(item, PrivateKey):
            found["keys"].add(item.fingerprint)
        elif isinstance(item, KeyStore):
            found["stores"].add(item.party)
        elif isinstance(item, (MasterKey, CertificateAuthority)):
            found["powers"].add(type(item).__name__)
    return found


class Slotted:
    """An object without a dictionary."""

    __slots__ = ("hidden",)

    def __init__(self, hidden: object) -> None:
        """Hide something."""
        self.hidden = hidden

    def show(self) -> object:
        """Lead to it through a bound method."""
        return self.hidden


def generator_over(hidden: object) -> Iterator[object]:
    """Lead to something through the frame of a generator."""
    yield None
    yield hidden


def begun(hidden: object) -> Iterator[object]:
    """Return a generator that has begun."""
    generator = generator_over(hidden)
    next(generator)
    return generator


def own_keys(identity: Identity) -> set[str]:
    return {identity.signing_key.fingerprint, identity.sealing_key.fingerprint}


@pytest.fixture
def federation(tmp_path: Path) -> Federation:
    return Federation(tmp_path)


HIDING_PLACES: dict[str, Callable[[object], object]] = {
    "closure": lambda hidden: lambda: hidden,
    "default": lambda hidden: lambda value=hidden: value,
    "slot": Slotted,
    "bound method": lambda hidden: Slotted(hidden).show,
    "partial": lambda hidden: functools.partial(print, hidden),
    "generator": begun,
    "thread's target": lambda hidden: threading.Thread(target=Slotted(hidden).show),
    "container": lambda hidden: {"a": [(hidden,)]},
}


@pytest.mark.parametrize("place", HIDING_PLACES)
def test_the_walk_finds_a_key_wherever_it_hides(federation: Federation, place: str) -> None:
    hidden = HIDING_PLACES[place](federation.identities["east.training"])
    assert secrets_of([hidden])["identities"] == {"east.training"}


def test_the_coordinator_reaches_its_own_keys_only_while_a_run_is_under_way(federation: Federation) -> None:
    with federation.host() as host:
        coordinator = federation.coordinator(host)
        coordinator.play()
        found = secrets_of(coordinator)
    assert found == {
        "identities": {COORDINATOR},
        "keys": own_keys(federation.identities[COORDINATOR]),
        "stores": set(),
        "powers": set(),
    }


def test_a_node_reaches_its_own_keys_and_its_own_images_only(federation: Federation) -> None:
    federation.play()
    for slug, node in federation.nodes.items():
        party = f"{slug}.training"
        found = secrets_of(node)
        assert found["identities"] == {party}
        assert found["keys"] == own_keys(federation.identities[party])
        assert found["stores"] == found["powers"] == set()
        images = {id(data.images) for data in federation.data.values()}
        assert {id(item) for item in reachable(node)} & images == {id(federation.data[slug].images)}


def test_the_aggregation_reaches_its_own_keys_and_no_images(federation: Federation) -> None:
    federation.play()
    found = secrets_of(federation.enclave)
    assert found["identities"] == {AGGREGATION}
    assert found["keys"] == own_keys(federation.identities[AGGREGATION])
    images = {id(data.images) for data in federation.data.values()}
    assert not {id(item) for item in reachable(federation.enclave)} & images


def test_after_a_round_the_aggregation_keeps_no_update(federation: Federation) -> None:
    federation.play()
    kept = sum(item.nbytes for item in reachable(federation.enclave) if hasattr(item, "nbytes"))
    assert kept == 0


class Walked(SoftmaxLearner):
    """The learner, which walks the worker's parties in the middle of a training."""

    def __init__(self) -> None:
        """Nothing is found yet."""
        super().__init__()
        self.found: dict[str, dict[str, set[str]]] = {}
        self.images: dict[str, int] = {}

    def fit(self, *arguments: Any, **options: Any) -> Any:
        """Walk, then train."""
        kinds = (TrainingNode, AggregationEnclave, Coordinator)
        for party in [item for item in gc.get_objects() if isinstance(item, kinds)]:
            name = COORDINATOR if isinstance(party, Coordinator) else party.party
            self.found[name] = secrets_of(party)
            self.images[name] = sum(isinstance(item, StoredSquares) for item in reachable(party))
            assert not [item for item in reachable(party) if getattr(item, "ndim", 0) == 4]  # they stay where they lie
        return super().fit(*arguments, **options)


@pytest.mark.parametrize("database_url", ["sqlite"], indirect=True)
def test_the_parties_that_the_worker_builds_reach_their_own_keys_only(
    app: App, clock: FixedClock, authority: Actor
) -> None:
    gc.collect()  # parties of earlier tests
    queue_run(app, authority, give_data(app), rounds=1)
    learner = Walked()
    worker = Worker(app.settings, clock=clock, learner_for=lambda _architecture, _study: learner)
    assert worker.run_one()
    worker.close()
    parties = {COORDINATOR, AGGREGATION, *(f"{slug}.training" for slug in SLUGS)}
    assert set(learner.found) == parties
    for party, found in learner.found.items():
        assert found["identities"] == {party}
        assert len(found["keys"]) == 2
        assert found["stores"] == found["powers"] == set()
        assert (learner.images[party] > 0) is party.endswith(".training")
