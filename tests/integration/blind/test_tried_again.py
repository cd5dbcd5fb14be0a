"""A round that was opened and then abandoned is opened again with the same members only: two sums tell a part."""

import pytest

from core.learning.run_choices import OnFailure, RoundRules
from federated.aggregation.blind import course
from federated.aggregation.blind import messages as blind
from federated.messages import Step, Wire
from tests.federation import Federation
from tests.integration.blind.cloud import Cloud, fresh

SOUTH = "south.training"


@pytest.fixture
def abandoned(four_hospitals: Federation) -> Cloud:
    """A cloud whose first attempt of round 1 all members had opened, when the network went away."""
    cloud = fresh(four_hospitals, RoundRules(on_failure=OnFailure.PAUSE))
    cloud.asking[Step.REVEAL] = lambda _party, _body, _attachment: None
    assert cloud.play() == "paused"
    assert len(cloud.replies(Step.UNMASK)) == 4
    cloud.asking.clear()
    return cloud


def without_south(cloud: Cloud) -> None:
    """South is not heard of any more."""
    for step in (Step.ADVERTISE, Step.DEAL, Step.UPLOAD):
        cloud.asking[step] = lambda party, body, attachment: None if party == SOUTH else (body, attachment)


def test_the_next_attempt_waits_for_the_same_members_and_finishes_with_them(abandoned: Cloud) -> None:
    without_south(abandoned)
    assert abandoned.play() == "paused"
    assert abandoned.federation.store.reason == (
        "An earlier attempt of this round was opened with other members; of two sums the difference could be "
        "read, so these must come back first: south.training."
    )
    abandoned.asking.clear()
    assert abandoned.play() == "finished", abandoned.federation.store.reason
    assert len(abandoned.federation.store.models[1].members) == 4


def test_a_coordinator_that_does_not_wait_gets_no_signature_for_another_set(
    abandoned: Cloud, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(course, "_settled", lambda adverts, _circle: dict(adverts))
    without_south(abandoned)
    before = len(abandoned.carried)
    assert abandoned.play() == "paused"
    assert set(abandoned.refusals(Step.AGREE).values()) == {"other-members"}
    assert not [one for one in abandoned.carried[before:] if one.header.step == Step.UNMASK]


def test_nor_do_nodes_reveal_shares_when_it_asks_for_them_all_the_same(
    abandoned: Cloud, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(course, "_settled", lambda adverts, _circle: dict(adverts))
    without_south(abandoned)
    codes: list[str] = []

    def ask_anyway(party: str, body: blind.AgreeRequest, attachment: bytes) -> tuple[Wire, bytes] | None:
        agreements = {name: reply.agreement for name, reply in abandoned.replies(Step.AGREE).items()}
        codes.append(abandoned.code(abandoned.header(party, Step.UNMASK), blind.UnmaskRequest(agreements=agreements)))
        return body, attachment

    abandoned.asking[Step.AGREE] = ask_anyway
    abandoned.play()
    assert set(codes) == {"message"}


def test_an_attempt_that_was_abandoned_before_anything_was_revealed_binds_nobody(four_hospitals: Federation) -> None:
    cloud = fresh(four_hospitals, RoundRules(on_failure=OnFailure.PAUSE))
    cloud.asking[Step.UNMASK] = lambda _party, _body, _attachment: None
    assert cloud.play() == "paused"
    cloud.asking.clear()
    without_south(cloud)
    assert cloud.play() == "finished", cloud.federation.store.reason
    assert SOUTH not in cloud.federation.store.models[1].members
