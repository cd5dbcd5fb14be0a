"""Requests to refer a case, without enclaves: who may ask what, what is refused, and what each side sees."""

from collections.abc import Callable
from datetime import timedelta

import pytest
from sqlalchemy import update
from sqlmodel import col, select

from core.clock import FixedClock
from core.diagnosis.bundle import ServingModel
from core.diagnosis.checkpoint_file import load_checkpoint
from core.errors import (
    HemaSealError,
    InvalidInput,
    NotAuthorised,
    NotFound,
    RecordDamaged,
    ReferralRefused,
    TooOften,
)
from core.evaluation.throwaway import SHIPPED_MODEL
from core.services import access_log, audit
from core.services.access_log import accesses
from core.services.accounts import set_active
from core.services.app import Actor, App
from core.services.case_reading import own_cases
from core.services.genuine import change, stamp
from core.services.members import revoke_certificate
from core.services.models import install
from core.services.rate_limits import REFERRALS
from core.services.referrals import (
    MAX_REASON,
    MIN_REASON,
    ReferralStatus,
    ask,
    decline,
    destinations,
    news_count,
    referrals,
    referrals_of,
    take_back,
)
from core.services.worklist import WorklistFilter, worklist
from core.settings import Settings
from db.engine import read_scope, session_scope
from db.models import Case, CaseReferral, User
from security.keys import KeyUse
from tests.conftest import Installation
from tests.integration.clinic import hospital_id, stored_case, stored_request

REASON = "They have seen many more of these cells."
ON_SQLITE = pytest.mark.parametrize("database_url", ["sqlite"], indirect=True)


@pytest.fixture(scope="module")
def model(installation: Installation) -> ServingModel:
    """The shipped model."""
    settings = Settings(data_dir=installation.data_dir, database_url="", master_key=None)
    return load_checkpoint(SHIPPED_MODEL, settings=settings, at=FixedClock().now())


@pytest.fixture
def clinic(app: App, model: ServingModel) -> App:
    """The application with the shipped model in service; no enclave is asked for anything here."""
    with session_scope(app.engine) as session:
        install(app, session, model)
    return app


def to(app: App, doctor: Actor, case: str, slug: str = "east", reason: str = REASON) -> str:
    return ask(app, doctor, case, hospital_id=hospital_id(app, slug), reason=reason).id


def test_a_doctor_asks_the_patient_reads_it_and_declines(
    clinic: App, patient: Actor, doctor: Actor, authority: Actor
) -> None:
    case = stored_case(clinic, patient)
    assert [known.slug for known in destinations(clinic, doctor, case)] == ["east", "south", "west"]
    request = to(clinic, doctor, case)
    assert (news_count(clinic, patient), news_count(clinic, doctor)) == (1, 0)
    view = referrals(clinic, patient)[0]
    assert (view.id, view.case_id, view.reason, view.doctor) == (request, case, REASON, "Demo doctor, North")
    assert (view.sender.slug, view.recipient.slug, view.status) == ("north", "east", ReferralStatus.ASKED)

    decline(clinic, patient, request)

    assert (news_count(clinic, patient), news_count(clinic, doctor)) == (0, 1)
    assert [one.is_news for one in referrals(clinic, doctor)] == [True]
    assert news_count(clinic, doctor) == 0  # seen
    after = referrals_of(clinic, doctor, case)[0]
    assert (after.status, after.is_news, after.stands) == (ReferralStatus.DECLINED, False, False)
    with read_scope(clinic.engine) as session:
        assert session.get_one(Case, case).hospital_id == hospital_id(clinic, "north")
    said = [entry.action for entry in audit.list_entries(clinic, authority, object_id=case)]
    assert said == ["referral.read", "referral.decline", "referral.ask"]


def test_the_patient_sees_who_asked_and_who_looked_at_the_request(clinic: App, patient: Actor, doctor: Actor) -> None:
    case = stored_case(clinic, patient)
    request = to(clinic, doctor, case)
    referrals_of(clinic, doctor, case)
    referrals(clinic, doctor)
    take_back(clinic, doctor, request)
    seen = [(act.who, act.what) for act in accesses(clinic, patient).acts]
    assert seen == [
        ("Demo doctor, North", access_log.WORDS[action])
        for action in ("referral.take-back", "referral.list", "referral.read", "referral.ask")
    ]


def test_a_case_has_one_open_request_and_after_an_answer_another(clinic: App, patient: Actor, doctor: Actor) -> None:
    case = stored_case(clinic, patient)
    first = to(clinic, doctor, case)
    with pytest.raises(ReferralRefused):
        to(clinic, doctor, case, "south")
    take_back(clinic, doctor, first)
    for late in (take_back, decline):
        with pytest.raises(ReferralRefused):
            late(clinic, doctor if late is take_back else patient, first)
    assert [view.status for view in referrals(clinic, patient)] == [ReferralStatus.TAKEN_BACK]
    assert referrals_of(clinic, doctor, case) == []
    to(clinic, doctor, case, "south")


@ON_SQLITE
def test_who_has_said_no_is_not_asked_on_and_on(clinic: App, clock: FixedClock, patient: Actor, doctor: Actor) -> None:
    case, other = stored_case(clinic, patient), stored_case(clinic, patient)
    for _ in range(REFERRALS.times):
        decline(clinic, patient, to(clinic, doctor, case))
    with pytest.raises(TooOften):
        to(clinic, doctor, case)
    to(clinic, doctor, other)
    clock.advance(timedelta(days=1))
    to(clinic, doctor, case)


