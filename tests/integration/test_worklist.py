"""A doctor's worklist: order, narrowing, counts, history, and the page on which a case is opened."""

from datetime import timedelta

import pytest

from core.clock import FixedClock
from core.errors import NotAuthorised
from core.services.app import Actor, App
from core.services.case_records import Outcome
from core.services.genuine import change
from core.services.messages import read_thread, send
from core.services.reviews import Decision, sign_review
from core.services.routing import RoutingDecision
from core.services.worklist import Narrowing, WorklistFilter, counts, history, worklist
from db.engine import session_scope
from db.models import Case
from tests.integration.clinic import NEGATIVE, POSITIVE, UNCERTAIN, hospital_id, stored_case
from tests.integration.page_support import draw, words

SQLITE = pytest.mark.parametrize("database_url", ["sqlite"], indirect=True)


def ids(app: App, doctor: Actor, only: WorklistFilter = WorklistFilter.OPEN, **narrowed: object) -> list[str]:
    return [entry.case.id for entry in worklist(app, doctor, only=only, narrowed=Narrowing(**narrowed))]  # type: ignore[arg-type]


def test_the_most_urgent_comes_first_and_the_older_among_equals(
    app: App, clock: FixedClock, patient: Actor, doctor: Actor
) -> None:
    negative = stored_case(app, patient, NEGATIVE)
    first = stored_case(app, patient, POSITIVE)
    clock.advance(timedelta(hours=1))
    second = stored_case(app, patient, POSITIVE)
    uncertain = stored_case(app, patient, UNCERTAIN)
    assert ids(app, doctor) == [first, second, uncertain, negative]


def test_each_state_has_its_list_and_the_counts_agree_with_them(app: App, patient: Actor, doctor: Actor) -> None:
    waiting, to_review = stored_case(app, patient, None), stored_case(app, patient)
    deferred, reviewed = stored_case(app, patient), stored_case(app, patient)
    stored_case(app, patient, slug="east")
    sign_review(app, doctor, deferred, decision=Decision.DEFER, reason="blurred nucleus")
    sign_review(app, doctor, reviewed, decision=Decision.AGREE)
    expected = {
        WorklistFilter.OPEN: {to_review},
        WorklistFilter.SECOND: set(),
        WorklistFilter.DEFERRED: {deferred},
        WorklistFilter.REVIEWED: {reviewed},
        WorklistFilter.WAITING: {waiting},
        WorklistFilter.ALL: {waiting, to_review, deferred, reviewed},
    }
    assert {state: set(ids(app, doctor, state)) for state in WorklistFilter} == expected
    assert counts(app, doctor) == {state: len(found) for state, found in expected.items()}


def test_a_list_is_narrowed_by_study_answer_age_and_number(
    app: App, clock: FixedClock, patient: Actor, doctor: Actor
) -> None:
    old = stored_case(app, patient, POSITIVE)
    clock.advance(timedelta(days=3))
    new = stored_case(app, patient, NEGATIVE)
    assert ids(app, doctor, older_than=timedelta(days=3)) == [old]
    assert ids(app, doctor, older_than=timedelta(days=3, seconds=1)) == []
    assert ids(app, doctor, outcome=Outcome.NEGATIVE) == [new]
    assert ids(app, doctor, study="leukemia") == [old, new]
    assert ids(app, doctor, study="multimodal") == []
    assert ids(app, doctor, study="no study") == []
    assert ids(app, doctor, search=f"{new[:4]}-{new[4:8]}") == [new]
    assert ids(app, doctor, search=new[:4], outcome=Outcome.POSITIVE) == []


