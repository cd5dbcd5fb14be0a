"""Accounts as the authority manages them, on both databases: found, unlocked, signed out, closed; patients unnamed."""

from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress

import pytest

from core.clock import FixedClock
from core.errors import AccountLocked, HemaSealError, InvalidInput, NotAuthorised, NotFound, SessionEnded, SignInFailed
from core.services import audit
from core.services.access_log import accesses
from core.services.accounts import Role, check_password, create_account, redeem_code, session_actor, set_active
from core.services.app import Actor, App
from core.services.attempts import LOCK, MAX_FAILURES
from core.services.demo import DEMO_PASSWORD
from core.services.erasure import erase
from core.services.users import AccountState, UserView, end_all_sessions, staff_names, unlock, users
from db.engine import session_scope
from db.models import User


def signed_in(app: App, username: str) -> str:
    return redeem_code(app, check_password(app, username, DEMO_PASSWORD))


def one(app: App, authority: Actor, search: str) -> UserView:
    (found,) = users(app, authority, search=search).found
    return found


def officer(app: App, authority: Actor, name: str = "second-officer") -> Actor:
    return create_account(
        app, authority, username=name, password=DEMO_PASSWORD, display_name="Officer", role=Role.AUTHORITY
    )


def test_everybody_is_listed_and_patients_without_name_or_place(
    app: App, authority: Actor, patient: Actor, doctor: Actor
) -> None:
    listed = users(app, authority)
    assert listed.total == len(listed.found)
    assert {view.role for view in listed.found} == set(Role)
    by_id = {view.user_id: view for view in listed.found}
    assert by_id[patient.user_id].name == f"patient {patient.user_id[:8]}"
    assert (by_id[doctor.user_id].name, by_id[doctor.user_id].hospital) == ("demo-doctor", "North Hospital (demo)")
    assert "demo-patient" not in repr(listed)
    assert sum(listed.open_by_role.values()) == listed.total
    staff = staff_names(app, authority)
    assert staff == {view.user_id: view.name for view in listed.found if view.role is not Role.PATIENT}


@pytest.mark.parametrize(
    ("search", "found"),
    [
        ("demo-doc", {"doctor"}),
        ("NORTH hosp", {"doctor", "hospital"}),
        ("demo-pat", set()),
        ("demo-patient", {"patient"}),
        ("%", set()),
        ("_", set()),
        ("nobody here", set()),
    ],
)
def test_staff_is_found_by_a_part_and_a_patient_by_the_whole_name_only(
    app: App, authority: Actor, search: str, found: set[str]
) -> None:
    assert {view.role.value for view in users(app, authority, search=search).found} == found


def test_a_patient_is_found_by_the_pseudonym_and_sees_that_the_name_was_looked_up(
    app: App, authority: Actor, patient: Actor
) -> None:
    digits = patient.user_id[:8]
    for search in (digits, digits[:4], f"patient {digits}"):
        assert patient.user_id in {view.user_id for view in users(app, authority, search=search).found}
    assert not users(app, authority, search=digits[:3], roles=[Role.PATIENT]).found
    assert not [act for act in accesses(app, patient).acts if "Looked up" in act.what]
    one(app, authority, "demo-patient")
    assert [act.who for act in accesses(app, patient).acts if "Looked up" in act.what] == ["The trusted authority"]


def test_roles_and_states_narrow_the_list(app: App, authority: Actor, doctor: Actor, patient: Actor) -> None:
    set_active(app, authority, doctor.user_id, active=False)
    erase(app, patient, password=DEMO_PASSWORD)
    closed = users(app, authority, states=[AccountState.CLOSED])
    assert ([view.user_id for view in closed.found], closed.total) == ([doctor.user_id], 1)
    erased = users(app, authority, states=[AccountState.ERASED]).found
    assert [(view.user_id, view.state) for view in erased] == [(patient.user_id, AccountState.ERASED)]
    still_open = users(app, authority, roles=[Role.DOCTOR], states=[AccountState.OPEN])
    assert still_open.total == users(app, authority, roles=[Role.DOCTOR]).total - 1
    assert users(app, authority, states=[]).total == 0


def test_signing_somebody_out_ends_every_browser_and_not_the_account(
    app: App, authority: Actor, patient: Actor
) -> None:
    tokens = [signed_in(app, "demo-patient") for _ in range(2)]
    before = one(app, authority, "demo-patient")
    assert end_all_sessions(app, authority, patient.user_id) == before.sessions >= 2
    for token in tokens:
        with pytest.raises(SessionEnded):
            session_actor(app, token)
    assert one(app, authority, "demo-patient").sessions == 0
    again = session_actor(app, signed_in(app, "demo-patient"))
    assert "Signed you out in all browsers" in [act.what for act in accesses(app, again).acts]


def test_a_pause_after_wrong_passwords_is_shown_and_can_be_ended(
    app: App, authority: Actor, doctor: Actor, clock: FixedClock
) -> None:
    with pytest.raises(InvalidInput, match="not paused"):
        unlock(app, authority, doctor.user_id)
    for _ in range(MAX_FAILURES):
        with suppress(SignInFailed, AccountLocked):
            check_password(app, "demo-doctor", "a guess")
    with pytest.raises(AccountLocked):
        check_password(app, "demo-doctor", DEMO_PASSWORD)
    paused = next(view for view in users(app, authority).found if view.user_id == doctor.user_id)
    assert paused.paused_until == clock.now() + LOCK
    unlock(app, authority, doctor.user_id)
    signed_in(app, "demo-doctor")
    assert next(v for v in users(app, authority).found if v.user_id == doctor.user_id).paused_until is None
    (entry,) = audit.list_entries(app, authority, action="account.unlock")
    assert (entry.actor, entry.object_id) == (authority.user_id, doctor.user_id)


def test_nobody_manages_the_own_account_and_nobody_who_is_not_there(app: App, authority: Actor) -> None:
    for act in (end_all_sessions, unlock):
        with pytest.raises(InvalidInput):
            act(app, authority, authority.user_id)
        with pytest.raises(NotFound):
            act(app, authority, "nobody")
    with pytest.raises(InvalidInput):
        set_active(app, authority, authority.user_id, active=False)


@pytest.mark.parametrize("role", ["patient", "doctor", "hospital"])
def test_only_the_authority_manages_accounts(app: App, role: str, request: pytest.FixtureRequest) -> None:
    person: Actor = request.getfixturevalue(role)
    for act in (
        lambda: users(app, person),
        lambda: staff_names(app, person),
        lambda: end_all_sessions(app, person, "x"),
        lambda: unlock(app, person, "x"),
    ):
        with pytest.raises(NotAuthorised):
            act()


@pytest.mark.parametrize("attempt", range(3))
def test_two_officers_who_close_each_other_at_once_leave_one_open(app: App, authority: Actor, attempt: int) -> None:
    second = officer(app, authority)

    def close(pair: tuple[Actor, Actor]) -> bool:
        try:
            set_active(app, pair[0], pair[1].user_id, active=False)
        except HemaSealError:
            return False
        return True

    with ThreadPoolExecutor(2) as pool:
        done = list(pool.map(close, [(authority, second), (second, authority)]))
    assert sum(done) == 1
    with session_scope(app.engine) as session:
        assert sum(session.get_one(User, who.user_id).is_active for who in (authority, second)) == 1


def test_an_account_whose_data_was_erased_is_never_opened_again(app: App, authority: Actor, patient: Actor) -> None:
    erase(app, patient, password=DEMO_PASSWORD)
    with pytest.raises(InvalidInput, match="erased"):
        set_active(app, authority, patient.user_id, active=True)
