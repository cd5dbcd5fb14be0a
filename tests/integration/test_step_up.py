"""The second factor on both databases: setting up, codes that count once, what is refused without one."""

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from datetime import timedelta

import pyotp
import pytest
from sqlalchemy import update
from sqlmodel import SQLModel, col, select

from core.clock import FixedClock
from core.errors import (
    AccountLocked,
    CodeRefused,
    DatabaseUnavailable,
    HemaSealError,
    InvalidInput,
    NotAuthorised,
    NotFound,
    RecordDamaged,
    SecondFactorMissing,
    SessionEnded,
    SignInFailed,
    StepUpNeeded,
)
from core.services import audit
from core.services.accounts import check_password, redeem_code, session_actor, set_active
from core.services.app import Actor, App
from core.services.demo import DEMO_PASSWORD
from core.services.reviews import Decision, sign_review
from core.services.step_up import (
    RECOVERY_CODES,
    STEP_UP_LIFE,
    begin,
    confirm,
    renew_recovery_codes,
    reset_second_factor,
    second_factor,
    step_up,
    take_off,
)
from core.settings import Mode, Settings
from db.engine import session_scope
from db.models import RecoveryCode, SecondFactor, User, UserSession
from tests.integration.clinic import stored_case

sqlite_only = pytest.mark.parametrize("database_url", ["sqlite"], indirect=True)
STEP = timedelta(seconds=30)


def sign_in(app: App, username: str = "demo-authority") -> Actor:
    return session_actor(app, redeem_code(app, check_password(app, username, DEMO_PASSWORD)))


def shown(app: App, secret: str) -> str:
    """What the authenticator shows now."""
    return pyotp.TOTP(secret).at(app.clock.now())


def wrong(app: App, secret: str) -> str:
    near = {pyotp.TOTP(secret).at(app.clock.now(), counter_offset=step) for step in range(-2, 3)}
    return next(code for code in ("000000", "000001", "000002", "000003", "000004", "000005") if code not in near)


def enrolled(app: App, actor: Actor) -> tuple[str, list[str]]:
    """Set up an authenticator; returns its secret and the recovery codes."""
    secret = begin(app, actor, password=DEMO_PASSWORD).secret
    return secret, confirm(app, actor, shown(app, secret))


def kind_of(act: Callable[..., object], *arguments: object, **named: object) -> type[HemaSealError] | None:
    try:
        act(*arguments, **named)
    except HemaSealError as error:
        return type(error)
    return None


@pytest.fixture
def other(app: App) -> str:
    """An account that the authority may close and open again: an act that needs stepping up."""
    with session_scope(app.engine) as session:
        return session.exec(select(User.id).where(User.username == "demo-doctor-west")).one()


def dangerous(app: App, actor: Actor, other: str) -> type[HemaSealError] | None:
    return kind_of(set_active, app, actor, other, active=True)


def test_without_a_second_factor_the_demo_goes_on_and_a_real_installation_does_not(app: App, other: str) -> None:
    assert dangerous(app, sign_in(app), other) is None
    strict = replace(app, settings=app.settings.model_copy(update={"second_factor": True}))
    assert dangerous(strict, sign_in(strict), other) is SecondFactorMissing
    enrolled(strict, person := sign_in(strict))
    assert dangerous(strict, person, other) is None


@pytest.mark.parametrize(
    ("mode", "said", "required"),
    [
        (Mode.DEMO, None, False),
        (Mode.PRODUCTION, None, True),
        (Mode.DEMO, True, True),
        (Mode.PRODUCTION, False, False),
    ],
)
def test_it_is_required_outside_the_demo_unless_a_setting_says_otherwise(
    mode: Mode, said: bool | None, *, required: bool
) -> None:
    settings = Settings(mode=mode, second_factor=said)
    assert settings.second_factor_required is required