@ON_SQLITE
def test_a_case_goes_to_no_hospital_that_cannot_look_at_it(
    clinic: App, patient: Actor, doctor: Actor, authority: Actor
) -> None:
    case = stored_case(clinic, patient)
    revoke_certificate(clinic, authority, clinic.certificate_of("east.serving", KeyUse.SIGN).serial, "superseded")
    with session_scope(clinic.engine) as session:
        south = session.exec(select(User).where(User.username == "demo-doctor-south")).one()
    set_active(clinic, authority, south.id, active=False)
    assert [known.slug for known in destinations(clinic, doctor, case)] == ["west"]
    for wanted in ("east", "south", "north"):
        with pytest.raises(ReferralRefused):
            to(clinic, doctor, case, wanted)
    with pytest.raises(ReferralRefused):
        ask(clinic, doctor, case, hospital_id="0" * 32, reason=REASON)


@ON_SQLITE
@pytest.mark.parametrize("reason", ["", "too short", "x" * (MAX_REASON + 1), "a\0long enough", "long \u202e enough"])
def test_a_reason_that_says_nothing_or_misleads_is_refused(
    clinic: App, patient: Actor, doctor: Actor, reason: str
) -> None:
    case = stored_case(clinic, patient)
    with pytest.raises(InvalidInput):
        to(clinic, doctor, case, reason=reason)
    assert referrals(clinic, patient) == []
    to(clinic, doctor, case, reason="x" * MIN_REASON)


def test_strangers_neither_ask_nor_read_nor_answer(
    clinic: App, patient: Actor, doctor: Actor, strangers: list[Actor]
) -> None:
    case = stored_case(clinic, patient)
    request = to(clinic, doctor, case)
    acts: list[Callable[[Actor], object]] = [
        lambda who: destinations(clinic, who, case),
        lambda who: to(clinic, who, case),
        lambda who: referrals_of(clinic, who, case),
        lambda who: take_back(clinic, who, request),
        lambda who: decline(clinic, who, request),
    ]
    for stranger in strangers:
        for act in acts:
            with pytest.raises(NotAuthorised):
                act(stranger)
    for act in acts[:4]:
        with pytest.raises(NotAuthorised):
            act(patient)
    with pytest.raises(NotAuthorised):
        decline(clinic, doctor, request)
    for who in strangers[:2]:  # the other patient, and a doctor of the hospital that is asked for: not agreed to yet
        assert referrals(clinic, who) == []
        assert news_count(clinic, who) == 0
    with pytest.raises(NotFound):
        decline(clinic, patient, "0" * 32)


@ON_SQLITE
def test_a_request_that_was_changed_in_the_database_is_neither_shown_nor_answered(
    clinic: App, patient: Actor, doctor: Actor, authority: Actor
) -> None:
    west = hospital_id(clinic, "west")
    forgeries: list[dict[str, object]] = [
        {"to_hospital_id": west},
        {"status": ReferralStatus.ACCEPTED},
        {"doctor_id": authority.user_id},
        {"body": b"x" * 200},
        {"asked_at": clinic.clock.now() + timedelta(days=1)},
        {"text_version": "2030-1"},
        {"mac": "0" * 64},
    ]
    for values in forgeries:
        request = stored_request(clinic, doctor, stored_case(clinic, patient), "east", REASON)
        _write(clinic, request, **values)
        view = next(view for view in referrals(clinic, patient) if view.id == request)
        assert (view.is_damaged, view.reason, view.stands) == (True, "", False), values
        for act, who in ((decline, patient), (take_back, doctor)):
            with pytest.raises((RecordDamaged, ReferralRefused)):
                act(clinic, who, request)


@ON_SQLITE
def test_a_request_moved_to_another_patients_case_is_not_that_patients(
    clinic: App, patient: Actor, other_patient: Actor, doctor: Actor
) -> None:
    request = stored_request(clinic, doctor, stored_case(clinic, patient), "east", REASON)
    other = stored_case(clinic, other_patient)
    with session_scope(clinic.engine) as session:
        row = session.get_one(CaseReferral, request)
        row.case_id = row.live_key = other
        stamp(clinic, row)  # even with the app's own MAC: the sealed body says which case
    assert [view.is_damaged for view in referrals(clinic, other_patient)] == [True]
    with pytest.raises(RecordDamaged):
        decline(clinic, other_patient, request)


@ON_SQLITE
@pytest.mark.parametrize("routing", [{}, {"reason": "preferred"}, {"reason": "nonsense"}, [], "x", {"reason": 5}])
def test_a_damaged_routing_marks_its_own_case_and_hides_no_list(
    app: App, patient: Actor, doctor: Actor, routing: object
) -> None:
    case, other = stored_case(app, patient), stored_case(app, patient)
    with session_scope(app.engine) as session:
        session.connection().execute(update(Case).where(col(Case.id) == case).values(routing=routing))
    for listed in (worklist(app, doctor, only=WorklistFilter.ALL), own_cases(app, patient)):
        assert {entry.case.id: entry.is_damaged for entry in listed} == {case: True, other: False}


def test_a_row_that_was_changed_is_not_confirmed(clinic: App, patient: Actor, doctor: Actor) -> None:
    request = stored_request(clinic, doctor, stored_case(clinic, patient), "east", REASON)
    _write(clinic, request, status=ReferralStatus.DECLINED)
    with pytest.raises(HemaSealError), session_scope(clinic.engine) as session:
        change(clinic, session.get_one(CaseReferral, request), status=ReferralStatus.ASKED)


def _write(app: App, request: str, **values: object) -> None:
    """Write a request's row as somebody does who has the database and no key."""
    with session_scope(app.engine) as session:
        session.connection().execute(update(CaseReferral).where(col(CaseReferral.id) == request).values(**values))
