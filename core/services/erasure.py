"""Erasure of everything that is stored of a patient, in every copy of the database too (GDPR, article 17).

Three steps, each finished on the disk before the next: the wish is noted in the database, the patient's key is
destroyed in the vault, rows and objects are deleted with an audit entry that proves it. From the second on nothing of
the patient opens or is added. A stop anywhere is made good by asking again, and from the second step on by `resume` at
the next set-up, which also erases again what a restored backup brings back.
"""

import secrets
from contextlib import suppress
from dataclasses import dataclass

from sqlmodel import col, select

from core.errors import DataErased, RecordDamaged
from core.services import audit
from core.services.app import APP_PARTY, Actor, App
from core.services.authorise import Action, Relation, authorise
from core.services.context import Profile, seal_profile
from core.services.erasure_records import Evidence, delete_all, evidence_of
from core.services.genuine import change
from core.services.sessions import require_password
from core.services.vault import make_key, note_key
from db.engine import read_scope, session_scope
from db.models import Appointment, Consent, PatientKey, User
from security.errors import KeyMissing
from security.passwords import hash_password

_PASSWORD_BYTES = 32


@dataclass(frozen=True)
class Erasure:
    """What the audit log says of an erasure.

    Attributes:
        entry: number of the audit entry.
        key: SHA-256 (hex) of the encrypted file of the key that was destroyed; the entry of its making names it too.
            None where the file was lost before.
        evidence: what was deleted.
    """

    entry: int
    key: str | None
    evidence: Evidence


def erase(app: App, actor: Actor, *, password: str) -> Erasure:
    """Erase everything of one's own and close the account; it cannot be undone.

    Raises:
        NotAuthorised: not a patient.
        SignInFailed, AccountLocked: the password is wrong; nothing was done.
        DataErased: another request has just finished it.
        RecordDamaged: the account was changed from outside: its data are destroyed, its rows are still there.
        DatabaseUnavailable: the database did not answer; what was begun is finished by asking again or at set-up.
    """
    with read_scope(app.engine) as session:
        authorise(app, session, actor, Action.ERASE_DATA, Relation.SELF, object_id=actor.user_id)
    require_password(app, actor, password)
    with session_scope(app.engine) as session:
        authorise(app, session, actor, Action.ERASE_DATA, Relation.SELF, object_id=actor.user_id)
        session.get(User, actor.user_id, with_for_update=True)
        row = session.get(PatientKey, actor.user_id)
        if row is None:
            made = make_key(app, session, actor.user_id)
            note_key(app, session, actor.user_id, made)
            row = session.get_one(PatientKey, actor.user_id)
        if row.erasing_at is None:
            row.erasing_at = app.clock.now()
            session.flush()
            audit.append(app, session, actor, "erasure.begin", object_id=actor.user_id)
    return _finish(app, actor.user_id, actor)


def resume(app: App) -> int:
    """Finish every erasure whose key is destroyed, also those that a restored database forgot; returns how many.

    The vault decides, not the database: who can write that must not be able to erase anybody.
    """
    with read_scope(app.engine) as session:
        rows = session.exec(select(PatientKey).where(col(PatientKey.erased_at).is_(None))).all()
        open_ = [row.user_id for row in rows if app.vault.was_destroyed(row.name, row.user_id)]
    finished = 0
    for patient_id in open_:
        with suppress(RecordDamaged):
            _finish(app, patient_id, APP_PARTY)
            finished += 1
    return finished


def _finish(app: App, patient_id: str, by: Actor | str) -> Erasure:
    """Destroy every key that was ever made for the patient, then delete and write down what was deleted."""
    with read_scope(app.engine) as session:
        name = session.get_one(PatientKey, patient_id).name
    destroyed: dict[str, str] = {}
    for each in (name, *app.vault.names_of(patient_id)):
        with suppress(KeyMissing):
            destroyed[each] = app.vault.destroy(each, patient_id)
    unusable = hash_password(secrets.token_urlsafe(_PASSWORD_BYTES))
    with session_scope(app.engine) as session:
        booked = select(Appointment).where(Appointment.patient_id == patient_id).with_for_update()
        session.exec(booked).all()  # locked before the account, as everywhere
        user = session.get_one(User, patient_id, with_for_update=True)
        row = session.get_one(PatientKey, patient_id)
        evidence = evidence_of(session, patient_id)
        if row.erased_at is not None and not evidence.objects:
            raise DataErased
        now = app.clock.now()
        delete_all(session, patient_id)
        user.profile = seal_profile(app.records, patient_id, Profile(""))
        change(app, user, username=f"erased-{patient_id}", password_hash=unusable, is_active=False)
        given = select(Consent).where(Consent.user_id == patient_id, col(Consent.withdrawn_at).is_(None))
        for consent in session.exec(given).all():
            consent.withdrawn_at = now
        row.erasing_at, row.erased_at = row.erasing_at or now, now
        session.flush()
        key = destroyed.get(name)
        details = {"key": key, "keys": len(destroyed), "objects": evidence.objects, "evidence": evidence.digest}
        entry = audit.append(app, session, by, "erasure.done", object_id=patient_id, details=details)
    return Erasure(entry, key, evidence)
