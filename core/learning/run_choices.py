"""What an order may choose beside its members: how updates are combined, the server's optimiser, privacy, failures.

Plain values with their limits, part of the signed order (`core.learning.orders`). What they do is written where they
act: `federated.aggregation` combines and applies, `core.learning` trains.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from enum import StrEnum

from core.errors import RunRefused

MAX_SERVER_RATE = 10.0
MAX_DEADLINE_S = 86_400.0
ANSWER_S = 600.0
"""Seconds that the parties have for a step without work on images; far more than any such step takes."""
MAX_TRIES = 10
MAX_PATIENCE = 100


class CombiningRule(StrEnum):
    """How updates become one. All but the mean need each update by itself, which `blind` gives to nobody."""

    MEAN = "mean"
    MEDIAN = "median"
    TRIMMED_MEAN = "trimmed-mean"
    KRUM = "krum"
    MULTI_KRUM = "multi-krum"
    NORM_BOUNDED = "norm-bounded"


class ServerOptimiser(StrEnum):
    """What is done with the combined update (Reddi et al. 2021, algorithm 2)."""

    FEDAVG = "fedavg"
    FEDADAM = "fedadam"
    FEDYOGI = "fedyogi"


class PrivateWeights(StrEnum):
    """Which weights private training changes: the noise grows with the root of their number.

    `NORMS_AND_HEAD` leaves the convolutions as the run found them (Luo et al. 2021: sparse private fine-tuning).
    """

    ALL = "all"
    NORMS_AND_HEAD = "norms-and-head"


class OnFailure(StrEnum):
    """What happens to a run when a round failed `RoundRules.tries` times."""

    FAIL = "fail"
    PAUSE = "pause"


@dataclass(frozen=True, kw_only=True)
class Combining:
    """How updates are combined.

    Attributes:
        rule: see `CombiningRule`.
        malicious: how many members may send anything; for trimmed mean, Krum and Multi-Krum.
        norm_bound: largest L2 norm of an update; longer ones are shortened to it. For `NORM_BOUNDED`.
    """

    rule: CombiningRule = CombiningRule.MEAN
    malicious: int = 0
    norm_bound: float = 0.0

    def __post_init__(self) -> None:
        """Refuse rules that cannot be followed.

        Raises:
            RunRefused: what is wrong, in words.
        """
        object.__setattr__(self, "rule", CombiningRule(self.rule))
        if self.malicious < 0:
            raise RunRefused("the number of malicious members cannot be negative")
        if self.rule is CombiningRule.NORM_BOUNDED and not (math.isfinite(self.norm_bound) and self.norm_bound > 0):
            raise RunRefused("norm bounding needs a bound above 0")

    @property
    def least_updates(self) -> int:
        """Fewest updates that the rule can combine: Krum needs n >= 2f + 3, the trimmed mean n > 2f."""
        if self.rule in {CombiningRule.KRUM, CombiningRule.MULTI_KRUM}:
            return 2 * self.malicious + 3
        return 2 * self.malicious + 1 if self.rule is CombiningRule.TRIMMED_MEAN else 1


@dataclass(frozen=True, kw_only=True)
class ServerOptions:
    """The server's optimiser (Reddi et al. 2021).

    Attributes:
        optimiser: see `ServerOptimiser`.
        learning_rate: step along the combined update; 1 is plain averaging.
        beta_1: decay of the first moment.
        beta_2: decay of the second moment.
        tau: added to the root of the second moment.
    """

    optimiser: ServerOptimiser = ServerOptimiser.FEDAVG
    learning_rate: float = 1.0
    beta_1: float = 0.9
    beta_2: float = 0.99
    tau: float = 1e-3

    def __post_init__(self) -> None:
        """Refuse values that no optimiser has.

        Raises:
            RunRefused: what is wrong, in words.
        """
        object.__setattr__(self, "optimiser", ServerOptimiser(self.optimiser))
        decays = 0 <= self.beta_1 < 1 and 0 <= self.beta_2 < 1
        if not (0 < self.learning_rate <= MAX_SERVER_RATE and decays and 0 < self.tau <= 1):
            raise RunRefused("the server optimiser's values are out of range")


@dataclass(frozen=True, kw_only=True)
class PrivacyOptions:
    """Differential privacy of local training (Abadi et al. 2016), the same for all members.

    Attributes:
        noise_multiplier: standard deviation of the noise in units of `clip_norm`.
        clip_norm: largest L2 norm of one patient's (or image's) gradient.
        sampling_rate: probability with which each patient (or image) is in a step's batch (Poisson sampling).
        delta: the delta of (epsilon, delta).
        budget_epsilon: a hospital stops taking part before its spend on a data set exceeds this.
        weights: which weights are trained; see `PrivateWeights`.
    """

    noise_multiplier: float
    clip_norm: float = 1.0
    sampling_rate: float = 0.1
    delta: float = 1e-5
    budget_epsilon: float = 8.0
    weights: PrivateWeights = PrivateWeights.ALL

    def __post_init__(self) -> None:
        """Refuse values that give no privacy.

        Raises:
            RunRefused: what is wrong, in words.
        """
        object.__setattr__(self, "weights", PrivateWeights(self.weights))
        positive = (self.noise_multiplier, self.clip_norm, self.budget_epsilon)
        if not all(math.isfinite(value) and value > 0 for value in positive):
            raise RunRefused("noise, clipping norm and privacy budget must be above 0")
        if not (0 < self.delta < 1 and 0 < self.sampling_rate <= 1):
            raise RunRefused("delta must be between 0 and 1, the sampling rate above 0 and at most 1")


@dataclass(frozen=True, kw_only=True)
class RoundRules:
    """Who is asked in a round, how long they may take, and what happens when too few answer.

    Attributes:
        participation: share of the members that a round asks, drawn anew for each round.
        deadline_s: seconds that a member has for its training; 0 for a day.
        tries: attempts that a round gets.
        on_failure: what happens to the run when all of them failed.
        patience: rounds without a lower global validation loss after which the run ends early; 0 for never.
    """

    participation: float = 1.0
    deadline_s: float = 0.0
    tries: int = 1
    on_failure: OnFailure = OnFailure.FAIL
    patience: int = 0

    def __post_init__(self) -> None:
        """Refuse rules that no round can follow.

        Raises:
            RunRefused: what is wrong, in words.
        """
        object.__setattr__(self, "on_failure", OnFailure(self.on_failure))
        limits = 0 <= self.deadline_s <= MAX_DEADLINE_S and 1 <= self.tries <= MAX_TRIES
        if not (0 < self.participation <= 1 and limits):
            raise RunRefused(f"participation must be in (0, 1], the deadline at most a day, tries 1 to {MAX_TRIES}")
        if not 0 <= self.patience <= MAX_PATIENCE:
            raise RunRefused(f"patience must be 0 to {MAX_PATIENCE} rounds")

    def levelled_off(self, losses: Sequence[float]) -> bool:
        """Tell from the global validation losses of all rounds, oldest first, whether the run has stopped learning.

        A loss that is no number is not lower than any; before the first number there is nothing to compare with.
        """
        lowest, since = math.inf, 0
        for loss in losses:
            lowest, since = (loss, 0) if loss < lowest else (lowest, since + (lowest < math.inf))
        return 0 < self.patience <= since

    @property
    def working_s(self) -> float:
        """Seconds for a step that works on images or the network but does not train: evaluation, export."""
        return max(self.deadline_s, ANSWER_S) if self.deadline_s else 0.0


MAX_CLIP = 64.0
DEFAULT_CLIP = 4.0
"""Largest change of one weight in one round that `blind` can carry; trained weights are below 2."""
