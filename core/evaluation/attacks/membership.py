"""Membership inference: was this picture among those that a hospital trained on in this round?"""

from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray

from core.evaluation.attacks.bench import Bench
from core.evaluation.attacks.held import flat
from core.evaluation.attacks.inference import Floats, Scores, Trainings, first_weights, infer
from core.evaluation.attacks.result import Attacked
from core.learning.weights import Weights
from federated.softmax import SoftmaxLearner

NAME = "membership"
_COMPONENTS = 60
_WORST = 50.0


def attack(bench: Bench) -> list[Attacked]:
    """Guess membership in each mode."""
    return infer(bench, NAME, is_member, lambda own: _learning(bench, own))


def is_member(trainings: Trainings) -> NDArray[np.bool_]:
    """Whether each training had its candidate in the batch."""
    return np.array([secret.is_member for secret in trainings.secrets])


def _learning(bench: Bench, own: Trainings) -> Callable[[Trainings], Scores]:
    """Return the learner: logistic regression over statistics of a vector and the candidate's gradient."""
    from sklearn.decomposition import PCA  # noqa: PLC0415  slow to import
    from sklearn.linear_model import LogisticRegression  # noqa: PLC0415
    from sklearn.pipeline import make_pipeline  # noqa: PLC0415
    from sklearn.preprocessing import StandardScaler  # noqa: PLC0415

    learner, weights = first_weights(bench)
    few = min(_COMPONENTS, len(own.secrets) - 1)
    whitening = PCA(few, whiten=True, random_state=0).fit(own.vectors)
    pulls = _pulls(learner, weights, own)

    def statistics(trainings: Trainings) -> Floats:
        """How a vector agrees with the pull of the candidate, and what it does to the loss there: [n, 6]."""
        pull, vectors = _pulls(learner, weights, trainings), trainings.vectors
        lengths = np.linalg.norm(vectors, axis=1), np.linalg.norm(pull, axis=1)
        along = (vectors * pull).sum(axis=1)
        scaled = (pull - pulls.mean(axis=0)) * own.vectors.std() / pulls.std() + own.vectors.mean(axis=0)
        white = whitening.transform(vectors), whitening.transform(scaled)
        before, after = _losses(learner, weights, trainings)
        return np.column_stack(
            [
                along / (lengths[0] * lengths[1]),
                along / lengths[1],
                (white[0] * white[1]).sum(axis=1),
                before - after,
                after,
                lengths[0],
            ]
        )

    def learn(known: Trainings) -> Scores:
        model = make_pipeline(StandardScaler(), LogisticRegression()).fit(statistics(known), is_member(known))
        return lambda asked: np.asarray(model.decision_function(statistics(asked)), np.float64)

    return learn


def _pulls(learner: SoftmaxLearner, weights: Weights, trainings: Trainings) -> Floats:
    """Return where each candidate alone would pull the weights: [n, weights]."""
    return np.stack([-flat(learner.gradient(weights, *_asked(learner, trainings, n))[1]) for n in _each(trainings)])


def _losses(learner: SoftmaxLearner, weights: Weights, trainings: Trainings) -> tuple[Floats, Floats]:
    """Return the loss at each candidate before and after its vector was added, at most `_WORST` nats."""
    losses = []
    for number in _each(trainings):
        cuts = np.cumsum([array.size for array in weights.values()])[:-1]
        parts = np.split(trainings.vectors[number], cuts)
        after = {
            name: (array + part.reshape(array.shape)).astype(np.float32)
            for (name, array), part in zip(weights.items(), parts, strict=True)
        }
        asked = _asked(learner, trainings, number)
        losses.append([learner.gradient(now, *asked)[0] for now in (weights, after)])
    before, after_all = np.minimum(np.array(losses), _WORST).T
    return before, after_all


def _asked(learner: SoftmaxLearner, trainings: Trainings, number: int) -> tuple[NDArray[np.float32], Floats]:
    """Inputs and target of a training's candidate."""
    place, pictures = trainings.secrets[number].candidate, trainings.pictures
    return learner.inputs(pictures.images[place][None]), learner.targets(pictures.labels[place][None])


def _each(trainings: Trainings) -> range:
    return range(len(trainings.secrets))
