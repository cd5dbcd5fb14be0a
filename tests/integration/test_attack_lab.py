"""Tampering, changed objects, forbidden acts, stored pictures and poisoning in small, each with its control."""

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from typer.testing import CliRunner

from benchmarks.verifiability import REMEMBERED, tried
from core.__main__ import app as commands
from core.evaluation.attacks import access, lab, objects, poisoning, stored_images, tampering
from core.evaluation.attacks.bench import QUICK, Bench
from core.evaluation.attacks.blind_sum import bytes_of, integers_of
from core.evaluation.attacks.cloud import with_sum
from core.evaluation.attacks.result import Attacked, Figure, View, summary
from core.evaluation.attacks.tampering import Cloud, Kind, Rewritten
from core.learning.orders import AggregationMode
from core.learning.run_choices import CombiningRule
from core.studies import LEUKEMIA
from federated.messages import Message, Step
from security.policy import Action, Relation, is_allowed
from tests.integration.test_attack_inference import drawn, silent


@pytest.fixture(scope="module")
def bench(tmp_path_factory: pytest.TempPathFactory) -> Bench:
    out = tmp_path_factory.mktemp("lab")
    few = replace(QUICK, objects=60, logs=60, stored=60)
    return Bench(
        own=drawn(1), theirs=drawn(2), study=LEUKEMIA, profile=few, seed=0, out=out, folder=out / "held", say=silent
    )


@pytest.mark.parametrize("mode", list(AggregationMode))
def test_a_run_that_nobody_tampers_with_ends_with_all_hospitals(bench: Bench, mode: AggregationMode) -> None:
    played = tampering.play(bench, mode, None, 0)
    assert (len(played.members), played.codes, played.is_found) == (tampering.HOSPITALS, (), False)


@pytest.mark.parametrize(
    ("mode", "name"), [(mode, name) for mode, kinds in tampering.KINDS.items() for name in kinds], ids=str
)
def test_tampering_is_found(bench: Bench, mode: AggregationMode, name: str) -> None:
    played = tampering.play(bench, mode, tampering.KINDS[mode][name], 0)
    assert played.letters
    assert played.is_found


@pytest.mark.parametrize(
    ("mode", "name"), [(mode, name) for mode, kinds in REMEMBERED.items() for name in kinds], ids=str
)
def test_what_a_cloud_remembers_of_a_round_does_not_pass_in_another(
    bench: Bench, mode: AggregationMode, name: str
) -> None:
    row = tried(bench, mode, name, REMEMBERED[mode][name], 1)
    assert (row["found"], row["refused"]) == (1, 1)


def test_a_sum_that_is_put_together_from_the_hospitals_terms_is_believed(bench: Bench) -> None:
    """So what is refused of other sums is their content, and not how they were written."""

    def again(cloud: Cloud, _party: str, message: Message) -> Rewritten:
        assert cloud.notary is not None
        terms = cloud.board.terms(cloud.notary)
        return with_sum(message, bytes_of(np.sum(list(terms.values()), axis=0)), cloud.notary)

    played = tampering.play(bench, AggregationMode.BLIND, Kind(Step.REVEAL, again), 0)
    assert played.letters == tampering.HOSPITALS
    assert not played.is_found


def test_an_unreduced_sum_is_read_as_it_was_written() -> None:
    total = np.array([0, 1, 2**32 - 1, 2**32, 5 * 2**32 + 7], np.int64)
    assert np.array_equal(integers_of(bytes_of(total)), total)


def test_no_changed_object_opens_and_no_changed_log_verifies(bench: Bench) -> None:
    sealed, log = objects.attack(bench)
    assert (sealed.trials, sealed.successes, sealed.figures["control"]) == (60, 0, "20 of 20 unchanged ones open")
    assert (log.trials, log.successes, log.figures["control"]) == (60, 0, "the unchanged one verifies")
    for one in (sealed, log):
        assert list(one.figures["found of injected"].values()) == [[10, 10]] * 6


