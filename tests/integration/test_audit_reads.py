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
    approvals,
    audit,
    availability,
    case_cells,
    case_reading,
    cloud_uploads,
    consents,
    datasets,
    evaluations,
    fhir_export,
    incoming,
    key_ceremony,
    key_exchange,
    members,
    messages,
    model_cards,
    models,
    node,
    node_health,
    node_log,
    notices,
    participation,
    presentation,
    privacy_spend,
    referrals,
    reports,
    reviews,
    run_views,
    second_readings,
    sessions,
    share_preview,
    slots,
    step_up,
    users,
    worklist,
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
    appointments.of_case: "appointment.read",
    audit.list_entries: "audit.read",
    case_cells.view_cells: "image.view",
    case_reading.own_cases: "case.list",
    case_reading.read_case: "result.read",
    case_reading.view_pictures: "image.view",
    consents.consents: "consent.read",
    fhir_export.case_bundle: "report.fhir",
    incoming.incoming: "incoming.read",
    messages.conversations: "message.list",
    messages.read_thread: "message.read",
    referrals.referrals: "referral.list",
    referrals.referrals_of: "referral.read",
    reports.case_report: "report.read",
    reviews.reviews_of: "review.read",
    second_readings.second_readings_of: "review.second-read",
    sessions.sessions: "session.read",
    slots.own_slots: "slot.list",
    worklist.history: "case.history",
    worklist.worklist: "worklist.read",
}
"""What each read of a person's data writes."""

QUIET: dict[Callable[..., object], str] = {
    approvals.overview: "hashes of programs",
    availability.plan: "a doctor's own plan, in which no patient is",
    cloud_uploads.uploads_in_cloud: "masked vectors that anybody may read",
    datasets.datasets: "counts of a data set that has no names",
    evaluations.contents: "figures of an evaluation on public or drawn images",
    evaluations.evaluations: "states of evaluations",
    evaluations.kept: "names of files",
    evaluations.read_file: "results of an evaluation on public or drawn images",
    key_ceremony.root: "a public certificate",
    key_exchange.parties: "ends of public certificates",
    key_exchange.unfinished: "names of parties",
    members.certificates: "public certificates",
    members.hospitals: "names and cities of the hospitals",
    members.parties_with_model: "which party can open a model",
    members.revocation_lists: "numbers of public lists",
    messages.unread_count: "a number",
    model_cards.model_card: "figures of a model",
    models.list_models: "figures of models",
    models.model: "figures of a model",
    node.certificates: "public certificates",
    node.comparison: "figures of a run; own ones are node.read-figures when they are opened",
    node.last_runs: "states of runs",
    notices.notices: "numbers",
    node.node: "the hospital's own name",
    node_health.health: "counts and states of processes",
    node_log.node_log: "what the hospital's own node did, no patient in it",
    participation.open_runs: "runs and whether the hospital takes part",
    presentation.look: "figures of a demonstration with drawn cells",
    privacy_spend.own_spend: "numbers; own ones are node.read-figures when they are opened",
    referrals.news_count: "a number",
    run_views.list_runs: "states of runs",
    run_views.run_detail: "states of a run",
    share_preview.preview: "shapes and limits of what would be sent",
    step_up.second_factor: "whether one's own account has a second factor",
    users.staff_names: "names of staff, none of a patient",
    users.users: "states of accounts, patients as pseudonyms; looking a patient's name up is account.find",
    worklist.counts: "numbers",
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
        elsewhere = name in act.unseen or (service is accounts.profile and "patient" not in name)
        if elsewhere or not act.may(name, person):
            continue
        last = audit.list_entries(world.app, authority, limit=1)[0].number + 1  # that it was asked is the last entry
        with suppress(HemaSealError):  # no enclave is there to show a picture: the look is written before it is asked
            act.call(world, person)
        own = audit.list_entries(world.app, authority, person=person.user_id, action=ENTRIES[service], limit=1)
        assert own, f"{title(service)} by {name}"
        newest = own[0]
        assert newest.number > last, f"{title(service)} by {name}"
        assert (newest.action, newest.outcome) == (ENTRIES[service], "done"), f"{title(service)} by {name}"
        assert newest.role == person.role.value
        if service is not audit.list_entries:
            assert newest.object_id, f"{title(service)} by {name} does not say whose data"
        readers += 1
    assert readers
