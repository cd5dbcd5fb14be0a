"""Where a case stands, as the steps that every case takes: sent, examined, with the doctor, signed, appointment."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum

from core.services.appointments import AppointmentStatus, AppointmentView
from core.services.case_reading import ListedCase
from core.services.review_records import Decision


class StepState(StrEnum):
    """Whether a step is behind, the present one, or ahead."""

    DONE = "done"
    NOW = "now"
    AHEAD = "to come"
    STOPPED = "stopped"


@dataclass(frozen=True)
class Step:
    """One step of a case.

    Attributes:
        title: what it is.
        state: where it stands.
        at: when it was done or, of an appointment, when it is; UTC; None where there is no time.
        detail: who or where, in a few words; "" where there is nothing to say.
    """

    title: str
    state: StepState
    at: datetime | None = None
    detail: str = ""


def steps_of(entry: ListedCase, booked: Sequence[AppointmentView]) -> list[Step]:
    """Return the steps of a case in their order.

    Args:
        entry: the case; one that was changed from outside is shown as far as its times go.
        booked: the patient's appointments, about whatever case.
    """
    return [
        Step("Sent", StepState.DONE, entry.case.created_at, f"to {entry.case.hospital.name}"),
        _examined(entry),
        *_doctor(entry),
        _appointment(entry, [view for view in booked if view.case_id == entry.case.id]),
    ]


def _examined(entry: ListedCase) -> Step:
    case = entry.case
    if case.answered_at is not None:
        return Step("Examined by the program", StepState.DONE, case.answered_at, f"at {case.care.name}")
    if entry.is_out_of_reach:
        return Step("Examined by the program", StepState.STOPPED, None, "nobody can open it any more")
    return Step("Waiting for the program", StepState.NOW, None, f"for the protected computer of {case.hospital.name}")


def _doctor(entry: ListedCase) -> list[Step]:
    review = entry.review
    if review is None:
        answered = entry.case.answered_at is not None
        return [
            Step("With the doctor", StepState.NOW if answered else StepState.AHEAD, None, f"at {entry.case.care.name}"),
            Step("Signed by a doctor", StepState.AHEAD),
        ]
    looked = Step("With the doctor", StepState.DONE, None, f"at {entry.case.care.name}")
    if review.decision is Decision.DEFER:
        return [looked, Step("Signed by a doctor", StepState.NOW, review.signed_at, "who would like to know more")]
    return [looked, Step("Signed by a doctor", StepState.DONE, review.signed_at, f"by {review.doctor}")]


def _appointment(entry: ListedCase, booked: Sequence[AppointmentView]) -> Step:
    standing = [view for view in booked if view.status is AppointmentStatus.BOOKED]
    coming = sorted((view for view in standing if not view.is_over), key=lambda view: view.starts_at)
    if coming:
        return Step("Appointment", StepState.NOW, coming[0].starts_at, f"with {coming[0].doctor}")
    if standing:
        last = max(standing, key=lambda view: view.starts_at)
        return Step("Appointment", StepState.DONE, last.starts_at, f"with {last.doctor}")
    return Step("Appointment", StepState.AHEAD, None, "" if entry.is_out_of_reach else "if you like, choose a time")
