"""Sealed objects in rows of about 1 MiB at most. The bytes are opaque here; sealing and opening happen elsewhere."""

import hashlib

from sqlalchemy import delete, insert, select
from sqlmodel import Session, col

from core.clock import Clock
from core.errors import CheckpointRefused, NotFound
from db.models.blobs import Blob, BlobPart
from db.types import new_id

PART_BYTES = 2**20
_ADD_BLOB, _ADD_PART = insert(Blob), insert(BlobPart)


def put_blob(session: Session, data: bytes, kind: str, clock: Clock) -> Blob:
    """Store `data` (sealed bytes) under a new id inside the caller's transaction; returns what its row holds.

    Args:
        session: an open writing transaction.
        data: the sealed object; any length, also empty.
        kind: at most 16 characters that say what it is (``image``, ``result``, ``weights``, ``serving``…).
        clock: tells the creation time.
    """
    blob = Blob(id=new_id(), kind=kind, size=len(data), sha256=hashlib.sha256(data).hexdigest(), created_at=clock.now())
    connection, view = session.connection(), memoryview(data)
    connection.execute(_ADD_BLOB, blob.model_dump())
    for number, start in enumerate(range(0, len(data), PART_BYTES)):
        part = {"blob_id": blob.id, "number": number, "data": bytes(view[start : start + PART_BYTES])}
        connection.execute(_ADD_PART, part)
    return blob


def get_blob(session: Session, blob_id: str) -> bytes:
    """Return the bytes stored under `blob_id`.

    Raises:
        NotFound: there is no such object.
        CheckpointRefused: rows are missing, added or changed: the bytes are not those that were stored.
    """
    blob = session.get(Blob, blob_id)
    if blob is None:
        raise NotFound
    rows = session.connection().execute(
        select(col(BlobPart.data)).where(col(BlobPart.blob_id) == blob_id).order_by(col(BlobPart.number))
    )
    data = b"".join(row[0] for row in rows)
    if len(data) != blob.size or hashlib.sha256(data).hexdigest() != blob.sha256:
        raise CheckpointRefused("the stored bytes were changed")
    return data


def replace_front(session: Session, blob_id: str, data: bytes, *, front: bytes, length: int) -> None:
    """Put `front` in the place of the first `length` bytes of an object; all other bytes stay in their rows.

    Args:
        session: an open writing transaction.
        blob_id: the object.
        data: the bytes that are stored under it now (`get_blob`).
        front: what begins the object from now on.
        length: at most the length of the first row.

    Raises:
        NotFound: there is no such object.
    """
    blob, first = session.get(Blob, blob_id, with_for_update=True), session.get(BlobPart, (blob_id, 0))
    if blob is None or first is None:
        raise NotFound
    digest = hashlib.sha256(front)
    digest.update(memoryview(data)[length:])
    first.data = front + first.data[length:]
    blob.size, blob.sha256 = len(data) - length + len(front), digest.hexdigest()
    session.flush()


def delete_blob(session: Session, blob_id: str) -> None:
    """Remove an object and its parts; removing what is not there is no error."""
    session.connection().execute(delete(BlobPart).where(col(BlobPart.blob_id) == blob_id))
    session.connection().execute(delete(Blob).where(col(Blob.id) == blob_id))