def test_who_has_one_must_enter_a_code_in_every_browser_and_again_after_ten_minutes(
    app: App, clock: FixedClock, other: str
) -> None:
    here, there = sign_in(app), sign_in(app)
    assert here == there
    secret, _ = enrolled(app, here)
    assert dangerous(app, here, other) is None
    assert dangerous(app, there, other) is StepUpNeeded
    clock.advance(STEP_UP_LIFE)
    assert dangerous(app, here, other) is StepUpNeeded
    assert step_up(app, here, shown(app, secret)) == clock.now() + STEP_UP_LIFE
    assert second_factor(app, here).stepped_up_until == clock.now() + STEP_UP_LIFE
    assert second_factor(app, there).stepped_up_until is None
    assert dangerous(app, here, other) is None
    assert dangerous(app, there, other) is StepUpNeeded
    assert dangerous(app, replace(here, session=""), other) is StepUpNeeded


@sqlite_only
def test_a_doctor_signs_only_after_a_code(app: App, clock: FixedClock, patient: Actor) -> None:
    doctor, case = sign_in(app, "demo-doctor"), stored_case(app, patient)
    secret, _ = enrolled(app, doctor)
    clock.advance(STEP_UP_LIFE)
    assert kind_of(sign_review, app, doctor, case, decision=Decision.AGREE) is StepUpNeeded
    step_up(app, doctor, shown(app, secret))
    assert sign_review(app, doctor, case, decision=Decision.AGREE).decision is Decision.AGREE


@sqlite_only
def test_a_refusal_for_want_of_a_code_is_in_the_audit_log(app: App, clock: FixedClock, other: str) -> None:
    person = sign_in(app)
    enrolled(app, person)
    clock.advance(STEP_UP_LIFE)
    dangerous(app, person, other)
    entry = audit.list_entries(app, person, object_id=other, outcome=audit.Outcome.REFUSED)[0]
    assert (entry.action, entry.details) == ("refused.account.manage", {"reason": "second-factor"})


def test_a_code_counts_once_even_when_many_send_it_at_the_same_time(app: App, clock: FixedClock) -> None:
    person = sign_in(app)
    secret, _ = enrolled(app, person)
    clock.advance(STEP)
    code = shown(app, secret)
    with ThreadPoolExecutor(4) as pool:
        answers = list(pool.map(lambda _: kind_of(step_up, app, person, code), range(4)))
    assert answers.count(None) == 1
    assert set(answers) <= {None, CodeRefused, DatabaseUnavailable}  # MySQL may end one of two that wait for each other


def test_neither_the_code_that_set_it_up_nor_an_earlier_one_counts_again(app: App, clock: FixedClock) -> None:
    person = sign_in(app)
    secret = begin(app, person, password=DEMO_PASSWORD).secret
    earlier, now = pyotp.TOTP(secret).at(clock.now() - STEP), shown(app, secret)
    confirm(app, person, now)
    for code in (now, earlier):
        assert kind_of(step_up, app, person, code) is CodeRefused
    clock.advance(STEP)
    step_up(app, person, f" {shown(app, secret)[:3]} {shown(app, secret)[3:]} ")


def test_five_wrong_codes_close_it_for_a_quarter_of_an_hour_over_processes(app: App, clock: FixedClock) -> None:
    person = sign_in(app)
    secret, codes = enrolled(app, person)
    clock.advance(STEP)
    guesses = [kind_of(step_up, app, person, wrong(app, secret)) for _ in range(5)]
    assert guesses == [CodeRefused] * 4 + [AccountLocked]
    again = App.start(app.settings, clock=clock)
    assert kind_of(step_up, again, person, shown(app, secret)) is AccountLocked
    assert kind_of(step_up, again, person, codes[0]) is AccountLocked
    again.engine.dispose()
    clock.advance(timedelta(minutes=15))
    step_up(app, person, shown(app, secret))


