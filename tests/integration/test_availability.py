"""Weekly times become slots once, absences take back what is free, and slots of several places are never overbooked."""

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, date, datetime, timedelta
from zoneinfo import ZoneInfo

import pytest
from sqlmodel import select

from core.clock import FixedClock
from core.errors import AppointmentRefused, HemaSealError, NotAuthorised, NotFound, SlotTaken
from core.services.accounts import Profile, Role, new_user
from core.services.app import Actor, App
from core.services.appointments import appointments, book, cancel, reschedule
from core.services.availability import add_absence, add_pattern, end_pattern, plan, remove_absence, top_up
from core.services.sessions import actor_of
from core.services.slots import free_slots, offer, own_slots, withdraw
from core.services.weekly_pattern import WeeklyPattern
from db.engine import read_scope, session_scope
from db.models import Slot
from tests.integration.clinic import stored_case
from tests.integration.page_support import draw, words

BERLIN = "Europe/Berlin"
MONDAYS = WeeklyPattern(
    weekday=0, start_minute=540, end_minute=600, minutes=30, capacity=1, zone=BERLIN, first_day=date(2026, 1, 1)
)
SQLITE = pytest.mark.parametrize("database_url", ["sqlite"], indirect=True)


def group(capacity: int) -> WeeklyPattern:
    """One slot of several places, next Monday at nine in Berlin."""
    return WeeklyPattern(
        weekday=0,
        start_minute=540,
        end_minute=570,
        minutes=30,
        capacity=capacity,
        zone=BERLIN,
        first_day=date(2026, 1, 12),
        last_day=date(2026, 1, 12),
    )


def live(app: App, doctor: Actor) -> list[datetime]:
    return [slot.starts_at for slot in own_slots(app, doctor)]


def patients(app: App, count: int) -> list[Actor]:
    found = []
    for number in range(count):
        name = f"patient-{number}"
        user = new_user(
            app, username=name, password="quite long enough", role=Role.PATIENT, profile=Profile(name), rounds=4
        )
        with session_scope(app.engine) as session:
            session.add(user)
        found.append(actor_of(app, user))
    return found


def test_weekly_times_become_slots_eight_weeks_ahead_once(app: App, clock: FixedClock, doctor: Actor) -> None:
    made = add_pattern(app, doctor, MONDAYS)  # it is Monday, ten o'clock in Berlin: today's are over
    assert made == 2 * 8
    assert live(app, doctor)[:3] == [
        datetime(2026, 1, 12, 8, 0, tzinfo=UTC),
        datetime(2026, 1, 12, 8, 30, tzinfo=UTC),
        datetime(2026, 1, 19, 8, 0, tzinfo=UTC),
    ]
    assert top_up(app, doctor) == 0
    clock.advance(timedelta(weeks=1))
    assert top_up(app, doctor) == 2
    assert len(set(live(app, doctor))) == len(live(app, doctor)) == 2 * 8


def test_nine_in_berlin_stays_nine_in_berlin_across_the_change_of_clocks(
    app: App, clock: FixedClock, doctor: Actor
) -> None:
    clock.advance(datetime(2026, 3, 16, 9, 0, tzinfo=UTC) - clock.now())
    add_pattern(app, doctor, MONDAYS)
    starts = [start for start in live(app, doctor) if start < datetime(2026, 4, 7, tzinfo=UTC)]
    assert [start.hour for start in starts] == [8, 8, 7, 7, 7, 7]
    assert {start.astimezone(ZoneInfo(BERLIN)).hour for start in starts} == {9}


def test_a_time_taken_back_by_hand_stays_taken_back(app: App, doctor: Actor) -> None:
    add_pattern(app, doctor, MONDAYS)
    first = own_slots(app, doctor)[0]
    withdraw(app, doctor, first.id)
    assert top_up(app, doctor) == 0
    assert first.starts_at not in live(app, doctor)


def test_times_that_are_offered_already_are_left_out(app: App, doctor: Actor) -> None:
    begin = datetime(2026, 1, 12, 8, 15, tzinfo=UTC)
    offer(app, doctor, [(begin, begin + timedelta(minutes=30))])
    assert add_pattern(app, doctor, MONDAYS) == 2 * 8 - 2
    assert live(app, doctor)[:2] == [begin, datetime(2026, 1, 19, 8, 0, tzinfo=UTC)]


def test_two_windows_that_fill_up_at_once_make_each_slot_once(app: App, clock: FixedClock, doctor: Actor) -> None:
    add_pattern(app, doctor, MONDAYS)
    clock.advance(timedelta(weeks=4))
    with ThreadPoolExecutor(4) as pool:
        made = list(pool.map(lambda _: top_up(app, doctor), range(4)))
    assert sorted(made) == [0, 0, 0, 2 * 4]
    with read_scope(app.engine) as session:
        starts = [slot.starts_at for slot in session.exec(select(Slot).where(Slot.doctor_id == doctor.user_id))]
    assert len(starts) == len(set(starts)) == 2 * 12


