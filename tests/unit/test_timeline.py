"""The steps of a case, from sending to the appointment."""

from dataclasses import replace
from datetime import timedelta

import pytest

from core.services.appointments import AppointmentStatus, AppointmentView
from core.services.case_reading import ListedCase
from core.services.reviews import Decision, ReviewView
from core.services.timeline import StepState, steps_of
from tests.unit.test_fhir import APPOINTMENT, AT, REVIEW, detail

DONE, NOW, AHEAD, STOPPED = StepState.DONE, StepState.NOW, StepState.AHEAD, StepState.STOPPED
OVER = replace(APPOINTMENT, is_over=True)
CANCELLED = replace(APPOINTMENT, status=AppointmentStatus.CANCELLED)
DEFERRED = replace(REVIEW, decision=Decision.DEFER, conclusion=None)


@pytest.mark.parametrize(
    ("answered", "review", "booked", "states"),
    [
        (False, None, [], [DONE, NOW, AHEAD, AHEAD, AHEAD]),
        (True, None, [], [DONE, DONE, NOW, AHEAD, AHEAD]),
        (True, DEFERRED, [], [DONE, DONE, DONE, NOW, AHEAD]),
        (True, REVIEW, [], [DONE, DONE, DONE, DONE, AHEAD]),
        (True, REVIEW, [APPOINTMENT], [DONE, DONE, DONE, DONE, NOW]),
        (True, REVIEW, [OVER], [DONE, DONE, DONE, DONE, DONE]),
        (True, REVIEW, [CANCELLED], [DONE, DONE, DONE, DONE, AHEAD]),
        (True, None, [APPOINTMENT], [DONE, DONE, NOW, AHEAD, NOW]),
    ],
)
def test_each_step_is_behind_at_hand_or_ahead(
    answered: bool, review: ReviewView | None, booked: list[AppointmentView], states: list[StepState]
) -> None:
    entry = ListedCase(detail(answered=answered).case, review, is_damaged=False)
    assert [step.state for step in steps_of(entry, booked)] == states


def test_a_case_that_nobody_can_open_any_more_is_stopped() -> None:
    entry = ListedCase(detail(answered=False).case, None, is_damaged=False, is_out_of_reach=True)
    assert [step.state for step in steps_of(entry, [])] == [DONE, STOPPED, AHEAD, AHEAD, AHEAD]


def test_times_are_those_of_the_acts_and_of_the_next_appointment_of_this_case() -> None:
    entry = ListedCase(detail().case, REVIEW, is_damaged=False)
    later = replace(APPOINTMENT, starts_at=APPOINTMENT.starts_at + timedelta(days=1))
    another = replace(APPOINTMENT, case_id="9" * 32, starts_at=AT + timedelta(hours=2))
    times = [step.at for step in steps_of(entry, [later, APPOINTMENT, another])]
    assert times == [AT, AT, None, REVIEW.signed_at, APPOINTMENT.starts_at]
