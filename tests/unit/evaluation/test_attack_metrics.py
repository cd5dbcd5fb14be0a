"""Likeness of pictures, ranking of guesses and their intervals, against values known otherwise."""

import numpy as np
import pytest
from skimage.metrics import structural_similarity
from sklearn.metrics import roc_auc_score

from core.evaluation.attacks.metrics import mean_interval, psnr, rank, ssim


def test_psnr_of_a_shift_by_a_tenth_is_twenty_decibels() -> None:
    true = np.full((16, 16, 3), 0.5)
    assert psnr(true + 0.1, true) == pytest.approx(20.0, abs=1e-6)
    assert psnr(true, true) == pytest.approx(120.0)


def test_ssim_is_that_of_scikit_image() -> None:
    rng = np.random.default_rng(0)
    true = rng.uniform(0, 1, (24, 20, 3))
    other = np.clip(true + rng.normal(0, 0.2, true.shape), 0, 1)
    theirs = structural_similarity(
        other, true, win_size=11, gaussian_weights=True, use_sample_covariance=False, channel_axis=2, data_range=1.0
    )
    assert ssim(other, true) == pytest.approx(theirs, abs=1e-9)
    assert ssim(true, true) == pytest.approx(1.0)


def test_ssim_refuses_pictures_smaller_than_its_window() -> None:
    with pytest.raises(ValueError, match="windows"):
        ssim(np.zeros((8, 8, 3)), np.zeros((8, 8, 3)))


def test_auc_counts_ties_a_half_as_scikit_learn_does() -> None:
    rng = np.random.default_rng(1)
    truths = rng.integers(0, 2, 400).astype(bool)
    scores = np.round(rng.normal(0, 1, 400) + truths, 1)
    found = rank(scores, truths)
    assert found.auc == pytest.approx(roc_auc_score(truths, scores), abs=1e-12)
    assert found.low < found.auc < found.high


def test_the_interval_of_hanley_and_mcneil_holds_half_where_scores_tell_nothing() -> None:
    """Their standard error at an AUC of a half is that of the Mann-Whitney statistic but for a term of (n + m)."""
    held, draws = 0, 400
    for seed in range(draws):
        rng = np.random.default_rng(seed)
        found = rank(rng.normal(0, 1, 100), np.arange(100) < 50)
        held += found.low <= 0.5 <= found.high
    assert 0.92 <= held / draws <= 0.98


def test_members_are_named_at_a_threshold_that_one_in_a_hundred_others_reaches() -> None:
    others = np.arange(1000, dtype=np.float64)  # ten of them are 990 or more
    members = np.array([989.0, 989.5, 990.0, 2000.0])
    found = rank(np.concatenate([others, members]), np.arange(1004) >= 1000)
    assert (found.named, found.members, found.others) == (3, 4, 1000)


def test_equal_scores_name_nobody() -> None:
    found = rank(np.zeros(20), np.arange(20) < 10)
    assert (found.auc, found.named) == (0.5, 0)


@pytest.mark.parametrize("truths", [np.ones(4, bool), np.zeros(4, bool)])
def test_one_group_alone_is_refused(truths: np.ndarray) -> None:
    with pytest.raises(ValueError, match="both groups"):
        rank(np.arange(4.0), truths)


def test_interval_of_a_mean() -> None:
    mean, low, high = mean_interval(np.array([1.0, 3.0]))
    assert (mean, high - mean) == pytest.approx((2.0, 1.959964), abs=1e-5)
    assert low < mean
    assert mean_interval(np.array([4.0])) == (4.0, 4.0, 4.0)