@SQLITE
def test_of_many_reviewed_cases_the_newest_are_listed_and_any_other_is_found_by_its_number(
    app: App, clock: FixedClock, patient: Actor, doctor: Actor, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("core.services.worklist.MOST_REVIEWED", 2)
    monkeypatch.setattr("core.services.worklist.MOST_COUNTED", 3)
    cases = []
    for _ in range(4):
        cases.append(stored_case(app, patient))
        sign_review(app, doctor, cases[-1], decision=Decision.AGREE)
        clock.advance(timedelta(minutes=1))
    waiting = stored_case(app, patient, None)
    assert set(ids(app, doctor, WorklistFilter.REVIEWED)) == set(cases[-2:])
    assert set(ids(app, doctor, WorklistFilter.ALL)) == {waiting, *cases[-2:]}
    assert counts(app, doctor)[WorklistFilter.REVIEWED] == counts(app, doctor)[WorklistFilter.ALL] == 3
    for number in (cases[0][:4], f"{cases[0][:4]}-{cases[0][4:8]}".upper()):
        assert cases[0] in ids(app, doctor, WorklistFilter.REVIEWED, search=number)
    assert ids(app, doctor, WorklistFilter.WAITING, search=cases[0][:8]) == []


def test_unread_cases_are_those_with_messages_that_nobody_of_the_hospital_has_opened(
    app: App, patient: Actor, doctor: Actor
) -> None:
    quiet, written = stored_case(app, patient), stored_case(app, patient)
    send(app, patient, written, "Hello")
    send(app, doctor, quiet, "Good morning")
    assert ids(app, doctor, unread=True) == [written]
    assert {entry.case.id: entry.unread for entry in worklist(app, doctor)} == {quiet: 0, written: 1}
    read_thread(app, doctor, written)
    assert ids(app, doctor, unread=True) == []


def test_referred_cases_are_found_where_they_were_referred_to(app: App, patient: Actor, doctor: Actor) -> None:
    stored_case(app, patient)
    referred, north = stored_case(app, patient), hospital_id(app)
    with session_scope(app.engine) as session:
        case = session.get_one(Case, referred)
        case.routing = RoutingDecision.from_json(case.routing).after_referral(north).to_json()
    assert ids(app, doctor, referred=True) == [referred]


def test_a_case_that_was_changed_from_outside_is_counted_and_comes_first(
    app: App, patient: Actor, doctor: Actor
) -> None:
    stored_case(app, patient, POSITIVE)
    damaged = stored_case(app, patient, NEGATIVE)
    with session_scope(app.engine) as session:
        session.get_one(Case, damaged).summary = b"something else"
    assert ids(app, doctor)[0] == damaged
    assert counts(app, doctor)[WorklistFilter.OPEN] == 2


def test_the_history_holds_the_patients_other_cases_at_this_hospital_only(
    app: App, clock: FixedClock, patient: Actor, other_patient: Actor, doctor: Actor
) -> None:
    first = stored_case(app, patient)
    stored_case(app, patient, slug="east")
    stored_case(app, other_patient)
    clock.advance(timedelta(days=1))
    second, third = stored_case(app, patient, NEGATIVE), stored_case(app, patient)
    assert [entry.case.id for entry in history(app, doctor, third)] == [second, first]
    with pytest.raises(NotAuthorised):
        history(app, patient, third)


@SQLITE
def test_a_case_that_was_given_to_another_patient_shows_no_name_in_a_history(
    app: App, patient: Actor, other_patient: Actor, doctor: Actor
) -> None:
    mine, theirs = stored_case(app, patient), stored_case(app, other_patient)
    with session_scope(app.engine) as session:
        session.get_one(Case, theirs).patient_id = patient.user_id
    entry = history(app, doctor, mine)[0]
    assert (entry.is_damaged, entry.case.patient_name) == (True, "")
    with session_scope(app.engine) as session:
        row = session.get_one(Case, theirs)
        row.patient_id = other_patient.user_id
        change(app, row, patient_id=other_patient.user_id)
    assert history(app, doctor, mine) == []


@SQLITE
def test_the_page_narrows_says_what_is_empty_and_shows_everything_again(
    served: App, patient: Actor, doctor: Actor
) -> None:
    case = stored_case(served, patient, POSITIVE)
    tab = draw(served, "doctor/worklist", "demo-doctor")
    assert tab.button(key=f"case_open_{case}").label.startswith("Demo patient")
    assert "To review: 1 · Second reading: 0 · Deferred: 0" in words(tab)
    tab.selectbox(key="worklist_answer").select("negative").run()
    assert not tab.exception
    assert "No case fits" in words(tab)
    tab.button(key="worklist_clear").click().run()
    assert f"case_open_{case}" in {button.key for button in tab.button}
    tab.segmented_control(key="worklist_filter").set_value(WorklistFilter.WAITING).run()
    assert "The program has answered every case" in words(tab)
