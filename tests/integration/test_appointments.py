"""Offered times, bookings, changes and calendar files."""

from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager, suppress
from datetime import UTC, datetime, timedelta
from threading import Barrier, BrokenBarrierError

import pytest
from icalendar import Calendar
from sqlalchemy import event

from core.clock import FixedClock
from core.errors import AppointmentRefused, HemaSealError, NotAuthorised, NotFound, SlotTaken
from core.services.accounts import set_active
from core.services.app import Actor, App
from core.services.appointments import AppointmentStatus, appointments, book, calendar, cancel, of_case, reschedule
from core.services.slots import free_slots, offer, own_slots, withdraw
from tests.integration.clinic import offered_slots, stored_case

START = datetime(2026, 1, 12, 9, 0, tzinfo=UTC)
HALF = timedelta(minutes=30)


def test_a_patient_books_a_free_time_of_the_cases_hospital(
    app: App, patient: Actor, doctor: Actor, doctor_east: Actor
) -> None:
    case = stored_case(app, patient)
    first, second = offered_slots(app, doctor)
    offered_slots(app, doctor_east)
    assert [slot.id for slot in free_slots(app, patient, case)] == [first, second]

    booked = book(app, patient, case_id=case, slot_id=first)
    assert (booked.starts_at, booked.hospital, booked.doctor) == (START, "North Hospital (demo)", "Demo doctor, North")
    assert booked.booked_by_patient
    assert [slot.id for slot in free_slots(app, patient, case)] == [second]
    assert [view.id for view in appointments(app, patient)] == [booked.id]
    assert [view.patient for view in appointments(app, doctor)] == ["Demo patient"]
    assert [slot.patient for slot in own_slots(app, doctor)] == ["Demo patient", ""]


def test_a_doctor_books_for_the_patient_from_the_case(app: App, patient: Actor, doctor: Actor) -> None:
    case = stored_case(app, patient)
    booked = book(app, doctor, case_id=case, slot_id=offered_slots(app, doctor)[0])
    assert not booked.booked_by_patient
    assert [view.id for view in appointments(app, patient)] == [booked.id]


def test_a_case_tells_its_appointments_to_come_and_no_others(
    app: App, clock: FixedClock, patient: Actor, doctor: Actor
) -> None:
    case, other = stored_case(app, patient), stored_case(app, patient)
    first, second, third = offered_slots(app, doctor, 3)
    booked = book(app, doctor, case_id=case, slot_id=second)
    book(app, patient, case_id=other, slot_id=third)
    cancel(app, patient, book(app, patient, case_id=case, slot_id=first).id)
    assert [view.id for view in of_case(app, doctor, case)] == [booked.id]
    assert of_case(app, patient, case) == of_case(app, doctor, case)
    clock.advance(booked.starts_at - clock.now())
    assert of_case(app, doctor, case) == []


def test_of_two_people_who_book_at_once_exactly_one_succeeds(
    app: App, patient: Actor, other_patient: Actor, doctor: Actor
) -> None:
    slot = offered_slots(app, doctor, 1)[0]
    cases = [(patient, stored_case(app, patient)), (other_patient, stored_case(app, other_patient))] * 2

    def attempt(who: tuple[Actor, str]) -> str:
        try:
            return book(app, who[0], case_id=who[1], slot_id=slot).id
        except HemaSealError as error:
            return error.code

    with ThreadPoolExecutor(4) as pool:
        outcomes = list(pool.map(attempt, cases))
    assert outcomes.count(SlotTaken.code) == 3
    assert len(appointments(app, doctor)) == 1


def test_of_two_who_book_the_same_time_fifty_times_one_wins_each_and_the_other_is_offered_the_next_ones(
    app: App, patient: Actor, other_patient: Actor, doctor: Actor
) -> None:
    slots = offered_slots(app, doctor, 52)
    cases = [(patient, stored_case(app, patient)), (other_patient, stored_case(app, other_patient))]
    start = Barrier(2)

    def attempt(who: tuple[Actor, str], number: int) -> str | list[str]:
        """Book a time; who loses it sees what is offered instead."""
        start.wait(timeout=30)
        try:
            return book(app, who[0], case_id=who[1], slot_id=slots[number]).id
        except SlotTaken:
            wanted = START + HALF * number
            return [slot.id for slot in free_slots(app, who[0], who[1], not_before=wanted, limit=2)]

    with ThreadPoolExecutor(2) as pool:
        for number in range(50):
            ends = list(pool.map(attempt, cases, [number, number]))
            won = [end for end in ends if isinstance(end, str)]
            offered = [end for end in ends if isinstance(end, list)]
            assert (len(won), offered) == (1, [slots[number + 1 : number + 3]])
    assert len(appointments(app, doctor)) == 50


@contextmanager
def together_before(app: App, insert: str) -> Iterator[None]:
    """Hold two threads back until both are about to do an insert, or the other is seen not to come."""
    meeting = Barrier(2)

    def wait(_connection: object, _cursor: object, statement: str, *_: object) -> None:
        if statement.startswith(f"INSERT INTO {insert} "):
            with suppress(BrokenBarrierError):
                meeting.wait(timeout=1)

    event.listen(app.engine, "before_cursor_execute", wait)
    try:
        yield
    finally:
        event.remove(app.engine, "before_cursor_execute", wait)


