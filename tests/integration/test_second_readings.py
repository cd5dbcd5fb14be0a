"""Second readings: who may, what is signed, what happens when two doctors differ."""

from collections.abc import Callable
from datetime import timedelta

import pytest
from sqlmodel import select

from core.clock import FixedClock
from core.errors import NotAuthorised, RecordDamaged, ReviewRefused
from core.services.app import Actor, App
from core.services.demo import DEMO_PASSWORD
from core.services.erasure import erase
from core.services.erasure_records import evidence_of
from core.services.genuine import change, stamp
from core.services.reviews import Decision, reviews_of, sign_review
from core.services.second_readings import Outstanding, ask, second_readings_of, sign_second
from core.services.worklist import WorklistFilter, counts, worklist
from core.studies import STUDIES
from db.engine import read_scope, session_scope
from db.models import Case, CaseReview, CaseStatus, SecondReading
from tests.integration.clinic import NEGATIVE, POSITIVE, stored_case
from tests.integration.page_support import draw, words

WHY = "coarse chromatin in two fields"
SQLITE = pytest.mark.parametrize("database_url", ["sqlite"], indirect=True)


@pytest.fixture
def second(second_doctor: Actor) -> Actor:
    """The doctor who reads a second time."""
    return second_doctor


@pytest.fixture
def asked(app: App, patient: Actor, doctor: Actor) -> str:
    """A positive case, agreed with by the first doctor, with a second reading asked for."""
    case = stored_case(app, patient, POSITIVE)
    sign_review(app, doctor, case, decision=Decision.AGREE)
    ask(app, doctor, case)
    return case


def states(app: App, doctor: Actor, case: str) -> set[WorklistFilter]:
    """The lists in which a case stands, without that of all."""
    lists = set(WorklistFilter) - {WorklistFilter.ALL}
    found = {only for only in lists if case in {entry.case.id for entry in worklist(app, doctor, only=only)}}
    assert {only for only in lists if counts(app, doctor)[only]} == found
    return found


def test_a_second_reading_that_confirms_settles_the_request(app: App, doctor: Actor, second: Actor, asked: str) -> None:
    assert states(app, doctor, asked) == {WorklistFilter.REVIEWED, WorklistFilter.SECOND}
    before = second_readings_of(app, doctor, asked)[0]
    assert (before.asked_by, before.outstanding, before.may_read) == ("Demo doctor, North", True, False)
    assert second_readings_of(app, second, asked)[0].may_read
    signed = sign_second(app, second, asked, conclusion=1, reason=WHY)
    assert (signed.confirms, signed.outstanding, signed.reader) == (True, False, "Second demo doctor, North")
    assert second_readings_of(app, doctor, asked) == [signed]
    assert states(app, doctor, asked) == {WorklistFilter.REVIEWED}


@pytest.mark.parametrize("conclusion", [0, None], ids=["otherwise", "undecided"])
def test_a_second_reading_that_differs_is_flagged_and_comes_first_until_an_amendment(
    app: App, patient: Actor, doctor: Actor, second: Actor, conclusion: int | None
) -> None:
    case = stored_case(app, patient, NEGATIVE)
    first = sign_review(app, doctor, case, decision=Decision.AGREE)
    other = stored_case(app, patient, POSITIVE)
    ask(app, doctor, case)
    signed = sign_second(app, second, case, conclusion=1 if conclusion == 0 else None, reason=WHY)
    assert (signed.confirms, signed.outstanding, signed.review) == (False, True, first.id)
    assert [(entry.case.id, entry.second) for entry in worklist(app, doctor)] == [
        (case, Outstanding.DIFFERS),
        (other, None),
    ]
    assert [review.id for review in reviews_of(app, patient, case)] == [first.id]
    sign_review(app, doctor, case, decision=Decision.OVERRIDE, conclusion=1, reason=WHY, amends=first.id)
    assert not second_readings_of(app, doctor, case)[0].outstanding
    assert [entry.case.id for entry in worklist(app, doctor)] == [other]


def test_the_first_reader_cannot_be_the_second_and_nobody_reads_without_a_request(
    app: App, patient: Actor, doctor: Actor, second: Actor
) -> None:
    case = stored_case(app, patient, POSITIVE)
    with pytest.raises(ReviewRefused, match="sign a review first"):
        ask(app, doctor, case)
    sign_review(app, doctor, case, decision=Decision.AGREE)
    with pytest.raises(ReviewRefused, match="no second reading"):
        sign_second(app, second, case, conclusion=1, reason=WHY)
    ask(app, second, case)
    with pytest.raises(ReviewRefused, match="outstanding already"):
        ask(app, doctor, case)
    with pytest.raises(ReviewRefused, match="another doctor"):
        sign_second(app, doctor, case, conclusion=1, reason=WHY)
    sign_second(app, second, case, conclusion=1, reason=WHY)
    with pytest.raises(ReviewRefused, match="no second reading"):
        sign_second(app, second, case, conclusion=0, reason=WHY)


@SQLITE
@pytest.mark.parametrize(("conclusion", "reason"), [(2, WHY), (-1, WHY), (1, "  no "), (1, "x" * 2001)])
def test_an_incomplete_second_reading_is_refused_and_leaves_the_request(
    app: App, second: Actor, asked: str, conclusion: int, reason: str
) -> None:
    with pytest.raises(ReviewRefused):
        sign_second(app, second, asked, conclusion=conclusion, reason=reason)
    assert second_readings_of(app, second, asked)[0].may_read


