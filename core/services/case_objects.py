"""The sealed objects of a case, opaque here: its images, and the enclave's result for each. Authorises nothing.

They are stored with their fronts wrapped under the patient's key (`security.vault`), bound to case, number and kind.
"""

from enum import StrEnum

from sqlmodel import Session, col, select

from core.clock import Clock
from core.errors import NotFound, RecordDamaged
from core.services.app import APP_PARTY
from db.blobs import get_blob, put_blob, replace_front
from db.models import CaseImage
from security.context import Context, Purpose
from security.errors import SealBroken
from security.records import RecordCipher
from security.sealed_format import front_length
from security.vault import unwrap_front, wrap_front, wrapped_front, wrapped_length


class ObjectKind(StrEnum):
    """What a sealed object of a case is; also the kind of its blob."""

    IMAGE = "image"
    RESULT = "result"


def object_context(case_id: str, number: int, kind: ObjectKind) -> Context:
    """Return what the wrapping of an object's front binds."""
    return Context(purpose=Purpose.VAULT_OBJECT, study="", sender=APP_PARTY, object_id=f"{case_id}/{number}/{kind}")


def image_rows(session: Session, case_id: str) -> list[CaseImage]:
    """Return the rows of a case's images in their order.

    How many there must be is not written beside them: the seal of each says so, and none opens if one is missing.
    """
    statement = select(CaseImage).where(CaseImage.case_id == case_id).order_by(col(CaseImage.number))
    return list(session.exec(statement).all())


def put_object(
    session: Session, sealed: bytes, case_id: str, number: int, kind: ObjectKind, *, key: RecordCipher, clock: Clock
) -> str:
    """Store a sealed object under the patient's key inside the caller's transaction; returns the id of its blob."""
    stored = wrap_front(sealed, key=key, context=object_context(case_id, number, kind))
    return put_blob(session, stored, kind.value, clock).id


def get_object(session: Session, row: CaseImage, kind: ObjectKind, *, key: RecordCipher) -> bytes:
    """Return a sealed object of an image's row.

    Raises:
        NotFound: there is none.
        CheckpointRefused: stored bytes were changed.
        RecordDamaged: it is another's, or of another patient.
    """
    stored = get_blob(session, (row.image_blob_id if kind is ObjectKind.IMAGE else row.result_blob_id) or "")
    try:
        return unwrap_front(stored, key=key, context=object_context(row.case_id, row.number, kind))
    except SealBroken as error:
        raise RecordDamaged from error


def replace_recipients(
    session: Session, row: CaseImage, sealed: bytes, *, key: RecordCipher, kind: ObjectKind = ObjectKind.IMAGE
) -> None:
    """Put the front of `sealed`, the object of this row for other recipients, in the place of its front.

    Raises:
        NotFound: there is no such object.
        CheckpointRefused: stored bytes were changed.
        RecordDamaged: the body is another one.
    """
    blob_id = (row.image_blob_id if kind is ObjectKind.IMAGE else row.result_blob_id) or ""
    stored, length = get_blob(session, blob_id), front_length(sealed)
    before = wrapped_length(stored)
    if memoryview(stored)[before:] != memoryview(sealed)[length:]:
        raise RecordDamaged
    context = object_context(row.case_id, row.number, kind)
    front = wrapped_front(sealed[:length], key=key, context=context)
    replace_front(session, blob_id, stored, front=front, length=before)


def sealed_objects(session: Session, case_id: str, kind: ObjectKind, *, key: RecordCipher) -> list[bytes]:
    """Return the sealed images of a case, or their results, in the order of the images.

    Raises:
        NotFound: there is no image, or the object of one is missing.
        CheckpointRefused: stored bytes were changed.
        RecordDamaged: one is another's, or of another patient.
    """
    rows = image_rows(session, case_id)
    if not rows:
        raise NotFound
    return [get_object(session, row, kind, key=key) for row in rows]
