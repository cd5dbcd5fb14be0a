"""A federated run over Flower on one machine: TLS, SuperNode and own process for each party; only bytes are shared."""

import secrets
import sys
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path

from core.clock import SystemClock
from core.imaging.arrays import DatasetArrays
from core.learning.group_key import seal_group_key
from core.learning.orders import (
    AGGREGATION,
    AUTHORITY,
    COORDINATOR,
    AggregationMode,
    RunOptions,
    sign_order,
    training_party,
)
from core.studies import LEUKEMIA
from federated.aggregation.base import GlobalModel
from federated.coordinator import Coordinator
from federated.notary import Notary
from federated.store import Ending, Event, MemoryRunStore
from federated.timing import Stopwatch
from federated.transport.flower.houses import Houses
from federated.transport.flower.network import Network
from federated.transport.flower.transport import FlowerTransport


class DemoFailed(Exception):
    """The run did not finish; the message says why."""


@dataclass(frozen=True, kw_only=True)
class Demonstrated:
    """What came out.

    Attributes:
        models: of all rounds, 0 first.
        start_s: seconds until Flower and all parties were up.
        run_s: seconds of the run.
    """

    models: list[GlobalModel]
    start_s: float
    run_s: float


def demonstrate(
    data: Mapping[str, DatasetArrays],
    options: RunOptions,
    *,
    learner: str,
    folder: Path,
    binaries: Path,
    on_event: Callable[[Event], None],
) -> Demonstrated:
    """Play a run over Flower.

    Args:
        data: hospital -> its data set.
        options: the run; its members are the hospitals.
        learner: what each hospital's process trains with: an architecture, or `federated.softmax.NAME`.
        folder: for all that the run leaves, logs included; removed by the caller.
        binaries: folder of Flower's commands.
        on_event: told of each event of the run.

    Raises:
        FlowerFailed: a process did not start.
        DemoFailed: the run failed.
    """
    clock, run, begun = SystemClock(), secrets.token_hex(16), time.perf_counter()
    houses = Houses(folder=folder, clock=clock)
    authority, signer = houses.enrol(AUTHORITY), houses.enrol(COORDINATOR)
    houses.admit(dict(data), LEUKEMIA)
    parties = {training_party(hospital): hospital for hospital in data}
    if options.mode is not AggregationMode.BLIND:  # in blind mode nobody opens updates, so nobody holds that key
        houses.enrol(AGGREGATION)
        parties[AGGREGATION] = ""
    store = MemoryRunStore(clock=clock, listener=on_event)
    with Network(folder=folder, binaries=binaries, authority=houses.office, clock=clock) as network:
        for party, hospital in parties.items():
            _open(network, houses, party, hospital, learner)
            network.supernode(party)
        network.await_all([network.socket_of(party) for party in parties])
        network.submit()
        started = time.perf_counter()
        coordinator = Coordinator(
            notary=Notary(signer, houses.trust, study=LEUKEMIA.code, clock=clock, watch=Stopwatch()),
            run=run,
            order=sign_order(options.naming(houses.board.signing.values()), run=run, signer=authority),
            group=seal_group_key(
                run,
                study=LEUKEMIA.code,
                signer=authority,
                members=[houses.certificate(party) for party in options.parties],
            ),
            transport=FlowerTransport(network.post),
            store=store,
            directory=houses.board,
        )
        if coordinator.play() is not Ending.FINISHED:
            raise DemoFailed(store.reason)
        ended = time.perf_counter()
    return Demonstrated(models=store.models, start_s=started - begun, run_s=ended - started)


def _open(network: Network, houses: Houses, party: str, hospital: str, learner: str) -> None:
    """Start a party's own process; it is told of its own house only."""
    command = [sys.executable, "-m", "federated.transport.flower.party", "--party", party]
    command += ["--socket", str(network.socket_of(party)), "--crl", str(houses.crl)]
    if hospital:
        command += ["--dataset", hospital, "--file", str(houses.dataset(hospital)), "--architecture", learner]
    network.run(f"{party}-own", command, _settings(houses.house(party)))


def _settings(house: Path) -> dict[str, str]:
    """Settings of an installation of its own, whatever an ``.env`` file says: the empty key stands for the key file."""
    return {"HEMASEAL_DATA_DIR": str(house), "HEMASEAL_MODE": "demo", "HEMASEAL_MASTER_KEY": ""}
