"""Unintended property inference (Melis et al. 2019): how was stained what a hospital trained on in this round?"""

from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray

from core.evaluation.attacks.bench import Bench
from core.evaluation.attacks.inference import Scores, Trainings, infer
from core.evaluation.attacks.result import Attacked

NAME = "property"
_STRENGTH = 0.01


def attack(bench: Bench) -> list[Attacked]:
    """Guess the property in each mode."""
    return infer(bench, NAME, has_property, _learning)


def has_property(trainings: Trainings) -> NDArray[np.bool_]:
    """Whether each training's pictures were of the third with the highest look."""
    return np.array([secret.has_property for secret in trainings.secrets])


def _learning(_own: Trainings) -> Callable[[Trainings], Scores]:
    """Return the learner: logistic regression over the vector itself."""
    from sklearn.linear_model import LogisticRegression  # noqa: PLC0415  slow to import
    from sklearn.pipeline import make_pipeline  # noqa: PLC0415
    from sklearn.preprocessing import StandardScaler  # noqa: PLC0415

    def learn(known: Trainings) -> Scores:
        model = make_pipeline(StandardScaler(), LogisticRegression(C=_STRENGTH, max_iter=2000))
        model.fit(known.vectors, has_property(known))
        return lambda asked: np.asarray(model.decision_function(asked.vectors), np.float64)

    return learn
