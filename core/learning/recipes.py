"""How each study is trained by default: the options that its shipped model was made with."""

from dataclasses import dataclass, field

from core.learning.training_options import TrainingOptions
from core.studies import Study


@dataclass(frozen=True, kw_only=True)
class Recipe:
    """How a study's model is trained.

    Attributes:
        rounds: of federated averaging.
        training: at each hospital in each round.
        synthetic: drawn cells of one more hospital, for a shipped model that shall know them; 0 for none.
    """

    rounds: int = 5
    training: TrainingOptions = field(default_factory=TrainingOptions)
    synthetic: int = 0


_RECIPES = {
    "leukemia": Recipe(rounds=6, training=TrainingOptions(epochs=3, averaging=0.98), synthetic=800),
    "leukemia_subtypes": Recipe(
        rounds=8,
        training=TrainingOptions(epochs=5, learning_rate=4e-3, label_smoothing=0.02, augment=False, averaging=0.98),
    ),
    "multimodal": Recipe(
        rounds=6,
        training=TrainingOptions(epochs=3, learning_rate=1e-3, dropout=0.3, label_smoothing=0.03, averaging=0.98),
    ),
}
"""Chosen by validation parts; what is not listed is trained by the defaults."""


def recipe_of(study: Study) -> Recipe:
    """Return how a study is trained unless somebody orders otherwise."""
    return _RECIPES.get(study.name, Recipe())
