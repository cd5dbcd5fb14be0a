"""How each study is trained by default: the options that its shipped model was made with."""

from dataclasses import dataclass, field

from core.learning.rare_kinds import RareKinds
from core.learning.training_options import TrainingOptions
from core.studies import Study


@dataclass(frozen=True, kw_only=True)
class Recipe:
    """How a study's model is trained.

    Attributes:
        rounds: of federated averaging.
        training: at each hospital in each round.
        synthetic: drawn cells of one more hospital, for a shipped model that shall know them; 0 for none.
        rare_kinds: how rare kinds of normal images are repeated where a hospital's index names kinds; None for not.
    """

    rounds: int = 5
    training: TrainingOptions = field(default_factory=TrainingOptions)
    synthetic: int = 0
    rare_kinds: RareKinds | None = None


_RECIPES = {
    "leukemia": Recipe(
        rounds=18,
        training=TrainingOptions(epochs=1, batch=16, averaging=0.98),
        synthetic=800,
        rare_kinds=RareKinds(),
    ),
    "leukemia_subtypes": Recipe(
        rounds=8,
        training=TrainingOptions(epochs=5, learning_rate=4e-3, label_smoothing=0.02, augment=False, averaging=0.98),
    ),
    "multimodal": Recipe(
        rounds=14,
        training=TrainingOptions(epochs=1, learning_rate=7e-4, dropout=0.2, label_smoothing=0.03, copies=8),
    ),
}
"""Chosen by validation parts or folds (`leukemia` by `benchmarks.recipe_trials`); others are trained by the defaults.

Hospitals of one laboratory that meet after every epoch, with small batches, come nearer to training in one place than
with few long rounds.
"""


def recipe_of(study: Study) -> Recipe:
    """Return how a study is trained unless somebody orders otherwise."""
    return _RECIPES.get(study.name, Recipe())
