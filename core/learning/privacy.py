"""Accounting of differential privacy: what epsilon a history of noised training steps amounts to.

Neighbouring data sets differ by one unit (a patient, or an image) that is there or not; a step is the Poisson-sampled
Gaussian mechanism (Abadi et al. 2016; Mironov et al. 2019), and steps compose. The number comes from `dp-accounting`
and from the recorded history each time; it is never carried along as a number.
"""

import math
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from enum import StrEnum

import numpy as np
from numpy.typing import NDArray

from core.learning.run_choices import PrivacyOptions

NOT_COVERED = (
    "It covers the training images behind the updates of private rounds. Validation figures and the calibration that "
    "is drawn from them are sums without noise and are not covered; nor is the number of images."
)
WHOLE_LINE, THIS_RUN = "line", "run"
"""What a model's epsilon covers: all training back to its first weights, or its run's but not that of the model which
the run began with."""
RDP_ORDERS = (*range(2, 64), 80, 96, 128, 192, 256, 512, 1024)
LARGE_EPSILON = 100.0
"""Above it Renyi accounting is fine enough; the finer loss distribution would need memory without bound."""
LOSS_STEP = 5e-4
"""Discretisation of the privacy loss, rounded up: epsilon comes out too large rather than too small."""


class PrivacyUnit(StrEnum):
    """Whose presence the noise hides."""

    PATIENT = "patient"
    IMAGE = "image"


@dataclass(frozen=True, kw_only=True)
class StepBlock:
    """Steps with the same noise.

    Attributes:
        noise_multiplier: standard deviation of the noise in clipping norms; 0 is training without noise.
        sampling_rate: probability of each unit to be in a step.
        steps: number of steps.
    """

    noise_multiplier: float
    sampling_rate: float
    steps: int

    def __post_init__(self) -> None:
        """Refuse impossible values.

        Raises:
            ValueError: a value is out of range.
        """
        noise_is_possible = math.isfinite(self.noise_multiplier) and self.noise_multiplier >= 0
        if not (noise_is_possible and 0 < self.sampling_rate <= 1 and self.steps >= 1):
            raise ValueError("noise must not be negative, the sampling rate in (0, 1], steps at least 1")


def steps_an_epoch(sampling_rate: float) -> int:
    """Return the steps in which each unit is expected to be drawn once."""
    return math.ceil(1 / sampling_rate - 1e-9)


def block_of(privacy: PrivacyOptions, *, epochs: int) -> StepBlock:
    """Return the steps of one round of `epochs` local epochs."""
    return StepBlock(
        noise_multiplier=privacy.noise_multiplier,
        sampling_rate=privacy.sampling_rate,
        steps=epochs * steps_an_epoch(privacy.sampling_rate),
    )


def epsilon_of(blocks: Iterable[StepBlock], delta: float) -> float:
    """Return the smallest known epsilon for which the composition of all blocks is (epsilon, `delta`) private.

    Renyi accounting gives a bound at once; below `LARGE_EPSILON` the privacy loss distribution (Koskela et al. 2020;
    Doroshenko et al. 2022) gives a smaller one.

    Returns:
        0 for no blocks, infinity when a block has no noise.
    """
    steps: Counter[tuple[float, float]] = Counter()
    for block in blocks:
        steps[block.noise_multiplier, block.sampling_rate] += block.steps
    if not steps:
        return 0.0
    if any(noise == 0 for noise, _ in steps):
        return math.inf
    import dp_accounting  # noqa: PLC0415  a second to import; few need it
    from dp_accounting import pld, rdp  # noqa: PLC0415

    def spent(accountant: dp_accounting.PrivacyAccountant) -> float:
        for (noise, rate), count in sorted(steps.items()):
            event = dp_accounting.PoissonSampledDpEvent(rate, dp_accounting.GaussianDpEvent(noise))
            accountant.compose(event, count)
        return float(accountant.get_epsilon(delta))

    bound = spent(rdp.RdpAccountant(RDP_ORDERS))
    if bound > LARGE_EPSILON:
        return bound
    return min(bound, spent(pld.PLDAccountant(value_discretization_interval=LOSS_STEP)))


def epsilon_by_round(privacy: PrivacyOptions, *, epochs: int, rounds: int) -> list[float]:
    """Return what a fresh data set has spent after each round of a planned run."""
    block = block_of(privacy, epochs=epochs)
    return [epsilon_of([block] * number, privacy.delta) for number in range(1, rounds + 1)]


def units_of(patients: Sequence[str]) -> tuple[NDArray[np.int64], PrivacyUnit]:
    """Return each image's unit, int64[n] numbered from 0 without gaps, and what the units are.

    Where every image has a patient of its own there are no patients to protect as wholes: the unit is the image.
    """
    numbers = {name: number for number, name in enumerate(dict.fromkeys(patients))}
    units = np.array([numbers[name] for name in patients], np.int64)
    return units, PrivacyUnit.PATIENT if len(numbers) < len(patients) else PrivacyUnit.IMAGE
