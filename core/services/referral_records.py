"""A request to refer a case as a value: what is sealed of it, and how it is read back. Authorises nothing.

The sealed body says which case, which hospitals, who asked and when: a row that says otherwise is not shown. Where it
stands is vouched for by the row's MAC (`core.services.genuine`).
"""

import json
from collections.abc import Collection
from dataclasses import dataclass
from datetime import datetime

from sqlmodel import Session, col, select

from core.errors import NotFound, RecordDamaged
from core.services.app import APP_PARTY, App
from core.services.case_access import care_hospital
from core.services.case_objects import image_rows
from core.services.case_records import HospitalRef
from core.services.context import display_name
from core.services.genuine import is_genuine
from core.services.vault import key_of
from db.models import Case, CaseReferral, Hospital, ReferralStatus
from security.context import Context, Purpose
from security.errors import SealBroken
from security.records import RecordCipher

__all__ = ["ReferralStatus", "ReferralView", "referral_context", "seal_request", "views_of"]


@dataclass(frozen=True, kw_only=True)
class ReferralView:
    """A request to refer a case, and where it stands.

    Attributes:
        id: the request.
        case_id: the case.
        number: short number of the case.
        images: how many pictures the case has.
        sent_at: when the patient sent them, UTC.
        doctor: how the doctor who asks is addressed.
        sender: the hospital that asks.
        recipient: the hospital that would look at the case.
        reason: why, in the doctor's words; plain text. "" where the reader may not see it, or if it is damaged.
        status: where it stands.
        asked_at: UTC.
        answered_at: when the patient said yes or no, UTC; None before.
        ended_at: when it was taken back, or the pictures were brought back, UTC; None otherwise.
        stands: the patient has agreed and the case is with the recipient now.
        is_news: answered, and the hospital that asked has not seen that yet.
        is_damaged: the stored request was changed from outside.
    """

    id: str
    case_id: str
    number: str
    images: int
    sent_at: datetime
    doctor: str
    sender: HospitalRef
    recipient: HospitalRef
    reason: str
    status: ReferralStatus
    asked_at: datetime
    answered_at: datetime | None
    ended_at: datetime | None
    stands: bool
    is_news: bool
    is_damaged: bool = False


def seal_request(row: CaseReferral, reason: str, *, key: RecordCipher) -> bytes:
    """Return what a request asks for and why, sealed under the key of the case's patient."""
    return key.seal(json.dumps({**_stated(row), "reason": reason}).encode(), context=referral_context(row.id))


def views_of(app: App, session: Session, rows: Collection[CaseReferral]) -> list[ReferralView]:
    """Return requests that the caller was authorised to read, in the order given; damage marks its own only."""
    hospitals = {
        row.id: HospitalRef(row.id, row.slug, row.name, row.city) for row in session.exec(select(Hospital)).all()
    }
    ids = {row.case_id for row in rows}
    cases = {case.id: case for case in session.exec(select(Case).where(col(Case.id).in_(ids))).all()} if rows else {}
    return [_view(app, session, row, cases[row.case_id], hospitals) for row in rows]


def open_request(app: App, session: Session, row: CaseReferral, case: Case) -> str:
    """Return the reason of a request.

    Raises:
        RecordDamaged: the row was changed, or belongs to another case; or the patient's key is gone.
    """
    if not is_genuine(app, row):
        raise RecordDamaged
    try:
        key = key_of(app, session, case.patient_id)
        stored: dict[str, str] = json.loads(key.open(row.body, context=referral_context(row.id)))
    except SealBroken as error:
        raise RecordDamaged from error
    reason = stored.pop("reason")
    if stored != _stated(row):
        raise RecordDamaged
    return reason


def _view(app: App, session: Session, row: CaseReferral, case: Case, hospitals: dict[str, HospitalRef]) -> ReferralView:
    try:
        reason, damaged = open_request(app, session, row, case), not is_genuine(app, case)
    except RecordDamaged:
        reason, damaged = "", True
    try:
        doctor = display_name(app, session, row.doctor_id)
    except NotFound:
        doctor = ""
    answered = row.status in {ReferralStatus.ACCEPTED, ReferralStatus.DECLINED, ReferralStatus.BROUGHT_BACK}
    return ReferralView(
        id=row.id,
        case_id=case.id,
        number=f"{case.id[:4]}-{case.id[4:8]}".upper(),
        images=len(image_rows(session, case.id)),
        sent_at=case.created_at,
        doctor=doctor,
        sender=hospitals[row.from_hospital_id],
        recipient=hospitals[row.to_hospital_id],
        reason=reason,
        status=row.status,
        asked_at=row.asked_at,
        answered_at=row.answered_at,
        ended_at=row.ended_at,
        stands=row.status is ReferralStatus.ACCEPTED and care_hospital(case) == row.to_hospital_id and not damaged,
        is_news=answered and row.seen_at is None,
        is_damaged=damaged,
    )


def _stated(row: CaseReferral) -> dict[str, str]:
    return {
        "case": row.case_id,
        "doctor": row.doctor_id,
        "from": row.from_hospital_id,
        "to": row.to_hospital_id,
        "asked_at": row.asked_at.isoformat(),
        "text_version": row.text_version,
    }


def referral_context(referral_id: str) -> Context:
    """Return what the seal of a request binds."""
    return Context(purpose=Purpose.REFERRAL, study="", sender=APP_PARTY, object_id=referral_id)
