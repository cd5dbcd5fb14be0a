"""What the benchmark of the vault reckons."""

import numpy as np

from benchmarks.vault_overhead import Overhead


def test_what_is_added_is_the_median_of_the_differences_within_pairs() -> None:
    slow = np.array([0, 50, 500, 5, 0, 1])
    pairs = [
        (float(100 + late + added), float(100 + late)) for late, added in zip(slow, [5, 4, 6, 5, 5, 5], strict=True)
    ]
    found = Overhead.of(pairs, np.random.default_rng(0))
    assert found.added_ms == 5
    assert found.low_ms <= 5 <= found.high_ms
    assert found.ratio == round(found.with_ms / found.without_ms, 3)
