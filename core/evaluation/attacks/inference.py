"""What membership and property inference share: the uploads guessed at, shadow trainings, and how it is judged.

Shadow models (Shokri et al. 2017): the adversary repeats the hospitals' training on pictures of its own, knows the
answers there, and learns to tell them from what a training leaves. A second adversary learns from other uploads held in
the same view whose answers it is told; the stronger one counts.
"""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from core.evaluation.attacks.bench import Bench
from core.evaluation.attacks.held import HOSPITALS, flat, held_vectors
from core.evaluation.attacks.metrics import rank
from core.evaluation.attacks.pictures import Pictures, Secret, draw_secret
from core.evaluation.attacks.result import Attacked, Figure, View
from core.learning.orders import AggregationMode
from core.learning.training import TrainingOptions
from core.learning.weights import Weights
from federated.softmax import SoftmaxLearner

SIDE = 8
STEPS = 40
Floats = NDArray[np.float64]
Flags = NDArray[np.bool_]


@dataclass(frozen=True, eq=False)
class Trainings:
    """What trainings left, and what is to be guessed of each.

    Attributes:
        vectors: float64[n, weights]; as somebody sees them.
        secrets: n of them.
        pictures: whose places they name.
    """

    vectors: Floats
    secrets: list[Secret]
    pictures: Pictures

    def part(self, which: Flags) -> "Trainings":
        """Return those that are meant."""
        secrets = [secret for secret, is_meant in zip(self.secrets, which, strict=True) if is_meant]
        return Trainings(self.vectors[which], secrets, self.pictures)


Answers = Callable[[Trainings], Flags]
"""What is to be guessed of each training."""
Scores = Callable[[Trainings], Floats]
"""How sure the adversary is of it, for each training."""
Learn = Callable[[Trainings], Scores]
"""Makes an adversary of trainings whose answers are known."""


def first_weights(bench: Bench) -> tuple[SoftmaxLearner, Weights]:
    """Return the network that is attacked and the weights before the step."""
    learner = SoftmaxLearner(bench.study, pool=bench.study.input_size // SIDE)
    return learner, learner.initial(bench.seed)


def shadows(bench: Bench) -> Trainings:
    """Train on the adversary's own pictures."""
    learner, weights = first_weights(bench)
    rng, thirds = np.random.default_rng([bench.seed, 3]), bench.own.thirds()
    secrets, vectors = [], []
    for number in range(bench.profile.shadows):
        bench.say("training shadow models", number, bench.profile.shadows)
        secrets.append(draw_secret(thirds, rng))
        batch = secrets[-1].batch
        new, _ = learner.fit(
            weights,
            bench.own.images[batch],
            bench.own.labels[batch],
            TrainingOptions(epochs=STEPS),
            should_stop=lambda: False,
            progress=lambda *_: None,
        )
        vectors.append(flat(new) - flat(weights))
    return Trainings(np.stack(vectors), secrets, bench.own)


def held_trainings(bench: Bench, mode: AggregationMode) -> Trainings:
    """Return what the cloud held of hospitals' trainings; the answers of the first ones are told to it."""
    learner, _ = first_weights(bench)
    thirds, trials = bench.theirs.thirds(), bench.profile.told + bench.profile.inferences[mode]

    def drawn(number: int) -> list[Secret]:
        rng = np.random.default_rng([bench.seed, 4, number])
        return [draw_secret(thirds, rng) for _ in range(HOSPITALS)]

    vectors = held_vectors(
        bench.folder / "inference",
        mode,
        lambda number: [secret.batch for secret in drawn(number)],
        bench.theirs,
        bench.own,
        trials=trials,
        study=bench.study,
        learner=learner,
        steps=STEPS,
        seed=bench.seed,
        say=bench.say,
    )
    secrets = [secret for number in range(-(-trials // HOSPITALS)) for secret in drawn(number)]
    return Trainings(np.stack(list(vectors)), secrets[:trials], bench.theirs)


def infer(bench: Bench, name: str, answers: Answers, learn: Callable[[Trainings], Learn]) -> list[Attacked]:
    """Attack each mode.

    Args:
        bench: what there is.
        name: of the attack.
        answers: what is to be guessed.
        learn: given the shadow trainings, makes the learner of adversaries.
    """
    own = shadows(bench)
    teach = learn(own)
    transferred = teach(own)
    results = []
    for mode in AggregationMode:
        held = held_trainings(bench, mode)
        told = np.arange(len(held.secrets)) < bench.profile.told
        known, asked = held.part(told), held.part(~told)
        rankings = {
            "shadow models": rank(transferred(asked), answers(asked)),
            "other uploads": rank(teach(known)(asked), answers(asked)),
        }
        blank = _without_uploads(held, bench.seed)
        guess = rank(teach(blank.part(told))(blank.part(~told)), answers(asked))
        stronger = max(rankings, key=lambda one: rankings[one].auc)
        best = rankings[stronger]
        results.append(
            Attacked(
                attack=name,
                adversary="cloud",
                view=View(mode.value),
                figure=Figure.PRIVACY,
                trials=best.members,
                successes=best.named,
                figures={
                    "uploads": len(asked.secrets),
                    "auc": [best.auc, best.low, best.high],
                    "tpr at 1 % fpr": best.named / best.members,
                    "stronger": stronger,
                    "auc of each": {kind: [one.auc, one.low, one.high] for kind, one in rankings.items()},
                    "auc with random words in place of the uploads": [guess.auc, guess.low, guess.high],
                },
                seed=bench.seed,
            )
        )
    return results


def _without_uploads(held: Trainings, seed: int) -> Trainings:
    """Return the same trainings with random words in place of what was held: what is guessed then is chance."""
    words = np.random.default_rng([seed, 11]).uniform(-1, 1, held.vectors.shape)
    return Trainings(words, held.secrets, held.pictures)
