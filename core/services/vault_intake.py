"""Takes into the vault what an earlier version stored: each patient in one transaction, so that it can be cut off.

Set-up calls it. A patient whose key has a row is done. What does not open any more is left as it is: it stays damaged.
"""

from collections.abc import Sequence

from sqlmodel import Session, col, select

from core.errors import CheckpointRefused, NotFound
from core.services.app import App
from core.services.case_objects import ObjectKind, image_rows, object_context
from core.services.case_records import summary_context
from core.services.messages import message_context
from core.services.review_records import review_context
from core.services.vault import key_of, make_key, note_key
from db.blobs import get_blob, replace_front
from db.engine import read_scope, session_scope
from db.models import Case, CaseMessage, CaseReview, PatientKey, User
from security.context import Context
from security.errors import SealBroken
from security.records import RecordCipher
from security.sealed_format import front_length
from security.vault import wrapped_front


def take_in(app: App) -> int:
    """Take everything of every patient without a key into the vault; returns how many patients that were."""
    with read_scope(app.engine) as session:
        keyed = select(PatientKey.user_id)
        patients = session.exec(select(Case.patient_id).where(col(Case.patient_id).not_in(keyed)).distinct()).all()
    return sum(_take_in(app, patient) for patient in patients)


def _take_in(app: App, patient_id: str) -> bool:
    with session_scope(app.engine) as session:
        session.get(User, patient_id, with_for_update=True)
        if session.get(PatientKey, patient_id) is not None:
            return False
        made = make_key(app, session, patient_id)
        key = key_of(app, session, patient_id)
        cases = session.exec(select(Case).where(Case.patient_id == patient_id)).all()
        objects = _records(app, session, cases, key) + sum(_objects(session, case.id, key) for case in cases)
        session.flush()
        note_key(app, session, patient_id, made, objects=objects)
    return True


def _records(app: App, session: Session, cases: Sequence[Case], key: RecordCipher) -> int:
    """Seal summaries, reviews and messages under the patient's key instead of the app's."""
    taken = 0
    for case in cases:
        if case.summary is not None and (again := _resealed(app, case.summary, summary_context(case.id), key)):
            case.summary, taken = again, taken + 1
        for review in session.exec(select(CaseReview).where(CaseReview.case_id == case.id)).all():
            if again := _resealed(app, review.body, review_context(case, review.id), key):
                review.body, taken = again, taken + 1
        for message in session.exec(select(CaseMessage).where(CaseMessage.case_id == case.id)).all():
            if again := _resealed(app, message.body, message_context(message.id), key):
                message.body, taken = again, taken + 1
    return taken


def _resealed(app: App, record: bytes, context: Context, key: RecordCipher) -> bytes | None:
    try:
        return key.seal(app.records.open(record, context=context), context=context)
    except SealBroken:
        return None


def _objects(session: Session, case_id: str, key: RecordCipher) -> int:
    """Wrap the fronts of a case's images and results."""
    taken = 0
    for row in image_rows(session, case_id):
        for kind, blob_id in ((ObjectKind.IMAGE, row.image_blob_id), (ObjectKind.RESULT, row.result_blob_id)):
            try:
                sealed = get_blob(session, blob_id or "")
                length = front_length(sealed)
            except (CheckpointRefused, NotFound, SealBroken):
                continue
            front = wrapped_front(sealed[:length], key=key, context=object_context(case_id, row.number, kind))
            replace_front(session, blob_id or "", sealed, front=front, length=length)
            taken += 1
    return taken
