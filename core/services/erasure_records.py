"""What is stored of a patient: counted and hashed as the evidence of an erasure, then deleted. Authorises nothing.

Kept are what the law asks for and what names nobody: the account's empty row, consents with their dates, the audit log.
"""

import hashlib
from dataclasses import dataclass

from sqlalchemy import delete
from sqlmodel import Session, col, select

from db.blobs import delete_blob
from db.models import (
    Appointment,
    Blob,
    Case,
    CaseImage,
    CaseMessage,
    CaseReferral,
    CaseReview,
    LoginCode,
    MailOutbox,
    SecondReading,
    SeenMark,
    UserSession,
)
from security.encoding import encode


@dataclass(frozen=True)
class Evidence:
    """What was stored of a patient at one moment.

    Attributes:
        objects: sealed records and objects: summaries, images, results, reviews, messages, referrals.
        digest: SHA-256 (hex) over canonical CBOR of [table, id, SHA-256] of each, sorted: who kept a copy of the
            database can reckon it again; without one it tells nothing.
    """

    objects: int
    digest: str


def evidence_of(session: Session, patient_id: str) -> Evidence:
    """Return what is stored of a patient."""
    listed: list[list[str]] = []
    for case in _cases(session, patient_id):
        listed.append(["clinical_case", case.id, _digest(case.summary or b"")])
        reviews = session.exec(select(CaseReview.id, CaseReview.body).where(CaseReview.case_id == case.id))
        listed += [["case_review", key, _digest(body)] for key, body in reviews]
        readings = session.exec(select(SecondReading.id, SecondReading.body).where(SecondReading.case_id == case.id))
        listed += [["second_reading", key, _digest(body)] for key, body in readings if body is not None]
        messages = session.exec(select(CaseMessage.id, CaseMessage.body).where(CaseMessage.case_id == case.id))
        listed += [["case_message", key, _digest(body)] for key, body in messages]
        asked = session.exec(select(CaseReferral.id, CaseReferral.body).where(CaseReferral.case_id == case.id))
        listed += [["case_referral", key, _digest(body)] for key, body in asked]
        for blob in session.exec(select(Blob).where(col(Blob.id).in_(_blob_ids(session, case.id)))):
            listed.append(["blob", blob.id, blob.sha256])
    return Evidence(len(listed), hashlib.sha256(encode(sorted(listed))).hexdigest())


def delete_all(session: Session, patient_id: str) -> None:
    """Delete a patient's unsent e-mails, appointments, cases with everything in them, sessions, codes and marks."""
    connection = session.connection()
    connection.execute(delete(MailOutbox).where(col(MailOutbox.user_id) == patient_id))
    connection.execute(delete(Appointment).where(col(Appointment.patient_id) == patient_id))
    for case in _cases(session, patient_id):
        blobs = _blob_ids(session, case.id)
        for table in (SecondReading, CaseMessage, CaseReferral, CaseReview, CaseImage):
            connection.execute(delete(table).where(col(table.case_id) == case.id))
        for blob_id in blobs:
            delete_blob(session, blob_id)
    connection.execute(delete(Case).where(col(Case.patient_id) == patient_id))
    for own in (UserSession, LoginCode, SeenMark):
        connection.execute(delete(own).where(col(own.user_id) == patient_id))


def _cases(session: Session, patient_id: str) -> list[Case]:
    return list(session.exec(select(Case).where(Case.patient_id == patient_id)).all())


def _blob_ids(session: Session, case_id: str) -> list[str]:
    rows = session.exec(select(CaseImage).where(CaseImage.case_id == case_id)).all()
    return [key for row in rows for key in (row.image_blob_id, row.result_blob_id) if key is not None]


def _digest(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()
