"""The audit log in the database: bound to the act, without gaps, and never continued after it was tampered with."""

import json
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from datetime import timedelta
from pathlib import Path

import pytest
from sqlalchemy import text
from sqlmodel import col, select

from core.clock import FixedClock
from core.errors import AuditLogBroken, ClockWrong, NotAuthorised
from core.services import audit
from core.services.app import Actor, App
from core.services.authorise import Action, Relation, authorise
from core.services.authority import authority_office
from db.engine import read_scope, session_scope
from db.models import AuditEntry
from security.identity import Identity
from security.keys import KeyStore, MasterKey
from security.verify_audit import verify_file


def _append(app: App, count: int = 1) -> None:
    for number in range(count):
        with session_scope(app.engine) as session:
            audit.append(app, session, "app", "test.act", object_id=f"o{number}", details={"n": number})


def _execute(app: App, statement: str) -> None:
    with session_scope(app.engine) as session:
        session.connection().execute(text(statement))


def test_an_entry_says_who_did_what_to_which_object(app: App, patient: Actor, authority: Actor) -> None:
    with session_scope(app.engine) as session:
        audit.append(app, session, patient, "case.read", object_id="c1", details={"images": 2, "first": True})
    entry = audit.list_entries(app, authority, limit=1)[0]
    assert (entry.actor, entry.role, entry.action, entry.object_id) == (patient.user_id, "patient", "case.read", "c1")
    assert (entry.outcome, entry.details, entry.time) == ("done", {"images": 2, "first": True}, app.clock.now())


def test_an_act_that_is_undone_leaves_no_entry(app: App, authority: Actor) -> None:
    before = audit.verify(app, authority).size

    def act() -> None:
        with session_scope(app.engine) as session:
            audit.append(app, session, "app", "test.act")
            raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        act()
    assert audit.verify(app, authority).size == before + 1  # the verification itself


def test_entries_of_parallel_acts_have_no_gap_and_no_double(app: App, authority: Actor) -> None:
    before = audit.verify(app, authority).size
    with ThreadPoolExecutor(8) as pool:
        list(pool.map(lambda _: _append(app, 5), range(8)))
    assert audit.verify(app, authority).size == before + 1 + 40


def test_two_entries_of_one_act_are_both_kept(app: App, authority: Actor) -> None:
    with session_scope(app.engine) as session:
        first = audit.append(app, session, "app", "test.one")
        assert audit.append(app, session, "app", "test.two") == first + 1
    audit.verify(app, authority)


@pytest.mark.parametrize("database_url", ["sqlite"], indirect=True)
@pytest.mark.parametrize("value", ["Anna Example", "leukemic", "leukemia", "see you\nsoon", "x" * 65])
def test_names_diseases_and_free_text_never_enter_the_log(app: App, value: str) -> None:
    with pytest.raises(ValueError, match="a code expected"), session_scope(app.engine) as session:
        audit.append(app, session, "app", "test.act", details={"what": value})


@pytest.mark.parametrize(
    "tampering",
    [
        "DELETE FROM audit_entry WHERE number = 3",
        "UPDATE audit_entry SET chain_hash = '00' WHERE number = 3",
        "UPDATE audit_entry SET entry = REPLACE(entry, 'o', 'p') WHERE number = 3",
        "UPDATE audit_entry SET actor = 'nobody' WHERE number = 3",
        "UPDATE audit_entry SET action = 'test.other' WHERE number = 3",
        "UPDATE audit_entry SET object = '' WHERE number = 3",
    ],
)
def test_the_entry_that_was_changed_is_named(app: App, authority: Actor, tampering: str) -> None:
    _append(app, 4)
    _execute(app, tampering)
    with pytest.raises(AuditLogBroken, match="entry 3"):
        audit.verify(app, authority)
    with pytest.raises(AuditLogBroken, match="entry 3"):
        audit.export(app, authority)


@pytest.mark.parametrize(
    "tampering",
    [
        "UPDATE audit_head SET size = size - 1",
        "UPDATE audit_head SET signer = 'north.training'",
        "UPDATE audit_head SET chain_hash = root",
        "DELETE FROM audit_head",
    ],
)
def test_a_log_whose_head_was_changed_is_not_continued(app: App, tampering: str) -> None:
    _append(app, 4)
    _execute(app, tampering)
    with pytest.raises(AuditLogBroken):
        _append(app)


def test_cutting_off_the_last_entries_is_noticed(app: App, authority: Actor) -> None:
    _append(app, 4)
    _execute(app, "DELETE FROM audit_entry WHERE number > 10")
    with pytest.raises(AuditLogBroken, match="cut off"):
        audit.verify(app, authority)


