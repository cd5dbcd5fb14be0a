"""What a hospital sees of its own node: drift of incoming pictures, queue and health, and the log of its own node."""

from dataclasses import asdict, replace
from datetime import timedelta
from types import SimpleNamespace

import pytest
from sqlmodel import select

from core.clock import FixedClock
from core.errors import EnclaveUnavailable, NotAuthorised, NotFound
from core.imaging.drift import FIGURES, LEAST_PATIENTS
from core.learning.run_events import FailureCode
from core.services import audit, incoming, node_health, node_log, participation
from core.services.app import Actor, App
from core.services.case_records import CaseSummary
from core.services.incoming import DAYS
from core.services.node_health import EnclaveState, WorkerState
from core.services.node_log import Level, Source
from core.services.participation import LeaveReason
from db.engine import read_scope, session_scope
from db.models import Dataset
from tests.integration.clinic import POSITIVE, new_patients, stored_case
from tests.integration.runs_support import give_data, queue_run, worker_for

LIKE_TRAINING = (248.0, 0.02, 190.0, 0.4, 0.25, 60.0, 0.1, 0.0)


def answered(app: App, people: list[Actor], *figures: tuple[float, ...], slug: str = "north") -> None:
    """An answered case of each with these figures, one for each image."""
    for person in people:
        stored_case(app, person, replace(POSITIVE, figures=figures), slug=slug)


def play(app: App, clock: FixedClock) -> None:
    worker = worker_for(app.settings, clock)
    try:
        assert worker.run_one()
    finally:
        worker.close()


@pytest.fixture
def dataset(app: App) -> str:
    """A data set of hospital north, of enough training patients."""
    from core.services.dataset_store import seed_synthetic  # noqa: PLC0415

    assert seed_synthetic(app, "north", patients=12)
    with read_scope(app.engine) as session:
        return session.exec(select(Dataset.id)).one()


def test_nothing_is_judged_before_enough_patients_have_sent_pictures(
    app: App, hospital: Actor, authority: Actor, dataset: str
) -> None:
    people = new_patients(app, LEAST_PATIENTS)
    answered(app, people[:-1], LIKE_TRAINING, LIKE_TRAINING)
    few = incoming.incoming(app, hospital, dataset)
    assert (few.patients, few.images, few.missing_patients) == (LEAST_PATIENTS - 1, 2 * (LEAST_PATIENTS - 1), 1)
    assert few.is_comparable
    assert few.drift == []
    answered(app, people[-1:], LIKE_TRAINING)
    enough = incoming.incoming(app, hospital, dataset)
    assert [one.figure for one in enough.drift] == list(FIGURES)
    assert enough.missing_patients == 0
    reads = audit.list_entries(app, authority, action="incoming.read")
    assert [(one.object_id, one.details["cases"]) for one in reads] == [
        (dataset, LEAST_PATIENTS),
        (dataset, LEAST_PATIENTS - 1),
    ]


def test_pictures_of_another_light_have_drifted_and_the_figure_is_named(
    app: App, hospital: Actor, dataset: str
) -> None:
    answered(app, new_patients(app, LEAST_PATIENTS), (90.0, *LIKE_TRAINING[1:]))
    found = incoming.incoming(app, hospital, dataset)
    assert "Brightness of the background" in found.drifted
    by_name = {one.figure: one for one in found.drift}
    assert by_name["brightness"].distance == 1.0
    assert by_name["brightness"].new == (90.0, 90.0, 90.0)


def test_only_this_hospitals_recent_genuine_cases_count(
    app: App, clock: FixedClock, hospital: Actor, dataset: str
) -> None:
    people = new_patients(app, 6)
    answered(app, people[:1], LIKE_TRAINING)
    answered(app, people[1:2], LIKE_TRAINING, slug="east")
    answered(app, people[2:3])  # answered before enclaves measured anything
    answered(app, people[3:4], LIKE_TRAINING[:3])
    stored_case(app, people[4], None)
    assert (incoming.incoming(app, hospital, dataset).patients, incoming.incoming(app, hospital, dataset).images) == (
        1,
        1,
    )
    clock.advance(timedelta(days=DAYS + 1))
    assert incoming.incoming(app, hospital, dataset).patients == 0


