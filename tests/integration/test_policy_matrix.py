"""Every person tries every service: what the policy forbids is refused, leaves nothing behind, and is in the audit log.

The services are found by inspection, so that a new one without a line in `acts` fails here; and the table itself is
tried cell by cell at the gate that all of them pass.
"""

import shutil
from collections import Counter
from collections.abc import Iterator
from dataclasses import replace
from typing import NoReturn

import pytest
from sqlmodel import SQLModel, select

from core.clock import FixedClock
from core.errors import EnclaveUnavailable, HemaSealError, NotAuthorised, NotFound, SecondFactorMissing, StepUpNeeded
from core.services import authorise as gate
from core.services import worker_process
from core.services.accounts import ConsentPurpose, Profile, Role, new_user
from core.services.app import Actor, App
from core.services.appointments import book
from core.services.audit import Outcome, list_entries
from core.services.consents import record_consents
from core.services.demo import DEMO_PASSWORD
from core.services.genuine import change
from core.services.sessions import actor_of, check_password, redeem_code, session_actor
from core.settings import Settings
from db.engine import read_scope, session_scope
from db.models import CertificateRecord, Hospital, User
from security.policy import POLICY, ROLES, STEP_UP, Action, Relation, is_allowed
from tests.conftest import Installation
from tests.integration.acts import ACTS, PARTS, WITHOUT_SERVICE, Act, World, services, title
from tests.integration.clinic import offered_slots, stored_case
from tests.integration.runs_support import give_data, queue_run

COUNTERS = frozenset({"audit_entry", "audit_head", "rate_limit", "sign_in_failures"})
"""Tables in which a refused act may leave something."""


class _NoEnclaves:
    """In place of the supervisor: an act that is allowed comes this far and no further."""

    def __getattr__(self, name: str) -> NoReturn:
        raise EnclaveUnavailable


@pytest.fixture(scope="module")
def world(installation: Installation, tmp_path_factory: pytest.TempPathFactory) -> Iterator[World]:
    """A patient in the care of hospital north, and everybody who might want to know."""
    data_dir = tmp_path_factory.mktemp("policy") / "data"
    shutil.copytree(installation.data_dir / "keys", data_dir / "keys")
    shutil.copy(installation.data_dir / "master.key", data_dir / "master.key")
    shutil.copy(installation.database, data_dir / "hemaseal.db")
    settings = Settings(data_dir=data_dir, database_url="", master_key=None, uploads_per_hour=10**6)
    app = App.start(settings, clock=FixedClock())
    vars(app)["supervisor"] = _NoEnclaves()
    with read_scope(app.engine) as session:
        north = session.exec(select(Hospital).where(Hospital.slug == "north")).one()
        serial = session.exec(
            select(CertificateRecord.serial).where(CertificateRecord.party == "north.training")
        ).first()
        somebody = session.exec(select(User.id).where(User.username == "demo-doctor-west")).one()
    _add(app, "colleague", Role.DOCTOR, north.id)
    _add(app, "other-patient", Role.PATIENT, None)
    demo = ("patient", "doctor", "doctor-east", "hospital", "hospital-east", "authority")
    people = {name: _sign_in(app, f"demo-{name}") for name in demo}
    people |= {name: _sign_in(app, name) for name in ("colleague", "other-patient")}
    case = stored_case(app, people["patient"])
    first, second = offered_slots(app, people["doctor"])
    sets = give_data(app, slugs=("north", "south", "west"))
    yield World(
        app=app,
        people=people,
        case=case,
        free_slot=second,
        appointment=book(app, people["patient"], case_id=case, slot_id=first).id,
        dataset=sets[0],
        run=queue_run(app, people["authority"], sets),
        hospital=north.id,
        serial=serial or "",
        somebody=somebody,
    )
    app.engine.dispose()


def _add(app: App, name: str, role: Role, hospital_id: str | None) -> None:
    person = Profile(name)
    user = new_user(
        app, username=name, password=DEMO_PASSWORD, role=role, profile=person, hospital_id=hospital_id, rounds=4
    )
    with session_scope(app.engine) as session:
        session.add(user)
        session.flush()
        if role is Role.PATIENT:
            record_consents(app, session, actor_of(app, user), ConsentPurpose)


def _sign_in(app: App, username: str) -> Actor:
    return session_actor(app, redeem_code(app, check_password(app, username, DEMO_PASSWORD)))


def _outcome(world: World, act: Act, person: Actor) -> type[HemaSealError] | None:
    try:
        act.call(world, person)
    except HemaSealError as error:
        return type(error)
    return None


def _stored(app: App) -> dict[str, list[tuple[object, ...]]]:
    tables = [table for table in SQLModel.metadata.sorted_tables if table.name not in COUNTERS]
    with app.engine.connect() as connection:
        return {table.name: [tuple(row) for row in connection.execute(table.select())] for table in tables}


def _refusals(world: World) -> Counter[tuple[str, str]]:
    entries = list_entries(world.app, world.people["authority"], outcome=Outcome.REFUSED, limit=10**6)
    return Counter((entry.actor, entry.action) for entry in entries)


def test_every_service_has_a_line_and_every_action_a_service() -> None:
    found = set(services())
    assert {title(one) for one in found} == {title(one) for one in (*ACTS, *PARTS)}
    assert {act.action for act in ACTS.values()} == set(Action) - WITHOUT_SERVICE