def test_an_absence_takes_back_what_is_free_keeps_what_is_booked_and_can_be_undone(
    app: App, patient: Actor, doctor: Actor
) -> None:
    add_pattern(app, doctor, MONDAYS)
    taken, free = own_slots(app, doctor)[:2]
    booked = book(app, patient, case_id=stored_case(app, patient), slot_id=taken.id)
    away = add_absence(app, doctor, first_day=date(2026, 1, 12), last_day=date(2026, 1, 19), zone=BERLIN)
    assert (away.free, away.booked) == (3, 1)
    assert live(app, doctor)[:2] == [taken.starts_at, datetime(2026, 1, 26, 8, 0, tzinfo=UTC)]
    assert [view.id for view in appointments(app, doctor)] == [booked.id]
    assert top_up(app, doctor) == 0
    absence = plan(app, doctor).absences[0]
    assert remove_absence(app, doctor, absence.id) == 3
    assert live(app, doctor)[:2] == [taken.starts_at, free.starts_at]
    assert plan(app, doctor).absences == []


def test_ending_weekly_times_takes_back_their_free_slots_and_no_others(app: App, patient: Actor, doctor: Actor) -> None:
    begin = datetime(2026, 1, 13, 8, 0, tzinfo=UTC)
    offer(app, doctor, [(begin, begin + timedelta(minutes=30))])
    add_pattern(app, doctor, MONDAYS)
    book(app, patient, case_id=stored_case(app, patient), slot_id=own_slots(app, doctor)[0].id)
    pattern = plan(app, doctor).patterns[0]
    assert pattern.pattern == MONDAYS
    ended = end_pattern(app, doctor, pattern.id)
    assert (ended.free, ended.booked) == (2 * 8 - 1, 1)
    assert live(app, doctor) == [datetime(2026, 1, 12, 8, 0, tzinfo=UTC), begin]
    assert (plan(app, doctor).patterns, top_up(app, doctor)) == ([], 0)


def test_a_slot_of_several_places_is_booked_by_as_many_and_no_more_at_once(app: App, doctor: Actor) -> None:
    add_pattern(app, doctor, group(3))
    slot = own_slots(app, doctor)[0]
    cases = [(who, stored_case(app, who)) for who in patients(app, 6)]

    def attempt(who: tuple[Actor, str]) -> str:
        try:
            return book(app, who[0], case_id=who[1], slot_id=slot.id).id
        except HemaSealError as error:
            return error.code

    with ThreadPoolExecutor(6) as pool:
        outcomes = list(pool.map(attempt, cases))
    assert outcomes.count(SlotTaken.code) == 3
    full = own_slots(app, doctor)[0]
    assert (full.capacity, full.booked) == (3, 3)
    assert len(full.patient.split(", ")) == 3
    assert free_slots(app, cases[0][0], cases[0][1]) == []


def test_a_place_that_was_cancelled_is_free_again_and_nobody_has_two_places_in_one_slot(
    app: App, doctor: Actor
) -> None:
    add_pattern(app, doctor, group(2))
    slot = own_slots(app, doctor)[0].id
    first, second, third = patients(app, 3)
    case = stored_case(app, first)
    booked = book(app, first, case_id=case, slot_id=slot)
    with pytest.raises(AppointmentRefused, match="another appointment"):
        book(app, first, case_id=case, slot_id=slot)
    book(app, second, case_id=stored_case(app, second), slot_id=slot)
    with pytest.raises(SlotTaken):
        book(app, third, case_id=stored_case(app, third), slot_id=slot)
    assert reschedule(app, first, booked.id, slot_id=slot).starts_at == booked.starts_at
    cancel(app, first, booked.id)
    book(app, third, case_id=stored_case(app, third), slot_id=slot)
    with pytest.raises(AppointmentRefused, match="booked"):
        withdraw(app, doctor, slot)


def test_an_absence_closes_the_places_that_are_left_in_a_slot_with_appointments(app: App, doctor: Actor) -> None:
    add_pattern(app, doctor, group(3))
    slot = own_slots(app, doctor)[0].id
    first, second = patients(app, 2)
    book(app, first, case_id=stored_case(app, first), slot_id=slot)
    add_absence(app, doctor, first_day=date(2026, 1, 12), last_day=date(2026, 1, 12), zone=BERLIN)
    with pytest.raises(SlotTaken):
        book(app, second, case_id=stored_case(app, second), slot_id=slot)