def both(*acts: Callable[[], object]) -> list[str]:
    """Do all at once; return how each ended."""

    def outcome(act: Callable[[], object]) -> str:
        try:
            act()
        except HemaSealError as error:
            return error.code
        return "done"

    with ThreadPoolExecutor(len(acts)) as pool:
        return sorted(pool.map(outcome, acts))


def test_a_patient_who_books_two_times_that_overlap_at_once_gets_one(
    app: App, patient: Actor, doctor: Actor, doctor_east: Actor
) -> None:
    north, east = offered_slots(app, doctor, 1)[0], offered_slots(app, doctor_east, 1)[0]
    here, there = stored_case(app, patient), stored_case(app, patient, slug="east")
    with together_before(app, "appointment"):
        ended = both(
            lambda: book(app, patient, case_id=here, slot_id=north),
            lambda: book(app, patient, case_id=there, slot_id=east),
        )
    assert ended == [AppointmentRefused.code, "done"]
    assert len(appointments(app, patient)) == 1


def test_a_doctor_who_offers_times_that_overlap_in_two_windows_at_once_offers_one(app: App, doctor: Actor) -> None:
    with together_before(app, "slot"):
        ended = both(
            lambda: offer(app, doctor, [(START, START + HALF)]),
            lambda: offer(app, doctor, [(START + HALF / 2, START + HALF * 2)]),
        )
    assert ended == ["done", "done"]
    assert len(own_slots(app, doctor)) == 1


def test_a_time_of_a_doctor_whose_account_was_closed_cannot_be_booked(
    app: App, patient: Actor, doctor: Actor, authority: Actor
) -> None:
    case = stored_case(app, patient)
    slot = offered_slots(app, doctor, 1)[0]
    set_active(app, authority, doctor.user_id, active=False)
    with pytest.raises(SlotTaken):
        book(app, patient, case_id=case, slot_id=slot)


def test_a_cancelled_time_is_free_again_and_can_be_booked_by_another(
    app: App, patient: Actor, other_patient: Actor, doctor: Actor
) -> None:
    slot = offered_slots(app, doctor, 1)[0]
    booked = book(app, patient, case_id=stored_case(app, patient), slot_id=slot)
    cancelled = cancel(app, patient, booked.id)
    assert (cancelled.status, cancelled.sequence) == (AppointmentStatus.CANCELLED, 1)
    book(app, other_patient, case_id=stored_case(app, other_patient), slot_id=slot)
    with pytest.raises(AppointmentRefused, match="cancelled already"):
        cancel(app, patient, booked.id)


def test_moving_keeps_the_appointment_and_frees_the_old_time(app: App, patient: Actor, doctor: Actor) -> None:
    case = stored_case(app, patient)
    first, second = offered_slots(app, doctor)
    booked = book(app, patient, case_id=case, slot_id=first)
    moved = reschedule(app, patient, booked.id, slot_id=second)
    assert (moved.id, moved.sequence, moved.starts_at) == (booked.id, 1, START + HALF)
    assert [slot.id for slot in free_slots(app, patient, case)] == [first]


def test_the_calendar_file_follows_every_change(app: App, patient: Actor, doctor: Actor) -> None:
    first, second = offered_slots(app, doctor)
    booked = book(app, patient, case_id=stored_case(app, patient), slot_id=first)

    def seen() -> tuple[str, str, int, datetime]:
        parsed = Calendar.from_ical(calendar(app, patient, booked.id))
        event = parsed.walk("VEVENT")[0]
        return str(parsed["METHOD"]), str(event["UID"]), int(str(event["SEQUENCE"])), event.decoded("dtstart")

    uid = f"{booked.id}@hemaseal"
    assert seen() == ("REQUEST", uid, 0, START)
    reschedule(app, patient, booked.id, slot_id=second)
    assert seen() == ("REQUEST", uid, 1, START + HALF)
    cancel(app, doctor, booked.id)
    assert seen() == ("CANCEL", uid, 2, START + HALF)


def test_a_patient_has_one_appointment_at_a_time(app: App, patient: Actor, doctor: Actor, doctor_east: Actor) -> None:
    north, east = offered_slots(app, doctor, 1)[0], offered_slots(app, doctor_east, 1)[0]
    book(app, patient, case_id=stored_case(app, patient), slot_id=north)
    with pytest.raises(AppointmentRefused, match="another appointment"):
        book(app, patient, case_id=stored_case(app, patient, slug="east"), slot_id=east)


