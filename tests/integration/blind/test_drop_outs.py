"""A member that goes away at any step of any sum is survived down to the threshold; below it the reason is clear."""

import pytest

from core.learning.orders import AggregationMode
from core.learning.run_choices import OnFailure, RoundRules
from core.learning.run_events import EventKind
from federated.messages import Step, Wire
from tests.federation import Federation
from tests.integration.blind.cloud import FIGURES_STEPS, UPDATE_STEPS, Cloud, Hook, fresh

STEPS = (*UPDATE_STEPS, *FIGURES_STEPS)
SEVEN = ("east", "inner", "lower", "north", "south", "upper", "west")


class Leaving:
    """Takes parties off the network at a step, before they answer or after, for that step or for good."""

    def __init__(self, cloud: Cloud, parties: set[str], step: Step, *, answers: bool, for_good: bool) -> None:
        self.parties = parties
        self.gone: set[str] = set()
        self.for_good = for_good
        for one in (*STEPS, Step.SEAL, Step.OPEN, Step.EXPORT):
            cloud.asking[one] = self._goes if one is step and not answers else self._stays_away
        if answers:
            cloud.asking[step] = self._stays_away
            cloud.answering[step] = self._goes

    def _goes(self, party: str, body: Wire, attachment: bytes) -> tuple[Wire, bytes] | None:
        if party not in self.parties:
            return body, attachment
        if self.for_good:
            self.gone.add(party)
        return None

    def _stays_away(self, party: str, body: Wire, attachment: bytes) -> tuple[Wire, bytes] | None:
        return None if party in self.gone else (body, attachment)


@pytest.fixture(scope="module")
def seven_hospitals(tmp_path_factory: pytest.TempPathFactory) -> Federation:
    """Seven hospitals, of which five must survive."""
    return Federation(tmp_path_factory.mktemp("seven"), mode=AggregationMode.BLIND, rounds=1, slugs=SEVEN)


@pytest.mark.parametrize("for_good", [True, False], ids=["for good", "for a moment"])
@pytest.mark.parametrize("answers", [False, True], ids=["before it answers", "after it answered"])
@pytest.mark.parametrize("step", STEPS)
def test_one_member_that_goes_away_at_any_step_is_survived(
    four_hospitals: Federation, step: Step, *, answers: bool, for_good: bool
) -> None:
    cloud = fresh(four_hospitals)
    Leaving(cloud, {"south.training"}, step, answers=answers, for_good=for_good)
    assert cloud.play() == "finished", cloud.federation.store.reason
    assert cloud.failures(step) == {"south.training": "dropped-out"}
    uploaded = STEPS.index(step) > STEPS.index(Step.UPLOAD)
    members = set(four_hospitals.options.parties) - (set() if uploaded else {"south.training"})
    assert set(cloud.federation.store.models[1].members) == members
    assert cloud.weights(1)


@pytest.mark.parametrize("answers", [False, True], ids=["before they answer", "after they answered"])
@pytest.mark.parametrize("step", STEPS)
def test_two_of_seven_that_go_away_at_any_step_are_survived(
    seven_hospitals: Federation, step: Step, *, answers: bool
) -> None:
    cloud = fresh(seven_hospitals)
    Leaving(cloud, {"lower.training", "south.training"}, step, answers=answers, for_good=True)
    assert cloud.play() == "finished", cloud.federation.store.reason


@pytest.mark.parametrize("step", STEPS)
def test_one_more_than_can_be_survived_ends_the_round_and_the_reason_says_where_who_and_how_many_are_needed(
    four_hospitals: Federation, step: Step
) -> None:
    cloud = fresh(four_hospitals)
    Leaving(cloud, {"east.training", "south.training"}, step, answers=False, for_good=True)
    assert cloud.play() == "failed"
    reason = cloud.federation.store.reason
    assert reason.startswith(f"Round 1: 2 of 4 members finished the step '{step}' and 3 are needed.")
    assert "east.training: did not answer; south.training: did not answer." in reason
    assert len(cloud.federation.store.models) == 1


def test_members_that_went_away_one_after_the_other_are_counted_together(five_hospitals: Federation) -> None:
    cloud = fresh(five_hospitals)

    def without(gone: str) -> Hook:
        return lambda party, body, attachment: None if party == gone else (body, attachment)

    cloud.asking[Step.UPLOAD] = without("east.training")
    cloud.asking[Step.AGREE] = without("south.training")
    assert cloud.play() == "failed"
    reason = cloud.federation.store.reason
    assert reason.startswith("Round 1: 3 of 4 members finished the step 'agree' and 4 are needed.")


@pytest.mark.parametrize("step", [Step.DEAL, Step.UPLOAD, Step.UNMASK, Step.APPLY, Step.FIGURES_UNMASK])
def test_a_round_that_may_be_tried_again_goes_on_under_a_new_attempt(four_hospitals: Federation, step: Step) -> None:
    cloud = fresh(four_hospitals, RoundRules(tries=2))
    away = {"east.training", "south.training"}
    silent: list[str] = []

    def first_time(party: str, body: Wire, attachment: bytes) -> tuple[Wire, bytes] | None:
        if party in away and silent.count(party) < 1:
            silent.append(party)
            return None
        return body, attachment

    cloud.asking[step] = first_time
    assert cloud.play() == "finished", cloud.federation.store.reason
    attempts = {one.header.attempt for one in cloud.carried if one.header.round == 1 and one.header.step == "deal"}
    assert len(attempts) == 2
    abandoned = [e for _, e in cloud.federation.store.events if e.kind is EventKind.ATTEMPT_ABANDONED]
    assert len(abandoned) == 1


def test_a_run_that_shall_pause_on_failure_pauses_and_can_be_resumed(four_hospitals: Federation) -> None:
    cloud = fresh(four_hospitals, RoundRules(on_failure=OnFailure.PAUSE))
    Leaving(cloud, {"east.training", "south.training"}, Step.UNMASK, answers=False, for_good=True)
    assert cloud.play() == "paused"
    assert "'unmask' and 3 are needed" in cloud.federation.store.reason
    cloud.asking.clear()
    assert cloud.play() == "finished", cloud.federation.store.reason
    assert [model.round for model in cloud.federation.store.models] == [0, 1]
