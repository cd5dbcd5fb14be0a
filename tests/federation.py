"""A small federation for tests: throw-away keys, tiny data sets, and `SoftmaxLearner`, which needs no TensorFlow."""

from collections.abc import Callable
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path

import numpy as np

from core.clock import FixedClock
from core.imaging.datasets import DatasetArrays, Part
from core.learning.group_key import seal_group_key
from core.learning.orders import (
    AGGREGATION,
    APP,
    AUTHORITY,
    COORDINATOR,
    AggregationMode,
    Member,
    RunOptions,
    sign_order,
)
from core.learning.training import TrainingOptions, TrainingReport
from core.learning.weights import Weights
from core.studies import LEUKEMIA
from federated.aggregation.enclave import AggregationEnclave
from federated.coordinator import Coordinator
from federated.ledger import MemoryLedger
from federated.node import TrainingNode
from federated.notary import Notary
from federated.softmax import SoftmaxLearner as SoftmaxLearner  # noqa: PLC0414 - tests take it from here
from federated.spend import SpendBook
from federated.store import MemoryRunStore
from federated.throwaway import ThrowAwayKeys
from federated.timing import Stopwatch
from federated.transport.inprocess import InProcessHost
from security.identity import Identity

SIDE = LEUKEMIA.input_size
SLUGS = ("east", "north", "south", "west")
RUN = "0123456789abcdef0123456789abcdef"


def tiny_data(seed: int, *, patients: int = 6, cells: int = 4) -> DatasetArrays:
    """Noise in which positive images are a little darker; a third of the patients in each part."""
    rng = np.random.default_rng(seed)
    count = patients * cells
    labels = np.tile(np.array([0, 1], np.int64), count)[:count]
    images = rng.integers(60, 256, (count, SIDE, SIDE, 3))
    images[labels == 1] -= 40
    parts = np.sort(np.arange(patients) % len(Part))
    return DatasetArrays(
        images=np.clip(images, 0, 255).astype(np.uint8),
        labels=labels,
        patients=tuple(f"p{seed}-{number // cells}" for number in range(count)),
        parts=np.repeat(parts, cells).astype(np.uint8),
    )


def learn_nothing(
    _self: object, weights: Weights, _images: object, labels: np.ndarray, *_: object, **__: object
) -> tuple[Weights, TrainingReport]:
    """In place of a learner's `fit`: the weights as they are."""
    return dict(weights), TrainingReport(images=len(labels), steps=1, loss=0.7, stopped=False)


def without(data: DatasetArrays, part: Part, label: int | None = None) -> DatasetArrays:
    """The same data set without the images of a part, or without those of one class in it."""
    drop = (data.parts == list(Part).index(part)) & (True if label is None else data.labels == label)
    patients = tuple(name for name, out in zip(data.patients, drop, strict=True) if not out)
    return DatasetArrays(
        images=data.images[~drop], labels=data.labels[~drop], patients=patients, parts=data.parts[~drop]
    )


def options_for(
    data: dict[str, DatasetArrays], *, mode: AggregationMode = AggregationMode.SEALED, rounds: int = 2, minimum: int = 3
) -> RunOptions:
    """Options of a run over hospitals, each with one data set named after it."""
    return RunOptions(
        study=LEUKEMIA.code,
        mode=mode,
        rounds=rounds,
        members=tuple(
            Member(
                party=f"{slug}.training",
                dataset=slug,
                images=len(arrays.part(Part.TRAINING)),
                validation=len(arrays.part(Part.VALIDATION)),
            )
            for slug, arrays in data.items()
        ),
        minimum_members=minimum,
        training=TrainingOptions(epochs=3),
    )


@dataclass
class Federation:
    """Everything that a test needs to play a run; the test, not any party, holds it all."""

    folder: Path
    mode: AggregationMode = AggregationMode.SEALED
    rounds: int = 2
    minimum: int = 3
    clinical: bool = False
    clock: FixedClock = field(default_factory=FixedClock)
    down: set[str] = field(default_factory=set)
    gone: set[str] = field(default_factory=set)
    should_stop: Callable[[], bool] = lambda: False
    books: dict[str, SpendBook] = field(default_factory=dict)
    slugs: tuple[str, ...] = SLUGS

    def __post_init__(self) -> None:
        """Make keys, data, parties, store."""
        self.keys = ThrowAwayKeys(self.folder, clock=self.clock)
        self.identities: dict[str, Identity] = {
            party: self.keys.enrol(party)
            for party in (AUTHORITY, APP, COORDINATOR, AGGREGATION, *(f"{slug}.training" for slug in self.slugs))
        }
        self.data = {slug: tiny_data(number) for number, slug in enumerate(self.slugs)}
        self.options = options_for(self.data, mode=self.mode, rounds=self.rounds, minimum=self.minimum)
        self.store = MemoryRunStore(clock=self.clock)
        self.learner = SoftmaxLearner()
        self.nodes = {slug: self.node(slug) for slug in self.slugs}
        self.enclave = AggregationEnclave(notary=self.notary(AGGREGATION), ledger=MemoryLedger())

    def notary(self, party: str) -> Notary:
        """A party's cryptography."""
        return Notary(
            self.identities[party], self.keys.trust(), study=LEUKEMIA.code, clock=self.clock, watch=Stopwatch()
        )

    def node(self, slug: str) -> TrainingNode:
        """A hospital's node."""
        return TrainingNode(
            notary=self.notary(f"{slug}.training"),
            ledger=MemoryLedger(),
            learner=self.learner,
            dataset=slug,
            data=self.data[slug],
            clinical=self.clinical,
            spend=self.books.get(slug),
            has_left=partial(self.gone.__contains__, slug),  # and not the whole federation
            should_stop=self.should_stop,
        )

    def order(self, run: str = RUN) -> bytes:
        """The authority's signed order."""
        return sign_order(
            self.options.naming(self.keys.board.signing.values()), run=run, signer=self.identities[AUTHORITY]
        )

    def group(self, run: str = RUN) -> bytes:
        """The group key, sealed by the authority for the members."""
        members = [self.keys.certificate(party) for party in self.options.parties]
        return seal_group_key(run, study=LEUKEMIA.code, signer=self.identities[AUTHORITY], members=members)

    def host(self) -> InProcessHost:
        """The parties' machines."""
        return InProcessHost([*self.nodes.values(), self.enclave], is_down=lambda party: party in self.down)

    def coordinator(self, host: InProcessHost, run: str = RUN) -> Coordinator:
        """A coordinator for the run."""
        return Coordinator(
            notary=self.notary(COORDINATOR),
            run=run,
            order=self.order(run),
            transport=host.transport,
            store=self.store,
            directory=self.keys.board,
            group=self.group(run),
        )

    def play(self, run: str = RUN) -> str:
        """Play the run and return how it ended."""
        with self.host() as host:
            return self.coordinator(host, run).play().value
