"""Signing in and out on both databases: lockout, single-use codes, sessions that end when they are told to."""

import hashlib
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from datetime import timedelta
from pathlib import Path

import pytest
from sqlalchemy import update
from sqlmodel import SQLModel, col, select

from core.clock import FixedClock
from core.errors import (
    AccountLocked,
    DatabaseUnavailable,
    HemaSealError,
    InvalidInput,
    RecordDamaged,
    SessionEnded,
    SignInFailed,
)
from core.services import audit
from core.services import sessions as sessions_module
from core.services.accounts import (
    Role,
    change_password,
    check_password,
    end_other_sessions,
    redeem_code,
    session_actor,
    sessions,
    set_active,
    sign_out,
)
from core.services.app import Actor, App
from core.services.demo import DEMO_PASSWORD
from core.services.genuine import change
from db.engine import make_engine, session_scope
from db.models import Hospital, LoginCode, User, UserSession
from security.passwords import hash_password, verify_password

WRONG = "certainly wrong"


def _sign_in(app: App, username: str = "demo-patient", password: str = DEMO_PASSWORD) -> str:
    return redeem_code(app, check_password(app, username, password))


def _attempt(app: App, username: str, password: str) -> type[HemaSealError] | None:
    try:
        check_password(app, username, password)
    except HemaSealError as error:
        return type(error)
    return None


def test_the_right_password_leads_to_a_session_of_that_person(app: App, patient: Actor) -> None:
    assert session_actor(app, _sign_in(app)) == patient


def test_a_user_name_may_be_typed_in_capitals_and_with_blanks_around_it(app: App, patient: Actor) -> None:
    assert session_actor(app, _sign_in(app, " Demo-PATIENT ")) == patient


def test_unknown_names_and_wrong_passwords_get_the_same_answers_up_to_the_lock(app: App) -> None:
    known = [_attempt(app, "demo-patient", WRONG) for _ in range(6)]
    unknown = [_attempt(app, "no-such-person", WRONG) for _ in range(6)]
    assert known == unknown == [SignInFailed] * 4 + [AccountLocked] * 2


def test_after_five_failures_the_right_password_is_refused_for_fifteen_minutes(app: App, clock: FixedClock) -> None:
    for _ in range(5):
        _attempt(app, "demo-patient", WRONG)
    clock.advance(timedelta(minutes=14, seconds=59))
    assert _attempt(app, "demo-patient", DEMO_PASSWORD) is AccountLocked
    clock.advance(timedelta(seconds=1))
    assert _attempt(app, "demo-patient", DEMO_PASSWORD) is None


def test_the_lock_outlives_the_process(app: App) -> None:
    for _ in range(5):
        _attempt(app, "demo-patient", WRONG)
    again = App.start(app.settings, clock=app.clock)
    assert _attempt(again, "demo-patient", DEMO_PASSWORD) is AccountLocked
    again.engine.dispose()


def test_a_success_forgets_the_failures_before_it(app: App) -> None:
    for _ in range(3):
        for _ in range(4):
            assert _attempt(app, "demo-patient", WRONG) is SignInFailed
        assert _attempt(app, "demo-patient", DEMO_PASSWORD) is None


def test_a_burst_of_parallel_guesses_gets_no_more_than_five(app: App, monkeypatch: pytest.MonkeyPatch) -> None:
    compared: list[str] = []

    def counting(password: str, hashed: str | None) -> bool:
        compared.append(password)
        return verify_password(password, hashed)

    monkeypatch.setattr(sessions_module, "verify_password", counting)
    with ThreadPoolExecutor(12) as pool:
        answers = list(pool.map(lambda _: _attempt(app, "demo-patient", WRONG), range(12)))
    assert len(compared) == 5
    assert answers.count(SignInFailed) <= 4
    assert answers.count(AccountLocked) == 12 - answers.count(SignInFailed)


@pytest.mark.parametrize("database_url", ["sqlite"], indirect=True)
@pytest.mark.parametrize("password", ["", "x" * 100, "nul\0byte-in-it", "ü" * 50])
def test_strange_passwords_are_simply_wrong(app: App, password: str) -> None:
    assert _attempt(app, "demo-patient", password) is SignInFailed


