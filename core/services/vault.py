"""The keys of patients as services use them: everything of a patient is opened and written under that patient's key.

Authorises nothing. What was stored before there was a vault is taken in by `vault_intake`.
"""

from contextlib import suppress

from sqlmodel import Session

from core.errors import DataErased, RecordDamaged
from core.services import audit_log
from core.services.app import APP_PARTY, App
from core.services.context import open_profile, seal_profile
from db.models import PatientKey, User
from security.errors import KeyDestroyed, KeyMissing
from security.records import RecordCipher
from security.vault import VaultKey

_OPENED = "hemaseal_patient_keys"


def key_of(app: App, session: Session, patient_id: str) -> RecordCipher:
    """Return a patient's key for reading; opened once in a transaction, which keeps its row for whoever asks for that.

    Raises:
        DataErased: it was destroyed, which erased the patient's data.
        RecordDamaged: it is missing, or was changed or exchanged.
    """
    opened: dict[str, tuple[PatientKey, RecordCipher]] = session.info.setdefault(_OPENED, {})
    if patient_id not in opened:
        row = session.get(PatientKey, patient_id)
        if row is None:
            raise RecordDamaged
        try:
            opened[patient_id] = row, app.vault.open(row.name, patient_id)
        except KeyDestroyed as error:
            raise DataErased from error
        except KeyMissing as error:
            raise RecordDamaged from error
    return opened[patient_id][1]


def key_for_new_case(app: App, session: Session, patient_id: str) -> tuple[RecordCipher, VaultKey | None]:
    """Return the key for a patient's new case, and what was made if this is the first: `note_key` writes that down.

    The account stays locked until the caller's transaction ends, so that an erasure that begins meanwhile comes after.

    Raises:
        DataErased: the patient asked for erasure.
        RecordDamaged: the key is missing, or was changed or exchanged.
    """
    session.get(User, patient_id, with_for_update=True)
    row = session.get(PatientKey, patient_id)
    if row is None:
        made = make_key(app, session, patient_id)
        return key_of(app, session, patient_id), made
    if row.erasing_at is not None:
        raise DataErased
    return key_of(app, session, patient_id), None


def profile_key(app: App, session: Session, user_id: str) -> RecordCipher:
    """Return what an account's profile is sealed under: a patient's own key as soon as there is one, else the app's.

    Raises:
        DataErased: the patient's key was destroyed.
        RecordDamaged: the patient's key is missing, or was changed or exchanged.
    """
    return app.records if session.get(PatientKey, user_id) is None else key_of(app, session, user_id)


def make_key(app: App, session: Session, patient_id: str) -> VaultKey:
    """Make a patient's key and bring the profile under it; a profile that is damaged stays as it is.

    Where the caller's transaction fails, an unused file stays in the vault.
    """
    made, user = app.vault.create(patient_id), session.get_one(User, patient_id)
    session.add(PatientKey(user_id=patient_id, name=made.name, created_at=app.clock.now()))
    session.flush()
    with suppress(RecordDamaged):
        user.profile = seal_profile(key_of(app, session, patient_id), patient_id, open_profile(app.records, user))
    session.flush()
    return made


def note_key(app: App, session: Session, patient_id: str, made: VaultKey, *, objects: int = 0) -> None:
    """Write to the audit log which key was made for whom, and how many stored objects were taken under it."""
    details: audit_log.Details = {"key": made.digest, "objects": objects}
    audit_log.append(app, session, APP_PARTY, "vault.create", object_id=patient_id, details=details)
