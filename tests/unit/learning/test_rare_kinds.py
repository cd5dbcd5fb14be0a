"""Rare kinds of normal cells are given to a training several times."""

import numpy as np
import pytest

from core.learning.rare_kinds import RareKinds
from core.studies import LEUKEMIA

NORMAL, LEUKEMIC = 0, 1


def cells(**counts: int) -> tuple[np.ndarray, list[str]]:
    """Labels and kinds; the blast and the promonocyte are leukemic."""
    kinds = [kind for kind, count in counts.items() for _ in range(count)]
    labels = np.array([LEUKEMIC if kind in {"blast", "promonocyte"} else NORMAL for kind in kinds], np.int64)
    return labels, kinds


def test_a_rare_kind_of_normal_cell_comes_up_to_its_share_and_others_stay_as_they_are() -> None:
    labels, kinds = cells(lymphocyte=150, neutrophil=40, eosinophil=8, basophil=2, blast=99, promonocyte=1)
    given = RareKinds(least=0.1, most=5).positions(labels, kinds, LEUKEMIA)
    counted = {kind: sum(kinds[position] == kind for position in given) for kind in dict.fromkeys(kinds)}
    assert counted == {
        "lymphocyte": 150,
        "neutrophil": 40,
        "eosinophil": 16,  # twice: 20 of 200 are a tenth
        "basophil": 10,  # not ten times
        "blast": 99,
        "promonocyte": 1,  # positive
    }
    assert (np.diff(given) >= 0).all()


@pytest.mark.parametrize("kinds", [["neutrophil"] * 6, [""] * 6])
def test_without_rare_kinds_every_image_is_given_once(kinds: list[str]) -> None:
    labels = np.zeros(6, np.int64)
    np.testing.assert_array_equal(RareKinds().positions(labels, kinds, LEUKEMIA), np.arange(6))
