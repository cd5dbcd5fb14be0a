"""Reads are in the audit log: every service that reads is called by everybody who may, and its entry is shown.

The services are those of `acts`, which are found by inspection; so a new one that reads needs a line here as well.
"""

from collections.abc import Callable, Iterator
from contextlib import suppress

import pytest

from core.errors import HemaSealError
from core.services import (
    access_log,
    accounts,
    appointments,
    audit,
    case_cells,
    case_reading,
    consents,
    datasets,
    key_ceremony,
    members,
    messages,
    models,
    node,
    privacy_spend,
    reviews,
    run_views,
    sessions,
    slots,
    step_up,
)
from core.services.answering import ImageOfCase
from core.studies import LEUKEMIA
from security.policy import Action
from tests.conftest import Installation
from tests.integration.acts import ACTS, title
from tests.integration.world import World, build_world

READING = frozenset({"read", "view", "list"})

ENTRIES: dict[Callable[..., object], str] = {
    access_log.accesses: "access.read",
    accounts.profile: "profile.read",
    appointments.appointments: "appointment.list",
    appointments.calendar: "appointment.calendar",
    audit.list_entries: "audit.read",
    case_cells.view_cells: "image.view",
    case_reading.own_cases: "case.list",
    case_reading.read_case: "result.read",
    case_reading.view_pictures: "image.view",
    case_reading.worklist: "worklist.read",
    consents.consents: "consent.read",
    messages.conversations: "message.list",
    messages.read_thread: "message.read",
    reviews.reviews_of: "review.read",
    sessions.sessions: "session.read",
    slots.own_slots: "slot.list",
}
"""What each read of a person's data writes."""

QUIET: dict[Callable[..., object], str] = {
    accounts.accounts: "names of staff, none of a patient",
    datasets.datasets: "counts of a data set that has no names",
    key_ceremony.root: "a public certificate",
    members.certificates: "public certificates",
    members.hospitals: "names and cities of the hospitals",
    members.parties_with_model: "which party can open a model",
    members.revocation_lists: "numbers of public lists",
    messages.unread_count: "a number",
    models.list_models: "figures of models",
    node.certificates: "public certificates",
    node.comparison: "figures of a run; own ones are node.read-figures when they are opened",
    node.last_runs: "states of runs",
    node.node: "the hospital's own name",
    privacy_spend.own_spend: "numbers; own ones are node.read-figures when they are opened",
    run_views.list_runs: "states of runs",
    run_views.run_detail: "states of a run",
    step_up.second_factor: "whether one's own account has a second factor",
}
"""Reads of nothing that is a patient's, with what they read."""


@pytest.fixture(scope="module")
def world(installation: Installation, tmp_path_factory: pytest.TempPathFactory) -> Iterator[World]:
    """An installation of this file's own."""
    made = build_world(installation, tmp_path_factory.mktemp("reads") / "data")
    yield made
    made.app.engine.dispose()


def reads() -> dict[str, Callable[..., object]]:
    """Every service whose action in the policy is a read, by its title."""
    return {title(one): one for one, act in ACTS.items() if act.action.value.partition(".")[2] in READING}


def test_every_read_of_the_policy_is_listed_here() -> None:
    assert reads().keys() == {title(one) for one in (*ENTRIES, *QUIET)}
    listed = {ACTS[one].action for one in (*ENTRIES, *QUIET)}
    assert listed == {action for action in Action if action.value.partition(".")[2] in READING}


@pytest.mark.parametrize("service", ENTRIES, ids=title)
def test_a_read_of_a_persons_data_writes_its_entry(
    world: World, service: Callable[..., object], monkeypatch: pytest.MonkeyPatch
) -> None:
    image = ImageOfCase(case_id=world.case, study=LEUKEMIA, number=0, images=1), b"sealed elsewhere"
    monkeypatch.setattr(case_reading, "sealed_image_of", lambda *_: image)
    act, readers = ACTS[service], 0
    authority = world.people["authority"]
    for name, person in world.people.items():
        if not act.may(name, person) or (service is accounts.profile and "patient" not in name):
            continue
        with suppress(HemaSealError):  # no enclave is there to show a picture: the look is written before it is asked
            act.call(world, person)
        newest = audit.list_entries(world.app, authority, person=person.user_id, limit=1)[0]
        assert (newest.action, newest.outcome) == (ENTRIES[service], "done"), f"{title(service)} by {name}"
        assert newest.role == person.role.value
        if service is not audit.list_entries:
            assert newest.object_id, f"{title(service)} by {name} does not say whose data"
        readers += 1
    assert readers
