"""Every person tries every service: what the policy forbids is refused, leaves nothing behind, and is in the audit log.

The services are found by inspection, so that a new one without a line in `acts` fails here; and the table itself is
tried cell by cell at the gate that all of them pass.
"""

from collections import Counter
from collections.abc import Iterator
from dataclasses import replace

import pytest
from sqlmodel import select

from core.errors import HemaSealError, NotAuthorised, NotFound, SecondFactorMissing, StepUpNeeded
from core.services import authorise as gate
from core.services import presentation_process, worker_process
from core.services.app import Actor, App
from core.services.audit import Outcome, list_entries
from core.services.genuine import change
from core.settings import ROOT
from db.engine import read_scope, session_scope
from db.models import User
from security.policy import POLICY, ROLES, STEP_UP, Action, Relation, is_allowed
from tests.conftest import Installation
from tests.integration.acts import ACTS, PARTS, Act, services, title
from tests.integration.world import NoEnclaves, World, build_world, stored


@pytest.fixture(scope="module")
def world(installation: Installation, tmp_path_factory: pytest.TempPathFactory) -> Iterator[World]:
    """An installation of this file's own."""
    made = build_world(installation, tmp_path_factory.mktemp("policy") / "data")
    yield made
    made.app.engine.dispose()


def _outcome(world: World, act: Act, person: Actor) -> type[HemaSealError] | None:
    try:
        act.call(world, person)
    except HemaSealError as error:
        return type(error)
    return None


def _refusals(world: World) -> Counter[tuple[str, str]]:
    entries = list_entries(world.app, world.people["authority"], outcome=Outcome.REFUSED, limit=10**6)
    return Counter((entry.actor, entry.action) for entry in entries)


def test_every_service_has_a_line_and_every_action_a_service() -> None:
    found = set(services())
    assert {title(one) for one in found} == {title(one) for one in (*ACTS, *PARTS)}
    assert {act.action for act in ACTS.values()} == set(Action)


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
    assert used == set(POLICY)


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
    before, state = _refusals(world), stored(world.app)
    expected: Counter[tuple[str, str]] = Counter()
    tries = 0
    for service, act in ACTS.items():
        for name, person in world.people.items():
            if act.may(name, person):
                continue
            tries += 1
            assert _outcome(world, act, person) is NotAuthorised, f"{name} and {title(service)}"
            expected[person.user_id, f"refused.{act.action.value}"] += 1
        assert stored(world.app) == state, title(service)
    assert tries > 4 * len(ACTS)
    told = (ROOT / "docs" / "results.md").read_text(encoding="utf-8")
    walked = len(Action) * len(ROLES) * len(Relation)
    row = f"{len(ACTS)} services by {len(world.people)} people, policy walked by {walked:,} cells | {tries} forbidden"
    assert row in told
    assert _refusals(world) - before == expected


def test_what_is_not_ones_own_does_not_exist(world: World) -> None:
    for service, act in ACTS.items():
        for name in act.unseen:
            assert _outcome(world, act, world.people[name]) is NotFound, f"{name} and {title(service)}"


def test_a_dangerous_act_needs_a_fresh_code_and_no_other_act_does(world: World) -> None:
    strict = replace(world, app=_with(world.app, second_factor=True))
    state = stored(world.app)
    for service, act in ACTS.items():
        for name, person in world.people.items():
            if act.action in STEP_UP and act.may(name, person):
                assert _outcome(strict, act, person) is SecondFactorMissing, f"{name} and {title(service)}"
    assert stored(world.app) == state
    with session_scope(world.app.engine) as session:
        for row in session.exec(select(User)).all():
            change(world.app, row, second_factor=True)
    state = stored(world.app)
    try:
        for service, act in ACTS.items():
            for name, person in world.people.items():
                if act.action in STEP_UP and act.may(name, person):
                    assert _outcome(world, act, person) is StepUpNeeded, f"{name} and {title(service)}"
        assert stored(world.app) == state
    finally:
        with session_scope(world.app.engine) as session:
            for row in session.exec(select(User)).all():
                change(world.app, row, second_factor=False)


def test_every_act_of_the_authority_is_a_look_or_dangerous_or_on_this_list() -> None:
    looks = (".read", ".list", ".plan", ".compare", ".export", ".verify", ".head")
    harmless = {
        Action.CHANGE_PROFILE,
        Action.CHANGE_PASSWORD,
        Action.END_SESSION,
        Action.CHANGE_SECOND_FACTOR,  # asks for password and code itself
        Action.CONTROL_RUN,  # a run stops, or goes on as it was ordered
        Action.DROP_NODE,
        Action.PRESENT,  # throw-away keys, and the demo patient
    }
    acts = {action for role, action in POLICY if role == "authority" and not action.value.endswith(looks)}
    assert acts - harmless - STEP_UP == set()
    signing = {Action.SIGN_REVIEW, Action.SIGN_SECOND_READING}
    assert {action for role, action in POLICY if role == "doctor"} & STEP_UP == signing


def test_who_may_is_not_refused_and_the_gate_was_asked(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    """Comes last: it does what is allowed."""
    asked: list[Action] = []

    def noting(role: str, action: Action, relation: Relation) -> bool:
        asked.append(action)
        return is_allowed(role, action, relation)

    monkeypatch.setattr(gate, "is_allowed", noting)
    monkeypatch.setattr(worker_process, "ensure_running", lambda _settings: False)
    monkeypatch.setattr(presentation_process, "launch", lambda *_, **__: None)
    for service, act in ACTS.items():
        for name, person in world.people.items():
            if not act.may(name, person) or name in act.unseen:
                continue
            asked.clear()
            assert _outcome(world, act, person) is not NotAuthorised, f"{name} and {title(service)}"
            assert act.action in asked, f"{name} and {title(service)}"


def _with(app: App, **changes: object) -> App:
    changed = replace(app, settings=app.settings.model_copy(update=changes))
    vars(changed)["supervisor"] = NoEnclaves()
    return changed
