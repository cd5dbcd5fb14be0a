"""Proofs from the audit log of an installation, verified as whoever gets them does: with the root and nothing else."""

from datetime import timedelta

import pytest
from sqlalchemy import text

from core.clock import FixedClock
from core.errors import AuditLogBroken, InvalidInput, NotAuthorised, NotFound
from core.services import audit, audit_proofs
from core.services.app import Actor, App
from db.engine import session_scope
from security.verify_audit import Anchor, AuditBroken, read_kept, verify_export, verify_proof


def _append(app: App, count: int) -> None:
    for number in range(count):
        with session_scope(app.engine) as session:
            audit.append(app, session, "app", "test.act", object_id=f"o{number}")


def test_any_entry_is_proved_to_be_in_the_log(app: App, authority: Actor) -> None:
    _append(app, 5)
    for number in range(1, audit.verify(app, authority).size + 1, 3):
        found = audit_proofs.prove_entry(app, authority, number)
        shown = verify_proof(found.proof, root=app.root.parsed)
        assert shown.head.size == found.size
        assert shown.what.startswith(f"entry {number} (")
    newest = audit.list_entries(app, authority, action="audit.prove", limit=1)[0]
    assert newest.details == {"entry": number}
    with pytest.raises(NotFound):
        audit_proofs.prove_entry(app, authority, found.size + 50)
    with pytest.raises(NotFound):
        audit_proofs.prove_entry(app, authority, 0)


def test_the_log_is_compared_with_heads_that_were_kept(app: App, clock: FixedClock, authority: Actor) -> None:
    first = audit_proofs.head_to_keep(app, authority)
    clock.advance(timedelta(days=1))
    _append(app, 3)
    second = audit_proofs.head_to_keep(app, authority)
    _append(app, 3)
    found = audit_proofs.compare(app, authority, first + second)
    assert (found.kept, found.old_time, found.size - found.old_size) == (2, clock.now(), 4)
    shown = verify_proof(found.proof, root=app.root.parsed, heads=[second.rstrip()])
    assert shown.what == f"the log of {found.old_size} entries is the beginning of the log of {found.size} entries"
    lines = audit.export(app, authority).splitlines(keepends=True)
    assert len(verify_export(lines, root=app.root.parsed, heads=[first, second]).kept) == 2


@pytest.mark.parametrize("database_url", ["sqlite"], indirect=True)
def test_a_database_that_was_put_back_to_an_older_state_is_found(app: App, authority: Actor) -> None:
    """The signer's own older head fits the shortened log: nothing but a kept head tells."""
    state = _stored(app)
    _append(app, 3)
    kept = audit_proofs.head_to_keep(app, authority)
    _put_back(app, state)
    audit.verify(app, authority)
    with pytest.raises(AuditLogBroken, match="cut off at the end"):
        audit_proofs.compare(app, authority, kept)
    _append(app, 10)  # the log grows again, along another way
    with pytest.raises(AuditLogBroken, match="written anew"):
        audit_proofs.compare(app, authority, kept)
    with pytest.raises(AuditBroken, match="written anew"):
        verify_export(audit.export(app, authority).splitlines(), root=app.root.parsed, heads=[kept])


@pytest.mark.parametrize("database_url", ["sqlite"], indirect=True)
def test_the_app_itself_notices_a_log_that_was_put_back_behind_its_last_check(app: App, authority: Actor) -> None:
    state = _stored(app)
    audit.verify(app, authority)
    _put_back(app, state)
    app.audit_head.last = None  # the app was started again in between
    with pytest.raises(AuditLogBroken, match="cut off"):
        audit.verify(app, authority)
    _append(app, 1)
    with pytest.raises(AuditLogBroken, match=r"written anew|cut off"):
        audit.verify(app, authority)
    with pytest.raises(AuditLogBroken, match=r"written anew|cut off"):
        audit.export(app, authority)
    kept = app.store.folder / "audit.kept"
    kept.write_bytes(kept.read_bytes()[:-20])
    with pytest.raises(AuditLogBroken, match="damaged"):
        audit.verify(app, authority)
    kept.unlink()  # the older database was restored on purpose
    assert audit.verify(app, authority).size


def _stored(app: App) -> dict[str, object]:
    with session_scope(app.engine) as session:
        return dict(session.connection().execute(text("SELECT * FROM audit_head")).mappings().one())


def _put_back(app: App, state: dict[str, object]) -> None:
    columns = ", ".join(f"{name} = :{name}" for name in state)
    with session_scope(app.engine) as session:
        session.connection().execute(text(f"UPDATE audit_head SET {columns}"), state)  # noqa: S608 - our own names
        session.connection().execute(text("DELETE FROM audit_entry WHERE number > :size"), state)


@pytest.mark.parametrize("database_url", ["sqlite"], indirect=True)
def test_a_changed_entry_is_named_before_anything_is_proved(app: App, authority: Actor) -> None:
    _append(app, 4)
    kept = audit_proofs.head_to_keep(app, authority)
    with session_scope(app.engine) as session:
        session.connection().execute(text("UPDATE audit_entry SET chain_hash = '00' WHERE number = 3"))
    for act in (
        lambda: audit_proofs.prove_entry(app, authority, 5),
        lambda: audit_proofs.compare(app, authority, kept),
    ):
        with pytest.raises(AuditLogBroken, match="entry 3"):
            act()


@pytest.mark.parametrize("database_url", ["sqlite"], indirect=True)
@pytest.mark.parametrize("kept", [b"", b"\n", b"rubbish", b'{"head":"AAAA","witnesses":[]}\n', b"x" * (2**20 + 1)])
def test_what_is_no_file_of_kept_heads_is_refused(app: App, authority: Actor, kept: bytes) -> None:
    with pytest.raises(InvalidInput):
        audit_proofs.compare(app, authority, kept)


@pytest.mark.parametrize("database_url", ["sqlite"], indirect=True)
def test_hospitals_keep_heads_and_only_the_authority_takes_proofs(
    app: App, patient: Actor, doctor: Actor, hospital: Actor, authority: Actor
) -> None:
    (kept,) = read_kept([audit_proofs.head_to_keep(app, hospital).rstrip()], Anchor(app.root.parsed))
    assert audit.list_entries(app, authority, action="audit.head")[0].number == kept.head.size
    for actor in (patient, doctor):
        with pytest.raises(NotAuthorised):
            audit_proofs.head_to_keep(app, actor)
    for actor in (patient, doctor, hospital):
        with pytest.raises(NotAuthorised):
            audit_proofs.prove_entry(app, actor, 1)
        with pytest.raises(NotAuthorised):
            audit_proofs.compare(app, actor, audit_proofs.head_to_keep(app, hospital))


def test_the_verifier_that_is_offered_is_the_one_that_is_used() -> None:
    assert b"def verify_export" in audit_proofs.verifier()