@sqlite_only
def test_nothing_that_a_thief_of_password_and_session_can_do_gives_more_guesses_at_codes(
    app: App, clock: FixedClock
) -> None:
    person = sign_in(app)
    secret, _ = enrolled(app, person)
    clock.advance(STEP)
    for _ in range(4):
        assert kind_of(step_up, app, person, wrong(app, secret)) is CodeRefused
    sign_in(app)  # a right password counts as a success of the password only
    assert kind_of(begin, app, person, password=DEMO_PASSWORD) is InvalidInput
    assert kind_of(confirm, app, person, "000000") is InvalidInput
    take_off_wrongly = kind_of(take_off, app, person, password=DEMO_PASSWORD, code=wrong(app, secret))
    assert take_off_wrongly is AccountLocked


@sqlite_only
def test_wrong_codes_do_not_close_the_sign_in(app: App, clock: FixedClock) -> None:
    person = sign_in(app)
    secret, _ = enrolled(app, person)
    for _ in range(5):
        kind_of(step_up, app, person, wrong(app, secret))
    assert sign_in(app) == person


def test_each_recovery_code_counts_once_however_it_is_typed(app: App) -> None:
    person = sign_in(app)
    _, codes = enrolled(app, person)
    assert len(set(codes)) == RECOVERY_CODES
    step_up(app, person, codes[0])
    step_up(app, person, codes[1].upper().replace("-", " "))
    assert second_factor(app, person).recovery_codes == RECOVERY_CODES - 2
    for used in codes[:2]:
        assert kind_of(step_up, app, person, used) is CodeRefused


@sqlite_only
def test_new_recovery_codes_end_the_old_ones(app: App, clock: FixedClock) -> None:
    person = sign_in(app)
    secret, old = enrolled(app, person)
    clock.advance(STEP)
    new = renew_recovery_codes(app, person, shown(app, secret))
    assert kind_of(step_up, app, person, old[0]) is CodeRefused
    step_up(app, person, new[0])


@sqlite_only
def test_a_recovery_code_of_somebody_else_is_a_wrong_code(app: App) -> None:
    person, doctor = sign_in(app), sign_in(app, "demo-doctor")
    enrolled(app, person)
    assert kind_of(step_up, app, person, enrolled(app, doctor)[1][0]) is CodeRefused


def test_taking_it_off_needs_password_and_code(app: App, clock: FixedClock, other: str) -> None:
    person = sign_in(app)
    secret, _ = enrolled(app, person)
    clock.advance(STEP)
    assert kind_of(take_off, app, person, password="certainly wrong", code=shown(app, secret)) is SignInFailed
    assert kind_of(take_off, app, person, password=DEMO_PASSWORD, code=wrong(app, secret)) is CodeRefused
    take_off(app, person, password=DEMO_PASSWORD, code=shown(app, secret))
    view = second_factor(app, person)
    assert (view.enrolled, view.recovery_codes, view.stepped_up_until) == (False, 0, None)
    assert dangerous(app, person, other) is None
    assert kind_of(step_up, app, person, shown(app, secret)) is InvalidInput
    enrolled(app, person)  # and it can be set up anew, with another secret


@sqlite_only
def test_setting_one_up_needs_the_password(app: App) -> None:
    assert kind_of(begin, app, sign_in(app), password="certainly wrong") is SignInFailed


@sqlite_only
def test_a_second_beginning_forgets_the_first(app: App) -> None:
    person = sign_in(app)
    first = begin(app, person, password=DEMO_PASSWORD).secret
    second = begin(app, person, password=DEMO_PASSWORD).secret
    assert kind_of(confirm, app, person, shown(app, first)) is CodeRefused
    assert not second_factor(app, person).enrolled
    confirm(app, person, shown(app, second))


@sqlite_only
def test_the_authority_resets_the_second_factor_of_somebody_else(app: App, patient: Actor) -> None:
    person, doctor = sign_in(app), sign_in(app, "demo-doctor")
    enrolled(app, doctor)
    reset_second_factor(app, person, doctor.user_id)
    assert not second_factor(app, doctor).enrolled
    for user_id, error in ((doctor.user_id, InvalidInput), (person.user_id, InvalidInput), ("0" * 32, NotFound)):
        assert kind_of(reset_second_factor, app, person, user_id) is error
    assert kind_of(reset_second_factor, app, doctor, person.user_id) is NotAuthorised