def test_a_change_that_goes_unnoticed_is_counted(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(objects.OBJECT_CHANGES, "end cut off", lambda one, _other, _rng: one)
    assert objects.attack(bench)[0].successes == 10


def test_forbidden_acts_are_refused_and_logged(bench: Bench) -> None:
    (found,) = access.attack(bench)
    assert found.trials > 1000
    assert (found.successes, found.figures["let through"]) == (0, 0)
    let, of = found.figures["control, allowed acts that pass or ask for a second factor"].split(" of ")
    assert let == of


def test_an_open_gate_is_counted(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(
        "core.services.authorise.is_allowed",
        lambda role, action, relation: relation is Relation.SELF or is_allowed(role, action, relation),
    )
    monkeypatch.setattr(access, "Action", [Action.READ_AUDIT, Action.READ_NODE])
    (found,) = access.attack(bench)
    assert found.figures["let through"] == found.successes > 0


def test_a_stored_picture_is_read_in_clear_and_not_sealed(bench: Bench) -> None:
    sealed, clear = stored_images.attack(bench)
    assert (clear.view, clear.successes, clear.trials) == (View.STORED_CLEAR, 60, 60)
    assert (sealed.view, sealed.successes) == (View.STORED, 0)
    assert sealed.figures["bits a byte"] > clear.figures["bits a byte"]
    assert clear.figures["auc against random bytes"][1] > 0.9
    assert sealed.figures["auc against random bytes"][1] < 0.6


def test_a_backdoor_opens_with_the_mean_and_not_with_multi_krum(bench: Bench) -> None:
    scenario = poisoning.SCENARIOS["backdoor"]
    mean, robust = (poisoning.play(bench, scenario, rule, 0) for rule in (CombiningRule.MEAN, CombiningRule.MULTI_KRUM))
    assert mean.called_first_marked - mean.called_first > poisoning.OPENED
    assert robust.called_first_marked - robust.called_first < poisoning.OPENED


@pytest.mark.parametrize("name", ["label-flip-scaled", "scaled-update"])
def test_scaled_updates_ruin_the_mean_and_not_the_median(bench: Bench, name: str) -> None:
    scenario = poisoning.SCENARIOS[name]
    mean, robust = (poisoning.play(bench, scenario, rule, 0) for rule in (CombiningRule.MEAN, CombiningRule.MEDIAN))
    assert robust.balanced_accuracy - mean.balanced_accuracy > poisoning.HARMED


def result(view: View, trials: int, successes: int, figure: Figure = Figure.PRIVACY) -> Attacked:
    return Attacked(attack="one", adversary="cloud", view=view, figure=figure, trials=trials, successes=successes)


def test_the_summary_counts_the_views_as_they_are_used() -> None:
    rows = summary(
        [
            result(View.BLIND, 100, 1),
            result(View.STORED, 300, 0),
            result(View.PLAIN, 100, 90),
            result(View.STORED, 50, 0, Figure.INTEGRITY),
            result(View.SEALED, 7, 7, Figure.NONE),
        ]
    )
    by = {(row["figure"], row["of"]): row for row in rows}
    assert by["privacy preservation", "as used"]["percent"] == pytest.approx(99.75)
    assert by["privacy preservation", "plain"]["percent"] == pytest.approx(10)
    assert by["data integrity", ""]["percent"] == 100
    assert by["data integrity", ""]["low"] < 100
    assert ("access security", "") not in by


def test_the_command_writes_results_and_does_not_try_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    data, tries = tmp_path / "data", []
    (data).mkdir()
    (data / "index.csv").write_text("path,label\n", encoding="utf-8")
    halves = drawn(1), drawn(2)
    monkeypatch.setattr(lab, "read_halves", lambda *_, **__: halves)

    def attack(bench: Bench) -> list[Attacked]:
        tries.append(bench.profile.name)
        return [result(View.BLIND, 10, 0)]

    monkeypatch.setattr(lab, "ATTACKS", {"one": attack, "two": attack})
    out = tmp_path / "out"
    words = ["attacks", "--data", str(data), "--out", str(out)]
    done = CliRunner().invoke(commands, [*words, "--only", "one"])
    assert done.exit_code == 0, done.output
    assert CliRunner().invoke(commands, words).exit_code == 0
    assert tries == ["quick", "quick"], "the first was not tried again"
    whole = json.loads((out / "attacks.json").read_text(encoding="utf-8"))
    assert [row["trials"] for row in whole["summary"]] == [20]
    assert [one["view"] for one in json.loads((out / "attacks" / "one.json").read_text(encoding="utf-8"))] == ["blind"]
    assert CliRunner().invoke(commands, [*words, "--full"]).exit_code == 0
    assert tries[2:] == ["full", "full"]
    assert CliRunner().invoke(commands, [*words, "--only", "three"]).exit_code == 2