def test_a_code_works_once_and_for_a_minute(app: App, clock: FixedClock) -> None:
    code = check_password(app, "demo-patient", DEMO_PASSWORD)
    redeem_code(app, code)
    with pytest.raises(SessionEnded):
        redeem_code(app, code)
    late = check_password(app, "demo-patient", DEMO_PASSWORD)
    clock.advance(timedelta(seconds=60))
    with pytest.raises(SessionEnded):
        redeem_code(app, late)


def test_of_many_who_redeem_a_code_at_once_one_gets_a_session(app: App) -> None:
    code = check_password(app, "demo-patient", DEMO_PASSWORD)

    def redeem(_: int) -> bool:
        try:
            redeem_code(app, code)
        except SessionEnded:
            return False
        return True

    with ThreadPoolExecutor(8) as pool:
        assert sum(pool.map(redeem, range(8))) == 1


def test_a_made_up_token_or_code_is_no_session(app: App) -> None:
    for token in ("", "x", "a" * 43):
        with pytest.raises(SessionEnded):
            session_actor(app, token)
        with pytest.raises(SessionEnded):
            redeem_code(app, token)


def test_neither_token_nor_code_nor_password_is_in_the_database(app: App) -> None:
    code = check_password(app, "demo-patient", DEMO_PASSWORD)
    token = redeem_code(app, code)
    with session_scope(app.engine) as session:
        tables = SQLModel.metadata.sorted_tables
        stored = "".join(str(row) for table in tables for row in session.connection().execute(table.select()))
    assert not any(secret in stored for secret in (code, token, DEMO_PASSWORD))


def test_signing_out_ends_the_session_for_good(app: App) -> None:
    token = _sign_in(app)
    sign_out(app, token)
    sign_out(app, token)
    with pytest.raises(SessionEnded):
        session_actor(app, token)


def test_a_session_ends_by_itself(app: App, clock: FixedClock) -> None:
    token = _sign_in(app)
    clock.advance(timedelta(hours=app.settings.session_hours))
    with pytest.raises(SessionEnded):
        session_actor(app, token)


def test_changing_the_password_ends_all_other_sessions(app: App, patient: Actor) -> None:
    here, there = _sign_in(app), _sign_in(app)
    code = check_password(app, "demo-patient", DEMO_PASSWORD)
    change_password(app, patient, current=DEMO_PASSWORD, new="another long one", token=here)
    assert session_actor(app, here) == patient
    with pytest.raises(SessionEnded):
        session_actor(app, there)
    with pytest.raises(SessionEnded):
        redeem_code(app, code)
    assert _attempt(app, "demo-patient", DEMO_PASSWORD) is SignInFailed
    assert _attempt(app, "demo-patient", "another long one") is None


def test_the_password_changes_only_with_the_current_one_and_to_an_acceptable_one(app: App, patient: Actor) -> None:
    with pytest.raises(SignInFailed):
        change_password(app, patient, current=WRONG, new="another long one")
    with pytest.raises(InvalidInput, match="10 characters"):
        change_password(app, patient, current=DEMO_PASSWORD, new="short")
    assert _attempt(app, "demo-patient", DEMO_PASSWORD) is None


def test_new_passwords_that_are_refused_cost_no_attempt(app: App, patient: Actor) -> None:
    for new in ("short", "x" * 73, "my demo-patient password") * 2:
        with pytest.raises(InvalidInput):
            change_password(app, patient, current=DEMO_PASSWORD, new=new)
    assert _attempt(app, "demo-patient", DEMO_PASSWORD) is None


def test_wrong_current_passwords_lock_like_failed_sign_ins(app: App, patient: Actor) -> None:
    for _ in range(4):
        with pytest.raises(SignInFailed):
            change_password(app, patient, current=WRONG, new="another long one")
    with pytest.raises(AccountLocked):
        change_password(app, patient, current=WRONG, new="another long one")


def test_a_person_sees_and_ends_their_own_sessions(app: App, patient: Actor, clock: FixedClock) -> None:
    there = _sign_in(app)
    clock.advance(timedelta(minutes=1))
    here = _sign_in(app)
    _sign_in(app, "demo-doctor")
    assert [view.is_this for view in sessions(app, patient, here)] == [True, False]
    assert end_other_sessions(app, patient, here) == 1
    assert session_actor(app, here) == patient
    with pytest.raises(SessionEnded):
        session_actor(app, there)


