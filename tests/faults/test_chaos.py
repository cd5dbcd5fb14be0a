"""Some seconds of chaos on SQLite; ``python -m benchmarks.chaos`` goes on for half an hour and fills a real disk."""

from collections.abc import Iterator
from dataclasses import dataclass, replace
from itertools import pairwise

import pytest
from sqlalchemy import text

from core.services import cases
from core.services.app import App
from core.studies import LEUKEMIA
from db.engine import session_scope
from tests.faults.chaos import diary, invariants
from tests.faults.chaos.diary import Did, Line
from tests.faults.chaos.outcome import Outcome
from tests.faults.chaos.pictures import WORDS, upload_of
from tests.faults.chaos.place import PATIENTS, Place, furnished, person
from tests.faults.chaos.play import Play
from tests.faults.chaos.schedule import Kind, draw

SEED, SECONDS = 9, 12.0
RELATIVE = "installation/run/left behind"


@dataclass(frozen=True)
class Played:
    """An installation after its faults, and what came of them."""

    place: Place
    outcome: Outcome


@pytest.fixture(scope="module")
def played(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Played]:
    faults = draw(SEED, SECONDS, gap_s=(0.4, 1.6), lasts_s=(1.0, 3.0))
    assert {Kind.APP_KILLED, Kind.ENCLAVE_KILLED, Kind.DATABASE_AWAY, Kind.DISK_FULL} < {one.kind for one in faults}
    with furnished(tmp_path_factory.mktemp("chaos"), own_disk=False) as place:
        yield Played(place, Play(place, SEED, faults, within_s=(300.0, 300.0)).run())


@pytest.fixture(scope="module")
def app(played: Played) -> Iterator[App]:
    app = App.start(played.place.settings())
    yield app
    app.supervisor.stop_all()
    app.engine.dispose()


def test_nothing_is_lost_doubled_or_shown_while_parts_die_and_all_works_again_after(played: Played) -> None:
    assert played.outcome.violations == []
    assert played.outcome.starts >= 2
    assert played.outcome.noted["uploaded"] >= len(PATIENTS)
    assert played.outcome.runs["finished"] >= 1


def test_a_schedule_is_drawn_from_its_seed_and_no_two_faults_of_a_kind_meet() -> None:
    faults = draw(0, 600)
    assert faults == draw(0, 600) != draw(1, 600)
    assert {fault.kind for fault in faults} == set(Kind)
    assert max(fault.ends_s for fault in faults) <= 600
    for kind in Kind:
        own = [fault for fault in faults if fault.kind is kind]
        assert all(before.ends_s <= after.at_s for before, after in pairwise(own))


def test_a_lost_a_changed_and_a_doubled_upload_are_found(played: Played, app: App) -> None:
    lines = diary.read(played.place.diary)
    told = diary.accepted(lines)
    first = next(iter(told.values()))
    assert found(invariants.uploads_kept(app, [*lines, replace(first, key="x", id="0" * 32)])) == 1
    assert found(invariants.uploads_kept(app, [replace(first, who="somebody")])) == 1
    cases.submit(app, person(app, first.who), files=[upload_of(first.key)], study=LEUKEMIA.name)
    cases.submit(app, person(app, first.who), files=[upload_of("never sent")], study=LEUKEMIA.name)
    said = "\n".join(invariants.uploads_single(app, lines))
    assert f"upload doubled: {first.key}" in said
    assert "has not sent" in said


def test_what_lies_in_clear_is_found(played: Played, app: App) -> None:
    file = played.place.data_dir / "run" / "left behind"
    for content in (upload_of("any"), WORDS.encode().hex().encode()):
        file.write_bytes(content)
        assert list(invariants.nothing_in_clear(played.place, app)) == [f"something lies in clear in {RELATIVE}"]
    file.unlink()
    assert not list(invariants.nothing_in_clear(played.place, app))


def test_an_error_that_nobody_foresaw_is_a_violation() -> None:
    lines = [Line(Did.REFUSED, "somebody", words="APP-DATABASE"), Line(Did.BROKEN, "somebody", words="KeyError")]
    assert found(invariants.words_for_all(lines)) == 1


def test_what_was_changed_from_outside_is_found(played: Played, app: App) -> None:
    """The last one: nothing holds after it."""
    lines = diary.read(played.place.diary)
    booked = [line for line in lines if line.what is Did.BOOKED]
    assert booked
    for statement, check, words in (
        ("UPDATE audit_entry SET action = 'x' WHERE number = 9", lambda: invariants.log_verifies(app), "the audit log"),
        ("DELETE FROM case_review", lambda: invariants.reviews_kept(app, lines), "review lost"),
        ("UPDATE run SET status = 'failed', reason = NULL", lambda: invariants.runs_told(app, lines), "a reason"),
        ("UPDATE run SET status = 'queued'", lambda: invariants.runs_told(app, lines, ended=True), "will not end"),
        ("UPDATE clinical_case SET status = 'waiting'", lambda: invariants.all_answered(app), "still waits"),
        ("UPDATE appointment SET status = 'cancelled'", lambda: invariants.bookings_kept(app, booked), "booking lost"),
        ("UPDATE appointment SET status = 'booked', slot_id = :slot", lambda: invariants.bookings_single(app), "twice"),
    ):
        with session_scope(app.engine) as session:
            session.connection().execute(text(statement), {"slot": booked[0].key} if ":slot" in statement else {})
        assert words in "\n".join(check()), statement


def found(sentences: Iterator[str]) -> int:
    return len(list(sentences))