def test_a_time_whose_appointment_is_gone_is_not_offered_while_the_doctor_is_away(
    app: App, patient: Actor, doctor: Actor
) -> None:
    add_pattern(app, doctor, MONDAYS)
    first, second = own_slots(app, doctor)[:2]
    case = stored_case(app, patient)
    booked = book(app, patient, case_id=case, slot_id=first.id)
    add_absence(app, doctor, first_day=date(2026, 1, 12), last_day=date(2026, 1, 12), zone=BERLIN)
    cancel(app, patient, booked.id)
    assert free_slots(app, patient, case)[0].starts_at == datetime(2026, 1, 19, 8, 0, tzinfo=UTC)
    with pytest.raises(SlotTaken):
        book(app, patient, case_id=case, slot_id=first.id)
    assert first.starts_at not in live(app, doctor)
    assert remove_absence(app, doctor, plan(app, doctor).absences[0].id) == 2
    assert live(app, doctor)[:2] == [first.starts_at, second.starts_at]


def test_a_time_of_weekly_times_that_ended_is_not_offered_again_when_its_appointment_is_moved(
    app: App, patient: Actor, doctor: Actor
) -> None:
    add_pattern(app, doctor, MONDAYS)
    begin = datetime(2026, 1, 13, 8, 0, tzinfo=UTC)
    offer(app, doctor, [(begin, begin + timedelta(minutes=30))])
    case, first = stored_case(app, patient), own_slots(app, doctor)[0].id
    booked = book(app, patient, case_id=case, slot_id=first)
    end_pattern(app, doctor, plan(app, doctor).patterns[0].id)
    reschedule(app, patient, booked.id, slot_id=next(s.id for s in own_slots(app, doctor) if s.starts_at == begin))
    assert free_slots(app, patient, case) == []
    assert live(app, doctor) == [begin]


def test_places_that_an_absence_closed_are_open_again_when_it_is_removed(app: App, doctor: Actor) -> None:
    add_pattern(app, doctor, group(3))
    slot = own_slots(app, doctor)[0].id
    first, second, third = patients(app, 3)
    gone = book(app, first, case_id=stored_case(app, first), slot_id=slot)
    book(app, second, case_id=stored_case(app, second), slot_id=slot)
    add_absence(app, doctor, first_day=date(2026, 1, 12), last_day=date(2026, 1, 12), zone=BERLIN)
    cancel(app, first, gone.id)
    with pytest.raises(SlotTaken):
        book(app, third, case_id=stored_case(app, third), slot_id=slot)
    remove_absence(app, doctor, plan(app, doctor).absences[0].id)
    assert [(view.id, view.booked, view.capacity) for view in own_slots(app, doctor)] == [(slot, 1, 3)]


@SQLITE
@pytest.mark.parametrize(
    ("first_day", "last_day", "zone"),
    [
        (date(2026, 1, 12), date(2026, 1, 11), BERLIN),
        (date(2026, 1, 12), date(2027, 2, 1), BERLIN),
        (date(2025, 1, 1), date(2025, 1, 2), BERLIN),
        (date(9999, 12, 31), date(9999, 12, 31), BERLIN),
        (date(2026, 1, 12), date(2026, 1, 12), "Nowhere"),
    ],
)
def test_an_absence_that_makes_no_sense_is_refused(
    app: App, doctor: Actor, first_day: date, last_day: date, zone: str
) -> None:
    with pytest.raises(AppointmentRefused):
        add_absence(app, doctor, first_day=first_day, last_day=last_day, zone=zone)


@SQLITE
def test_nobody_changes_another_doctors_plan(app: App, doctor: Actor, doctor_east: Actor, patient: Actor) -> None:
    add_pattern(app, doctor, MONDAYS)
    add_absence(app, doctor, first_day=date(2026, 1, 12), last_day=date(2026, 1, 12), zone=BERLIN)
    own = plan(app, doctor)
    acts: list[Callable[[Actor], object]] = [
        lambda who: end_pattern(app, who, own.patterns[0].id),
        lambda who: remove_absence(app, who, own.absences[0].id),
    ]
    for act in acts:
        for stranger in (doctor_east, patient):
            with pytest.raises(NotAuthorised):
                act(stranger)
    with pytest.raises(NotFound):
        end_pattern(app, doctor, "0" * 32)
    assert plan(app, doctor) == own
    assert plan(app, doctor_east).patterns == []


@SQLITE
def test_the_page_adds_weekly_times_and_absences_and_takes_them_away(served: App, doctor: Actor) -> None:
    tab = draw(served, "doctor/schedule", "demo-doctor")
    assert not tab.exception
    assert "No weekly times" in words(tab)
    tab.button(key="weekly_add").click().run()
    assert not tab.exception
    pattern = plan(served, doctor).patterns[0]
    assert f"weekly_end_{pattern.id}" in {button.key for button in tab.button}
    tab.button(key="absence_add").click().run()
    absence = plan(served, doctor).absences[0]
    tab.button(key=f"absence_remove_{absence.id}").click().run()
    assert plan(served, doctor).absences == []
    tab.button(key=f"weekly_end_{pattern.id}").click().run()
    assert not tab.exception
    assert plan(served, doctor).patterns == []