@sqlite_only
def test_patients_and_hospitals_have_no_second_factor(app: App, patient: Actor, hospital: Actor) -> None:
    for person in (patient, hospital):
        assert kind_of(second_factor, app, person) is NotAuthorised
        assert kind_of(begin, app, person, password=DEMO_PASSWORD) is NotAuthorised


@sqlite_only
def test_a_session_that_ended_is_not_stepped_up(app: App) -> None:
    person = sign_in(app)
    _, codes = enrolled(app, person)
    with session_scope(app.engine) as session:
        session.get_one(UserSession, person.session).revoked_at = app.clock.now()
    assert kind_of(step_up, app, person, codes[0]) is SessionEnded
    assert kind_of(step_up, app, replace(person, session=""), codes[0]) is SessionEnded
    assert second_factor(app, person).recovery_codes == RECOVERY_CODES  # and no code was spent


@sqlite_only
def test_whoever_writes_the_database_can_neither_step_a_session_up_nor_take_the_second_factor_off(
    app: App, clock: FixedClock, other: str
) -> None:
    person = sign_in(app)
    secret, _ = enrolled(app, person)
    clock.advance(STEP_UP_LIFE)
    later = clock.now() + STEP_UP_LIFE
    with session_scope(app.engine) as session:
        session.connection().execute(update(UserSession).values(stepped_up_until=later))
    assert dangerous(app, person, other) is StepUpNeeded
    with session_scope(app.engine) as session:
        session.connection().execute(update(User).values(second_factor=False))
    assert dangerous(app, person, other) is NotAuthorised
    with session_scope(app.engine) as session:
        session.connection().execute(update(User).values(second_factor=True))
        session.connection().execute(update(SecondFactor).values(last_step=1))
    assert kind_of(step_up, app, person, shown(app, secret)) is RecordDamaged


@sqlite_only
def test_a_secret_moved_to_another_account_does_not_open(app: App, clock: FixedClock) -> None:
    person, doctor = sign_in(app), sign_in(app, "demo-doctor")
    secret, _ = enrolled(app, doctor)
    enrolled(app, person)
    clock.advance(STEP)
    with session_scope(app.engine) as session:
        mine, theirs = (session.get_one(SecondFactor, one.user_id) for one in (person, doctor))
        mine.secret, mine.mac = theirs.secret, theirs.mac
    assert kind_of(step_up, app, person, shown(app, secret)) is RecordDamaged


@sqlite_only
def test_neither_secret_nor_recovery_codes_are_in_the_database(app: App) -> None:
    secret, codes = enrolled(app, sign_in(app))
    with session_scope(app.engine) as session:
        tables = SQLModel.metadata.sorted_tables
        stored = "".join(str(row) for table in tables for row in session.connection().execute(table.select()))
        rows = session.exec(select(RecoveryCode).where(col(RecoveryCode.mac) != "")).all()
    assert len(rows) == RECOVERY_CODES
    assert not any(text in stored for text in (secret, *codes, *(code.replace("-", "") for code in codes)))


@sqlite_only
def test_accounts_and_sessions_of_before_the_second_factor_keep_their_mac(app: App) -> None:
    person = sign_in(app)
    with session_scope(app.engine) as session:
        user, row = session.get_one(User, person.user_id), session.get_one(UserSession, person.session)
        of_before = ("id", "username", "role", "hospital_id", "password_hash", "is_active", "is_demo")
        account = {name: getattr(user, name) for name in of_before} | {"role": user.role.value}
        browser = {"token_hash": row.token_hash, "user_id": row.user_id, "expires_at": row.expires_at.isoformat()}
    assert app.macs.holds(user.mac, "user_account", account)
    assert app.macs.holds(row.mac, "user_session", browser)
