"""Figures that the documentation states and that can be had again in a moment: reckoned anew, and compared."""

import re
from functools import cache

import pytest

from core.diagnosis.bundle import ServingModel
from core.diagnosis.checkpoint_file import read_file
from core.diagnosis.conclusion import wilson
from core.evaluation.attacks import bench, tampering
from core.evaluation.tables.profile import FULL, QUICK
from core.learning.fixed_point import WordFormat
from core.learning.lineage import COMMITTEE, COMMITTEE_SIGNERS
from core.learning.orders import AggregationMode
from core.learning.privacy import epsilon_by_round
from core.learning.run_choices import PrivacyOptions
from core.learning.training import TrainingOptions
from core.learning.weights import decode_weights
from core.settings import ROOT
from core.studies import STUDIES
from federated.aggregation.blind.graph import plan

CARD_ROWS = ("AUC", "balanced accuracy", "specificity", "precision", "F1", "MCC", "expected calibration error")
"""Figures of the leukemia model that stand both in its card and in docs/results.md."""


@cache
def page(name: str) -> str:
    """Return a page with its lines joined, so that a sentence is found wherever it is broken."""
    return " ".join((ROOT / name).read_text(encoding="utf-8").split())


def row(name: str, title: str) -> list[str]:
    """Return the cells of the first row of a page's tables that begins with a title."""
    found = re.search(rf"^\| {re.escape(title)} \|(.*)\|$", (ROOT / name).read_text(encoding="utf-8"), re.MULTILINE)
    assert found is not None, f"{name} has no row {title}"
    return [cell.strip().strip("*") for cell in found[1].split("|")]


@cache
def shipped(study: str) -> ServingModel:
    clear = read_file(ROOT / "models" / f"{study}.model").clear
    assert clear is not None
    return ServingModel.decode(clear)


@pytest.mark.parametrize("study", STUDIES)
def test_a_model_card_names_the_weights_that_ship(study: str) -> None:
    assert f"SHA-256 `{shipped(study).manifest.weights_sha256}`" in page(f"models/{study}.md")


def test_the_size_of_the_leukemia_network_is_that_of_its_weights() -> None:
    weights = decode_weights(shipped("leukemia").weights or b"")[0]
    size = sum(array.size for array in weights.values())
    assert f"({size:,} parameters" in page("models/leukemia.md")
    assert f"a {round(size, -3):,}-parameter network" in page("README.md")


def test_the_leukemia_card_and_the_results_state_the_same_figures() -> None:
    for title in CARD_ROWS:
        assert row("models/leukemia.md", title)[:2] == row("docs/results.md", title)[:2], title


def test_what_a_blind_round_of_many_nodes_is_said_to_need_is_what_it_plans() -> None:
    stated = plan(1000)
    signing = f"{COMMITTEE_SIGNERS} of a committee of {COMMITTEE} sign"
    said = f"k is {stated.degree} there, {stated.share_threshold} of {stated.degree + 1} open a secret, {signing}"
    assert said in page("docs/results.md")
    for nodes in (70, 100, 200, 400, 700, 1000):
        assert row("docs/results.md", f"{nodes:,}")[0] == str(plan(nodes).degree), nodes


def test_words_double_where_the_results_say_they_do() -> None:
    assert "words double above 128 nodes" in page("docs/results.md")
    assert [WordFormat.for_members(nodes, clip=1.0).word for nodes in (128, 129)] == [32, 64]


def test_the_privacy_that_a_run_is_said_to_spend_is_what_the_accountant_says() -> None:
    privacy = PrivacyOptions(noise_multiplier=1.45, sampling_rate=0.25)
    spent = epsilon_by_round(privacy, epochs=TrainingOptions().epochs, rounds=5)[-1]
    assert f"spends epsilon {spent:.2f} per patient at delta 1e-5" in page("docs/results.md")


def test_the_profiles_do_what_the_results_say() -> None:
    text, lab = page("docs/results.md"), bench.QUICK
    assert f"| at most {QUICK.images:,}: every n-th line" in text
    assert row("docs/results.md", "seeds") == ["0", ", ".join(map(str, FULL.seeds))]
    assert row("docs/results.md", "uploads timed") == [str(QUICK.uploads), str(FULL.uploads)]
    assert row("docs/results.md", "bootstrap replicates") == [f"{QUICK.replicates:,}", f"{FULL.replicates:,}"]
    inversions = ", ".join(str(lab.inversions[mode]) for mode in AggregationMode)
    assert row("docs/results.md", "`gradient-inversion`")[2] == inversions
    assert row("docs/results.md", "`tampering`")[2:] == [f"{lab.tampered} of each kind", str(bench.FULL.tampered)]


@pytest.mark.parametrize("mode", list(AggregationMode))
def test_a_cloud_tampers_in_as_many_ways_as_the_results_count(mode: AggregationMode) -> None:
    kinds = len(tampering.KINDS[mode])
    words = {6: "six", 8: "eight"}
    injected = str(kinds * bench.QUICK.tampered)
    assert row("docs/results.md", f"cloud in `{mode.value}`, {words[kinds]} kinds") == [injected, injected]


@pytest.mark.parametrize(
    "title", ["privacy preservation, as used", "the same, `sealed`", "the same, `plain` and in clear"]
)
def test_the_shares_of_the_attack_lab_and_their_intervals_follow_from_its_counts(title: str) -> None:
    trials, result, _ = row("docs/results.md", title)
    stated = [float(number) for number in re.findall(r"\d+\.\d+", result)]
    total = int(trials.replace(",", ""))
    failed = round(stated[0] / 100 * total)
    assert stated == [round(100 * share, 2) for share in (failed / total, *wilson(failed, total))]
