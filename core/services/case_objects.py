"""The sealed objects of a case, opaque here: its images, and the enclave's result for each. Authorises nothing."""

from sqlmodel import Session, col, select

from core.errors import NotFound
from db.blobs import get_blob
from db.models import CaseImage


def image_rows(session: Session, case_id: str) -> list[CaseImage]:
    """Return the rows of a case's images in their order.

    How many there must be is not written beside them: the seal of each says so, and none opens if one is missing.
    """
    statement = select(CaseImage).where(CaseImage.case_id == case_id).order_by(col(CaseImage.number))
    return list(session.exec(statement).all())


def sealed_images(session: Session, case_id: str) -> list[bytes]:
    """Return the sealed images of a case in their order.

    Raises:
        NotFound: there is none, or the object of one.
        CheckpointRefused: stored bytes were changed.
    """
    rows = image_rows(session, case_id)
    if not rows:
        raise NotFound
    return [get_blob(session, row.image_blob_id) for row in rows]


def sealed_results(session: Session, case_id: str) -> list[bytes]:
    """Return the sealed results of an answered case in the order of its images.

    Raises:
        NotFound: there is no image, or the result of one is missing.
        CheckpointRefused: stored bytes were changed.
    """
    rows = image_rows(session, case_id)
    if not rows:
        raise NotFound
    return [get_blob(session, row.result_blob_id or "") for row in rows]