def test_a_data_set_of_before_is_not_compared_with(app: App, hospital: Actor, dataset: str) -> None:
    with session_scope(app.engine) as session:
        row = session.get_one(Dataset, dataset)
        row.looks = b"changed outside" if row.looks else None
        session.add(row)
    found = incoming.incoming(app, hospital, dataset)
    assert (found.trained_images, found.is_comparable) == (0, False)


def test_figures_of_one_hospitals_patients_are_nobody_elses(
    app: App, hospital_east: Actor, doctor: Actor, patient: Actor, dataset: str
) -> None:
    with pytest.raises(NotFound):
        incoming.incoming(app, hospital_east, dataset)
    for stranger in (doctor, patient):
        for service in (incoming.incoming, node_health.health, node_log.node_log):
            with pytest.raises(NotAuthorised):
                service(app, stranger, *([dataset] if service is incoming.incoming else []))


def test_a_summary_from_before_there_were_figures_can_still_be_read() -> None:
    older = {name: value for name, value in asdict(POSITIVE).items() if name != "figures"}
    assert CaseSummary(**older) == POSITIVE


def _with(app: App, supervisor: object) -> App:
    vars(app)["supervisor"] = supervisor
    return app


def test_the_queue_holds_this_hospitals_cases_and_the_oldests_age(
    app: App, clock: FixedClock, hospital: Actor, patient: Actor
) -> None:
    empty = node_health.health(app, hospital)
    assert (empty.unanswered.cases, empty.unanswered.oldest, empty.unreviewed.cases) == (0, None, 0)
    first = clock.now()
    stored_case(app, patient, None)
    clock.advance(timedelta(hours=2))
    stored_case(app, patient, None)
    stored_case(app, patient)
    stored_case(app, patient, None, slug="east")
    found = node_health.health(app, hospital)
    assert (found.unanswered.cases, found.unanswered.oldest, found.lost) == (2, first, 2)
    assert (found.unreviewed.cases, found.unreviewed.oldest) == (1, clock.now())
    assert found.database in {"sqlite", "mysql"}


def test_looking_tells_an_enclave_that_sleeps_from_one_that_answers_or_is_silent(app: App, hospital: Actor) -> None:
    assert node_health.health(app, hospital).enclave is EnclaveState.ASLEEP
    assert app.supervisor.running() == {}, "looking starts none"

    def none_elsewhere(_party: str, **_: object) -> tuple[()]:
        return ()

    said = SimpleNamespace(models=("m",), rss_mb=80.0)
    answering = SimpleNamespace(replicas=none_elsewhere, hello=lambda _party, **_: said)
    awake = node_health.health(_with(app, answering), hospital)
    assert (awake.enclave, awake.models, awake.memory_mib) == (EnclaveState.ANSWERS, 1, 80.0)

    def silent(_party: str, **_: object) -> None:
        raise EnclaveUnavailable

    hanging = SimpleNamespace(replicas=none_elsewhere, hello=silent)
    assert node_health.health(_with(app, hanging), hospital).enclave is EnclaveState.SILENT


def test_the_last_contribution_is_the_newest_update_that_the_node_sent(
    app: App, clock: FixedClock, authority: Actor, hospital: Actor, hospital_east: Actor
) -> None:
    assert node_health.health(app, hospital).contribution is None
    run = queue_run(app, authority, give_data(app, slugs=("north", "south", "west")), rounds=2)
    play(app, clock)
    found = node_health.health(app, hospital)
    assert found.contribution is not None
    assert (found.contribution.run_id, found.contribution.round) == (run, 2)
    assert found.worker is WorkerState.NONE
    assert node_health.health(app, hospital_east).contribution is None


