"""Limits of how often, on both databases: bursts, refilling, parallel processes, and which services hold to them."""

from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from datetime import timedelta

import pytest
from sqlmodel import SQLModel, select

from core.clock import FixedClock
from core.errors import AccountLocked, HemaSealError, NoModel, SignInFailed, TooOften
from core.services.accounts import check_password, register_patient
from core.services.app import Actor, App
from core.services.case_images import look_at
from core.services.case_reading import view_pictures
from core.services.cases import submit
from core.services.demo import DEMO_PASSWORD
from core.services.messages import read_thread, send
from core.services.rate_limits import LOOKS, MESSAGES, REGISTRATIONS, SIGN_INS, VIEWS, Limit, give_back, spend
from db.engine import session_scope
from db.models import RateLimit
from tests.integration.clinic import stored_case

sqlite_only = pytest.mark.parametrize("database_url", ["sqlite"], indirect=True)
LIMIT = Limit("test", 6, timedelta(minutes=1))


def allowed(app: App, limit: Limit = LIMIT, subject: str = "somebody") -> bool:
    try:
        spend(app, limit, subject)
    except TooOften:
        return False
    return True


def use_up(app: App, limit: Limit, subject: str) -> None:
    for _ in range(limit.times):
        spend(app, limit, subject)


def test_a_burst_is_allowed_and_then_one_for_each_share_of_the_period(app: App, clock: FixedClock) -> None:
    assert [allowed(app) for _ in range(8)] == [True] * 6 + [False] * 2
    clock.advance(timedelta(seconds=9, microseconds=999_999))
    assert not allowed(app)
    clock.advance(timedelta(microseconds=1))
    assert [allowed(app) for _ in range(2)] == [True, False]
    clock.advance(timedelta(minutes=1))
    assert [allowed(app) for _ in range(7)] == [True] * 6 + [False]


def test_a_clock_that_was_ahead_for_a_while_locks_nobody_out_until_then(app: App, clock: FixedClock) -> None:
    ahead = replace(app, clock=FixedClock(clock.now() + timedelta(days=2)))
    use_up(ahead, LIMIT, "somebody")
    assert [allowed(app) for _ in range(2)] == [True, False]
    clock.advance(timedelta(seconds=10))
    assert [allowed(app) for _ in range(2)] == [True, False]


def test_the_error_says_when_there_is_room_again(app: App, clock: FixedClock) -> None:
    use_up(app, LIMIT, "somebody")
    clock.advance(timedelta(seconds=3))
    with pytest.raises(TooOften, match="again in 7 s"):
        spend(app, LIMIT, "somebody")
    hourly = Limit("hourly", 2, timedelta(hours=1))
    use_up(app, hourly, "somebody")
    with pytest.raises(TooOften, match="again in 30 min"):
        spend(app, hourly, "somebody")


def test_subjects_and_limits_are_counted_apart(app: App) -> None:
    use_up(app, LIMIT, "somebody")
    assert allowed(app, subject="somebody else")
    assert allowed(app, replace(LIMIT, name="another"))


def test_of_many_at_once_no_more_than_the_limit_get_through_and_other_processes_count_too(app: App) -> None:
    other = App.start(app.settings, clock=app.clock)
    with ThreadPoolExecutor(4) as pool:
        answers = list(pool.map(lambda number: allowed((app, other)[number % 2]), range(14)))
    other.engine.dispose()
    assert sum(answers) == 6


def test_what_was_given_back_can_be_spent_again(app: App) -> None:
    use_up(app, LIMIT, "somebody")
    give_back(app, LIMIT, "somebody")
    assert [allowed(app) for _ in range(2)] == [True, False]
    give_back(app, LIMIT, "nobody")


def test_rows_that_say_nothing_any_more_are_removed_and_none_names_its_subject(app: App, clock: FixedClock) -> None:
    spend(app, SIGN_INS, "203.0.113.7")
    with session_scope(app.engine) as session:
        table = SQLModel.metadata.tables["rate_limit"]
        assert "203.0.113.7" not in str(session.connection().execute(table.select()).all())
    clock.advance(timedelta(hours=1))
    spend(app, LIMIT, "somebody")
    with session_scope(app.engine) as session:
        assert len(session.exec(select(RateLimit)).all()) == 1


@sqlite_only
def test_one_address_cannot_try_a_password_on_many_names(app: App) -> None:
    answers: list[type[HemaSealError]] = []
    for _ in range(SIGN_INS.times - 2):  # a wrong password each, but for the hashing
        spend(app, SIGN_INS, "203.0.113.7")
    for number in range(4):
        with pytest.raises(HemaSealError) as caught:
            check_password(app, f"somebody-{number}", "certainly wrong", address="203.0.113.7")
        answers.append(caught.type)
    assert answers == [SignInFailed] * 2 + [TooOften] * 2
    with pytest.raises(TooOften):
        check_password(app, "demo-patient", DEMO_PASSWORD, address="203.0.113.7")
    assert check_password(app, "demo-patient", DEMO_PASSWORD, address="203.0.113.8")


@sqlite_only
def test_signing_in_rightly_takes_nothing_of_the_address(app: App) -> None:
    for _ in range(SIGN_INS.times - 1):
        spend(app, SIGN_INS, "203.0.113.7")
    for _ in range(3):
        check_password(app, "demo-patient", DEMO_PASSWORD, address="203.0.113.7")


@sqlite_only
def test_the_lock_of_a_name_holds_from_every_address(app: App) -> None:
    for number in range(5):
        with pytest.raises((SignInFailed, AccountLocked)):
            check_password(app, "demo-patient", "certainly wrong", address=f"203.0.113.{number}")
    with pytest.raises(AccountLocked):
        check_password(app, "demo-patient", DEMO_PASSWORD, address="203.0.113.99")


@sqlite_only
def test_accounts_uploads_looks_views_and_messages_are_limited(app: App, patient: Actor) -> None:
    case = stored_case(app, patient)
    few = replace(app, settings=app.settings.model_copy(update={"uploads_per_hour": 2}))
    for _ in range(2):
        with pytest.raises(NoModel):
            submit(few, patient, files=[_picture()], study="leukemia")
    with pytest.raises(TooOften):
        submit(few, patient, files=[_picture()], study="leukemia")
    for limit in (LOOKS, VIEWS, MESSAGES):
        use_up(app, limit, patient.user_id)
    use_up(app, REGISTRATIONS, "203.0.113.7")
    with pytest.raises(TooOften):
        look_at(app, patient, b"no picture", study="leukemia")
    with pytest.raises(TooOften):
        view_pictures(app, patient, case)
    with pytest.raises(TooOften):
        send(app, patient, case, "one more")
    assert read_thread(app, patient, case) == []
    with pytest.raises(TooOften):
        register_patient(
            app, username="somebody", password="quite long enough", display_name="Somebody", address="203.0.113.7"
        )


def _picture() -> bytes:
    from tests.integration.test_cases import picture  # noqa: PLC0415  its other imports are slow

    return picture()
