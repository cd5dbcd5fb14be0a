"""Doctors' signed reviews."""

from concurrent.futures import ThreadPoolExecutor
from datetime import timedelta
from typing import Any

import pytest
from sqlalchemy import update
from sqlmodel import col, select

from core.clock import FixedClock
from core.errors import NotAuthorised, NotFound, RecordDamaged, ReviewRefused
from core.services import audit
from core.services.app import Actor, App
from core.services.case_reading import own_cases
from core.services.case_records import CaseSummary
from core.services.reviews import Decision, reviews_of, sign_review
from db.engine import read_scope, session_scope
from db.models import Case, CaseReview, CaseStatus
from tests.integration.clinic import NEGATIVE, POSITIVE, UNCERTAIN, stored_case


def status_of(app: App, case_id: str) -> CaseStatus:
    with read_scope(app.engine) as session:
        return session.get_one(Case, case_id).status


def test_agreeing_takes_the_programs_label_and_closes_the_case(app: App, patient: Actor, doctor: Actor) -> None:
    case = stored_case(app, patient, POSITIVE)
    review = sign_review(app, doctor, case, decision=Decision.AGREE, note="Please come and see me.")
    assert (review.conclusion, review.doctor, review.is_current) == (1, "Demo doctor, North", True)
    assert status_of(app, case) is CaseStatus.REVIEWED
    assert reviews_of(app, doctor, case) == [review]


def test_the_patient_reads_the_note_but_not_the_reason(app: App, patient: Actor, doctor: Actor) -> None:
    case = stored_case(app, patient, POSITIVE)
    sign_review(app, doctor, case, decision=Decision.OVERRIDE, conclusion=0, reason="smudge cell", note="All fine.")
    seen = reviews_of(app, patient, case)[0]
    assert (seen.conclusion, seen.note, seen.reason) == (0, "All fine.", "")


def test_a_deferred_case_stays_on_the_list(app: App, patient: Actor, doctor: Actor) -> None:
    case = stored_case(app, patient, NEGATIVE)
    review = sign_review(app, doctor, case, decision=Decision.DEFER, reason="blurred nucleus")
    assert review.conclusion is None
    assert status_of(app, case) is CaseStatus.ANSWERED


@pytest.mark.parametrize(
    ("summary", "review"),
    [
        (POSITIVE, {"decision": Decision.OVERRIDE, "conclusion": 0, "reason": ""}),
        (POSITIVE, {"decision": Decision.OVERRIDE, "conclusion": 0, "reason": "  no "}),
        (POSITIVE, {"decision": Decision.OVERRIDE, "conclusion": None, "reason": "smudge cell"}),
        (POSITIVE, {"decision": Decision.OVERRIDE, "conclusion": 1, "reason": "smudge cell"}),
        (POSITIVE, {"decision": Decision.OVERRIDE, "conclusion": 2, "reason": "smudge cell"}),
        (POSITIVE, {"decision": Decision.OVERRIDE, "conclusion": 0, "reason": "x" * 2001}),
        (POSITIVE, {"decision": Decision.DEFER, "reason": ""}),
        (POSITIVE, {"decision": Decision.AGREE, "note": "This is \u202egnihton\u202c"}),
        (POSITIVE, {"decision": Decision.DEFER, "reason": "smudge\0cell"}),
        (UNCERTAIN, {"decision": Decision.AGREE}),
        (None, {"decision": Decision.AGREE}),
    ],
)
def test_an_incomplete_review_is_refused_and_changes_nothing(
    app: App, patient: Actor, doctor: Actor, summary: CaseSummary | None, review: dict[str, Any]
) -> None:
    case = stored_case(app, patient, summary)
    before = status_of(app, case)
    with pytest.raises(ReviewRefused):
        sign_review(app, doctor, case, **review)
    assert reviews_of(app, doctor, case) == []
    assert status_of(app, case) is before


def test_an_uncertain_answer_is_decided_by_the_doctor(app: App, patient: Actor, doctor: Actor) -> None:
    case = stored_case(app, patient, UNCERTAIN)
    review = sign_review(
        app, doctor, case, decision=Decision.OVERRIDE, conclusion=UNCERTAIN.label_index, reason="fine chromatin"
    )
    assert review.conclusion == UNCERTAIN.label_index


def test_an_amendment_keeps_the_original(app: App, clock: FixedClock, patient: Actor, doctor: Actor) -> None:
    case = stored_case(app, patient, POSITIVE)
    first = sign_review(app, doctor, case, decision=Decision.AGREE)
    with pytest.raises(ReviewRefused, match="in the meantime"):
        sign_review(app, doctor, case, decision=Decision.OVERRIDE, conclusion=0, reason="second look")
    clock.advance(timedelta(hours=1))
    second = sign_review(
        app, doctor, case, decision=Decision.OVERRIDE, conclusion=0, reason="second look", amends=first.id
    )
    assert [(review.id, review.is_current, review.amends) for review in reviews_of(app, doctor, case)] == [
        (second.id, True, first.id),
        (first.id, False, None),
    ]