def test_the_log_tells_of_the_own_node_and_its_runs_alone(
    app: App, clock: FixedClock, authority: Actor, hospital: Actor, hospital_east: Actor
) -> None:
    run = queue_run(app, authority, give_data(app, slugs=("north", "south", "west")), rounds=1)
    play(app, clock)
    told = node_log.node_log(app, hospital)
    assert {one.run_id for one in told} == {run}
    texts = [one.text for one in told]
    assert "round 1: trained and sent its update" in texts
    assert "round 1: the round is finished and stored" in texts
    assert not any(name in text for text in texts for name in ("south", "west"))
    assert node_log.node_log(app, hospital_east) == []


def test_a_decision_to_leave_is_no_warning_and_a_pause_for_it_is(
    app: App, clock: FixedClock, authority: Actor, hospital: Actor
) -> None:
    run = queue_run(app, authority, give_data(app, slugs=("north", "south", "west")), rounds=1)
    participation.leave(app, hospital, run, LeaveReason.MAINTENANCE)
    play(app, clock)
    warned = node_log.node_log(app, hospital, least=Level.WARNING)
    assert [(one.source, one.level) for one in warned if "paused" in one.text] == [(Source.RUN, Level.WARNING)]
    left = [one for one in node_log.node_log(app, hospital) if FailureCode.LEFT.text in one.text]
    assert {one.level for one in left} == {Level.INFO}


def test_lines_of_files_are_read_by_form_and_only_those_of_the_own_node(app: App, hospital: Actor) -> None:
    place = app.settings.run_dir
    place.mkdir(parents=True, exist_ok=True)
    (place / "enclave-north.serving.log").write_text(
        "2026-01-05T08:00:00Z INFO hemaseal.enclave: north.serving ready in 0.60 s\n"
        "Traceback (most recent call last):\n"
        "2026-01-05T08:00:01Z WARNING hemaseal.enclave: request failed: ValueError\n"
    )
    (place / "enclave-east.serving.log").write_text("2026-01-05T08:00:02Z INFO hemaseal.enclave: east.serving ready\n")
    (place / "worker.log").write_text(
        "2026-01-05T08:00:03Z ERROR federated.answering: north.training refuses train: crashed\n"
        "2026-01-05T08:00:04Z ERROR federated.answering: east.training refuses train: crashed\n"
        "2026-01-05T08:00:05Z INFO federated.worker: run 7: 4 parties\n"
        "2026-01-05T08:00:06Z LOUD federated.worker: north.training says something\n"
    )
    told = node_log.node_log(app, hospital)
    assert [(one.level, one.source, one.text) for one in told] == [
        (Level.ERROR, Source.TRAINING, "north.training refuses train: crashed"),
        (Level.WARNING, Source.ENCLAVE, "request failed: ValueError"),
        (Level.INFO, Source.ENCLAVE, "north.serving ready in 0.60 s"),
    ]
    assert [one.text for one in node_log.node_log(app, hospital, words="ENCLAVE ready")] == [
        "north.serving ready in 0.60 s"
    ]
    assert node_log.as_text(told).splitlines()[0] == (
        "2026-01-05T08:00:00Z INFO enclave: north.serving ready in 0.60 s"
    )


def test_a_long_log_is_read_from_its_end(app: App, hospital: Actor, monkeypatch: pytest.MonkeyPatch) -> None:
    place = app.settings.run_dir
    place.mkdir(parents=True, exist_ok=True)
    lines = "".join(f"2026-01-05T08:00:00Z INFO hemaseal.enclave: line {number}\n" for number in range(1000))
    (place / "enclave-north.serving.log").write_text(lines)
    monkeypatch.setattr(node_log, "MOST_BYTES", 500)
    texts = [one.text for one in node_log.node_log(app, hospital)]
    assert "line 999" in texts
    assert len(texts) < 12
