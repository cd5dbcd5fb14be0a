"""Bodies and headers as they come off the wire."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from core.learning.run_events import FailureCode
from federated.failures import Refused
from federated.messages import AverageReply, Header, Kind, Model, Step, TrainReply, TrainRequest

HEADER = Header(
    run="r", round=1, attempt="a", step="train", kind="request", sender="coordinator", recipient="x.training"
)


def test_an_answer_goes_back_within_the_same_conversation() -> None:
    back = HEADER.answered(Kind.REPLY, HEADER.recipient)
    assert (back.sender, back.recipient, back.kind) == ("x.training", "coordinator", "reply")
    assert (back.run, back.round, back.attempt, back.step) == (HEADER.run, HEADER.round, HEADER.attempt, HEADER.step)


@pytest.mark.parametrize("field", ["run", "attempt", "step", "kind", "sender", "recipient"])
def test_each_field_of_the_header_is_part_of_what_is_signed(field: str) -> None:
    changed = HEADER.model_copy(update={field: "other"})
    assert changed.context("s01").encode() != HEADER.context("s01").encode()
    assert HEADER.model_copy(update={"round": 2}).context("s01").encode() != HEADER.context("s01").encode()
    assert HEADER.context("s01").encode() != HEADER.context("s02").encode()


@pytest.mark.parametrize(
    "value",
    [
        None,
        [],
        {},
        {"update": "text", "own": b""},
        {"update": b"", "own": b"", "more": 1},
        {"update": b"", "own": b"", "seconds": {"a": "b"}},
    ],
)
def test_a_body_with_missing_unknown_or_mistyped_fields_is_refused(value: object) -> None:
    with pytest.raises(Refused) as refused:
        TrainReply.parse(value)
    assert refused.value.code is FailureCode.MESSAGE


@given(st.binary(max_size=64), st.text(max_size=20), st.integers(0, 10**6))
def test_bodies_survive_their_dictionaries(data: bytes, text: str, number: int) -> None:
    model = Model(run=text, round=number, sealed=data, weights_sha256=text, lineage=data)
    assert TrainRequest.parse(TrainRequest(model=model).model_dump()).model == model
    reply = AverageReply(sealed=data, weights_sha256=text, members=[text], seconds={"training_s": 1.0})
    assert AverageReply.parse(reply.model_dump()) == reply


def test_each_step_has_one_name() -> None:
    assert len({step.value for step in Step}) == len(Step)