def _amended(app: App, clock: FixedClock, patient: Actor, doctor: Actor) -> tuple[str, str, str]:
    """A case, its first review, and the amendment in force."""
    case = stored_case(app, patient, POSITIVE)
    first = sign_review(app, doctor, case, decision=Decision.AGREE).id
    clock.advance(timedelta(hours=1))
    second = sign_review(
        app, doctor, case, decision=Decision.OVERRIDE, conclusion=0, reason="second look", amends=first
    )
    return case, first, second.id


@pytest.mark.parametrize("live", ["first", "none"])
def test_what_is_in_force_is_what_was_signed_last_whatever_the_rows_say(
    app: App, clock: FixedClock, patient: Actor, doctor: Actor, live: str
) -> None:
    case, first, second = _amended(app, clock, patient, doctor)
    with session_scope(app.engine) as session:
        session.get_one(CaseReview, second).live_key = None
        session.flush()
        session.get_one(CaseReview, first).live_key = case if live == "first" else None
    assert [(review.id, review.is_current) for review in reviews_of(app, doctor, case)] == [
        (second, True),
        (first, False),
    ]
    entry = own_cases(app, patient)[0]
    assert entry.review is not None
    assert entry.review.id == second
    with pytest.raises(ReviewRefused, match="in the meantime"):
        sign_review(app, doctor, case, decision=Decision.DEFER, reason="once more", amends=first)
    third = sign_review(app, doctor, case, decision=Decision.DEFER, reason="once more", amends=second)
    assert [review.id for review in reviews_of(app, doctor, case)] == [third.id, second, first]


def test_a_missing_review_is_noticed_and_the_log_names_every_one(
    app: App, clock: FixedClock, patient: Actor, doctor: Actor, authority: Actor
) -> None:
    case, first, second = _amended(app, clock, patient, doctor)
    signed = audit.list_entries(app, authority, object_id=case, action="review.sign")
    assert [entry.details for entry in signed] == [
        {"review": second, "amends": first},
        {"review": first, "amends": None},
    ]
    with session_scope(app.engine) as session:
        session.delete(session.get_one(CaseReview, first))
    with pytest.raises(RecordDamaged):
        reviews_of(app, doctor, case)
    assert own_cases(app, patient)[0].is_damaged
    with pytest.raises(RecordDamaged):
        sign_review(app, doctor, case, decision=Decision.DEFER, reason="once more", amends=second)


def test_of_two_doctors_who_sign_at_once_one_is_told_to_read_first(app: App, patient: Actor, doctor: Actor) -> None:
    case = stored_case(app, patient, POSITIVE)

    def attempt(_: int) -> bool:
        try:
            sign_review(app, doctor, case, decision=Decision.AGREE)
        except ReviewRefused:
            return False
        return True

    with ThreadPoolExecutor(2) as pool:
        assert sorted(pool.map(attempt, range(2))) == [False, True]
    assert len(reviews_of(app, doctor, case)) == 1


def test_only_doctors_of_the_cases_hospital_sign(
    app: App, patient: Actor, doctor_east: Actor, hospital: Actor, authority: Actor
) -> None:
    case = stored_case(app, patient, POSITIVE)
    for stranger in (patient, doctor_east, hospital, authority):
        with pytest.raises(NotAuthorised):
            sign_review(app, stranger, case, decision=Decision.AGREE)
    for stranger in (doctor_east, hospital, authority):
        with pytest.raises(NotAuthorised):
            reviews_of(app, stranger, case)
    with pytest.raises(NotFound):
        reviews_of(app, patient, "0" * 32)


@pytest.mark.parametrize("column", ["body", "signature"])
def test_a_changed_review_is_not_shown(app: App, patient: Actor, doctor: Actor, column: str) -> None:
    case = stored_case(app, patient, POSITIVE)
    sign_review(app, doctor, case, decision=Decision.AGREE)
    with session_scope(app.engine) as session:
        row = session.exec(select(CaseReview)).one()
        changed = bytearray(getattr(row, column))
        changed[-1] ^= 1
        setattr(row, column, bytes(changed))
    with pytest.raises(RecordDamaged):
        reviews_of(app, doctor, case)


def test_a_review_given_to_another_doctor_is_not_shown(
    app: App, patient: Actor, doctor: Actor, doctor_east: Actor
) -> None:
    case = stored_case(app, patient, POSITIVE)
    sign_review(app, doctor, case, decision=Decision.AGREE)
    with session_scope(app.engine) as session:
        session.connection().execute(
            update(CaseReview).where(col(CaseReview.case_id) == case).values(doctor_id=doctor_east.user_id)
        )
    with pytest.raises(RecordDamaged):
        reviews_of(app, doctor, case)


def test_nothing_that_was_written_is_in_the_database_in_clear(app: App, patient: Actor, doctor: Actor) -> None:
    case = stored_case(app, patient, POSITIVE)
    sign_review(app, doctor, case, decision=Decision.OVERRIDE, conclusion=0, reason="smudge cell", note="particular")
    with read_scope(app.engine) as session:
        row = session.exec(select(CaseReview)).one()
    for stored in (row.body, row.signature):
        assert b"smudge" not in stored
        assert b"particular" not in stored
        assert b"override" not in stored
