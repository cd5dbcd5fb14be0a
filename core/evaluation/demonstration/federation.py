"""Runs of the demonstration: all parties with throw-away keys in this process, and what only they know beside it."""

from collections.abc import Mapping
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from core.errors import RunRefused
from core.evaluation.attacks.held import flat
from core.evaluation.demonstration.journal import Say
from core.imaging.datasets import DatasetArrays, Part
from core.imaging.squares import Squares
from core.learning.orders import AggregationMode, slug_of
from core.learning.run_events import EventKind
from core.learning.training import Progress, ShouldStop, TrainingOptions, TrainingReport
from core.learning.weights import Weights, decode_weights
from core.studies import LEUKEMIA
from federated.aggregation.contributions import difference
from federated.shares import SimulationOptions
from federated.simulation import Cloud, Simulated, simulate
from federated.smooth import SmoothLearner
from federated.store import Event

STEPS_OF_TRAINING = 20
SEED = 11


class TellingLearner(SmoothLearner):
    """The small network, which also tells the presenter what each hospital trained: no cloud could ask it.

    Attributes:
        trained: for each training: the labels and images that it was given, the weights before, and those after.
    """

    def __init__(self) -> None:
        super().__init__(LEUKEMIA)
        self.trained: list[tuple[Squares, Weights, Weights]] = []

    def fit(
        self,
        weights: Weights,
        images: Squares,
        labels: NDArray[np.int64],
        options: TrainingOptions,
        *,
        should_stop: ShouldStop,
        progress: Progress,
    ) -> tuple[Weights, TrainingReport]:
        """See `Learner.fit`."""
        new, report = super().fit(weights, images, labels, options, should_stop=should_stop, progress=progress)
        self.trained.append((images, weights, new))
        return new, report


@dataclass(kw_only=True)
class Played:
    """One run of one round, and everything that is known of it.

    Attributes:
        mode: its aggregation mode.
        simulated: what came out, None where it failed.
        reason: why it failed, or "".
        events: what the coordinator noted.
        data: hospital -> its data set.
        learner: what the hospitals trained with.
    """

    mode: AggregationMode
    data: Mapping[str, DatasetArrays]
    learner: TellingLearner
    simulated: Simulated | None = None
    reason: str = ""
    events: list[Event] = field(default_factory=list)

    def update_of(self, hospital: str) -> Weights:
        """Return how a hospital's training changed the network: what it wanted to send."""
        return difference(self._training(hospital)[2], self._training(hospital)[1])

    def before(self, hospital: str) -> Weights:
        """Return the weights that a hospital's training began with."""
        return self._training(hospital)[1]

    def _training(self, hospital: str) -> tuple[Squares, Weights, Weights]:
        own = self.data[hospital].part(Part.TRAINING).images
        return next(one for one in self.learner.trained if np.array_equal(one[0], own))

    @property
    def model(self) -> Weights:
        """The new global model.

        Raises:
            RunRefused: the run failed.
        """
        if self.simulated is None or self.simulated.model.weights is None:
            raise RunRefused(self.reason)
        return decode_weights(self.simulated.model.weights)[0]

    @property
    def members(self) -> tuple[str, ...]:
        """Whose updates are in the model, by hospital."""
        assert self.simulated is not None  # noqa: S101
        return tuple(slug_of(party) for party in self.simulated.rounds[-1].members)

    def failures(self) -> list[tuple[str, str, str]]:
        """Return (hospital, step, code) of each failure that the coordinator noted."""
        found = [event for event in self.events if event.kind is EventKind.FAILED]
        return [(slug_of(event.party), str(event.payload["step"]), str(event.payload["code"])) for event in found]


def play(
    mode: AggregationMode,
    data: Mapping[str, DatasetArrays],
    *,
    cloud: Cloud,
    say: Say,
    epochs: int = STEPS_OF_TRAINING,
) -> Played:
    """Play a run of one round, with one step of training for each epoch; a run that fails is told, not raised."""
    played = Played(mode=mode, data=data, learner=TellingLearner())
    options = SimulationOptions(
        hospitals=len(data), rounds=1, mode=mode, seed=SEED, training=TrainingOptions(epochs=epochs)
    )

    def on_event(event: Event) -> None:
        played.events.append(event)
        if event.kind is EventKind.ANSWERED:
            say(f"{slug_of(event.party).capitalize()} answered: {event.payload['step']}", 0.0)

    try:
        played.simulated = simulate(data, LEUKEMIA, options, learner=played.learner, on_event=on_event, cloud=cloud)
    except RunRefused as refused:
        played.reason = refused.detail
    return played


def part_of(say: Say, number: int, of: int) -> Say:
    """Return a teller for the part `number` (from 0) of a step of so many parts."""
    return lambda text, share: say(text, (number + share) / of)


def mean_update(played: Played, hospitals: tuple[str, ...]) -> NDArray[np.float64]:
    """Return the mean of hospitals' updates, weighted by their training images, as it should come out."""
    images = np.array([len(played.data[name].part(Part.TRAINING)) for name in hospitals], np.float64)
    return np.average([flat(played.update_of(name)) for name in hospitals], axis=0, weights=images)
