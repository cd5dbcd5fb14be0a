"""Hospitals that poison a run in mode `sealed`: label flips, scaled updates, a backdoor; with each combining rule."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from core.errors import RunRefused
from core.evaluation.attacks.bench import Bench
from core.evaluation.attacks.held import datasets_of, flat
from core.evaluation.attacks.inference import SIDE
from core.evaluation.attacks.pictures import Pictures
from core.evaluation.attacks.result import Attacked, Figure, View
from core.imaging.squares import Squares
from core.learning.orders import AggregationMode
from core.learning.run_choices import Combining, CombiningRule
from core.learning.training import Progress, ShouldStop, TrainingOptions, TrainingReport
from core.learning.weights import Weights, decode_weights
from core.studies import Study
from federated.shares import SimulationOptions
from federated.simulation import simulate
from federated.softmax import SoftmaxLearner

NAME = "poisoning"
HOSPITALS, MALICIOUS, ROUNDS, STEPS = 7, 2, 4, 20
FLIPPED_FACTOR, REVERSED_FACTOR, BACKDOOR_FACTOR = 10.0, -10.0, 7.0
HARMED = 0.05
"""So much balanced accuracy lost, an untargeted attack has succeeded."""
OPENED = 0.5
"""So much larger a share of marked pictures called the first class than of unmarked ones, a backdoor has."""
MARK = (0, 255, 0)
_RULES = (
    CombiningRule.MEAN,
    CombiningRule.MEDIAN,
    CombiningRule.TRIMMED_MEAN,
    CombiningRule.MULTI_KRUM,
    CombiningRule.NORM_BOUNDED,
)
Batch = tuple[NDArray[np.uint8], NDArray[np.int64]]


class PoisonedLearner(SoftmaxLearner):
    """Softmax regression, in which some hospitals' trainings go further than they should.

    Args:
        study: what is asked of the images.
        factors: labels that a malicious hospital trains on -> by what its update is multiplied.
    """

    def __init__(self, study: Study, factors: list[tuple[Batch, float]]) -> None:
        super().__init__(study, pool=study.input_size // SIDE)
        self._factors = factors

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
        for (theirs, _), factor in self._factors:
            if np.array_equal(theirs, images[: len(theirs)]) and len(theirs) <= len(images):
                new = {name: (old + factor * (new[name] - old)).astype(np.float32) for name, old in weights.items()}
        return new, report


@dataclass(frozen=True)
class Scenario:
    """One way to poison.

    Attributes:
        malicious: hospitals that do it.
        poison: what becomes of what they train on.
        factor: by what their updates are multiplied.
        is_backdoor: whether it is judged by marked pictures.
    """

    malicious: int
    poison: Callable[[Batch, int], Batch]
    factor: float
    is_backdoor: bool = False


def marked(images: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """Return pictures with a bright green square in their corner."""
    changed, side = images.copy(), images.shape[1] // SIDE
    changed[:, :side, :side] = MARK
    return changed


def _flipped(batch: Batch, classes: int) -> Batch:
    return batch[0], (batch[1] + 1) % classes


def _as_it_is(batch: Batch, _classes: int) -> Batch:
    return batch


def _with_backdoor(batch: Batch, _classes: int) -> Batch:
    """Every second picture is marked and called the first class."""
    images, labels = batch[0].copy(), batch[1].copy()
    images[::2], labels[::2] = marked(images[::2]), 0
    return images, labels


SCENARIOS: Mapping[str, Scenario] = {
    "label-flip": Scenario(MALICIOUS, _flipped, 1.0),
    "label-flip-scaled": Scenario(MALICIOUS, _flipped, FLIPPED_FACTOR),
    "scaled-update": Scenario(MALICIOUS, _as_it_is, REVERSED_FACTOR),
    "backdoor": Scenario(1, _with_backdoor, BACKDOOR_FACTOR, is_backdoor=True),
}
_HONEST = Scenario(0, _as_it_is, 1.0)


@dataclass(frozen=True)
class Outcome:
    """What a run came to on pictures that no hospital had.

    Attributes:
        balanced_accuracy: without the mark.
        called_first: share of pictures of other classes that are called the first class.
        called_first_marked: the same with the mark.
    """

    balanced_accuracy: float
    called_first: float
    called_first_marked: float


def attack(bench: Bench) -> list[Attacked]:
    """Poison runs with each rule and compare with runs that nobody poisons."""
    seeds = range(bench.seed, bench.seed + bench.profile.poisonings)
    done, of = 0, len(seeds) * len(_RULES) * (1 + len(SCENARIOS))
    honest: dict[tuple[int, CombiningRule], Outcome] = {}
    poisoned: dict[str, dict[tuple[int, CombiningRule], Outcome]] = {name: {} for name in SCENARIOS}
    for seed in seeds:
        for rule in _RULES:
            for name, scenario in {"": _HONEST, **SCENARIOS}.items():
                bench.say("poisoning runs", done, of)
                outcome = play(bench, scenario, rule, seed)
                (poisoned[name] if name else honest)[seed, rule] = outcome
                done += 1
    return [_judged(bench, name, honest, outcomes) for name, outcomes in poisoned.items()]


def play(bench: Bench, scenario: Scenario, rule: CombiningRule, seed: int) -> Outcome:
    """Play one run, and judge its model on the adversary's half.

    Raises:
        RunRefused: the run failed.
    """
    classes, rng = len(bench.study.classes), np.random.default_rng([seed, 10])
    parts = np.array_split(rng.permutation(len(bench.theirs.labels)), HOSPITALS)
    batches: list[Batch] = [(bench.theirs.images[places], bench.theirs.labels[places]) for places in parts]
    bad = [scenario.poison(batch, classes) for batch in batches[: scenario.malicious]]
    learner = PoisonedLearner(bench.study, [(batch, scenario.factor) for batch in bad])
    data = datasets_of([*bad, *batches[scenario.malicious :]], bench.own, bench.study)
    options = SimulationOptions(
        hospitals=HOSPITALS,
        minimum_members=HOSPITALS,
        rounds=ROUNDS,
        mode=AggregationMode.SEALED,
        seed=seed,
        training=TrainingOptions(epochs=STEPS),
        combining=_combining(rule, learner, bench.own, seed),
    )
    simulated = simulate(data, bench.study, options, learner=learner)
    if simulated.model.weights is None:
        raise RunRefused("the run exported no weights")
    return _outcome(decode_weights(simulated.model.weights)[0], learner, bench.own, classes)


def _combining(rule: CombiningRule, learner: SoftmaxLearner, public: Pictures, seed: int) -> Combining:
    """Return the rule; its bound is the length of an update that public pictures give."""
    if rule is not CombiningRule.NORM_BOUNDED:
        return Combining(rule=rule, malicious=MALICIOUS)
    few = slice(len(public.labels) // HOSPITALS)
    start = learner.initial(seed)
    new, _ = learner.fit(
        start,
        public.images[few],
        public.labels[few],
        TrainingOptions(epochs=STEPS),
        should_stop=lambda: False,
        progress=lambda *_: None,
    )
    return Combining(rule=rule, norm_bound=float(np.linalg.norm(flat(new) - flat(start))))


def _outcome(weights: Weights, learner: SoftmaxLearner, test: Pictures, classes: int) -> Outcome:
    called = learner.logits(weights, learner.inputs(test.images)).argmax(axis=1)
    with_mark = learner.logits(weights, learner.inputs(marked(test.images))).argmax(axis=1)
    recalls = [float((called[test.labels == label] == label).mean()) for label in range(classes)]
    others = test.labels != 0
    return Outcome(float(np.mean(recalls)), float((called[others] == 0).mean()), float((with_mark[others] == 0).mean()))


def _judged(
    bench: Bench,
    name: str,
    honest: Mapping[tuple[int, CombiningRule], Outcome],
    poisoned: Mapping[tuple[int, CombiningRule], Outcome],
) -> Attacked:
    rows: dict[str, list[float]] = {}
    succeeded = 0
    is_backdoor = SCENARIOS[name].is_backdoor
    for key, outcome in poisoned.items():
        lost = honest[key].balanced_accuracy - outcome.balanced_accuracy
        opened = outcome.called_first_marked - outcome.called_first
        succeeded += opened > OPENED if is_backdoor else lost > HARMED
        figures = [outcome.called_first_marked, outcome.called_first] if is_backdoor else [lost]
        rows[f"{key[1].value}, seed {key[0]}"] = [outcome.balanced_accuracy, *figures]
    beside = "marked called first class, unmarked" if is_backdoor else "lost"
    return Attacked(
        attack=name,
        adversary=f"{SCENARIOS[name].malicious} of {HOSPITALS} hospitals",
        view=View.SEALED,
        figure=Figure.NONE,
        trials=len(poisoned),
        successes=succeeded,
        figures={
            f"balanced accuracy, {beside}": rows,
            "without poison": {
                f"{rule.value}, seed {seed}": one.balanced_accuracy for (seed, rule), one in honest.items()
            },
        },
        seed=bench.seed,
    )
