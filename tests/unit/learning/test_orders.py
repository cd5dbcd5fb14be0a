"""Orders: what a run may be told, and what its signed form holds."""

import json
import math
from dataclasses import replace

import pytest

from core.errors import RunRefused
from core.learning.orders import AggregationMode, Member, RunOptions, serving_party, slug_of, training_party
from core.learning.run_choices import PrivacyOptions, RoundRules
from core.learning.training import TrainingOptions

OPTIONS = RunOptions(
    study="s01",
    mode=AggregationMode.SEALED,
    rounds=3,
    members=(
        Member(party="west.training", dataset="2", images=20, validation=4),
        Member(party="east.training", dataset="1", images=10, validation=4),
        Member(party="north.training", dataset="3", images=30, validation=4),
    ),
    training=TrainingOptions(epochs=2),
    start_from="ab",
)


FIVE = tuple(Member(party=f"{slug}.training", dataset=slug, images=9, validation=9) for slug in "abcde")


def test_options_survive_json_and_members_are_sorted() -> None:
    again = RunOptions.from_json(json.loads(json.dumps(OPTIONS.to_json())))
    assert again == OPTIONS
    assert again.parties == ("east.training", "north.training", "west.training")
    assert again.member("west.training").images == 20


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        ({"rounds": 0}, "rounds"),
        ({"rounds": 10_000}, "rounds"),
        ({"minimum_members": 2}, "each of two could work out"),
        ({"members": OPTIONS.members[:2]}, "2 hospitals were chosen"),
        ({"minimum_members": 4}, "3 hospitals were chosen"),
        ({"members": FIVE, "minimum_members": 5, "mode": AggregationMode.BLIND}, "finished by 4 of 5"),
        ({"members": (*OPTIONS.members, OPTIONS.members[0])}, "once only"),
        ({"members": (*OPTIONS.members[:2], replace(OPTIONS.members[2], images=0))}, "no training images"),
        ({"members": (*OPTIONS.members[:2], replace(OPTIONS.members[2], validation=0))}, "no validation images"),
        ({"members": (*OPTIONS.members[:2], replace(OPTIONS.members[2], certificate="north"))}, "else than a SHA-256"),
        ({"architecture": "unknown"}, "known architectures are groupnorm-small"),
        (
            {"architecture": "vit-small", "privacy": PrivacyOptions(noise_multiplier=1.0)},
            "vit-small cannot be trained with differential",
        ),
    ],
)
def test_impossible_options_are_refused_with_the_reason(change: dict[str, object], reason: str) -> None:
    with pytest.raises(RunRefused, match=reason):
        replace(OPTIONS, **change)  # type: ignore[arg-type]


@pytest.mark.parametrize("spoil", [{"mode": "open"}, {"members": 3}, {"training": {"epochs": 0}}, {"more": 1}])
def test_json_that_is_no_order_is_refused(spoil: dict[str, object]) -> None:
    with pytest.raises(RunRefused):
        RunOptions.from_json({**OPTIONS.to_json(), **spoil})


def test_every_round_asks_the_share_that_was_ordered_but_never_fewer_than_must_finish_it() -> None:
    some = replace(OPTIONS, members=FIVE, round_rules=RoundRules(participation=0.7), draw="x")
    assert [len(some.participants(number)) for number in (1, 2)] == [some.asked, some.asked] == [4, 4]
    assert replace(some, minimum_members=5).asked == 5


def test_a_run_without_patience_ends_with_its_last_round_only() -> None:
    assert [OPTIONS.last_round(number) for number in range(5)] == [3] * 5
    assert not OPTIONS.round_rules.levelled_off([0.7, 0.9, 0.9, 0.9])


def test_a_patient_run_ends_after_as_many_rounds_without_a_lower_loss() -> None:
    rules = RoundRules(patience=2)
    assert not rules.levelled_off([0.7, 0.6, 0.65])
    assert rules.levelled_off([0.7, 0.6, 0.65, 0.6])
    assert not rules.levelled_off([0.7, 0.6, 0.65, 0.59])
    assert rules.levelled_off([0.7, 0.6, math.nan, 0.61])
    assert not rules.levelled_off([math.nan, math.nan, 0.7, 0.7])  # round 0 has no figures
    patient = replace(OPTIONS, round_rules=rules)
    assert [patient.last_round(number) for number in range(5)] == [3, 3, 2, 3, 3]
    with pytest.raises(RunRefused, match="patience"):
        RoundRules(patience=-1)


def test_each_mode_says_what_the_cloud_can_see() -> None:
    assert "read every hospital's update" in AggregationMode.PLAIN.visible_to_cloud
    assert "neither a hospital's update nor the sum" in AggregationMode.BLIND.visible_to_cloud
    assert "sizes and times only" in AggregationMode.SEALED.visible_to_cloud


def test_parties_of_a_hospital_bear_its_slug() -> None:
    assert slug_of(training_party("north")) == slug_of(serving_party("north")) == "north"