@SQLITE
@pytest.mark.parametrize("act", ["ask", "sign", "read"])
def test_only_doctors_of_the_cases_hospital_have_second_readings(
    app: App, patient: Actor, strangers: list[Actor], asked: str, act: str
) -> None:
    acts: dict[str, Callable[[Actor], object]] = {
        "ask": lambda who: ask(app, who, asked),
        "sign": lambda who: sign_second(app, who, asked, conclusion=1, reason=WHY),
        "read": lambda who: second_readings_of(app, who, asked),
    }
    for stranger in (patient, *strangers):
        with pytest.raises(NotAuthorised):
            acts[act](stranger)


@SQLITE
def test_a_study_with_two_readers_asks_for_the_second_by_itself_once(
    app: App, clock: FixedClock, patient: Actor, doctor: Actor, second: Actor
) -> None:
    case = stored_case(app, patient, POSITIVE)
    study = STUDIES["leukemia_subtypes"]
    assert study.second_reader
    with session_scope(app.engine) as session:
        row = session.get_one(Case, case)
        row.study_code = study.code
        stamp(app, row)  # as an upload to this study would have left it
    first = sign_review(app, doctor, case, decision=Decision.DEFER, reason="blurred nucleus")
    assert second_readings_of(app, doctor, case) == []
    clock.advance(timedelta(hours=1))
    decided = sign_review(app, doctor, case, decision=Decision.AGREE, amends=first.id)
    assert [view.asked_by for view in second_readings_of(app, doctor, case)] == [""]
    sign_second(app, second, case, conclusion=1, reason=WHY)
    clock.advance(timedelta(hours=1))
    sign_review(app, doctor, case, decision=Decision.DEFER, reason="once more", amends=decided.id)
    assert [view.confirms for view in second_readings_of(app, doctor, case)] == [True]


@SQLITE
@pytest.mark.parametrize("what", ["body", "signature", "reader_id", "moved"])
def test_a_changed_second_reading_is_not_shown(app: App, doctor: Actor, second: Actor, asked: str, what: str) -> None:
    sign_second(app, second, asked, conclusion=1, reason=WHY)
    with session_scope(app.engine) as session:
        row = session.exec(select(SecondReading)).one()
        if what == "reader_id":
            row.reader_id = doctor.user_id
        elif what == "moved":  # a review in its place: sealed and signed by the same app, for the same case
            review = session.exec(select(CaseReview)).one()
            row.body, row.signature = review.body, review.signature
        else:
            changed = bytearray(getattr(row, what))
            changed[-1] ^= 1
            setattr(row, what, bytes(changed))
    with pytest.raises(RecordDamaged):
        second_readings_of(app, doctor, asked)


def test_nothing_of_a_second_reading_is_in_clear(app: App, second: Actor, asked: str) -> None:
    sign_second(app, second, asked, conclusion=1, reason=WHY)
    with read_scope(app.engine) as session:
        row = session.exec(select(SecondReading)).one()
        assert session.get_one(Case, asked).status is CaseStatus.REVIEWED
    assert row.body is not None
    assert WHY.split(maxsplit=1)[0].encode() not in row.body


def test_an_erasure_deletes_second_readings_and_counts_the_signed_ones(
    app: App, patient: Actor, second: Actor, asked: str
) -> None:
    with read_scope(app.engine) as session:
        before = evidence_of(session, patient.user_id).objects
    sign_second(app, second, asked, conclusion=1, reason=WHY)
    with read_scope(app.engine) as session:
        assert evidence_of(session, patient.user_id).objects == before + 1
    erase(app, patient, password=DEMO_PASSWORD)
    with read_scope(app.engine) as session:
        assert session.exec(select(SecondReading)).all() == []


@SQLITE
def test_the_page_asks_reads_and_shows_both(served: App, patient: Actor, doctor: Actor) -> None:
    case = stored_case(served, patient, POSITIVE)
    tab = draw(served, "doctor/case", "demo-doctor", address={"case": case})
    assert "second_ask" not in {button.key for button in tab.button}
    sign_review(served, doctor, case, decision=Decision.AGREE)
    tab = draw(served, "doctor/case", "demo-doctor", address={"case": case})
    tab.button(key="second_ask").click().run()
    assert not tab.exception
    assert "Not read yet" in words(tab)
    assert "another doctor of your hospital reads it" in words(tab)
    tab = draw(served, "doctor/case", "demo-doctor-second", address={"case": case})
    tab.button(key="second_sign").click().run()
    assert "Choose your conclusion first" in words(tab)
    tab.radio(key="second_conclusion_0").set_value(0)
    tab.text_area(key="second_reason_0").set_value(WHY)
    tab.button(key="second_sign").click().run()
    assert not tab.exception
    assert "does not confirm the review above" in words(tab)


@SQLITE
def test_a_case_that_waits_at_another_hospital_still_waits_after_a_second_reading_that_differs(
    app: App, second: Actor, asked: str
) -> None:
    with session_scope(app.engine) as session:  # as a referral leaves it
        case = session.get_one(Case, asked)
        change(app, case, answered_by_hospital_id=None)
        case.status, case.answered_at, case.summary = CaseStatus.WAITING, None, None
    assert not sign_second(app, second, asked, conclusion=0, reason=WHY).confirms
    with read_scope(app.engine) as session:
        assert session.get_one(Case, asked).status is CaseStatus.WAITING
    assert states(app, second, asked) == {WorklistFilter.WAITING, WorklistFilter.SECOND}


@SQLITE
@pytest.mark.parametrize("reason", ["hidden \u202e words", "a bell \a rings"])
def test_a_reason_that_cannot_be_shown_is_refused(app: App, second: Actor, asked: str, reason: str) -> None:
    with pytest.raises(ReviewRefused, match="cannot be shown"):
        sign_second(app, second, asked, conclusion=1, reason=reason)
