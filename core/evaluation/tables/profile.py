"""How much is done for the tables: the two profiles of docs/results.md, and the trainings that all methods share."""

from dataclasses import dataclass, replace

from core.learning.recipes import recipe_of
from core.learning.training_options import PRESETS, TrainingOptions
from core.studies import Study

HOSPITALS = 4


@dataclass(frozen=True, kw_only=True)
class Profile:
    """A profile.

    Attributes:
        name: what it is called.
        images: most images used; 0 for all.
        rounds: of federated runs, one epoch each; 0 for the rounds and epochs of the study's recipe.
        seeds: each is a split, first weights and an order of images.
        uploads: uploads that are timed.
        replicates: of each bootstrap.
    """

    name: str
    images: int
    rounds: int
    seeds: tuple[int, ...]
    uploads: int
    replicates: int = 1000


QUICK = Profile(name="quick", images=1500, rounds=3, seeds=(0,), uploads=60)
FULL = Profile(name="full", images=0, rounds=0, seeds=(0, 1, 2), uploads=200)


@dataclass(frozen=True, kw_only=True)
class Budget:
    """How long every method is trained.

    Attributes:
        rounds: of the federated methods.
        epochs: of each round; a method in one place is trained `rounds` times as many.
    """

    rounds: int
    epochs: int

    @classmethod
    def of(cls, profile: Profile, study: Study) -> "Budget":
        """Return the budget of a profile for a study."""
        if profile.rounds:
            return cls(rounds=profile.rounds, epochs=1)
        recipe = recipe_of(study)
        return cls(rounds=recipe.rounds, epochs=recipe.training.epochs)

    def recipe(self, study: Study) -> TrainingOptions:
        """Return the study's own training."""
        return replace(recipe_of(study).training, epochs=self.epochs)

    def of_the_paper(self) -> TrainingOptions:
        """Return the training of the second paper's table 2, without changes to the images."""
        return replace(PRESETS["paper"].training, epochs=self.epochs, augment=False)