def test_the_lines_and_the_table_name_the_same_roles(world: World) -> None:
    for service, act in ACTS.items():
        allowed = {person.role.value for name, person in world.people.items() if act.may(name, person)}
        in_table = {role for role in ROLES if (role, act.action) in POLICY}
        assert allowed, title(service)
        assert allowed <= in_table, title(service)
    by_action: dict[Action, set[str]] = {}
    for act in ACTS.values():
        roles = {person.role.value for name, person in world.people.items() if act.may(name, person)}
        by_action.setdefault(act.action, set()).update(roles)
    used = {(role, action) for action, roles in by_action.items() for role in roles}
    assert used == {cell for cell in POLICY if cell[1] not in WITHOUT_SERVICE}


@pytest.mark.parametrize("action", list(Action))
def test_the_gate_lets_pass_what_is_in_the_table_and_nothing_else(world: World, action: Action) -> None:
    by_role = {person.role.value: person for person in world.people.values()}
    before = _refusals(world)
    expected: Counter[tuple[str, str]] = Counter()
    for role in ROLES:
        for relation in Relation:
            person = by_role[role]
            allowed = relation in POLICY.get((role, action), frozenset())
            with read_scope(world.app.engine) as session:
                if allowed:
                    gate.authorise(world.app, session, person, action, relation)
                    continue
                with pytest.raises(NotAuthorised):
                    gate.authorise(world.app, session, person, action, relation)
            expected[person.user_id, f"refused.{action.value}"] += 1
    assert _refusals(world) - before == expected


def test_nobody_does_what_is_forbidden_to_them_and_every_try_is_in_the_log(world: World) -> None:
    before, state = _refusals(world), _stored(world.app)
    expected: Counter[tuple[str, str]] = Counter()
    tries = 0
    for service, act in ACTS.items():
        for name, person in world.people.items():
            if act.may(name, person):
                continue
            tries += 1
            assert _outcome(world, act, person) is NotAuthorised, f"{name} and {title(service)}"
            expected[person.user_id, f"refused.{act.action.value}"] += 1
        assert _stored(world.app) == state, title(service)
    assert tries > 4 * len(ACTS)
    assert _refusals(world) - before == expected


def test_what_is_not_ones_own_does_not_exist(world: World) -> None:
    for service, act in ACTS.items():
        for name in act.unseen:
            assert _outcome(world, act, world.people[name]) is NotFound, f"{name} and {title(service)}"


def test_a_dangerous_act_needs_a_fresh_code_and_no_other_act_does(world: World) -> None:
    strict = replace(world, app=_with(world.app, second_factor=True))
    state = _stored(world.app)
    for service, act in ACTS.items():
        for name, person in world.people.items():
            if act.action in STEP_UP and act.may(name, person):
                assert _outcome(strict, act, person) is SecondFactorMissing, f"{name} and {title(service)}"
    assert _stored(world.app) == state
    with session_scope(world.app.engine) as session:
        for row in session.exec(select(User)).all():
            change(world.app, row, second_factor=True)
    state = _stored(world.app)
    try:
        for service, act in ACTS.items():
            for name, person in world.people.items():
                if act.action in STEP_UP and act.may(name, person):
                    assert _outcome(world, act, person) is StepUpNeeded, f"{name} and {title(service)}"
        assert _stored(world.app) == state
    finally:
        with session_scope(world.app.engine) as session:
            for row in session.exec(select(User)).all():
                change(world.app, row, second_factor=False)


def test_every_act_of_the_authority_is_a_look_or_dangerous_or_on_this_list() -> None:
    looks = (".read", ".list", ".plan", ".export", ".verify", ".head")
    harmless = {
        Action.CHANGE_PROFILE,
        Action.CHANGE_PASSWORD,
        Action.END_SESSION,
        Action.CHANGE_SECOND_FACTOR,  # asks for password and code itself
        Action.CONTROL_RUN,  # a run stops, or goes on as it was ordered
        Action.DROP_NODE,
    }
    acts = {action for role, action in POLICY if role == "authority" and not action.value.endswith(looks)}
    assert acts - harmless - STEP_UP == set()
    assert {action for role, action in POLICY if role == "doctor"} & STEP_UP == {Action.SIGN_REVIEW}


def test_who_may_is_not_refused_and_the_gate_was_asked(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    """Comes last: it does what is allowed."""
    asked: list[Action] = []

    def noting(role: str, action: Action, relation: Relation) -> bool:
        asked.append(action)
        return is_allowed(role, action, relation)

    monkeypatch.setattr(gate, "is_allowed", noting)
    monkeypatch.setattr(worker_process, "ensure_running", lambda _settings: False)
    for service, act in ACTS.items():
        for name, person in world.people.items():
            if not act.may(name, person) or name in act.unseen:
                continue
            asked.clear()
            assert _outcome(world, act, person) is not NotAuthorised, f"{name} and {title(service)}"
            assert act.action in asked, f"{name} and {title(service)}"


def _with(app: App, **changes: object) -> App:
    changed = replace(app, settings=app.settings.model_copy(update=changes))
    vars(changed)["supervisor"] = _NoEnclaves()
    return changed