def test_closing_an_account_ends_its_sessions_and_its_sign_in(app: App, authority: Actor, doctor: Actor) -> None:
    token = _sign_in(app, "demo-doctor")
    set_active(app, authority, doctor.user_id, active=False)
    with pytest.raises(SessionEnded):
        session_actor(app, token)
    assert _attempt(app, "demo-doctor", DEMO_PASSWORD) is SignInFailed
    set_active(app, authority, doctor.user_id, active=True)
    assert _attempt(app, "demo-doctor", DEMO_PASSWORD) is None


@pytest.mark.parametrize("database_url", ["sqlite"], indirect=True)
def test_the_role_comes_from_the_database_at_every_call(app: App, patient: Actor) -> None:
    token = _sign_in(app)
    assert session_actor(app, token).role is Role.PATIENT
    with session_scope(app.engine) as session:
        change(app, session.get_one(User, patient.user_id), role=Role.DOCTOR)
    assert session_actor(app, token).role is Role.DOCTOR


BY_HAND: dict[str, dict[str, object]] = {
    "the role": {"role": Role.AUTHORITY},
    "the hospital": {"hospital_id": select(Hospital.id).where(Hospital.slug == "east").scalar_subquery()},
    "the password": {"password_hash": hash_password(WRONG, rounds=4)},
    "the name": {"username": "demo-nobody"},
    "the mac": {"mac": ""},
}


def _change_by_hand(app: App, actor: Actor, changed: str) -> None:
    with session_scope(app.engine) as session:
        session.connection().execute(update(User).where(col(User.id) == actor.user_id).values(BY_HAND[changed]))


@pytest.mark.parametrize("changed", BY_HAND)
def test_an_account_changed_in_the_database_is_nobody_and_the_log_says_so(
    app: App, authority: Actor, patient: Actor, changed: str
) -> None:
    token, code = _sign_in(app), check_password(app, "demo-patient", DEMO_PASSWORD)
    _change_by_hand(app, patient, changed)
    with pytest.raises(SessionEnded):
        session_actor(app, token)
    with pytest.raises(SessionEnded):
        redeem_code(app, code)
    for name in ("demo-patient", "demo-nobody"):
        for password in (DEMO_PASSWORD, WRONG):
            assert _attempt(app, name, password) is SignInFailed
    refused = audit.list_entries(app, authority, object_id=patient.user_id, outcome=audit.Outcome.REFUSED)
    assert {"session.use", "sign-in.session", "sign-in.password"} == {entry.action for entry in refused}


@pytest.mark.parametrize("changed", ["user_id", "expires_at"])
def test_a_session_or_code_changed_in_the_database_ends(
    app: App, clock: FixedClock, patient: Actor, authority: Actor, changed: str
) -> None:
    value = authority.user_id if changed == "user_id" else clock.now() + timedelta(days=999)
    token, code = _sign_in(app), check_password(app, "demo-patient", DEMO_PASSWORD)
    with session_scope(app.engine) as session:
        for table in (UserSession, LoginCode):
            session.connection().execute(update(table).values({changed: value}))
    with pytest.raises(SessionEnded):
        session_actor(app, token)
    with pytest.raises(SessionEnded):
        redeem_code(app, code)


def test_a_session_or_code_made_in_the_database_is_none(app: App, clock: FixedClock, authority: Actor) -> None:
    later, digest = clock.now() + timedelta(hours=1), hashlib.sha256(b"made up").hexdigest()
    with session_scope(app.engine) as session:
        session.add(LoginCode(code_hash=digest, user_id=authority.user_id, expires_at=later))
        session.add(UserSession(token_hash=digest, user_id=authority.user_id, created_at=clock.now(), expires_at=later))
    with pytest.raises(SessionEnded):
        session_actor(app, "made up")
    with pytest.raises(SessionEnded):
        redeem_code(app, "made up")


def test_an_account_changed_in_the_database_is_not_confirmed_by_a_change(
    app: App, authority: Actor, patient: Actor
) -> None:
    _change_by_hand(app, patient, "the role")
    with pytest.raises(RecordDamaged):
        set_active(app, authority, patient.user_id, active=True)
    assert _attempt(app, "demo-patient", DEMO_PASSWORD) is SignInFailed


@pytest.mark.parametrize("database_url", ["sqlite"], indirect=True)
def test_a_database_that_goes_away_is_told_apart_from_a_session_that_ended(app: App, tmp_path: Path) -> None:
    broken = replace(app, engine=make_engine(f"sqlite:///{tmp_path / 'gone' / 'nothing.db'}"))
    with pytest.raises(DatabaseUnavailable):
        session_actor(broken, "x")
