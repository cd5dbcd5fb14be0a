"""The bell: what is new since somebody looked last, for each person by themselves."""

from datetime import timedelta

import pytest
from sqlalchemy import event

from core.clock import FixedClock
from core.errors import NotAuthorised
from core.services.app import Actor, App
from core.services.appointments import book, cancel
from core.services.messages import read_thread, send
from core.services.notices import NoticeKind, mark_seen, notices
from core.services.reviews import Decision, sign_review
from core.services.second_readings import ask, sign_second
from tests.integration.clinic import POSITIVE, offered_slots, stored_case


def news(app: App, person: Actor) -> dict[NoticeKind, int]:
    return {notice.kind: notice.count for notice in notices(app, person)}


@pytest.fixture
def second(second_doctor: Actor) -> Actor:
    """The doctor who reads a second time."""
    return second_doctor


def test_new_cases_are_new_until_each_doctor_has_seen_them(
    app: App, clock: FixedClock, patient: Actor, doctor: Actor, second: Actor
) -> None:
    assert news(app, doctor) == {}
    clock.advance(timedelta(minutes=1))
    stored_case(app, patient)
    stored_case(app, patient, None)
    stored_case(app, patient, slug="east")
    assert news(app, doctor) == {NoticeKind.NEW_CASES: 2}
    mark_seen(app, doctor, NoticeKind.NEW_CASES)
    assert news(app, doctor) == {}
    assert news(app, second) == {NoticeKind.NEW_CASES: 2}
    clock.advance(timedelta(minutes=1))
    stored_case(app, patient)
    assert news(app, doctor) == {NoticeKind.NEW_CASES: 1}
    mark_seen(app, doctor, NoticeKind.NEW_CASES)
    assert news(app, doctor) == {}


def test_messages_are_new_until_they_are_read(app: App, patient: Actor, doctor: Actor) -> None:
    case = stored_case(app, patient)
    mark_seen(app, doctor, NoticeKind.NEW_CASES)
    send(app, patient, case, "Hello")
    mark_seen(app, doctor, NoticeKind.MESSAGES)
    assert news(app, doctor) == {NoticeKind.MESSAGES: 1}
    assert news(app, patient) == {}
    read_thread(app, doctor, case)
    send(app, doctor, case, "Good morning")
    assert (news(app, doctor), news(app, patient)) == ({}, {NoticeKind.MESSAGES: 1})


def test_second_readings_are_news_for_those_who_may_read_and_differing_ones_for_the_others(
    app: App, clock: FixedClock, patient: Actor, doctor: Actor, second: Actor
) -> None:
    case = stored_case(app, patient, POSITIVE)
    sign_review(app, doctor, case, decision=Decision.AGREE)
    clock.advance(timedelta(minutes=1))
    ask(app, doctor, case)
    assert NoticeKind.SECOND_READINGS not in news(app, doctor)
    assert news(app, second)[NoticeKind.SECOND_READINGS] == 1
    clock.advance(timedelta(minutes=1))
    sign_second(app, second, case, conclusion=0, reason="smudge cell, no blast")
    assert news(app, doctor)[NoticeKind.READINGS_DIFFER] == 1
    assert not {NoticeKind.SECOND_READINGS, NoticeKind.READINGS_DIFFER} & news(app, second).keys()


def test_appointments_are_news_for_the_other_side(app: App, clock: FixedClock, patient: Actor, doctor: Actor) -> None:
    clock.advance(timedelta(minutes=1))
    case = stored_case(app, patient)
    mark_seen(app, doctor, NoticeKind.NEW_CASES)
    first, second = offered_slots(app, doctor)
    own = book(app, patient, case_id=case, slot_id=first)
    theirs = book(app, doctor, case_id=case, slot_id=second)
    assert (news(app, doctor), news(app, patient)) == ({NoticeKind.BOOKED: 1}, {NoticeKind.BOOKED: 1})
    cancel(app, patient, own.id)
    cancel(app, doctor, theirs.id)
    assert (news(app, doctor), news(app, patient)) == ({NoticeKind.CANCELLED: 1}, {NoticeKind.CANCELLED: 1})


def test_a_review_is_news_for_its_patient_only(
    app: App, clock: FixedClock, patient: Actor, other_patient: Actor, doctor: Actor
) -> None:
    case = stored_case(app, patient)
    clock.advance(timedelta(minutes=1))
    sign_review(app, doctor, case, decision=Decision.AGREE)
    assert (news(app, patient), news(app, other_patient)) == ({NoticeKind.REVIEWED: 1}, {})


def test_roles_without_patients_have_no_news(app: App, hospital: Actor, authority: Actor) -> None:
    for person in (hospital, authority):
        with pytest.raises(NotAuthorised):
            notices(app, person)


@pytest.mark.parametrize("database_url", ["sqlite"], indirect=True)
def test_the_bell_asks_the_database_as_often_with_many_cases_as_with_one(
    app: App, patient: Actor, doctor: Actor
) -> None:
    asked: list[str] = []

    def count() -> int:
        asked.clear()
        notices(app, doctor)
        return len(asked)

    event.listen(app.engine, "before_cursor_execute", lambda *args: asked.append(args[2]))
    stored_case(app, patient)
    one = count()
    for _ in range(10):
        stored_case(app, patient)
    assert count() == one <= 10
