"""The curves of `benchmarks.curves`: points that differ as they say, words as the blind format has them, a picture."""

from xml.etree import ElementTree as ET

import numpy as np
import pytest

from benchmarks.curves import HOSPITALS, Curve, in_words, points
from benchmarks.curves_picture import picture_of
from core.learning.fixed_point import WordFormat
from core.learning.run_choices import DEFAULT_CLIP
from federated.aggregation.blind.fixed_point import Encoding


def test_points_that_are_trained_alike_share_a_step_and_the_first_of_a_curve_is_its_reference() -> None:
    by_step: dict[str, list[str]] = {}
    for point in points():
        by_step.setdefault(point.step(0), []).append(point.name)
    assert [names for names in by_step.values() if len(names) > 1] == [
        ["alike", "6 rounds", "groupnorm-small, not private"]
    ]
    firsts = {curve: next(point for point in points() if point.curve is curve) for curve in Curve}
    assert all(not point.noise and point.assignment == "patients" and not point.word for point in firsts.values())


def test_an_update_in_words_of_32_bits_arrives_as_precisely_as_the_blind_format_promises() -> None:
    rng = np.random.default_rng(0)
    before = {"w": rng.normal(size=500).astype(np.float32)}
    after = {"w": before["w"] + rng.uniform(-1, 1, 500).astype(np.float32)}
    arrived = in_words(before, after, bits=32, weight=1.0)
    format_ = WordFormat.for_members(HOSPITALS, clip=DEFAULT_CLIP, word=32)
    bound = Encoding(**vars(format_)).mean_error(HOSPITALS) + np.spacing(np.float32(8))
    assert np.abs(arrived["w"] - after["w"]).max() <= 2 * bound
    coarse = in_words(before, after, bits=8, weight=1.0)
    assert np.abs(coarse["w"] - after["w"]).max() == pytest.approx(0.25, abs=0.01)  # half of 4 * 4 / 2^5


def test_the_picture_draws_a_mark_for_each_point_that_has_figures() -> None:
    figures = {"auc": {"value": 0.9, "low": 0.8, "high": 0.95}}
    rows = [
        {
            "curve": str(point.curve),
            "name": point.name,
            "architecture": point.architecture,
            "word": point.word,
            "bytes": 1000 * point.rounds,
            "figures": figures,
            **({"epsilon": 10 / point.noise} if point.noise else {}),
        }
        for point in points()
        if point.name != "by site"
    ]
    drawn = ET.fromstring(picture_of(rows))  # noqa: S314 - written by this very test
    marks = [one for one in drawn.iter() if one.tag.endswith("}circle")]
    squares = [one for one in drawn.iter() if one.tag.endswith("}rect")]
    legend = 4  # two series in each of two panels
    assert len(marks) + len(squares) - 1 - legend == len(rows)
    assert "no point yet" in picture_of([])