def test_an_export_is_verified_without_the_database(app: App, authority: Actor, tmp_path: Path) -> None:
    _append(app, 10)
    file = tmp_path / "audit.jsonl"
    file.write_bytes(audit.export(app, authority))
    root = tmp_path / "root.pem"
    root.write_bytes(audit.root_certificate(app))
    verified = verify_file(file, root=root)
    last = json.loads(json.loads(file.read_bytes().splitlines()[-2])["entry"])
    assert (last["action"], last["number"]) == ("audit.export", verified.head.size)


def test_the_coordinator_signs_heads_of_its_own_acts_and_the_app_goes_on(app: App, authority: Actor) -> None:
    master = MasterKey.load(secret=None, file=app.settings.master_key_file)
    coordinator = Identity.load(KeyStore(app.settings.keys_dir, "coordinator", master))
    with session_scope(app.engine) as session:
        audit.append_signed(
            session, clock=app.clock, signer=coordinator, trust=app.trust(), actor="coordinator", action="run.start"
        )
    view = audit.verify(app, authority)
    assert view.signer == "coordinator"
    _append(app)
    assert audit.verify(app, authority).signer == "app"


@pytest.mark.parametrize("database_url", ["sqlite"], indirect=True)
def test_no_other_party_signs_the_log(app: App) -> None:
    with authority_office(app.settings, app.clock) as office:
        signer = office.identity
    with pytest.raises(ValueError, match="does not sign"), session_scope(app.engine) as session:
        audit.append_signed(session, clock=app.clock, signer=signer, trust=app.trust(), actor="authority", action="x.y")


def test_entries_are_listed_newest_first_by_page_and_filter(app: App, patient: Actor, authority: Actor) -> None:
    _append(app, 5)
    with session_scope(app.engine) as session:
        audit.append(app, session, patient, "case.read", object_id="c1")
    page = audit.list_entries(app, authority, limit=3)
    assert [entry.object_id for entry in page] == ["c1", "o4", "o3"]
    following = audit.list_entries(app, authority, before=page[-1].number, limit=2)
    assert [entry.object_id for entry in following] == ["o2", "o1"]
    newest = audit.list_entries(app, authority, action="audit.")[0]
    assert (newest.actor, newest.action, newest.details) == (authority.user_id, "audit.read", {"entries": 2})
    assert [entry.object_id for entry in audit.list_entries(app, authority, action="test.", limit=1)] == ["o4"]
    assert [entry.action for entry in audit.list_entries(app, authority, object_id="o2")] == ["test.act"]
    assert audit.list_entries(app, authority, person=patient.user_id)[0].action == "case.read"


def test_only_the_authority_reads_the_log_and_a_refusal_is_written_to_it(
    app: App, patient: Actor, doctor: Actor, hospital: Actor, authority: Actor
) -> None:
    for actor in (patient, doctor, hospital):
        for act in (audit.list_entries, audit.verify, audit.export):
            with pytest.raises(NotAuthorised):
                act(app, actor)
    refused = audit.list_entries(app, authority, outcome=audit.Outcome.REFUSED)
    assert len(refused) == 9
    assert {entry.actor for entry in refused} == {patient.user_id, doctor.user_id, hospital.user_id}


def test_a_refusal_undoes_what_the_transaction_held(app: App, patient: Actor) -> None:
    def act() -> None:
        with session_scope(app.engine) as session:
            audit.append(app, session, patient, "test.before")
            authorise(app, session, patient, Action.READ_AUDIT, Relation.ANY)

    with pytest.raises(NotAuthorised):
        act()
    with read_scope(app.engine) as session:
        last = session.exec(select(AuditEntry).order_by(col(AuditEntry.number).desc()).limit(2)).all()
    actions = [json.loads(row.entry)["action"] for row in last]
    assert actions[0] == "refused.audit.read"
    assert "test.before" not in actions


@pytest.mark.parametrize("wrong_by", [timedelta(days=-2), timedelta(days=3660)], ids=["before", "after"])
def test_a_clock_outside_the_certificates_validity_ends_an_act_and_not_the_log(
    app: App, authority: Actor, wrong_by: timedelta
) -> None:
    """What was signed then nobody could verify, so nobody could ever append again."""
    before = audit.verify(app, authority).size
    wrong = replace(app, clock=FixedClock(app.clock.now() + wrong_by))
    with pytest.raises(ClockWrong):
        _append(wrong)
    again = App.start(app.settings, clock=app.clock)
    _append(again)
    assert audit.verify(again, authority).size == before + 2  # the verification itself, and the right clock's entry
    again.engine.dispose()
