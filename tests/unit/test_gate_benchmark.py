"""What the benchmarks of the gate and of preprocessing reckon."""

import numpy as np
import pytest

from benchmarks.foreign_images import MIX, _sources
from benchmarks.gate import over_patients
from benchmarks.preprocessing import figures, summary
from core.diagnosis.conclusion import wilson


def test_the_mix_is_of_five_hundred_pictures_and_every_kind_is_drawn_alike_from_a_seed() -> None:
    assert sum(MIX.values()) == 500
    draws = _sources()
    assert set(MIX) == {*draws, "other study"}
    for draw in draws.values():
        first, again = (draw(np.random.default_rng(3)) for _ in range(2))
        assert (first.dtype, first.shape[2]) == (np.uint8, 3)
        assert np.array_equal(first, again)


def test_wilsons_interval_is_the_published_one() -> None:
    assert wilson(81, 263) == pytest.approx((0.2553, 0.3662), abs=5e-4)  # Newcombe 1998, table I
    low, high = wilson(500, 500)
    assert 0.99 < low < high <= 1


def test_refusals_of_one_patient_widen_the_interval() -> None:
    hits = [True] * 10 + [False] * 90
    spread = over_patients(hits, [str(i) for i in range(100)])
    together = over_patients(hits, [str(i // 10) for i in range(100)])
    assert together[1] - together[0] > spread[1] - spread[0]


def test_a_step_is_worth_its_difference_to_nothing_on_the_same_split() -> None:
    def trial(choice: str, seed: int, auc: float) -> dict[str, float | str]:
        return {"choice": choice, "seed": seed, "auc": auc, "balanced_accuracy": 0.5, "specificity_elsewhere": 0.5}

    found = summary(
        [trial("nothing", 0, 0.9), trial("nothing", 1, 0.8), trial("CLAHE", 0, 0.91), trial("CLAHE", 1, 0.84)]
    )["CLAHE"]["auc"]
    assert found == pytest.approx({"mean": 0.875, "worth": 0.025, "least": 0.01, "greatest": 0.04})


def test_figures_are_those_of_probabilities_at_a_half() -> None:
    found = figures(np.array([0.9, 0.2, 0.6, 0.1]), np.array([1, 0, 0, 0]), np.array([0.4, 0.6]))
    assert found == pytest.approx({"auc": 1.0, "balanced_accuracy": (1 + 2 / 3) / 2, "specificity_elsewhere": 0.5})