def test_times_at_which_the_patient_has_another_appointment_are_not_offered(
    app: App, patient: Actor, doctor: Actor, second_doctor: Actor, doctor_east: Actor
) -> None:
    case = stored_case(app, patient)
    first, second = offered_slots(app, doctor)
    beside = offered_slots(app, second_doctor, 1)[0]
    booked = book(app, patient, case_id=case, slot_id=first)
    for who in (patient, doctor):
        assert [slot.id for slot in free_slots(app, who, case)] == [second]
        assert [slot.id for slot in free_slots(app, who, case, moving=booked.id)] == [beside, second]
    elsewhere = stored_case(app, patient, slug="east")
    east = offered_slots(app, doctor_east)
    assert [slot.id for slot in free_slots(app, doctor_east, elsewhere)] == [east[1]]
    reschedule(app, patient, booked.id, slot_id=beside)
    cancel(app, patient, booked.id)
    assert {slot.id for slot in free_slots(app, patient, case)} == {first, second, beside}


def test_a_time_of_another_hospital_is_not_found(app: App, patient: Actor, doctor_east: Actor) -> None:
    with pytest.raises(NotFound):
        book(app, patient, case_id=stored_case(app, patient), slot_id=offered_slots(app, doctor_east, 1)[0])
    with pytest.raises(NotFound):
        book(app, patient, case_id=stored_case(app, patient), slot_id="0" * 32)


def test_past_times_are_neither_listed_nor_booked_nor_changed(
    app: App, clock: FixedClock, patient: Actor, doctor: Actor
) -> None:
    case = stored_case(app, patient)
    first, second = offered_slots(app, doctor)
    booked = book(app, patient, case_id=case, slot_id=first)
    clock.advance(START + HALF - clock.now())
    assert free_slots(app, patient, case) == []
    with pytest.raises(AppointmentRefused, match="passed"):
        book(app, patient, case_id=case, slot_id=second)
    with pytest.raises(AppointmentRefused, match="over"):
        cancel(app, patient, booked.id)


def test_a_withdrawn_time_cannot_be_booked_and_a_booked_one_not_withdrawn(
    app: App, patient: Actor, doctor: Actor
) -> None:
    case = stored_case(app, patient)
    first, second = offered_slots(app, doctor)
    withdraw(app, doctor, first)
    with pytest.raises(SlotTaken):
        book(app, patient, case_id=case, slot_id=first)
    book(app, patient, case_id=case, slot_id=second)
    with pytest.raises(AppointmentRefused, match="booked"):
        withdraw(app, doctor, second)
    assert [slot.id for slot in own_slots(app, doctor)] == [second]
    assert len(offered_slots(app, doctor)) == 2


def test_overlapping_offers_are_left_out(app: App, doctor: Actor) -> None:
    assert offer(app, doctor, [(START, START + HALF), (START + HALF / 2, START + HALF * 2)]).made == 1
    again = offer(app, doctor, [(START, START + HALF), (START + HALF, START + HALF * 2)])
    assert (again.made, again.left_out) == (1, 1)


@pytest.mark.parametrize(
    ("start", "end"),
    [
        (START, START),
        (START, START - HALF),
        (datetime(2026, 1, 5, 8, 0, tzinfo=UTC), datetime(2026, 1, 5, 8, 30, tzinfo=UTC)),
        (START + timedelta(days=400), START + timedelta(days=400) + HALF),
    ],
)
@pytest.mark.parametrize("database_url", ["sqlite"], indirect=True)
def test_times_that_make_no_sense_are_refused(app: App, doctor: Actor, start: datetime, end: datetime) -> None:
    with pytest.raises(AppointmentRefused):
        offer(app, doctor, [(start, end)])


ACTS: dict[str, Callable[[App, Actor, str, str, str], object]] = {
    "book": lambda app, who, case, slot, _: book(app, who, case_id=case, slot_id=slot),
    "reschedule": lambda app, who, _, slot, row: reschedule(app, who, row, slot_id=slot),
    "cancel": lambda app, who, _, __, row: cancel(app, who, row),
    "of_case": lambda app, who, case, _, __: of_case(app, who, case),
    "calendar": lambda app, who, _, __, row: calendar(app, who, row),
    "free_slots": lambda app, who, case, _, __: free_slots(app, who, case),
    "withdraw": lambda app, who, _, slot, __: withdraw(app, who, slot),
}


@pytest.mark.parametrize("act", ACTS)
@pytest.mark.parametrize("database_url", ["sqlite"], indirect=True)
def test_nobody_else_touches_an_appointment(
    app: App, patient: Actor, doctor: Actor, strangers: list[Actor], act: str
) -> None:
    case = stored_case(app, patient)
    first, second = offered_slots(app, doctor)
    row = book(app, patient, case_id=case, slot_id=first).id
    for stranger in strangers:
        with pytest.raises(NotAuthorised):
            ACTS[act](app, stranger, case, second, row)


@pytest.mark.parametrize("database_url", ["sqlite"], indirect=True)
def test_only_doctors_offer_times_and_only_patients_and_doctors_have_appointments(
    app: App, patient: Actor, hospital: Actor, authority: Actor
) -> None:
    for stranger in (patient, hospital, authority):
        with pytest.raises(NotAuthorised):
            offer(app, stranger, [(START, START + HALF)])
    for stranger in (hospital, authority):
        with pytest.raises(NotAuthorised):
            appointments(app, stranger)
        with pytest.raises(NotAuthorised):
            own_slots(app, stranger)
