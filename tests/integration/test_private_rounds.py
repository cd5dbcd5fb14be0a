"""Differential privacy in rounds among real parties: stated in the model's lineage, stopped by a hospital's budget."""

from dataclasses import replace
from pathlib import Path

import pytest

from core.imaging.datasets import Part
from core.learning.lineage import read_lineage
from core.learning.orders import AUTHORITY, AggregationMode
from core.learning.own_figures import open_own_figures, own_context
from core.learning.privacy import PrivacyUnit, block_of, epsilon_by_round
from core.learning.run_choices import PrivacyOptions
from core.learning.run_events import EventKind, FailureCode
from core.studies import LEUKEMIA
from federated.messages import Step
from federated.spend import SpendBook, Spent
from tests.federation import RUN, SLUGS, Federation

MODES = (AggregationMode.PLAIN, AggregationMode.SEALED)
PRIVACY = PrivacyOptions(noise_multiplier=2.0, sampling_rate=0.5, budget_epsilon=20.0)
PLAN = epsilon_by_round(PRIVACY, epochs=3, rounds=3)


def make(folder: Path, privacy: PrivacyOptions | None = PRIVACY, mode: AggregationMode = MODES[1]) -> Federation:
    federation = Federation(folder, mode=mode, books={slug: SpendBook() for slug in SLUGS})
    federation.options = replace(federation.options, privacy=privacy)
    return federation


def privacy_of(federation: Federation, number: int) -> dict[str, float | str]:
    wire = federation.store.models[number].wire
    return read_lineage(
        wire.lineage,
        study=LEUKEMIA.code,
        weights_sha256=wire.weights_sha256,
        trust=federation.keys.trust(),
        at=federation.clock.now(),
    ).privacy


def refusals(federation: Federation) -> list[tuple[int, str]]:
    return [
        (event.round, event.party)
        for _, event in federation.store.events
        if event.kind is EventKind.FAILED and event.payload["code"] == FailureCode.PRIVACY_BUDGET
    ]


@pytest.mark.parametrize("mode", MODES)
def test_each_model_states_the_epsilon_of_its_round(tmp_path: Path, mode: AggregationMode) -> None:
    federation = make(tmp_path, mode=mode)

    assert federation.play() == "finished"

    assert privacy_of(federation, 0) == {}
    for number in (1, 2):
        stated = {"epsilon": PLAN[number - 1], "delta": 1e-5, "unit": "patient", "noise_multiplier": 2.0}
        stated |= {"covers": "line"}
        assert privacy_of(federation, number) == stated


def test_a_model_trained_without_noise_states_none(tmp_path: Path) -> None:
    federation = make(tmp_path, privacy=None)

    assert federation.play() == "finished"

    assert privacy_of(federation, 2) == {}
    assert federation.books["east"].unprotected("east") == 2


def test_a_hospital_whose_budget_is_spent_stops_by_itself_and_the_run_goes_on(tmp_path: Path) -> None:
    federation = make(tmp_path)
    block = block_of(PRIVACY, epochs=3)
    earlier = Spent(dataset="west", run="earlier", round=1, attempt="a", unit=PrivacyUnit.PATIENT, block=block)
    federation.options = replace(federation.options, privacy=replace(PRIVACY, budget_epsilon=PLAN[1]))
    federation.books["west"].spend(earlier, budget=99, delta=1e-5)

    assert federation.play() == "finished"

    assert refusals(federation) == [(2, "west.training")]
    assert federation.store.models[1].members == tuple(f"{slug}.training" for slug in SLUGS)
    assert "west.training" not in federation.store.models[2].members
    assert privacy_of(federation, 2)["epsilon"] == PLAN[1]


def test_a_run_fails_when_too_few_budgets_are_left_and_says_why(tmp_path: Path) -> None:
    federation = make(tmp_path, privacy=replace(PRIVACY, budget_epsilon=PLAN[0]))

    assert federation.play() == "failed"

    assert FailureCode.PRIVACY_BUDGET.text in federation.store.reason
    assert len(federation.store.models) == 2, "the first round stays"


def test_an_abandoned_attempt_counts(tmp_path: Path) -> None:
    federation = make(tmp_path)
    federation.should_stop = lambda: True
    federation.nodes = {slug: federation.node(slug) for slug in SLUGS}

    assert federation.play() == "failed"

    assert [entry.round for entry in federation.books["east"].entries("east")] == [1]


def test_a_node_seals_its_spend_and_no_loss_for_those_who_may_know_it(tmp_path: Path) -> None:
    federation = make(tmp_path)
    federation.play()
    event = next(
        event
        for _, event in federation.store.events
        if event.sealed is not None and event.payload["step"] == Step.TRAIN and event.round == 2
    )
    context = own_context(
        study=LEUKEMIA.code,
        party=event.party,
        run=RUN,
        round_number=2,
        attempt=event.payload["attempt"],
        step=Step.TRAIN,
    )
    figures = open_own_figures(
        event.sealed or b"",
        reader=federation.identities[AUTHORITY],
        trust=federation.keys.trust(),
        context=context,
        at=federation.clock.now(),
    )

    own = federation.data[event.party.partition(".")[0]].part(Part.TRAINING)
    assert figures == {
        "images": float(len(own)),
        "epsilon": PLAN[1],
        "delta": 1e-5,
        "noise": 2.0,
        "by_patient": 1.0,
        "limit": 20.0,
        "unprotected": 0.0,
    }
